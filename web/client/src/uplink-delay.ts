// For how long what is sent waits on its way to the handler: the queue that a sender of ours fills when it sends more than the uplink
// carries, which nobody sees on this machine. In: pings with the handler's time of receipt. Out: milliseconds above the shortest way
// lately. Clocks need not agree, only run alike. Pure.

/** Over so long the shortest way is looked for: long enough for a moment without a queue, short enough for clocks that drift apart. */
const WINDOW_MS = 30_000;
/** A queue lasts; what is quick again within this was a machine that was busy for a moment, here or there. */
const LASTING_MS = 700;
/** A ping that is out for so much longer than usual says something before it is answered. */
const MISSING_MS = 300;
/** Pings without an answer that are remembered. */
const PENDING_MAX = 64;

export class UplinkDelay {
  private readonly pending: number[] = [];
  /** Shortest one-way time by two clocks, and round trip by one: of this window and of the one before. */
  private oneWay = [Infinity, Infinity];
  private roundTrip = [Infinity, Infinity];
  private windowEndsMs = -Infinity;
  /** Answers of late: when their pings were sent, and their way above the shortest. */
  private recent: { sentAtMs: number; aboveMs: number }[] = [];

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
    this.recent.push({ sentAtMs, aboveMs: oneWay - Math.min(...this.oneWay) });
    while (this.recent[0] !== undefined && sentAtMs - this.recent[0].sentAtMs > LASTING_MS) this.recent.shift();
  }

  /** Milliseconds of queue; 0 before anything is known. */
  queueMs(nowMs: number): number {
    const [oldest] = this.pending;
    const lasting = this.recent.length < 2 ? 0 : Math.min(...this.recent.map((it) => it.aboveMs));
    const best = Math.min(...this.roundTrip);
    const missingMs = oldest === undefined || best === Infinity ? 0 : nowMs - oldest - best;
    return missingMs > MISSING_MS ? Math.max(lasting, missingMs) : lasting;
  }

  /** Another way: nothing that was known holds. */
  reset(): void {
    this.pending.length = 0;
    this.oneWay = [Infinity, Infinity];
    this.roundTrip = [Infinity, Infinity];
    this.windowEndsMs = -Infinity;
    this.recent = [];
  }
}
