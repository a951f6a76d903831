// Turns a capture clock's timestamps (microseconds from anywhere) into microseconds since the epoch. In: timestamps and the time at which
// they were handed over. Out: the epoch's. Pure. The frame that took least time from the sensor to here, of those lately, says where the
// capture clock stands: the first frames after a start come late, and sound and picture would be apart by that for good.

/** Over so long the quickest frame is looked for; long enough for one, short enough to follow clocks that drift. */
const WINDOW_US = 10_000_000n;
/** A capture clock that is further off than this has been set anew: another device, or the machine slept. */
const JUMP_US = 1_000_000n;

export class EpochClock {
  /** Epoch minus capture clock: least of this window and of the one before. */
  private least: bigint | undefined;
  private leastBefore: bigint | undefined;
  private windowEndsUs = 0n;
  private lastUs = -1n;

  /** What was captured at `captureUs` is here; it is `nowEpochUs` now. */
  observe(captureUs: number, nowEpochUs: bigint): void {
    const offset = nowEpochUs - BigInt(Math.round(captureUs));
    if (this.least === undefined || offset - this.best() > JUMP_US || this.best() - offset > JUMP_US) {
      this.least = offset;
      this.leastBefore = offset;
      this.windowEndsUs = nowEpochUs + WINDOW_US;
    } else if (nowEpochUs >= this.windowEndsUs) {
      this.leastBefore = this.least;
      this.least = offset;
      this.windowEndsUs = nowEpochUs + WINDOW_US;
    } else if (offset < this.least) {
      this.least = offset;
    }
  }

  /** `captureUs` as microseconds since the epoch; later at each call than at the one before. */
  toEpochUs(captureUs: number): bigint {
    const at = BigInt(Math.round(captureUs)) + this.best();
    this.lastUs = at > this.lastUs ? at : this.lastUs + 1n;
    return this.lastUs;
  }

  /** How much longer than the quickest it took from the sensor to here, in microseconds. */
  ageUs(captureUs: number, nowEpochUs: bigint): bigint {
    return nowEpochUs - BigInt(Math.round(captureUs)) - this.best();
  }

  private best(): bigint {
    const { least = 0n, leastBefore = 0n } = this;
    return least < leastBefore ? least : leastBefore;
  }
}

/** Microseconds since the epoch by the clock that does not go back while this page lives. */
export function epochNowUs(): bigint {
  return BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000));
}
