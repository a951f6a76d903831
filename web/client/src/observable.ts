// A value that changes, and who wants to know. Made for `useSyncExternalStore` and its like: `value` is never changed in place, and
// stays the same object until there is another.

/** A value that changes. */
export interface Observable<T> {
  /** What it is now. Immutable: a change puts another value in its place. */
  readonly value: T;
  /** Calls `listener` after each change from now on; returns how to stop that. Not called for the value there is already. */
  subscribe(listener: (value: T) => void): () => void;
}

/** The side that changes it. */
export class Source<T> implements Observable<T> {
  private current: T;
  private readonly listeners = new Set<(value: T) => void>();

  constructor(value: T) {
    this.current = value;
  }

  get value(): T {
    return this.current;
  }

  /** Puts another value in place. The same value again tells nobody. */
  set(value: T): void {
    if (Object.is(value, this.current)) return;
    this.current = value;
    // A copy: a listener may end its own or another's subscription.
    for (const listener of [...this.listeners]) if (this.listeners.has(listener)) listener(value);
  }

  subscribe(listener: (value: T) => void): () => void {
    // Whoever subscribes the same function twice is called twice, and ends each by itself.
    const own = (value: T): void => listener(value);
    this.listeners.add(own);
    return () => void this.listeners.delete(own);
  }
}
