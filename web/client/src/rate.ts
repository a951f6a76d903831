// How much a second, of something that is counted.

export class Rate {
  /** From the start. */
  total = 0;
  private before = 0;
  private beforeMs: number | undefined;

  add(count: number): void {
    this.total += count;
  }

  /** Since the last call. */
  perSecond(nowMs: number): number {
    const elapsedMs = nowMs - (this.beforeMs ?? nowMs);
    const counted = this.total - this.before;
    if (this.beforeMs !== undefined && elapsedMs <= 0) return 0;
    this.before = this.total;
    const isFirst = this.beforeMs === undefined;
    this.beforeMs = nowMs;
    return isFirst ? 0 : (counted * 1000) / elapsedMs;
  }
}
