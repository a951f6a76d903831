// When to make a video encoder anew after it failed, and when its codec is given up: an encoder that fails for every picture must not be made
// for every picture. In: failures, successes, the time, chance. Out: from when on to try, or that there is no use. Pure.

import { backoffMs } from "./backoff.ts";

/** After so many failures in a row, some five seconds, people have waited long enough for this codec. */
export const ENCODER_FAILURES_MAX = 5;
/** Between two tries, before jitter; the first one is sooner. */
const RETRY_MAX_MS = 2000;
/** Works for so long again: what failed before is forgotten. */
const HEALTHY_AFTER_MS = 10_000;

export class EncoderHealth {
  private readonly random: () => number;
  /** Whether this codec has given anything here. */
  private hasEncoded = false;
  private inARow = 0;
  private failedAtMs = -Infinity;
  private retryAtMs = -Infinity;

  /** `random` gives numbers within 0 and 1. */
  constructor(random: () => number) {
    this.random = random;
  }

  /** No more tries with this codec: it never worked, or it failed too often. */
  get isHopeless(): boolean {
    return this.inARow > ENCODER_FAILURES_MAX;
  }

  failed(nowMs: number): void {
    this.inARow = this.hasEncoded ? this.inARow + 1 : Infinity;
    this.failedAtMs = nowMs;
    this.retryAtMs = this.isHopeless ? Infinity : nowMs + backoffMs(this.inARow, this.random(), RETRY_MAX_MS);
  }

  encoded(nowMs: number): void {
    this.hasEncoded = true;
    if (this.inARow > 0 && nowMs - this.failedAtMs >= HEALTHY_AFTER_MS) this.inARow = 0;
  }

  /** Whether an encoder may be fed now. */
  mayTry(nowMs: number): boolean {
    return nowMs >= this.retryAtMs;
  }

  /** Another codec, of which nothing is known. */
  restart(): void {
    this.hasEncoded = false;
    this.inARow = 0;
    this.failedAtMs = -Infinity;
    this.retryAtMs = -Infinity;
  }
}
