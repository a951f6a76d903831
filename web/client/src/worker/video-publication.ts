// Camera or screen of ours: pictures in, groups out. A key frame every two seconds, at once when asked for, and after anything
// was given up. Holds one picture at most; what the encoder or the uplink cannot take is left out before it is encoded.

import type { PublishArguments } from "../messages.ts";
import { BACKLOG_MAX_MS, UplinkRate } from "../uplink.ts";
import { EpochClock } from "./epoch-clock.ts";
import { KEY_REQUEST_INTERVAL_MS, MediaPublication, type PublicationEvents } from "./media-publication.ts";

/** DESIGN section 5 asks for four seconds at most. */
const KEY_INTERVAL_MS = 2000;
/** Pictures inside the encoder; one more would only add delay. */
const ENCODE_QUEUE_MAX = 2;

export class VideoPublication extends MediaPublication<VideoFrame> {
  private readonly codec: string;
  private readonly frameRate: number;
  private readonly rate: UplinkRate;
  private clock = new EpochClock();
  private readonly latencyHint: "motion" | "detail";
  private encoder: VideoEncoder | undefined;
  private size = "";
  private needsKey = true;
  private keyAtMs = -Infinity;
  private hasEncoded = false;

  constructor(
    streamId: string,
    args: PublishArguments,
    frames: ReadableStream<VideoFrame>,
    codec: string,
    bitrate: number,
    events: PublicationEvents,
  ) {
    super(streamId, args.type, frames, args.endsWithSource, events);
    this.codec = codec;
    this.frameRate = args.frameRate;
    this.latencyHint = args.type === "screen" ? "detail" : "motion";
    this.rate = new UplinkRate(bitrate);
  }

  override requestKey(): void {
    if (performance.now() - this.keyAtMs >= KEY_REQUEST_INTERVAL_MS) this.needsKey = true;
  }

  override restart(): void {
    this.needsKey = true;
  }

  override setPaused(paused: boolean): void {
    if (paused !== this.paused) this.needsKey = true;
    super.setPaused(paused);
  }

  protected override sourceChanged(): void {
    this.clock = new EpochClock();
    this.needsKey = true;
  }

  protected override release(): void {
    if (this.encoder !== undefined && this.encoder.state !== "closed") this.encoder.close();
  }

  protected override take(picture: VideoFrame): void {
    this.clock.arrived(picture.timestamp);
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
          if (!this.hasEncoded) this.fail(error);
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
