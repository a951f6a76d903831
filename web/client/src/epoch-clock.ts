// Turns a capture clock's timestamps (microseconds from anywhere) into microseconds since the epoch. In: timestamps and the time at which
// they were handed over. Out: the epoch's. Pure. The frame that took least time from the sensor to here says where the
// capture clock stands: the first frames after a start come late, and sound and picture would be apart by that for good.

/** The quickest frame of each second counts. */
const SECOND_US = 1_000_000n;
/** Of so many seconds, the newest among them not over yet, the one in the middle: a clock may jump for a moment, and may drift in minutes. */
const SECONDS = 10;
/** A capture clock that is further off than this has been set anew: another device, or the machine slept. */
const JUMP_US = 1_000_000n;

export class EpochClock {
  /** Epoch minus capture clock: the least of each of the last seconds, the newest at the end. */
  private leasts: bigint[] = [];
  private offsetUs: bigint | undefined;
  private secondEndsUs = 0n;
  private lastUs = -1n;

  /** What was captured at `captureUs` is here; it is `nowEpochUs` now. */
  observe(captureUs: number, nowEpochUs: bigint): void {
    const offset = nowEpochUs - BigInt(Math.round(captureUs));
    const apart = offset - (this.offsetUs ?? offset);
    if (apart > JUMP_US || apart < -JUMP_US) this.leasts = [];
    const newest = this.leasts.length - 1;
    const least = this.leasts[newest];
    if (least === undefined || nowEpochUs >= this.secondEndsUs) {
      this.leasts.push(offset);
      if (this.leasts.length > SECONDS) this.leasts.shift();
      this.secondEndsUs = nowEpochUs + SECOND_US;
    } else if (offset < least) {
      this.leasts[newest] = offset;
    }
    // The second that is under way may have had late frames alone until now.
    const known = this.leasts.length > 1 ? this.leasts.slice(0, -1) : this.leasts;
    const sorted = [...known].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
    this.offsetUs = sorted[sorted.length >> 1];
  }

  /** `captureUs` as microseconds since the epoch; later at each call than at the one before. */
  toEpochUs(captureUs: number): bigint {
    const at = BigInt(Math.round(captureUs)) + (this.offsetUs ?? 0n);
    this.lastUs = at > this.lastUs ? at : this.lastUs + 1n;
    return this.lastUs;
  }

  /** How much longer than the quickest it took from the sensor to here, in microseconds. */
  ageUs(captureUs: number, nowEpochUs: bigint): bigint {
    return nowEpochUs - BigInt(Math.round(captureUs)) - (this.offsetUs ?? 0n);
  }
}

/** Microseconds since the epoch by the clock that does not go back while this page lives. */
export function epochNowUs(): bigint {
  return BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000));
}
