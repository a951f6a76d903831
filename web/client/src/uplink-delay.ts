// For how long what is sent waits on its way to the handler: the queue that a sender of ours fills when it sends more than the uplink
// carries, which nobody sees on this machine. In: pings with the handler's time of receipt. Out: milliseconds above the shortest way
// lately. Clocks need not agree, only run alike. Pure.

/** Over so long the shortest way is looked for: long enough for a moment without a queue, short enough for clocks that drift apart. */
const WINDOW_MS = 30_000;
/** Pings without an answer that are remembered. */
const PENDING_MAX = 64;

export class UplinkDelay {
  private readonly pending: number[] = [];
  /** Shortest one-way time by two clocks, and round trip by one: of this window and of the one before. */
  private oneWay = [Infinity, Infinity];
  private roundTrip = [Infinity, Infinity];
  private windowEndsMs = -Infinity;
  private last = 0;
  private lastButOne = 0;

  /** A ping goes out. */
  sent(nowMs: number): void {
    this.pending.push(nowMs);
    if (this.pending.length > PENDING_MAX) this.pending.shift();
  }

  /** The answer to the ping of `sentAtMs` came; the handler had it at `receivedAtMs` by its own clock. */
  answered(nowMs: number, sentAtMs: number, receivedAtMs: number): void {
    while (this.pending[0] !== undefined && this.pending[0] <= sentAtMs) this.pending.shift();
    if (nowMs >= this.windowEndsMs) {
      this.windowEndsMs = nowMs + WINDOW_MS;
      this.oneWay = [Infinity, this.oneWay[0] ?? Infinity];
      this.roundTrip = [Infinity, this.roundTrip[0] ?? Infinity];
    }
    const oneWay = receivedAtMs - sentAtMs;
    this.oneWay[0] = Math.min(this.oneWay[0] ?? Infinity, oneWay);
    this.roundTrip[0] = Math.min(this.roundTrip[0] ?? Infinity, nowMs - sentAtMs);
    this.lastButOne = this.last;
    this.last = oneWay - Math.min(...this.oneWay);
  }

  /** Milliseconds of queue; 0 before anything is known. One late answer by itself is not a queue. */
  queueMs(nowMs: number): number {
    const [oldest] = this.pending;
    const known = Math.min(this.last, this.lastButOne);
    const best = Math.min(...this.roundTrip);
    // A ping that is out for longer than any lately is late by the difference already.
    return oldest === undefined || best === Infinity ? known : Math.max(known, nowMs - oldest - best);
  }

  /** Another way: nothing that was known holds. */
  reset(): void {
    this.pending.length = 0;
    this.oneWay = [Infinity, Infinity];
    this.roundTrip = [Infinity, Infinity];
    this.windowEndsMs = -Infinity;
    this.last = 0;
    this.lastButOne = 0;
  }
}
