// What every publication of ours has, whatever it carries: a source that may be replaced, an end, and a place where its frames go. In:
// frames of a source, one at a time. Out: what the kind of publication makes of each. Never asks the controller anything.

import type { RecordCipher } from "../cipher.ts";
import { DarkTowerError } from "../error.ts";
import type { StreamType } from "../types.ts";
import { GroupWriter } from "./group-writer.ts";
import type { MediaSession } from "./media-session.ts";

export interface PublicationEvents {
  session(): MediaSession | undefined;
  /** What seals the records of this id; `undefined`: they travel in the clear. */
  cipher(streamId: string): RecordCipher | undefined;
  /** A group had to be given up, for the uplink was too slow. */
  groupAborted(): void;
  /** It cannot go on. */
  failed(error: DarkTowerError): void;
  /** Its source is at its end. */
  ended(): void;
  /** Somebody needs a key frame that only the source can make. */
  wantsKey(): void;
}

/** Askers within this time share one key frame. */
export const KEY_REQUEST_INTERVAL_MS = 500;

/** A frame that has to be given back. */
interface Closable {
  close?(): void;
}

export abstract class MediaPublication<F> {
  readonly type: StreamType;
  /** Under which its frames travel now. */
  streamId: string;
  protected readonly events: PublicationEvents;
  protected writer: GroupWriter;
  protected paused = false;
  protected stopped = false;
  private reader: ReadableStreamDefaultReader<F>;
  private readonly endsWithSource: boolean;
  private wake: (() => void) | undefined;

  constructor(streamId: string, type: StreamType, frames: ReadableStream<F>, endsWithSource: boolean, events: PublicationEvents) {
    this.streamId = streamId;
    this.type = type;
    this.events = events;
    this.endsWithSource = endsWithSource;
    this.writer = this.newWriter(streamId);
    this.reader = frames.getReader();
  }

  /** Takes one frame; gives nothing back, closes nothing. */
  protected abstract take(frame: F): void;
  /** Its frames come from elsewhere now. */
  protected abstract sourceChanged(): void;
  /** No frame comes any more. */
  protected abstract release(): void;
  /** Somebody needs a key frame. */
  abstract requestKey(): void;
  /** Another session takes over: everything begins anew there. */
  abstract restart(): void;

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
          await new Promise<void>((resolve) => (this.wake = resolve));
          continue;
        }
        try {
          if (reader === this.reader) this.take(frame);
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
  replace(frames: ReadableStream<F>): void {
    if (this.stopped) {
      frames.cancel().catch(() => undefined);
      return;
    }
    const before = this.reader;
    this.reader = frames.getReader();
    before.cancel().catch(() => undefined);
    this.sourceChanged();
    this.wake?.();
  }

  /** Goes on under another id, from the next frame that can begin a group. */
  rename(streamId: string): void {
    this.writer.finish();
    this.streamId = streamId;
    this.writer = this.newWriter(streamId);
    this.paused = false;
    this.restart();
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

  protected newWriter(streamId: string): GroupWriter {
    return new GroupWriter(streamId, () => this.events.session(), this.events.cipher(streamId));
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
