// Writes the frames of one media stream of ours, each group on a stream of its own. In: encoded frames in order. Out: records.
// Seals each record when there is a cipher. Counts the sequence across sessions, knows how long the oldest frame is unsent, and gives a late group up. Bounded: what is
// handed in after the backlog grew too old is refused.

import type { RecordCipher } from "../cipher.ts";
import { encodeFrameHeader, FLAG_DISCARDABLE, FLAG_END_OF_FRAME, FRAME_HEADER_BYTES, type FrameKind } from "../frame.ts";
import { type MediaSession, streamError } from "./media-session.ts";

/** Frames handed in and not yet taken by the transport; beyond, the group is given up whatever its age. */
const QUEUED_FRAMES_MAX = 64;

export interface EncodedFrame {
  kind: FrameKind;
  /** Whether it begins a group. */
  startsGroup: boolean;
  /** Microseconds since the epoch. */
  timestampUs: bigint;
  payload: Uint8Array;
  /** No other frame needs it. */
  isDiscardable?: boolean;
}

const RESERVED = new Uint8Array(6);

export class GroupWriter {
  private readonly streamId: string;
  private readonly session: () => MediaSession | undefined;
  private readonly cipher: RecordCipher | undefined;
  private sequence = 0n;
  private queue: { frame: EncodedFrame; queuedAtMs: number }[] = [];
  private pumping = false;
  private writer: WritableStreamDefaultWriter<Uint8Array> | undefined;
  private writerSession: MediaSession | undefined;
  /** Counts groups ended from outside, so that a write under way knows that it is no longer wanted. */
  private epoch = 0;

  /** Without a cipher records travel in the clear. */
  constructor(streamId: string, session: () => MediaSession | undefined, cipher?: RecordCipher) {
    this.streamId = streamId;
    this.session = session;
    this.cipher = cipher;
  }

  /** Milliseconds for which the oldest frame is unsent. */
  backlogMs(nowMs: number): number {
    const [oldest] = this.queue;
    return oldest === undefined ? 0 : nowMs - oldest.queuedAtMs;
  }

  /** Takes a frame; false when it can only go on with a frame that starts a group. */
  push(nowMs: number, frame: EncodedFrame): boolean {
    const broken = this.writerSession === undefined || this.writerSession !== this.session() || this.writerSession.isOver;
    if (!frame.startsGroup && broken && !this.queue.some((it) => it.frame.startsGroup)) return false;
    if (this.queue.length >= QUEUED_FRAMES_MAX) return false;
    this.queue.push({ frame, queuedAtMs: nowMs });
    if (!this.pumping) void this.pump();
    return true;
  }

  /** Gives the group up: what is unsent is dropped, its stream reset. The next frame must start a group. */
  abort(): void {
    this.epoch += 1;
    this.queue = [];
    this.writer?.abort(streamError("EXPIRED")).catch(() => undefined);
    this.writer = undefined;
    this.writerSession = undefined;
  }

  /** Ends the group in order; what is unsent stays so. The next frame must start a group. */
  finish(): void {
    this.epoch += 1;
    this.queue = [];
    this.closeGroup();
  }

  private closeGroup(): void {
    // Closing waits for the last byte to be taken; nobody needs to.
    this.writer?.close().catch(() => undefined);
    this.writer = undefined;
    this.writerSession = undefined;
  }

  private async pump(): Promise<void> {
    this.pumping = true;
    for (;;) {
      const next = this.queue[0];
      if (next === undefined) break;
      const { epoch } = this;
      const sent = await this.write(next.frame, epoch);
      if (epoch !== this.epoch) continue;
      if (this.queue[0] === next) this.queue.shift();
      if (!sent) this.skipToGroup();
    }
    this.pumping = false;
  }

  /** The rest of a broken group is of no use. */
  private skipToGroup(): void {
    const start = this.queue.findIndex((it) => it.frame.startsGroup);
    this.queue = start < 0 ? [] : this.queue.slice(start);
  }

  private async write(frame: EncodedFrame, epoch: number): Promise<boolean> {
    try {
      if (frame.startsGroup) {
        this.closeGroup();
        const session = this.session();
        if (session === undefined || session.isOver) return false;
        const writer = await session.openGroup();
        if (epoch !== this.epoch) {
          writer.abort(streamError("EXPIRED")).catch(() => undefined);
          return false;
        }
        this.writer = writer;
        this.writerSession = session;
      }
      if (this.writer === undefined) return false;
      const record = await this.record(frame);
      const { writer } = this;
      if (epoch !== this.epoch || writer === undefined) return false;
      await writer.write(record);
      return true;
    } catch {
      // The handler stopped the stream, or the session is over: the next group tries again.
      if (epoch === this.epoch) {
        this.writer = undefined;
        this.writerSession = undefined;
      }
      return false;
    }
  }

  private async record(frame: EncodedFrame): Promise<Uint8Array> {
    const { kind, timestampUs, payload, isDiscardable = false } = frame;
    const flags = FLAG_END_OF_FRAME | (isDiscardable ? FLAG_DISCARDABLE : 0);
    const { streamId, sequence, cipher } = this;
    // Used up whatever becomes of the record: a sequence is sealed once.
    this.sequence += 1n;
    const payloadLength = payload.length + (cipher?.overheadBytes(sequence) ?? 0);
    const bytes = new Uint8Array(FRAME_HEADER_BYTES + payloadLength);
    encodeFrameHeader({ kind, streamId, timestampUs, sequence, payloadLength, flags, reserved: RESERVED }, bytes);
    const header = bytes.subarray(0, FRAME_HEADER_BYTES);
    bytes.set(cipher === undefined ? payload : await cipher.seal(header, sequence, payload), FRAME_HEADER_BYTES);
    return bytes;
  }
}
