// Turns the capture clock's timestamps (microseconds from anywhere) into microseconds since the epoch. In: timestamps as frames arrive, and as
// they are sent. Out: times that go together with those of other sources of this publisher, for their pictures and sound are to be in time.

/** For so long the fastest arrival is looked for; from then on the clock stands, so that no timestamp steps back. */
const SETTLING_MS = 2000;

export class EpochClock {
  private readonly nowMs: () => number;
  private offsetUs: bigint | undefined;
  private settledAtMs = Infinity;
  private latestUs = -1n;

  /** `nowMs` is milliseconds since the epoch. */
  constructor(nowMs: () => number = () => performance.timeOrigin + performance.now()) {
    this.nowMs = nowMs;
  }

  /** A frame arrived from its source. What the fastest needed is nearest to what lies between capture and here. */
  arrived(captureUs: number): void {
    const nowMs = this.nowMs();
    if (this.settledAtMs === Infinity) this.settledAtMs = nowMs + SETTLING_MS;
    if (nowMs > this.settledAtMs) return;
    const offsetUs = BigInt(Math.round(nowMs * 1000)) - BigInt(Math.round(captureUs));
    if (this.offsetUs === undefined || offsetUs < this.offsetUs) this.offsetUs = offsetUs;
  }

  /** Never earlier than the one before. */
  toEpochUs(captureUs: number): bigint {
    if (this.offsetUs === undefined) this.arrived(captureUs);
    const epochUs = BigInt(Math.round(captureUs)) + (this.offsetUs ?? 0n);
    this.latestUs = epochUs > this.latestUs ? epochUs : this.latestUs + 1n;
    return this.latestUs;
  }
}
