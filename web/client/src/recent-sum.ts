// What came together in the last seconds. In: amounts with their time. Out: their sum. Holds one entry for each quarter of a second at most.

/** Amounts that come closer together than this are kept as one. */
const GRAIN_MS = 250;

export class RecentSum {
  private readonly windowMs: number;
  private entries: { atMs: number; amount: number }[] = [];

  constructor(windowMs: number) {
    this.windowMs = windowMs;
  }

  add(nowMs: number, amount: number): void {
    if (amount === 0) return;
    const last = this.entries.at(-1);
    if (last !== undefined && nowMs - last.atMs < GRAIN_MS) last.amount += amount;
    else this.entries.push({ atMs: nowMs, amount });
    this.forget(nowMs);
  }

  value(nowMs: number): number {
    this.forget(nowMs);
    return this.entries.reduce((sum, { amount }) => sum + amount, 0);
  }

  private forget(nowMs: number): void {
    const first = this.entries.findIndex(({ atMs }) => nowMs - atMs < this.windowMs);
    if (first !== 0) this.entries = first < 0 ? [] : this.entries.slice(first);
  }
}
