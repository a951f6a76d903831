// When to try a decoder again after it failed, and when to give up: a codec that never works must not become a storm of key frames.
// In: failures, successes, the time. Out: from when on to try.

/** The first try is at once: most failures are one broken frame. */
const BACKOFF_MS = [0, 500, 1000, 2000, 4000] as const;
/** After so many failures without a picture between them there will be none. */
export const DECODER_FAILURES_MAX = BACKOFF_MS.length;
/** Works for so long again: what failed before is forgotten. */
const HEALTHY_AFTER_MS = 10_000;

export class DecoderHealth {
  /** In all. */
  errors = 0;
  private inARow = 0;
  private retryAtMs = -Infinity;
  private failedAtMs = -Infinity;

  /** No more tries. */
  get isHopeless(): boolean {
    return this.inARow > DECODER_FAILURES_MAX;
  }

  /** It is known that no try will help. */
  giveUp(): void {
    this.inARow = Infinity;
  }

  failed(nowMs: number): void {
    this.errors += 1;
    this.inARow += 1;
    this.failedAtMs = nowMs;
    this.retryAtMs = nowMs + (BACKOFF_MS[this.inARow - 1] ?? Infinity);
  }

  decoded(nowMs: number): void {
    if (this.inARow > 0 && nowMs - this.failedAtMs >= HEALTHY_AFTER_MS) this.inARow = 0;
  }

  /** Whether a decoder may be fed now. */
  mayTry(nowMs: number): boolean {
    return nowMs >= this.retryAtMs;
  }
}
