// Pictures of one media stream of somebody else: frames in, pictures shown at their moment out. Waits for a key frame after any fault, and
// asks for one. Decodes only what somebody looks at, a few pictures ahead; bounded in time, so that a slow machine sees what is now.

import { avcCodec } from "../annex-b.ts";
import { decoderCodec } from "../codec.ts";
import { DecoderHealth } from "../decoder-health.ts";
import { EncodedQueue } from "../encoded-queue.ts";
import { DarkTowerError } from "../error.ts";
import type { Frame } from "../frame.ts";
import { GroupOrder } from "../group-order.ts";
import { JitterTarget } from "../jitter-target.ts";
import { type Held, PictureQueue, PICTURES_MAX } from "../picture-queue.ts";
import type { PlayoutClock } from "../playout-clock.ts";
import type { SubscriptionStats } from "../stats.ts";
import { SubscriptionMeter } from "../subscription-meter.ts";
import type { MediaStreamInfo } from "../types.ts";
import type { StreamConsumers } from "./consumers.ts";
import type { FrameSink } from "./media-session.ts";

/** A newer group waits so long for the tail of the one before. */
const HOLD_MS = 100;
/** No least but the frame that is always added; more than the most is no conversation, and over what a handler forwards by default. */
const TARGET = { minMs: 10, maxMs: 500, frameMs: 33 };
/** Between two requests for a key frame: the first may be lost, the next ones are in vain more often than not. */
const KEY_REQUEST_INTERVALS_MS = [500, 1000, 2000] as const;
/** So late a picture is not shown while newer ones are being decoded, */
const HURRY_MS = 100;
/** except often enough for something to move. */
const HURRIED_INTERVAL_MS = 250;

export interface VideoSubscriptionEvents {
  requestKeyFrame(): void;
  size(width: number, height: number): void;
  /** There will be no pictures. */
  failed(error: DarkTowerError): void;
}

export class VideoSubscription implements FrameSink {
  readonly stream: MediaStreamInfo;
  readonly meter = new SubscriptionMeter();
  private readonly consumers: StreamConsumers;
  private readonly clock: PlayoutClock;
  private readonly events: VideoSubscriptionEvents;
  private readonly order = new GroupOrder<Frame>(HOLD_MS);
  private readonly jitter = new JitterTarget(TARGET);
  private readonly health = new DecoderHealth();
  private readonly queue = new EncodedQueue<Frame>();
  private readonly pictures = new PictureQueue<VideoFrame>();
  private codec: string | undefined;
  private decoder: VideoDecoder | undefined;
  /** When what the decoder has was handed to it; only what it got while it had nothing else. */
  private readonly decodingSince = new Map<number, number>();
  private decodeMs = 0;
  private newest = -1n;
  private keyRequestedAtMs = -Infinity;
  private keyRequests = 0;
  private orderTimer: ReturnType<typeof setTimeout> | undefined;
  private showTimer: ReturnType<typeof setTimeout> | undefined;
  /** What is on the screen: for an output that comes later. */
  private last: VideoFrame | undefined;
  private shownAtMs = -Infinity;
  private wasWatched = false;
  /** Pictures left out because newer ones were due. */
  private hurried = 0;
  /** Frames that nobody looked at. */
  private hidden = 0;
  private isClosed = false;

  constructor(stream: MediaStreamInfo, consumers: StreamConsumers, clock: PlayoutClock, events: VideoSubscriptionEvents) {
    this.stream = stream;
    this.codec = decoderCodec(stream.codec);
    this.consumers = consumers;
    this.clock = clock;
    this.events = events;
    consumers.changed = () => this.look();
    this.look();
  }

  push(group: bigint, frame: Frame): void {
    if (this.isClosed) return;
    const nowMs = performance.now();
    this.meter.received.add(1);
    this.meter.bits.add(frame.payload.length * 8);
    const { restarts } = this.order;
    const inOrder = this.order.push(nowMs, group, frame);
    if (this.order.restarts !== restarts) this.startOver();
    // Doubles, which come while a session is replaced by another, say nothing of the path.
    if (frame.sequence > this.newest) {
      this.newest = frame.sequence;
      this.jitter.arrived(nowMs, captureMsOf(frame));
    }
    this.take(nowMs, inOrder);
  }

  end(group: bigint): void {
    const nowMs = performance.now();
    if (!this.isClosed) this.take(nowMs, this.order.end(nowMs, group));
  }

  /** A record could not be opened: what builds on it is of no use. */
  lost(): void {
    this.meter.dropped("undecryptable");
    this.queue.clear();
  }

  /** The least that lies between capture and showing for pictures to come in time; `undefined` before the first. */
  get neededMs(): number | undefined {
    const { baseMs, targetMs } = this.jitter;
    return baseMs === undefined ? undefined : baseMs + targetMs + this.decodeMs;
  }

  stats(nowMs: number): SubscriptionStats {
    this.meter.setDropped("late", this.order.droppedFrames + this.hurried);
    this.meter.setDropped("queue", this.queue.dropped - this.hidden);
    this.meter.setDropped("hidden", this.hidden);
    this.meter.decoderErrors = this.health.errors;
    return this.meter.snapshot(nowMs, this.stream, { targetMs: this.jitter.targetMs, bufferedMs: this.pictures.spanMs });
  }

  close(): void {
    this.isClosed = true;
    this.consumers.changed = undefined;
    clearTimeout(this.orderTimer);
    clearTimeout(this.showTimer);
    this.closeDecoder();
    this.last?.close();
    this.last = undefined;
  }

  /** What came before has nothing to do with what comes now. */
  private startOver(): void {
    this.newest = -1n;
    this.queue.clear();
  }

  private take(nowMs: number, frames: Frame[]): void {
    for (const frame of frames) {
      this.consumers.giveEncoded(frame);
      if (frame.kind === "audio") continue;
      const isKey = frame.kind === "video_key";
      if (isKey) this.keyRequests = 0;
      this.queue.push({ frame, isKey, bytes: frame.payload.length, arrivedAtMs: nowMs });
    }
    this.decode(nowMs);
    clearTimeout(this.orderTimer);
    const deadlineMs = this.order.deadlineMs();
    if (deadlineMs === undefined) return;
    const expire = (): void => {
      const thenMs = performance.now();
      this.take(thenMs, this.order.expire(thenMs));
    };
    this.orderTimer = setTimeout(expire, Math.max(1, deadlineMs - nowMs));
  }

  /** Somebody looks, or nobody does any more. */
  private look(): void {
    const { isWatched } = this.consumers;
    const nowMs = performance.now();
    if (isWatched && this.last !== undefined) this.consumers.put(this.last);
    if (isWatched === this.wasWatched) return;
    this.wasWatched = isWatched;
    this.meter.freeze.pause();
    if (isWatched) this.queue.freshen(nowMs);
    this.decode(nowMs);
  }

  private decode(nowMs: number): void {
    if (this.health.isHopeless || this.isClosed) return;
    if (!this.consumers.isWatched) {
      const before = this.queue.dropped;
      this.queue.keepNewest(nowMs);
      this.hidden += this.queue.dropped - before;
      return;
    }
    if (!this.health.mayTry(nowMs)) return;
    while (this.queue.length > 0 && this.hasRoom) {
      const next = this.queue.shift(nowMs);
      if (next === undefined) break;
      this.feed(nowMs, next.frame, next.isKey);
    }
    if (this.queue.needsKey && this.newest >= 0n) this.askForKey(nowMs);
  }

  private get hasRoom(): boolean {
    return this.pictures.length + (this.decoder?.decodeQueueSize ?? 0) < PICTURES_MAX;
  }

  private feed(nowMs: number, frame: Frame, isKey: boolean): void {
    if (this.decoder === undefined && !isKey) {
      this.queue.restart();
      return;
    }
    try {
      if (isKey) this.configure(frame.payload);
      const { decoder } = this;
      if (decoder === undefined) return;
      const timestamp = Number(frame.timestampUs);
      if (decoder.decodeQueueSize === 0) {
        // What gave no picture is not remembered for ever.
        if (this.decodingSince.size > 2 * PICTURES_MAX) this.decodingSince.clear();
        this.decodingSince.set(timestamp, nowMs);
      }
      decoder.decode(new EncodedVideoChunk({ type: isKey ? "key" : "delta", timestamp, data: frame.payload }));
    } catch (thrown) {
      this.fail(thrown);
    }
  }

  /** A decoder for what this key frame begins. */
  private configure(keyFrame: Uint8Array): void {
    if (this.codec === undefined) {
      this.giveUp(`no browser decodes ${this.stream.codec}`);
      return;
    }
    const codec = this.codec.startsWith("avc") ? (avcCodec(keyFrame) ?? this.codec) : this.codec;
    if (this.decoder !== undefined && codec === this.codec) return;
    this.codec = codec;
    this.decoder ??= this.newDecoder();
    this.decoder.configure({ codec, optimizeForLatency: true });
  }

  private newDecoder(): VideoDecoder {
    const decoder = new VideoDecoder({
      output: (picture) => {
        if (decoder === this.decoder) this.decoded(picture);
        else picture.close();
      },
      error: (error) => {
        if (decoder === this.decoder) this.fail(error);
      },
    });
    decoder.ondequeue = () => this.decode(performance.now());
    return decoder;
  }

  private fail(error: unknown): void {
    const nowMs = performance.now();
    this.closeDecoder();
    this.queue.restart();
    this.health.failed(nowMs);
    this.meter.dropped("decoder");
    const isUnsupported = error instanceof DOMException && error.name === "NotSupportedError";
    if (isUnsupported) this.giveUp(`this browser does not decode ${this.codec ?? this.stream.codec}`);
    else if (this.health.isHopeless) this.giveUp(`pictures cannot be decoded: ${DarkTowerError.from(error).message}`);
    else this.decode(nowMs);
  }

  private giveUp(why: string): void {
    this.health.giveUp();
    this.queue.clear();
    this.events.failed(new DarkTowerError("UNSUPPORTED_CODEC", why, { codec: this.stream.codec }));
  }

  private closeDecoder(): void {
    if (this.decoder !== undefined && this.decoder.state !== "closed") this.decoder.close();
    this.decoder = undefined;
    this.decodingSince.clear();
    for (const { picture } of this.pictures.takeAll()) picture.close();
  }

  private askForKey(nowMs: number): void {
    const intervals = KEY_REQUEST_INTERVALS_MS;
    const intervalMs = intervals[Math.min(this.keyRequests, intervals.length) - 1] ?? 0;
    if (this.isClosed || nowMs - this.keyRequestedAtMs < intervalMs) return;
    this.keyRequestedAtMs = nowMs;
    this.keyRequests += 1;
    this.meter.keyFramesRequested += 1;
    this.events.requestKeyFrame();
  }

  private decoded(picture: VideoFrame): void {
    const nowMs = performance.now();
    this.meter.framesDecoded += 1;
    this.health.decoded(nowMs);
    const sinceMs = this.decodingSince.get(picture.timestamp);
    this.decodingSince.delete(picture.timestamp);
    // Up faster than down, for it is to cover nearly all.
    if (sinceMs !== undefined) this.decodeMs += (nowMs - sinceMs - this.decodeMs) * (nowMs - sinceMs > this.decodeMs ? 0.2 : 0.02);
    const { displayWidth, displayHeight } = picture;
    if (displayWidth !== this.meter.width || displayHeight !== this.meter.height) {
      this.meter.width = displayWidth;
      this.meter.height = displayHeight;
      this.events.size(displayWidth, displayHeight);
    }
    this.pictures.push({ captureMs: picture.timestamp / 1000, picture });
    this.present(nowMs);
    this.decode(nowMs);
  }

  /** Shows what is due, and comes back for what is not. */
  private present(nowMs: number): void {
    clearTimeout(this.showTimer);
    if (this.isClosed) return;
    const neededMs = this.neededMs ?? 0;
    // Whoever has seen nothing yet sees the first picture at once.
    const offsetMs = this.last === undefined ? -Infinity : this.clock.pictureOffset(nowMs, neededMs);
    const { show, late, waitMs } = this.pictures.due(nowMs, offsetMs);
    for (const { picture } of late) picture.close();
    this.hurried += late.length;
    if (show !== undefined) {
      const isBehind = nowMs - show.captureMs - offsetMs > HURRY_MS && this.last !== undefined;
      if (isBehind && this.isMoreComing && nowMs - this.shownAtMs < HURRIED_INTERVAL_MS) {
        show.picture.close();
        this.hurried += 1;
      } else {
        this.show(nowMs, show);
      }
    }
    if (waitMs !== undefined) {
      this.showTimer = setTimeout(() => {
        const thenMs = performance.now();
        this.present(thenMs);
        this.decode(thenMs);
      }, waitMs);
    }
  }

  private get isMoreComing(): boolean {
    return this.queue.length + (this.decoder?.decodeQueueSize ?? 0) > 0;
  }

  private show(nowMs: number, { captureMs, picture }: Held<VideoFrame>): void {
    this.last?.close();
    this.last = picture;
    this.shownAtMs = nowMs;
    this.consumers.put(picture);
    this.consumers.give(picture);
    this.meter.shown.add(1);
    this.meter.freeze.shown(nowMs);
    this.meter.measureLatency(performance.timeOrigin + nowMs - captureMs);
    const soundMs = this.clock.soundOffset(nowMs);
    if (soundMs === undefined) this.meter.syncOffset.value = undefined;
    else this.meter.syncOffset.add(nowMs - captureMs - soundMs);
  }
}

function captureMsOf({ timestampUs }: Frame): number {
  return Number(timestampUs) / 1000;
}
