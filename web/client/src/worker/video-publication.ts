// Camera or screen of ours: pictures in, groups out. A key frame every two seconds, at once when asked for, and after anything was given
// up. Holds one picture of a source that may stand still, to show it again; what the encoder or the uplink cannot take is left out before it is encoded.

import { EncoderControl, type EncoderPlan } from "../encoder-control.ts";
import { EncoderHealth } from "../encoder-health.ts";
import { EpochClock, epochNowUs } from "../epoch-clock.ts";
import { DarkTowerError } from "../error.ts";
import { FrameWatch } from "../frame-watch.ts";
import { codecName } from "../codec.ts";
import type { PublishArguments } from "../messages.ts";
import type { PublicationStats } from "../stats.ts";
import { SentRate } from "../sent-rate.ts";
import { BACKLOG_MAX_MS } from "../uplink.ts";
import { encoderFormat } from "./encoder-choice.ts";
import { withHeaderRoom } from "./group-writer.ts";
import { KEY_REQUEST_INTERVAL_MS, MediaPublication, type NewSource, type PublicationEvents } from "./media-publication.ts";
import { Relief } from "./relief.ts";

/** DESIGN section 5 asks for four seconds at most. */
const KEY_INTERVAL_MS = 2000;
/** Pictures inside the encoder; one more would only add delay. */
const ENCODE_QUEUE_MAX = 2;
/** A source that gives nothing new for so long stands still: its last picture is shown again, so that it gets sharp and can be joined. */
const REPEAT_INTERVAL_MS = 1000;
/** The same when somebody waits for a key frame. */
const REPEAT_FOR_KEY_MS = 100;
/** So much on the way is not to become more: pictures wait for it, but not for long, for it may be another's. */
const QUEUE_HOLD_MS = 200;
const HOLD_MAX_MS = 300;
/** A picture that comes a little before its time is on time: cameras are not exact. */
const EARLY_SHARE = 0.3;
/** Weight of the newest in the average of the encoder's time. */
const ENCODE_TIME_WEIGHT = 1 / 8;
/** Pictures whose time is remembered; more are never inside an encoder. */
const PENDING_MAX = 16;

/** What the path is like, for all publications alike. */
export interface PathSigns {
  queueMs: number;
  loss: number;
  available: number;
}

export interface VideoArguments {
  codec: string;
  bitrateMax: number;
  frameRateMax: number;
  /** Text stays sharp, motion smooth. */
  contentHint: "motion" | "detail" | "text";
}

export class VideoPublication extends MediaPublication<VideoFrame> {
  /** Its codec is given up: `moveTo` another one, or `fail` with this. */
  fault: DarkTowerError | undefined;
  private readonly health = new EncoderHealth(Math.random);
  private readonly control: EncoderControl;
  private readonly video: VideoArguments;
  private clock = new EpochClock();
  private encoder: VideoEncoder | undefined;
  private configured = "";
  private size = { width: 0, height: 0 };
  private encodedSize = "";
  private mayStandStill: boolean;
  /** Of a track by its processor; there is no other way to what an application gives, and none after an element. */
  private watch: FrameWatch | undefined;
  private readonly relief: Relief;
  private last: { picture: VideoFrame; atMs: number } | undefined;
  private readonly pending = new Map<number, { startedAtMs: number; timestampUs: bigint }>();
  private needsKey = true;
  private keyAtMs = -Infinity;
  /** Somebody needs one from then on. */
  private keyWantedAtMs = Infinity;
  private dueAtMs = -Infinity;
  private heldSinceMs: number | undefined;
  private encodeMs = 0;
  private seen = { pictures: 0, busy: 0 };
  private queueMs = 0;
  private readonly sentRate = new SentRate();
  private sent = 0;

  constructor(
    streamId: string,
    args: PublishArguments,
    frames: ReadableStream<VideoFrame>,
    video: VideoArguments,
    events: PublicationEvents,
  ) {
    super(streamId, video.codec, args, frames, events);
    this.video = video;
    this.mayStandStill = args.mayStandStill;
    if (!args.endsWithSource) this.watch = new FrameWatch(args.mayStandStill, events.suspectsProcessor());
    this.relief = new Relief(
      () => this.watch?.isMissing === true,
      (relieving) => this.replace(relieving, { origin: "element", reason: this.watch?.reason ?? "", mayStandStill: this.mayStandStill }),
    );
    const kind = args.type === "screen" && video.contentHint !== "motion" ? "screen" : "camera";
    this.control = new EncoderControl({ kind, bitrateMax: video.bitrateMax, frameRateMax: video.frameRateMax });
  }

  /** What it is to be sent at. */
  get plan(): EncoderPlan {
    return this.control.plan;
  }

  override requestKey(): void {
    const nowMs = performance.now();
    // Whoever asks just after one may have missed it: all of them get the next one together.
    this.keyWantedAtMs = Math.min(this.keyWantedAtMs, Math.max(nowMs, this.keyAtMs + KEY_REQUEST_INTERVAL_MS));
    this.repeatIfIdle(nowMs);
  }

  override restart(): void {
    this.needsKey = true;
    this.repeatIfIdle(performance.now());
  }

  override setPaused(paused: boolean): void {
    if (paused === this.paused) return;
    super.setPaused(paused);
    this.needsKey = true;
    if (!paused) {
      this.repeatIfIdle(performance.now());
      return;
    }
    this.closeEncoder();
    this.writer.finish();
  }

  /** Goes on as another media stream, with another codec. */
  moveTo(streamId: string, codec: string): void {
    this.closeEncoder();
    this.codec = codec;
    this.fault = undefined;
    this.health.restart();
    this.rename(streamId);
  }

  /** Looks at the path and the machine; several times a second. */
  tick(nowMs: number, path: PathSigns): void {
    const heldMs = this.writer.heldBelowMs(nowMs);
    this.queueMs = Math.max(path.queueMs, heldMs);
    this.sent = this.sentRate.of(nowMs, this.writer.bytesSent);
    if (this.watch?.look(nowMs) === true) this.events.framesMissing();
    if (this.paused) return;
    // What the transport holds for so long is as late as what we do.
    if (heldMs > BACKLOG_MAX_MS) this.giveUpGroup(nowMs);
    const { queueMs, sent } = this;
    this.control.sample(nowMs, { ...path, queueMs, backlogMs: this.writer.backlogMs(nowMs), sent, ...this.seen, encodeMs: this.encodeMs });
    this.seen = { pictures: 0, busy: 0 };
    this.repeatIfIdle(nowMs);
  }

  /** Another way to the pictures of the same track, in case they are missing. */
  relieve(frames: ReadableStream<VideoFrame>): void {
    void this.relief.offer(frames);
  }

  protected override sourceChanged(source: NewSource | undefined): void {
    this.relief.end();
    this.watch = source?.origin === "processor" ? new FrameWatch(source.mayStandStill, this.events.suspectsProcessor()) : undefined;
    this.mayStandStill = source?.mayStandStill ?? this.mayStandStill;
    this.clock = new EpochClock();
    this.needsKey = true;
    this.dropLast();
  }

  protected override release(): void {
    this.relief.end();
    this.closeEncoder();
    this.dropLast();
  }

  protected override aims(): Pick<PublicationStats, "width" | "height" | "targetBitrate" | "limiter"> {
    const { bitrate, limiter } = this.control.plan;
    return { ...this.scaled(), targetBitrate: bitrate, limiter: this.paused ? "paused" : limiter };
  }

  protected override take(picture: VideoFrame): void {
    const nowMs = performance.now();
    this.watch?.frame();
    this.clock.observe(picture.timestamp, epochNowUs());
    this.dropLast();
    // A camera has few buffers, stops when they are all held, and does not stand still.
    if (this.mayStandStill) this.last = { picture: picture.clone(), atMs: nowMs };
    this.seen.pictures += 1;
    this.encode(nowMs, picture);
  }

  /** A source that stands still gives no pictures; whoever joins needs one all the same. */
  private repeatIfIdle(nowMs: number): void {
    const { last } = this;
    if (last === undefined || this.stopped || this.paused) return;
    const idleMs = nowMs - last.atMs;
    if (idleMs < (this.isKeyWanted(nowMs) ? REPEAT_FOR_KEY_MS : REPEAT_INTERVAL_MS)) return;
    const timestamp = last.picture.timestamp + Math.round(idleMs * 1000);
    const again = new VideoFrame(last.picture, { timestamp });
    last.picture.close();
    this.last = { picture: again, atMs: nowMs };
    this.encode(nowMs, again);
  }

  private encode(nowMs: number, picture: VideoFrame): void {
    const session = this.events.session();
    if (this.paused || session === undefined || session.isOver) {
      this.needsKey = true;
      return;
    }
    if (!this.health.mayTry(nowMs)) {
      this.counts.dropped += 1;
      return;
    }
    const { displayWidth: width, displayHeight: height } = picture;
    if (width !== this.size.width || height !== this.size.height) {
      this.size = { width, height };
      this.control.size(width, height);
    }
    if (!this.mayEncode(nowMs)) return;
    try {
      this.hand(nowMs, picture, this.prepared());
    } catch (thrown) {
      this.encoderFailed(nowMs, thrown);
    }
  }

  private hand(nowMs: number, picture: VideoFrame, encoder: VideoEncoder): void {
    const keyFrame = this.isKeyDue(nowMs);
    this.pending.set(picture.timestamp, { startedAtMs: nowMs, timestampUs: this.clock.toEpochUs(picture.timestamp) });
    encoder.encode(picture, { keyFrame });
    if (!keyFrame) return;
    this.needsKey = false;
    this.keyWantedAtMs = Infinity;
    this.keyAtMs = nowMs;
  }

  /** Tried anew after a while, from a key frame on; at last with another codec. */
  private encoderFailed(nowMs: number, error: unknown): void {
    this.closeEncoder();
    this.needsKey = true;
    this.health.failed(nowMs);
    if (!this.health.isHopeless) return;
    const codec = codecName(this.codec);
    this.fault = new DarkTowerError("UNSUPPORTED_CODEC", `the encoder for ${codec} fails: ${DarkTowerError.from(error).message}`, {
      codec,
    });
  }

  private isKeyWanted(nowMs: number): boolean {
    return this.needsKey || nowMs >= this.keyWantedAtMs;
  }

  private isKeyDue(nowMs: number): boolean {
    return this.isKeyWanted(nowMs) || nowMs - this.keyAtMs >= KEY_INTERVAL_MS;
  }

  /** Whether the next picture is worth encoding now: it is due, the encoder is free, and what went before is on its way. */
  private mayEncode(nowMs: number): boolean {
    const intervalMs = 1000 / this.control.plan.frameRate;
    if (nowMs < this.dueAtMs - intervalMs * EARLY_SHARE) return false;
    const backlogMs = this.writer.backlogMs(nowMs);
    if (backlogMs > BACKLOG_MAX_MS) {
      this.giveUpGroup(nowMs);
    } else if (backlogMs <= intervalMs && !this.isHeld(nowMs)) {
      if ((this.encoder?.encodeQueueSize ?? 0) < ENCODE_QUEUE_MAX) {
        // From when it was due, so that a camera's unevenness does not add up; but what was missed is not made up for.
        this.dueAtMs = Math.max(this.dueAtMs, nowMs - intervalMs) + intervalMs;
        return true;
      }
      this.seen.busy += 1;
    }
    this.counts.dropped += 1;
    return false;
  }

  /** Nobody wants it any more: what follows begins anew, and is less. */
  private giveUpGroup(nowMs: number): void {
    this.giveUp();
    this.control.givenUp(nowMs, this.sent);
    this.needsKey = true;
  }

  private isHeld(nowMs: number): boolean {
    if (this.queueMs <= QUEUE_HOLD_MS) {
      this.heldSinceMs = undefined;
      return false;
    }
    this.heldSinceMs ??= nowMs;
    if (nowMs - this.heldSinceMs <= HOLD_MAX_MS) return true;
    // One picture, then patience again.
    this.heldSinceMs = nowMs;
    return false;
  }

  /** Pixels as they are encoded. H.264 takes even sizes alone, and a smaller picture need not be exact. */
  private scaled(): { width: number; height: number } {
    const { scale } = this.control.plan;
    const { width, height } = this.size;
    if (scale === 1 && !this.codec.startsWith("avc")) return { width, height };
    const even = (side: number): number => Math.max(2, Math.round((side * scale) / 2) * 2);
    return width === 0 ? { width, height } : { width: even(width), height: even(height) };
  }

  /** The encoder, as the plan wants it. */
  private prepared(): VideoEncoder {
    if (this.encoder === undefined || this.encoder.state === "closed") this.encoder = this.newEncoder();
    const { bitrate, frameRate } = this.control.plan;
    const { width, height } = this.scaled();
    const wanted = `${width}x${height} ${bitrate} ${frameRate}`;
    if (wanted === this.configured) return this.encoder;
    this.configured = wanted;
    const size = `${width}x${height}`;
    if (size !== this.encodedSize) this.needsKey = true;
    this.encodedSize = size;
    this.encoder.configure({
      ...encoderFormat(this.codec),
      width,
      height,
      bitrate,
      framerate: frameRate,
      latencyMode: "realtime",
      contentHint: this.video.contentHint,
    });
    return this.encoder;
  }

  private newEncoder(): VideoEncoder {
    this.configured = "";
    this.encodedSize = "";
    this.pending.clear();
    const encoder = new VideoEncoder({
      output: (chunk) => {
        if (encoder === this.encoder) this.send(chunk);
      },
      error: (error) => {
        if (encoder === this.encoder) this.encoderFailed(performance.now(), error);
      },
    });
    return encoder;
  }

  private closeEncoder(): void {
    if (this.encoder !== undefined && this.encoder.state !== "closed") this.encoder.close();
    this.encoder = undefined;
  }

  private dropLast(): void {
    this.last?.picture.close();
    this.last = undefined;
  }

  private send(chunk: EncodedVideoChunk): void {
    if (this.stopped || this.paused) return;
    const nowMs = performance.now();
    const pending = this.pending.get(chunk.timestamp);
    for (const timestamp of this.pending.keys()) {
      if (timestamp <= chunk.timestamp || this.pending.size > PENDING_MAX) this.pending.delete(timestamp);
    }
    if (pending !== undefined) this.encodeMs += (nowMs - pending.startedAtMs - this.encodeMs) * ENCODE_TIME_WEIGHT;
    this.health.encoded(nowMs);
    const isKey = chunk.type === "key";
    this.counts.encoded += 1;
    if (isKey) this.counts.keys += 1;
    const payload = withHeaderRoom(chunk.byteLength);
    chunk.copyTo(payload);
    const timestampUs = pending?.timestampUs ?? this.clock.toEpochUs(chunk.timestamp);
    if (this.writer.push(nowMs, { kind: isKey ? "video_key" : "video_delta", startsGroup: isKey, timestampUs, payload })) return;
    this.counts.dropped += 1;
    this.needsKey = true;
  }
}
