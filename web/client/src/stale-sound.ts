// Which blocks of a microphone are too old to be sent. In: how old each is as it comes. Out: whether to leave it out. Pure. A page or a
// worker that stood still finds what was said meanwhile in a queue; to send it would put everybody behind by that.

/** As old as a backlog may become (DESIGN section 5): beyond, what is said now matters more. */
export const STALE_US = 300_000n;
/** A queue is through in less: what stays old for so long is the device's own delay, and the measure was wrong. */
const SKIP_MAX_MS = 1000;

export class StaleSound {
  private sinceMs: number | undefined;

  /** Whether to leave a block of this age out. */
  skips(nowMs: number, ageUs: bigint): boolean {
    if (ageUs <= STALE_US) {
      this.sinceMs = undefined;
      return false;
    }
    this.sinceMs ??= nowMs;
    return nowMs - this.sinceMs < SKIP_MAX_MS;
  }
}
