// Writes the frames of one media stream of ours, each group on a stream of its own. In: encoded frames in order. Out: records, in pieces
// that leave sound its turns, sealed when there is a cipher. Counts the sequence across sessions, knows how long the oldest frame is
// unsent, and gives a late group up. Bounded: what is handed in after the backlog grew too old is refused.

import { CIPHER_OVERHEAD_BYTES_MAX, type RecordCipher } from "../cipher.ts";
import { DrainTime } from "../drain-time.ts";
import { encodeFrameHeader, FLAG_DISCARDABLE, FLAG_END_OF_FRAME, FRAME_HEADER_BYTES, type FrameKind, PAYLOAD_BYTES_MAX } from "../frame.ts";
import { type MediaSession, streamError } from "./media-session.ts";
import type { Turns } from "./uplink-turns.ts";

/** Frames handed in and not yet taken by the transport; beyond, the group is given up whatever its age. */
const QUEUED_FRAMES_MAX = 64;
/** Longer frames go in several records. */
const RECORD_BYTES_MAX = PAYLOAD_BYTES_MAX - CIPHER_OVERHEAD_BYTES_MAX;

/** One encoded frame on its way out. */
export interface OutgoingFrame {
  kind: FrameKind;
  /** Whether it begins a group. */
  startsGroup: boolean;
  /** Microseconds since the epoch. */
  timestampUs: bigint;
  /** Made by `withHeaderRoom`, it is sent without being copied. */
  payload: Uint8Array;
  /** No other frame needs it. */
  isDiscardable?: boolean;
}

/** A payload to be filled, with room for a record's header before it. */
export function withHeaderRoom(bytes: number): Uint8Array {
  return new Uint8Array(new ArrayBuffer(FRAME_HEADER_BYTES + bytes), FRAME_HEADER_BYTES);
}

function hasHeaderRoom(payload: Uint8Array): boolean {
  return payload.byteOffset === FRAME_HEADER_BYTES && payload.buffer.byteLength === FRAME_HEADER_BYTES + payload.length;
}

const RESERVED = new Uint8Array(6);

export class GroupWriter {
  /** Written whole so far. */
  framesSent = 0;
  /** Headers included. */
  bytesSent = 0;
  private readonly drain = new DrainTime();
  private readonly streamId: string;
  private readonly session: () => MediaSession | undefined;
  private readonly turns: Turns;
  private readonly cipher: RecordCipher | undefined;
  private sequence = 0n;
  private queue: { frame: OutgoingFrame; queuedAtMs: number }[] = [];
  private pumping = false;
  private writer: WritableStreamDefaultWriter<Uint8Array> | undefined;
  private writerSession: MediaSession | undefined;
  /** A record is begun and not yet written whole: its stream cannot end in order. */
  private insideRecord = false;
  /** Counts groups ended from outside, so that a write under way knows that it is no longer wanted. */
  private epoch = 0;

  /** Without a cipher records travel in the clear. */
  constructor(streamId: string, session: () => MediaSession | undefined, turns: Turns, cipher?: RecordCipher) {
    this.streamId = streamId;
    this.session = session;
    this.turns = turns;
    this.cipher = cipher;
  }

  /** Milliseconds for which the oldest frame is unsent. */
  backlogMs(nowMs: number): number {
    const [oldest] = this.queue;
    return oldest === undefined ? 0 : nowMs - oldest.queuedAtMs;
  }

  /** Milliseconds that the transport holds more than usual of what it took; known about once a group. */
  heldBelowMs(nowMs: number): number {
    return this.drain.aboveMs(nowMs);
  }

  /** Takes a frame; false when it can only go on with a frame that starts a group. */
  push(nowMs: number, frame: OutgoingFrame): boolean {
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
    this.resetGroup();
  }

  /** Ends the group in order; what is unsent stays so. The next frame must start a group. */
  finish(): void {
    this.epoch += 1;
    this.queue = [];
    this.closeGroup();
  }

  private resetGroup(): void {
    this.drain.forget();
    this.writer?.abort(streamError("EXPIRED")).catch(() => undefined);
    this.forgetGroup();
  }

  private closeGroup(): void {
    if (this.insideRecord) {
      this.resetGroup();
      return;
    }
    // Closing waits until everything has arrived, which tells how old it has grown below us.
    if (this.writer !== undefined) {
      const { arrived, dropped } = this.drain.ended(performance.now());
      this.writer.close().then(() => arrived(performance.now()), dropped);
    }
    this.forgetGroup();
  }

  private forgetGroup(): void {
    this.writer = undefined;
    this.writerSession = undefined;
    this.insideRecord = false;
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
      if (sent) this.framesSent += 1;
      else this.skipToGroup();
    }
    this.pumping = false;
  }

  /** The rest of a broken group is of no use. */
  private skipToGroup(): void {
    const start = this.queue.findIndex((it) => it.frame.startsGroup);
    this.queue = start < 0 ? [] : this.queue.slice(start);
  }

  private async write(frame: OutgoingFrame, epoch: number): Promise<boolean> {
    try {
      if (frame.startsGroup && !(await this.openGroup(epoch))) return false;
      if (this.writer === undefined) return false;
      for (let at = 0; at === 0 || at < frame.payload.length; at += RECORD_BYTES_MAX) {
        const isLast = at + RECORD_BYTES_MAX >= frame.payload.length;
        const part = at === 0 && isLast ? frame.payload : frame.payload.subarray(at, at + RECORD_BYTES_MAX);
        if (!(await this.writeRecord(frame, part, isLast, epoch))) return false;
      }
      return true;
    } catch {
      // The handler stopped the stream, or the session is over: the next group tries again.
      if (epoch === this.epoch) this.forgetGroup();
      return false;
    }
  }

  private async openGroup(epoch: number): Promise<boolean> {
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
    return true;
  }

  private async writeRecord(frame: OutgoingFrame, part: Uint8Array, isLast: boolean, epoch: number): Promise<boolean> {
    const { first, rest } = await this.record(frame, part, isLast);
    const { writer } = this;
    if (epoch !== this.epoch || writer === undefined) return false;
    const isSound = frame.kind === "audio";
    for (let piece = first, at = 0; ;) {
      if (isSound) this.turns.sound(piece.length);
      else await this.turns.turn(piece.length);
      if (epoch !== this.epoch) return false;
      this.insideRecord = at < rest.length;
      await writer.write(piece);
      if (epoch !== this.epoch) return false;
      this.bytesSent += piece.length;
      if (at >= rest.length) break;
      piece = rest.subarray(at, at + this.turns.pieceBytes);
      at += piece.length;
    }
    return true;
  }

  /** The bytes of a record: what goes first, header included, and what is left. Copies no more than the first piece. */
  private async record(frame: OutgoingFrame, part: Uint8Array, isLast: boolean): Promise<{ first: Uint8Array; rest: Uint8Array }> {
    const { kind, timestampUs, isDiscardable = false } = frame;
    const { streamId, sequence, cipher } = this;
    // Used up whatever becomes of the record: a sequence is sealed once.
    this.sequence += 1n;
    const flags = (isLast ? FLAG_END_OF_FRAME : 0) | (isDiscardable ? FLAG_DISCARDABLE : 0);
    const payloadLength = part.length + (cipher?.overheadBytes(sequence) ?? 0);
    const header = encodeFrameHeader({ kind, streamId, timestampUs, sequence, payloadLength, flags, reserved: RESERVED });
    const payload = cipher === undefined ? part : await cipher.seal(header, sequence, part);
    const firstBytes = Math.min(payload.length, Math.max(0, this.turns.pieceBytes - FRAME_HEADER_BYTES));
    const rest = payload.subarray(firstBytes);
    const first = hasHeaderRoom(payload)
      ? new Uint8Array(payload.buffer, 0, FRAME_HEADER_BYTES + firstBytes)
      : new Uint8Array(FRAME_HEADER_BYTES + firstBytes);
    if (!hasHeaderRoom(payload)) first.set(payload.subarray(0, firstBytes), FRAME_HEADER_BYTES);
    first.set(header);
    return { first, rest };
  }
}
