// Camera or screen of ours: pictures in, groups out. A key frame every two seconds, at once when asked for, and after anything
// was given up. Holds one picture at most; what the encoder or the uplink cannot take is left out before it is encoded.

import type { RecordCipher } from "../cipher.ts";
import { DarkTowerError } from "../error.ts";
import type { PublishArguments } from "../messages.ts";
import { BACKLOG_MAX_MS, UplinkRate } from "../uplink.ts";
import { EpochClock } from "./epoch-clock.ts";
import { GroupWriter } from "./group-writer.ts";
import type { MediaSession } from "./media-session.ts";

/** DESIGN section 5 asks for four seconds at most. */
const KEY_INTERVAL_MS = 2000;
/** Pictures inside the encoder; one more would only add delay. */
const ENCODE_QUEUE_MAX = 2;
/** Askers within this time share one key frame. */
const KEY_REQUEST_INTERVAL_MS = 500;

export interface PublicationEvents {
  session(): MediaSession | undefined;
  /** What seals the records of this id; `undefined`: they travel in the clear. */
  cipher(streamId: string): RecordCipher | undefined;
  /** A group had to be given up, for the uplink was too slow. */
  groupAborted(): void;
  failed(streamId: string, error: DarkTowerError): void;
}

export class VideoPublication {
  readonly streamId: string;
  private readonly codec: string;
  private readonly frameRate: number;
  private readonly events: PublicationEvents;
  private readonly writer: GroupWriter;
  private readonly rate: UplinkRate;
  private readonly clock = new EpochClock();
  private readonly reader: ReadableStreamDefaultReader<VideoFrame>;
  private readonly latencyHint: "motion" | "detail";
  private encoder: VideoEncoder | undefined;
  private size = "";
  private needsKey = true;
  private keyAtMs = -Infinity;
  private hasEncoded = false;
  private paused = false;
  private stopped = false;

  constructor(takes: PublishArguments, codec: string, bitrate: number, events: PublicationEvents) {
    this.streamId = takes.streamId;
    this.codec = codec;
    this.frameRate = takes.frameRate;
    this.latencyHint = takes.type === "screen" ? "detail" : "motion";
    this.events = events;
    this.rate = new UplinkRate(bitrate);
    this.writer = new GroupWriter(takes.streamId, () => events.session(), events.cipher(takes.streamId));
    this.reader = (takes.readable as ReadableStream<VideoFrame>).getReader();
  }

  /** Encodes until the source ends or `stop` is called. */
  async run(): Promise<void> {
    try {
      for (;;) {
        const { value, done } = await this.reader.read();
        if (done || this.stopped) {
          value?.close();
          break;
        }
        try {
          this.encode(value);
        } finally {
          value.close();
        }
      }
    } catch (thrown) {
      if (!this.stopped) this.events.failed(this.streamId, DarkTowerError.from(thrown));
    }
    this.stop();
  }

  requestKey(): void {
    if (performance.now() - this.keyAtMs >= KEY_REQUEST_INTERVAL_MS) this.needsKey = true;
  }

  /** Another session takes over: it must begin with a key frame. */
  restart(): void {
    this.needsKey = true;
  }

  setPaused(paused: boolean): void {
    if (paused !== this.paused) this.needsKey = true;
    this.paused = paused;
  }

  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    this.reader.cancel().catch(() => undefined);
    if (this.encoder !== undefined && this.encoder.state !== "closed") this.encoder.close();
    this.writer.finish();
  }

  private encode(picture: VideoFrame): void {
    const nowMs = performance.now();
    const session = this.events.session();
    if (this.paused || session === undefined || session.isOver) {
      this.needsKey = true;
      return;
    }
    const backlogMs = this.writer.backlogMs(nowMs);
    if (backlogMs > BACKLOG_MAX_MS) {
      this.writer.abort();
      this.events.groupAborted();
      this.needsKey = true;
      this.rate.lower(nowMs);
      this.configure(picture);
      return;
    }
    if (this.rate.calm(nowMs, backlogMs)) this.configure(picture);
    const size = `${picture.displayWidth}x${picture.displayHeight}`;
    if (this.encoder === undefined || this.encoder.state === "closed" || size !== this.size) {
      this.size = size;
      this.needsKey = true;
      this.configure(picture);
    }
    const { encoder } = this;
    if (encoder === undefined || encoder.encodeQueueSize >= ENCODE_QUEUE_MAX) return;
    const keyFrame = this.needsKey || nowMs - this.keyAtMs >= KEY_INTERVAL_MS;
    if (keyFrame) {
      this.needsKey = false;
      this.keyAtMs = nowMs;
    }
    encoder.encode(picture, { keyFrame });
  }

  private configure(picture: VideoFrame): void {
    if (this.encoder === undefined || this.encoder.state === "closed") {
      this.encoder = new VideoEncoder({
        output: (chunk) => this.send(chunk),
        error: (error) => {
          // The next picture makes a new encoder; a codec that never works ends the publication.
          this.needsKey = true;
          if (!this.hasEncoded) this.events.failed(this.streamId, DarkTowerError.from(error));
        },
      });
    }
    this.encoder.configure({
      codec: this.codec,
      width: picture.displayWidth,
      height: picture.displayHeight,
      bitrate: this.rate.bitrate,
      framerate: this.frameRate,
      latencyMode: "realtime",
      contentHint: this.latencyHint,
    });
  }

  private send(chunk: EncodedVideoChunk): void {
    if (this.stopped) return;
    this.hasEncoded = true;
    const payload = new Uint8Array(chunk.byteLength);
    chunk.copyTo(payload);
    const isKey = chunk.type === "key";
    const taken = this.writer.push(performance.now(), {
      kind: isKey ? "video_key" : "video_delta",
      startsGroup: isKey,
      timestampUs: this.clock.toEpochUs(chunk.timestamp),
      payload,
    });
    if (!taken) this.needsKey = true;
  }
}
