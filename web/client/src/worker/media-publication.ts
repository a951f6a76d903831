// What every publication of ours has, whatever it carries: a source that may be replaced, an end, and a place where its frames go. In:
// frames of a source, one at a time. Out: what the kind of publication makes of each. Never asks the controller anything.

import type { RecordCipher } from "../cipher.ts";
import { codecName } from "../codec.ts";
import { DarkTowerError } from "../error.ts";
import type { StreamType } from "../types.ts";
import { GroupWriter } from "./group-writer.ts";
import type { FrameOrigin, PublicationStats } from "../stats.ts";
import type { MediaSession } from "./media-session.ts";
import type { Turns } from "./uplink-turns.ts";

export interface PublicationEvents {
  session(): MediaSession | undefined;
  /** Everything of ours that goes out takes turns. */
  readonly turns: Turns;
  /** What seals the records of this id; `undefined`: they travel in the clear. */
  cipher(streamId: string): RecordCipher | undefined;
  /** A group had to be given up, for the uplink was too slow. */
  groupAborted(): void;
  /** Its track gives no pictures though it should, as far as can be seen here. */
  framesMissing(): void;
  /** Pictures of another track were missing before; so those of the next may be. */
  suspectsProcessor(): boolean;
  /** Its frames come from elsewhere now, because of this. */
  originChanged(origin: FrameOrigin, reason: string): void;
  /** It cannot go on. */
  failed(error: DarkTowerError): void;
  /** Its source is at its end. */
  ended(): void;
  /** Somebody needs a key frame that only the source can make. */
  wantsKey(): void;
  /** Somebody speaks who is muted. */
  spokeMuted(): void;
}

/** Askers within this time share one key frame. */
export const KEY_REQUEST_INTERVAL_MS = 500;

/** A frame that has to be given back. */
interface Closable {
  close?(): void;
}

export interface PublicationArguments {
  type: StreamType;
  /** Whether the end of the frames is the publication's. */
  endsWithSource: boolean;
}

/** What takes a source's place. */
export interface NewSource {
  origin: FrameOrigin;
  /** Why it is not the usual one; empty: it is. */
  reason: string;
  mayStandStill: boolean;
}

export abstract class MediaPublication<F> {
  readonly type: StreamType;
  /** Under which its frames travel now. */
  streamId: string;
  protected readonly events: PublicationEvents;
  protected writer: GroupWriter;
  protected paused = false;
  protected stopped = false;
  protected codec: string;
  /** Counts since the start, over all media streams that it has been. */
  protected readonly counts = { encoded: 0, dropped: 0, keys: 0, aborted: 0 };
  /** Of writers that it had before. */
  private sentBefore = { frames: 0, bytes: 0 };
  private lastStats = { atMs: performance.now(), encoded: 0, bytes: 0 };
  private reader: ReadableStreamDefaultReader<F>;
  private origin: { from: FrameOrigin; reason: string };
  private readonly endsWithSource: boolean;
  private wake: (() => void) | undefined;

  constructor(streamId: string, codec: string, args: PublicationArguments, frames: ReadableStream<F>, events: PublicationEvents) {
    this.streamId = streamId;
    this.codec = codec;
    this.type = args.type;
    this.events = events;
    this.endsWithSource = args.endsWithSource;
    this.writer = this.newWriter(streamId);
    this.reader = frames.getReader();
    this.origin = { from: args.endsWithSource ? "application" : "processor", reason: "" };
  }

  /** Takes one frame; gives nothing back, closes nothing. */
  protected abstract take(frame: F): void;
  /** Its frames come from elsewhere from now on, or, `undefined`, from nowhere for now. */
  protected abstract sourceChanged(source: NewSource | undefined): void;
  /** No frame comes any more. */
  protected abstract release(): void;
  /** Somebody needs a key frame. */
  abstract requestKey(): void;
  /** Another session takes over: everything begins anew there. */
  abstract restart(): void;
  /** What an encoder of ours aims at; absent where there is none. */
  protected abstract aims(): Pick<PublicationStats, "width" | "height" | "targetBitrate" | "limiter">;

  /** Takes frames until the source ends for good or `stop` is called. */
  async run(): Promise<void> {
    try {
      while (!this.stopped) {
        const { reader } = this;
        const frame = await this.next(reader);
        if (frame === undefined) {
          if (this.stopped || reader !== this.reader) continue;
          if (this.endsWithSource) {
            this.stop();
            this.events.ended();
            return;
          }
          // A track that was stopped: another may take its place.
          this.sourceChanged(undefined);
          await new Promise<void>((resolve) => (this.wake = resolve));
          continue;
        }
        try {
          // What still comes of a source that was replaced, or behind a stop, would open an encoder that nobody closes.
          if (reader === this.reader && !this.isOver) this.take(frame);
        } finally {
          (frame as Closable).close?.();
        }
      }
    } catch (thrown) {
      if (this.stopped) return;
      this.stop();
      this.events.failed(DarkTowerError.from(thrown));
    }
  }

  /** Goes on with frames of another source. */
  replace(frames: ReadableStream<F>, source: NewSource): void {
    if (this.stopped) {
      frames.cancel().catch(() => undefined);
      return;
    }
    const before = this.reader;
    this.reader = frames.getReader();
    before.cancel().catch(() => undefined);
    this.sourceChanged(source);
    this.wake?.();
    const { origin: from, reason } = source;
    const isNews = from !== this.origin.from;
    this.origin = { from, reason };
    if (isNews) this.events.originChanged(from, reason);
  }

  /** Goes on under another id, from the next frame that can begin a group. */
  rename(streamId: string): void {
    const { writer } = this;
    this.sentBefore.frames += writer.framesSent;
    this.sentBefore.bytes += writer.bytesSent;
    writer.finish();
    this.streamId = streamId;
    this.writer = this.newWriter(streamId);
    this.paused = false;
    this.restart();
  }

  /** No frame is taken any more. */
  get isOver(): boolean {
    return this.stopped;
  }

  setPaused(paused: boolean): void {
    this.paused = paused;
  }

  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    this.reader.cancel().catch(() => undefined);
    this.wake?.();
    this.release();
    this.writer.finish();
  }

  /** Numbers as of now; rates since the last call. */
  stats(nowMs: number): PublicationStats {
    const { counts, writer, sentBefore, lastStats } = this;
    const bytes = sentBefore.bytes + writer.bytesSent;
    const seconds = Math.max(1, nowMs - lastStats.atMs) / 1000;
    this.lastStats = { atMs: nowMs, encoded: counts.encoded, bytes };
    return {
      streamId: this.streamId,
      type: this.type,
      origin: this.origin.from,
      originReason: this.origin.reason,
      codec: codecName(this.codec),
      ...this.aims(),
      bitrate: Math.round(((bytes - lastStats.bytes) * 8) / seconds),
      framesPerSecond: Math.round(((counts.encoded - lastStats.encoded) / seconds) * 10) / 10,
      framesEncoded: counts.encoded,
      framesSent: sentBefore.frames + writer.framesSent,
      framesDropped: counts.dropped,
      keyFrames: counts.keys,
      groupsAborted: counts.aborted,
      backlogMs: Math.round(writer.backlogMs(nowMs)),
    };
  }

  /** Gives up what is unsent, and says so. */
  protected giveUp(): void {
    this.writer.abort();
    this.counts.aborted += 1;
    this.events.groupAborted();
  }

  private newWriter(streamId: string): GroupWriter {
    return new GroupWriter(streamId, () => this.events.session(), this.events.turns, this.events.cipher(streamId));
  }

  /** It cannot go on. */
  fail(error: unknown): void {
    if (this.stopped) return;
    this.stop();
    this.events.failed(DarkTowerError.from(error));
  }

  /** The next frame; `undefined` at the end. What a source that was replaced still throws is of no interest. */
  private async next(reader: ReadableStreamDefaultReader<F>): Promise<F | undefined> {
    try {
      const { value, done } = await reader.read();
      return done ? undefined : value;
    } catch (thrown) {
      if (reader !== this.reader) return undefined;
      throw thrown;
    }
  }
}
