// When a session counts as silent. In: when something was last heard, and the time, again and again. Out: whether that is too long ago.

/** Whoever is there says something each second; a silence half as long again is worth a second way (DESIGN section 4). */
export const SILENCE_MS = 1500;
/** How often silence is looked for: noticed late by at most a sixth. */
export const SILENCE_CHECK_INTERVAL_MS = 250;

export class Silence {
  private checkedAtMs: number;
  /** What was said before this counts as just heard: until then nobody here listened. */
  private listeningSinceMs: number;

  constructor(nowMs: number) {
    this.checkedAtMs = nowMs;
    this.listeningSinceMs = nowMs;
  }

  /**
   * Whether nothing was heard for too long. Whoever slept itself (no check for as long as a silence: a lid that was closed, a starved
   * timer) listens once more before it judges.
   */
  check(heardAtMs: number, nowMs: number): boolean {
    if (nowMs - this.checkedAtMs > SILENCE_MS) this.listeningSinceMs = nowMs;
    this.checkedAtMs = nowMs;
    return nowMs - Math.max(heardAtMs, this.listeningSinceMs) > SILENCE_MS;
  }
}
