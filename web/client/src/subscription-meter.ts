// Counts of one subscription, as statistics tell them. In: what happens. Out: a snapshot. Rates are of the time between two snapshots.

import { FreezeMeter } from "./freeze-meter.ts";
import { Rate } from "./rate.ts";
import type { SubscriptionStats } from "./stats.ts";
import type { MediaStreamInfo } from "./types.ts";

/** Why something was not shown or heard, on this side. */
export type DropCause = "late" | "queue" | "decoder" | "undecryptable" | "hidden";

/** What the handler tells of a subscription. */
export interface HandlerReport {
  wantedLayer: string;
  allowedLayer: string;
  forwardedLayer: string;
  estimatedBitrate: number;
  limiter: string;
  lastChange: string;
  dropped: Record<string, bigint>;
}

/** A measurement counts so much, the ones before the rest: the last second or so. */
const SMOOTHING = 0.1;
/** Clocks that disagree by more than this say nothing of latency. */
const LATENCY_MS_MAX = 30_000;

/** Moving average of what is measured now and then. */
export class Average {
  value: number | undefined;

  add(measured: number): void {
    this.value = this.value === undefined ? measured : this.value + (measured - this.value) * SMOOTHING;
  }
}

export class SubscriptionMeter {
  readonly received = new Rate();
  readonly bits = new Rate();
  readonly shown = new Rate();
  readonly freeze = new FreezeMeter();
  readonly syncOffset = new Average();
  framesDecoded = 0;
  keyFramesRequested = 0;
  decoderErrors = 0;
  width = 0;
  height = 0;
  /** Set by whoever sees interruptions by itself, instead of by `freeze`. */
  gaps: { count: number; ms: number } | undefined;
  private readonly latency = new Average();
  private readonly drops = new Map<string, number>();
  private handler: HandlerReport | undefined;

  dropped(cause: DropCause, count = 1): void {
    if (count > 0) this.drops.set(cause, (this.drops.get(cause) ?? 0) + count);
  }

  /** Sets what is counted elsewhere. */
  setDropped(cause: DropCause, count: number): void {
    if (count > 0) this.drops.set(cause, count);
  }

  /** From the publisher's clock to ours, both since the epoch. */
  measureLatency(latencyMs: number): void {
    if (latencyMs >= 0 && latencyMs < LATENCY_MS_MAX) this.latency.add(latencyMs);
  }

  report(report: HandlerReport): void {
    this.handler = report;
  }

  snapshot(
    nowMs: number,
    { streamId, participantId, type, codec }: MediaStreamInfo,
    buffer: { targetMs: number; bufferedMs: number },
  ): SubscriptionStats {
    const { handler } = this;
    const dropped = Object.fromEntries(this.drops);
    for (const [cause, count] of Object.entries(handler?.dropped ?? {})) dropped[`handler:${cause}`] = Number(count);
    return {
      streamId,
      participantId,
      type,
      codec,
      width: this.width,
      height: this.height,
      bitrate: Math.round(this.bits.perSecond(nowMs)),
      framesPerSecond: Math.round(this.shown.perSecond(nowMs) * 10) / 10,
      framesReceived: this.received.total,
      framesDecoded: this.framesDecoded,
      framesShown: this.shown.total,
      freezes: this.gaps?.count ?? this.freeze.freezes,
      freezeMs: Math.round(this.gaps?.ms ?? this.freeze.freezeMs),
      dropped,
      decoderErrors: this.decoderErrors,
      keyFramesRequested: this.keyFramesRequested,
      jitterTargetMs: Math.round(buffer.targetMs),
      bufferedMs: Math.round(buffer.bufferedMs),
      latencyMs: rounded(this.latency.value),
      syncOffsetMs: rounded(this.syncOffset.value),
      layer: {
        wanted: handler?.wantedLayer ?? "",
        allowed: handler?.allowedLayer ?? "",
        forwarded: handler?.forwardedLayer ?? "",
        limiter: handler?.limiter ?? "",
        lastChange: handler?.lastChange ?? "",
      },
      estimatedBitrate: handler?.estimatedBitrate ?? 0,
    };
  }
}

function rounded(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Math.round(ms);
}
