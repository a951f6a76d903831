// What this participant receives: one decoder per media stream that it takes, one playout clock per participant. In: media streams as
// wishes name them, outputs and readers of the page, frames as sessions bring them, what the loudspeaker reports. Out: pictures, samples,
// levels, statistics. Never speaks to a controller.

import type { DarkTowerError } from "../error.ts";
import type { SubscriptionReport } from "../generated/darktower/v1/media_pb.ts";
import type { AudioClock, SubscriptionRequests } from "../messages.ts";
import { PlayoutClock } from "../playout-clock.ts";
import { LevelReporter } from "../sound.ts";
import type { FromWorklet } from "../sound-messages.ts";
import type { SubscriptionStats } from "../stats.ts";
import type { MediaStreamInfo, MeetingEvent } from "../types.ts";
import { AudioSubscription } from "./audio-subscription.ts";
import { Consumers } from "./consumers.ts";
import type { FrameSink } from "./media-session.ts";
import { VideoSubscription } from "./video-subscription.ts";

/** A group may come before the message that tells of its media stream; it is kept unread so long. */
const UNKNOWN_STREAM_WAIT_MS = 1500;
/** Groups kept so; more than a meeting's worth of media streams at once is not from a handler of ours. */
const UNKNOWN_STREAMS_MAX = 32;

type Subscription = VideoSubscription | AudioSubscription;
type Takes<K extends keyof SubscriptionRequests> = SubscriptionRequests[K]["takes"];

export interface SubscriptionsContext {
  requestKeyFrame(streamId: string): void;
  emit(event: MeetingEvent): void;
  /** It cannot be shown or heard here, and is not to be sent any more. */
  failed(streamId: string): void;
}

export class Subscriptions {
  private readonly context: SubscriptionsContext;
  private readonly open = new Map<string, Subscription>();
  /** Subscription of each frame id. */
  private readonly sinks = new Map<string, Subscription>();
  private readonly consumers = new Consumers();
  /** Of participants, by id. */
  private readonly clocks = new Map<string, PlayoutClock>();
  private readonly levels = new LevelReporter();
  private mix: MessagePort | undefined;
  /** Sound that does not go into the mix. */
  private readonly ports = new Map<string, MessagePort>();
  private audioClock: AudioClock | undefined;
  private waiters: (() => void)[] = [];
  private isOver = false;

  constructor(context: SubscriptionsContext) {
    this.context = context;
  }

  /** Where samples go; absent: nowhere. */
  set audioPort(port: MessagePort | undefined) {
    this.mix = port;
    if (port !== undefined) this.listenTo(port);
  }

  /** The media stream is over. */
  unpublished(streamId: string): void {
    this.remove(streamId);
    this.consumers.end(streamId);
    this.levels.forget(streamId);
    this.ports.get(streamId)?.close();
    this.ports.delete(streamId);
  }

  attach(takes: Takes<"attach">): void {
    this.consumers.attach(takes);
  }

  detach({ outputId }: Takes<"detach">): void {
    this.consumers.detach(outputId);
  }

  forget({ outputId }: Takes<"forget">): void {
    this.consumers.forget(outputId);
  }

  show({ outputId, isVisible }: Takes<"show">): void {
    this.consumers.show(outputId, isVisible);
  }

  frames({ streamId, isEncoded, port }: Takes<"frames">): void {
    this.consumers.of(streamId).read(port, isEncoded);
  }

  soundTo({ streamId, port }: Takes<"soundTo">): void {
    this.ports.get(streamId)?.close();
    this.ports.set(streamId, port);
    this.listenTo(port);
    const subscription = this.open.get(streamId);
    if (subscription instanceof AudioSubscription) subscription.playTo(port);
  }

  holdPictures({ forMs }: Takes<"holdPictures">): void {
    this.consumers.hold(performance.now() + forMs);
  }

  setAudioClock(clock: AudioClock): void {
    this.audioClock = clock;
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

  /** A record of this id could not be opened. */
  undecryptable(frameId: string): void {
    this.sinks.get(frameId)?.lost();
  }

  stats(nowMs: number): SubscriptionStats[] {
    return [...this.open.values()].map((subscription) => subscription.stats(nowMs));
  }

  /** The handler tells why one of them gets what it gets. */
  report(report: SubscriptionReport): void {
    this.open.get(report.streamId)?.meter.report(report);
  }

  reportLevels(nowMs: number): void {
    for (const subscription of this.open.values()) {
      if (!(subscription instanceof AudioSubscription)) continue;
      const { loudness, stream } = subscription;
      const { streamId, participantId } = stream;
      const heard = { level: loudness.take(), speaking: loudness.speaking(nowMs) };
      if (this.levels.isNews(streamId, heard)) this.context.emit({ type: "audio-level", detail: { streamId, participantId, ...heard } });
    }
  }

  close(): void {
    this.isOver = true;
    for (const streamId of [...this.open.keys()]) this.remove(streamId);
    this.consumers.close();
    this.wake();
  }

  /** Receives it from now on. */
  add(stream: MediaStreamInfo): void {
    const { streamId } = stream;
    if (this.open.has(streamId) || this.isOver) return;
    const subscription = stream.type === "audio" ? this.sound(stream) : this.pictures(stream);
    this.open.set(streamId, subscription);
    for (const frameId of stream.frameIds) this.sinks.set(frameId, subscription);
    this.wake();
  }

  /** Receives it no more; who takes it stays, in case it is received again. */
  remove(streamId: string): void {
    const found = this.open.get(streamId);
    if (found === undefined) return;
    this.open.delete(streamId);
    for (const [frameId, sink] of this.sinks) if (sink === found) this.sinks.delete(frameId);
    found.close();
    const { participantId } = found.stream;
    if (![...this.open.values()].some(({ stream }) => stream.participantId === participantId)) this.clocks.delete(participantId);
    if (found instanceof AudioSubscription && this.levels.isNews(streamId, { level: 0, speaking: false })) {
      this.context.emit({ type: "audio-level", detail: { streamId, participantId, level: 0, speaking: false } });
    }
  }

  private sound(stream: MediaStreamInfo): AudioSubscription {
    const { streamId } = stream;
    const port = this.ports.get(streamId) ?? this.mix;
    return new AudioSubscription(stream, this.consumers.of(streamId), port, (error) => this.failed(streamId, error));
  }

  private pictures(stream: MediaStreamInfo): VideoSubscription {
    const { streamId, participantId } = stream;
    return new VideoSubscription(stream, this.consumers.of(streamId), this.clockOf(participantId), {
      requestKeyFrame: () => this.context.requestKeyFrame(streamId),
      size: (width, height) => this.context.emit({ type: "video-size", detail: { streamId, width, height } }),
      failed: (error) => this.failed(streamId, error),
    });
  }

  private failed(streamId: string, error: DarkTowerError): void {
    this.context.emit({ type: "subscription-failed", detail: { streamId, error: error.toData() } });
    this.context.failed(streamId);
  }

  private clockOf(participantId: string): PlayoutClock {
    let found = this.clocks.get(participantId);
    if (found === undefined) {
      found = new PlayoutClock();
      this.clocks.set(participantId, found);
    }
    return found;
  }

  private listenTo(port: MessagePort): void {
    port.onmessage = ({ data }: MessageEvent<FromWorklet>) => this.heard(data);
  }

  /** Takes up what the loudspeaker reports, and tells it for how long sound has to wait. */
  private heard({ contextMs, reports }: FromWorklet): void {
    const nowMs = performance.now();
    for (const report of reports) {
      const subscription = this.open.get(report.streamId);
      if (!(subscription instanceof AudioSubscription)) continue;
      const { audioClock } = this;
      const heardMs = audioClock === undefined ? undefined : audioClock.atMs + contextMs - audioClock.contextMs - performance.timeOrigin;
      subscription.played(report, heardMs);
      if (report.captureMs === undefined || heardMs === undefined) continue;
      const { participantId } = subscription.stream;
      const clock = this.clockOf(participantId);
      clock.heard(nowMs, report.captureMs, heardMs);
      subscription.setWaits(clock.soundWaits(nowMs, this.neededMs(participantId)));
    }
  }

  /** What the pictures that go with a participant's sound need: those of the camera. */
  private neededMs(participantId: string): number | undefined {
    for (const subscription of this.open.values()) {
      const { stream } = subscription;
      if (stream.participantId === participantId && stream.type === "camera" && subscription instanceof VideoSubscription) {
        if (subscription.neededMs !== undefined) return subscription.neededMs;
      }
    }
    return undefined;
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
