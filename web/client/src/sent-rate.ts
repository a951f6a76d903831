// How much is sent, in bits per second, over the last few seconds. In: a count of bytes that goes up, and the time. Out: the rate. Pure.

/** A key frame every two seconds is in it. */
const WINDOW_MS = 2000;
/** Over less than this a rate says nothing. */
const KNOWN_AFTER_MS = 1000;

export class SentRate {
  private samples: { atMs: number; bytes: number }[] = [];

  /** `bytes` so far; 0 before it is known. A count that fell began anew. */
  of(nowMs: number, bytes: number): number {
    const last = this.samples[this.samples.length - 1];
    if (last !== undefined && bytes < last.bytes) this.samples = [];
    this.samples.push({ atMs: nowMs, bytes });
    while (this.samples[1] !== undefined && nowMs - this.samples[1].atMs >= WINDOW_MS) this.samples.shift();
    const [first] = this.samples;
    if (first === undefined || nowMs - first.atMs < KNOWN_AFTER_MS) return 0;
    return ((bytes - first.bytes) * 8000) / (nowMs - first.atMs);
  }
}
