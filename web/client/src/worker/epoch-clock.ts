// Turns the capture clock's timestamps (microseconds from anywhere) into microseconds since the epoch.

export class EpochClock {
  private offsetUs: bigint | undefined;

  toEpochUs(captureUs: number): bigint {
    const capture = BigInt(Math.round(captureUs));
    this.offsetUs ??= BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) - capture;
    return capture + this.offsetUs;
  }
}
