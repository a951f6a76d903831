// A queue that a slow reader cannot make long: what is oldest falls out. In: items. Out: items in order, those that were kept. Whoever
// puts something in says how to let go of it.

export class LossyQueue<T> {
  /** Items that fell out unread. */
  dropped = 0;
  private readonly itemsMax: number;
  private readonly letGo: (item: T) => void;
  private items: T[] = [];

  constructor(itemsMax: number, letGo: (item: T) => void) {
    this.itemsMax = itemsMax;
    this.letGo = letGo;
  }

  get length(): number {
    return this.items.length;
  }

  push(item: T): void {
    this.items.push(item);
    if (this.items.length <= this.itemsMax) return;
    const oldest = this.items.shift();
    this.dropped += 1;
    if (oldest !== undefined) this.letGo(oldest);
  }

  shift(): T | undefined {
    return this.items.shift();
  }

  clear(): void {
    for (const item of this.items) this.letGo(item);
    this.items = [];
  }
}
