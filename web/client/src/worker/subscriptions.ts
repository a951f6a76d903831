// What this participant receives: one decoder per media stream that it takes. In: media streams as the roster tells of them,
// frames as sessions bring them. Out: drawn pictures, samples, levels. Never speaks to a controller.

import type { SubscriptionReport } from "../generated/darktower/v1/media_pb.ts";
import type { SubscriptionStats } from "../stats.ts";
import type { MediaStreamInfo, MeetingEvent } from "../types.ts";
import { AudioSubscription } from "./audio-subscription.ts";
import type { FrameSink } from "./media-session.ts";
import { VideoSubscription } from "./video-subscription.ts";

/** A group may come before the message that tells of its media stream; it is kept unread so long. */
const UNKNOWN_STREAM_WAIT_MS = 1500;
/** Groups kept so; more than a meeting's worth of media streams at once is not from a handler of ours. */
const UNKNOWN_STREAMS_MAX = 32;

type Subscription = VideoSubscription | AudioSubscription;

export interface SubscriptionsEvents {
  requestKeyFrame(streamId: string): void;
  emit(event: MeetingEvent): void;
}

export class Subscriptions {
  /** Where samples go; absent: nowhere. */
  audioPort: MessagePort | undefined;
  private readonly events: SubscriptionsEvents;
  private readonly open = new Map<string, { subscription: Subscription; participantId: string }>();
  /** Subscription of each frame id. */
  private readonly sinks = new Map<string, Subscription>();
  private readonly canvases = new Map<string, OffscreenCanvas>();
  private waiters: (() => void)[] = [];
  private isOver = false;

  constructor(events: SubscriptionsEvents) {
    this.events = events;
  }

  add(stream: MediaStreamInfo): void {
    const { streamId, codec, participantId } = stream;
    if (this.open.has(streamId) || this.isOver) return;
    const subscription = stream.type === "audio" ? new AudioSubscription(streamId, codec, this.audioPort) : this.video(streamId, codec);
    this.open.set(streamId, { subscription, participantId });
    for (const frameId of stream.frameIds) this.sinks.set(frameId, subscription);
    this.wake();
  }

  remove(streamId: string): void {
    const found = this.open.get(streamId);
    if (found === undefined) return;
    this.open.delete(streamId);
    for (const [frameId, sink] of this.sinks) if (sink === found.subscription) this.sinks.delete(frameId);
    found.subscription.close();
  }

  /** Pictures of a media stream are drawn on `canvas`; absent: nowhere any more. */
  attach(streamId: string, canvas: OffscreenCanvas | undefined): void {
    if (canvas === undefined) this.canvases.delete(streamId);
    else this.canvases.set(streamId, canvas);
    const subscription = this.open.get(streamId)?.subscription;
    if (subscription instanceof VideoSubscription) subscription.attach(canvas);
  }

  /** Where frames of this id go; waits a moment for who is not known yet. */
  async sinkOf(frameId: string): Promise<FrameSink | undefined> {
    const untilMs = performance.now() + UNKNOWN_STREAM_WAIT_MS;
    for (;;) {
      const found = this.sinks.get(frameId);
      const leftMs = untilMs - performance.now();
      if (found !== undefined || leftMs <= 0 || this.isOver || this.waiters.length >= UNKNOWN_STREAMS_MAX) return found;
      await this.change(leftMs);
    }
  }

  /** One for each media stream that is received; nothing is counted yet. */
  readonly stats: (nowMs: number) => SubscriptionStats[] = () => [];

  /** The handler tells why one of them gets what it gets; nothing here depends on it. */
  readonly report: (report: SubscriptionReport) => void = () => undefined;

  reportLevels(nowMs: number): void {
    for (const [streamId, { subscription, participantId }] of this.open) {
      if (!(subscription instanceof AudioSubscription)) continue;
      const { meter } = subscription;
      const detail = { streamId, participantId, level: meter.take(), speaking: meter.speaking(nowMs) };
      this.events.emit({ type: "audio-level", detail });
    }
  }

  close(): void {
    this.isOver = true;
    for (const streamId of [...this.open.keys()]) this.remove(streamId);
    this.canvases.clear();
    this.wake();
  }

  private video(streamId: string, codec: string): VideoSubscription {
    const subscription = new VideoSubscription(streamId, codec, {
      requestKeyFrame: (id) => this.events.requestKeyFrame(id),
      size: (id, width, height) => this.events.emit({ type: "video-size", detail: { streamId: id, width, height } }),
    });
    subscription.attach(this.canvases.get(streamId));
    return subscription;
  }

  /** Resolves when a subscription was added, or after `ms`. */
  private change(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.waiters = this.waiters.filter((waiter) => waiter !== wake);
        resolve();
      }, ms);
      const wake = (): void => {
        clearTimeout(timer);
        resolve();
      };
      this.waiters.push(wake);
    });
  }

  private wake(): void {
    const { waiters } = this;
    this.waiters = [];
    for (const wake of waiters) wake();
  }
}
