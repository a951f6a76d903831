// Pictures of one media stream of somebody else: frames in, drawn pictures out. Waits for a key frame after any fault, and asks
// for one. Bounded by the decoder's queue: what piles up there is skipped up to the next key frame.

import { decoderCodec } from "../codec.ts";
import type { Frame } from "../frame.ts";
import { GroupOrder } from "../group-order.ts";
import type { FrameSink } from "./media-session.ts";

/** A newer group waits so long for the tail of the one before. */
const HOLD_MS = 100;
/** A cached group of two seconds may come at once to a joiner; more than that in the decoder is skipped. */
const DECODE_QUEUE_MAX = 150;
const KEY_REQUEST_INTERVAL_MS = 500;

export interface VideoSubscriptionEvents {
  requestKeyFrame(streamId: string): void;
  size(streamId: string, width: number, height: number): void;
}

export class VideoSubscription implements FrameSink {
  readonly streamId: string;
  private readonly codec: string | undefined;
  private readonly events: VideoSubscriptionEvents;
  private readonly order = new GroupOrder<Frame>(HOLD_MS);
  private decoder: VideoDecoder | undefined;
  private needsKey = true;
  private keyRequestedAtMs = -Infinity;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private canvas: OffscreenCanvas | undefined;
  private context: OffscreenCanvasRenderingContext2D | null = null;
  private width = 0;
  private height = 0;

  constructor(streamId: string, codec: string, events: VideoSubscriptionEvents) {
    this.streamId = streamId;
    this.codec = decoderCodec(codec);
    this.events = events;
  }

  attach(canvas: OffscreenCanvas | undefined): void {
    this.canvas = canvas;
    this.context = canvas?.getContext("2d", { alpha: false, desynchronized: false }) ?? null;
  }

  push(group: bigint, frame: Frame): void {
    this.decodeAll(this.order.push(performance.now(), group, frame));
  }

  end(group: bigint): void {
    this.decodeAll(this.order.end(performance.now(), group));
  }

  close(): void {
    clearTimeout(this.timer);
    if (this.decoder !== undefined && this.decoder.state !== "closed") this.decoder.close();
    this.decoder = undefined;
    this.canvas = undefined;
    this.context = null;
  }

  private decodeAll(frames: Frame[]): void {
    for (const frame of frames) this.decode(frame);
    clearTimeout(this.timer);
    const deadlineMs = this.order.deadlineMs();
    if (deadlineMs !== undefined) {
      this.timer = setTimeout(() => this.decodeAll(this.order.expire(performance.now())), Math.max(1, deadlineMs - performance.now()));
    }
  }

  private decode(frame: Frame): void {
    if (this.codec === undefined || frame.kind === "audio") return;
    const isKey = frame.kind === "video_key";
    if (!isKey && (this.decoder?.decodeQueueSize ?? 0) > DECODE_QUEUE_MAX) this.needsKey = true;
    if (this.needsKey && !isKey) {
      this.askForKey();
      return;
    }
    this.needsKey = false;
    try {
      this.decoder ??= this.newDecoder(this.codec);
      this.decoder.decode(
        new EncodedVideoChunk({ type: isKey ? "key" : "delta", timestamp: Number(frame.timestampUs), data: frame.payload }),
      );
    } catch {
      this.fail();
    }
  }

  private newDecoder(codec: string): VideoDecoder {
    const decoder = new VideoDecoder({ output: (picture) => this.draw(picture), error: () => this.fail() });
    decoder.configure({ codec, optimizeForLatency: true });
    return decoder;
  }

  private fail(): void {
    if (this.decoder !== undefined && this.decoder.state !== "closed") this.decoder.close();
    this.decoder = undefined;
    this.needsKey = true;
    this.askForKey();
  }

  private askForKey(): void {
    const nowMs = performance.now();
    if (nowMs - this.keyRequestedAtMs < KEY_REQUEST_INTERVAL_MS) return;
    this.keyRequestedAtMs = nowMs;
    this.events.requestKeyFrame(this.streamId);
  }

  private draw(picture: VideoFrame): void {
    const { displayWidth, displayHeight } = picture;
    if (displayWidth !== this.width || displayHeight !== this.height) {
      this.width = displayWidth;
      this.height = displayHeight;
      this.events.size(this.streamId, displayWidth, displayHeight);
    }
    if (this.canvas !== undefined && this.context !== null) {
      if (this.canvas.width !== displayWidth || this.canvas.height !== displayHeight) {
        this.canvas.width = displayWidth;
        this.canvas.height = displayHeight;
      }
      this.context.drawImage(picture, 0, 0, displayWidth, displayHeight);
    }
    picture.close();
  }
}
