// Counts the gaps of a moving picture that a person notices. In: when each picture was put on the screen. Out: how many freezes, and how
// long they were together.

/**
 * A gap is a freeze when it is longer than three mean intervals, or than the mean and this, whichever is more: the rule of WebRTC's
 * statistics (`freezeCount`), so that figures can be compared.
 */
export const FREEZE_MS = 150;
const FREEZE_INTERVALS = 3;
/** The mean is of so many pictures (WebRTC's statistics take thirty). */
const INTERVALS_MAX = 30;
/** Before so many intervals there is no rhythm to fall out of. */
const INTERVALS_MIN = 5;

export class FreezeMeter {
  freezes = 0;
  freezeMs = 0;
  private shownAtMs: number | undefined;
  private intervals: number[] = [];

  shown(nowMs: number): void {
    if (this.shownAtMs !== undefined) this.measure(nowMs - this.shownAtMs);
    this.shownAtMs = nowMs;
  }

  /** The next picture begins anew: nothing was to be shown meanwhile. */
  pause(): void {
    this.shownAtMs = undefined;
  }

  private measure(intervalMs: number): void {
    const { intervals } = this;
    const mean = intervals.reduce((sum, it) => sum + it, 0) / Math.max(1, intervals.length);
    if (intervals.length >= INTERVALS_MIN && intervalMs > Math.max(FREEZE_INTERVALS * mean, mean + FREEZE_MS)) {
      this.freezes += 1;
      this.freezeMs += intervalMs;
    }
    intervals.push(intervalMs);
    if (intervals.length > INTERVALS_MAX) intervals.shift();
  }
}
