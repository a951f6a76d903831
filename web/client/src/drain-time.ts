// For how long the tail of a group is unsent below us: a transport takes bytes into buffers of its own, where nothing tells how old they
// grow, but it tells when a stream that was ended has arrived whole. In: ends of streams and their arrivals. Out: milliseconds above the
// quickest lately. Pure.

/** Over so long the quickest is looked for. */
const WINDOW_MS = 30_000;
/** What an arrival says holds until about the next look. */
const FRESH_MS = 400;

export class DrainTime {
  private readonly pending = new Set<{ endedAtMs: number }>();
  /** Of this window and of the one before. */
  private best = [Infinity, Infinity];
  private windowEndsMs = -Infinity;
  private last = { atMs: -Infinity, aboveMs: 0 };

  /** A stream was ended; call what is returned when it has arrived, or is not waited for any more. */
  ended(endedAtMs: number): { arrived: (nowMs: number) => void; dropped: () => void } {
    const one = { endedAtMs };
    this.pending.add(one);
    return {
      arrived: (nowMs) => {
        if (this.pending.delete(one)) this.note(nowMs, nowMs - endedAtMs);
      },
      dropped: () => void this.pending.delete(one),
    };
  }

  /** Milliseconds above the quickest; 0 while nothing is known. */
  aboveMs(nowMs: number): number {
    const best = Math.min(...this.best);
    let above = nowMs - this.last.atMs <= FRESH_MS ? this.last.aboveMs : 0;
    if (best !== Infinity) for (const { endedAtMs } of this.pending) above = Math.max(above, nowMs - endedAtMs - best);
    return above;
  }

  /** What was under way was given up: it says nothing about what comes. */
  forget(): void {
    this.pending.clear();
    this.last = { atMs: -Infinity, aboveMs: 0 };
  }

  private note(nowMs: number, tookMs: number): void {
    if (nowMs >= this.windowEndsMs) {
      this.windowEndsMs = nowMs + WINDOW_MS;
      this.best = [Infinity, this.best[0] ?? Infinity];
    }
    this.best[0] = Math.min(this.best[0] ?? Infinity, tookMs);
    this.last = { atMs: nowMs, aboveMs: tookMs - Math.min(...this.best) };
  }
}
