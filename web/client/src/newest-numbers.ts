// Which of many numbers came before, of those that came last. In: numbers. Out: whether each is new. Bounded: what came longer ago than `kept`
// other numbers counts as new again.

export class NewestNumbers {
  private readonly kept: number;
  /** In the order in which they came. */
  private readonly seen = new Set<number>();

  constructor(kept: number) {
    this.kept = kept;
  }

  /** True the first time; from then on it is known. */
  isNew(number: number): boolean {
    if (this.seen.has(number)) return false;
    this.seen.add(number);
    const [oldest] = this.seen;
    if (this.seen.size > this.kept && oldest !== undefined) this.seen.delete(oldest);
    return true;
  }
}
