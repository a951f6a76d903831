// How long to hold what arrives unevenly, for one media stream: the 95th percentile of the arrivals' spread and one frame. In: when each
// frame was captured (by the publisher's clock) and when it arrived (by ours). Out: what the fastest way takes, as far as those clocks go
// together, and a target above it. The target goes up at once and comes down by a frame a second at most. Knows nothing of round trips.

/** Arrivals looked at: some ten seconds of pictures, five of sound. */
const ARRIVALS_MAX = 256;
/** The share of arrivals that the target covers. */
const COVERED = 0.95;
/** A fastest arrival that undercuts the one before by more is another way, or the end of catching up: what was measured against the old one is forgotten. */
const NEW_WAY_MS = 8;
/** Later than this is no jitter: the publisher's clock was set, or something stood still. */
const CLOCK_JUMP_MS = 1000;
/** So many arrivals in a row that no target covers: half a second of sound. From then on what they need is the measure. */
const ARRIVALS_LATE = 25;
/** The percentile is looked at again after so long at the latest; sooner when something came later than the target. */
const REVIEW_INTERVAL_MS = 250;
const DOWN_INTERVAL_MS = 1000;

export interface JitterBounds {
  minMs: number;
  maxMs: number;
  /** Assumed until two frames were seen. */
  frameMs: number;
}

export class JitterTarget {
  private readonly bounds: JitterBounds;
  /** Arrival minus capture, a ring. */
  private readonly transits = new Float64Array(ARRIVALS_MAX);
  private count = 0;
  private next = 0;
  private lateInARow = 0;
  private frame: number;
  private lastCaptureMs: number | undefined;
  private base: number | undefined;
  private target: number;
  private loweredAtMs: number | undefined;
  private reviewedAtMs = -Infinity;

  constructor(bounds: JitterBounds) {
    this.bounds = bounds;
    this.frame = bounds.frameMs;
    this.target = this.clamped(bounds.frameMs);
  }

  /** What lies between capture and the fastest arrival: the path, and the difference of two clocks. `undefined` before the first. */
  get baseMs(): number | undefined {
    return this.base;
  }

  /** To be held beyond the fastest arrival. */
  get targetMs(): number {
    return this.target;
  }

  /** When something captured then is to be given out, by the arrivals' clock; `undefined` before the first arrival. */
  dueMs(captureMs: number): number | undefined {
    return this.base === undefined ? undefined : captureMs + this.base + this.target;
  }

  arrived(nowMs: number, captureMs: number): void {
    this.measureFrame(captureMs);
    const transit = nowMs - captureMs;
    const { base } = this;
    if (base === undefined || transit < base - NEW_WAY_MS) this.forget();
    if (this.isOutOfTime(transit)) return;
    this.transits[this.next] = transit;
    this.next = (this.next + 1) % ARRIVALS_MAX;
    this.count = Math.min(ARRIVALS_MAX, this.count + 1);
    this.base = this.base === undefined ? transit : Math.min(this.base, transit);
    const isLate = transit > this.base + this.target;
    if (isLate || nowMs - this.reviewedAtMs >= REVIEW_INTERVAL_MS) this.review(nowMs);
  }

  /** Everything measured so far is of no use: the clock stood still, or the source is another. */
  forget(): void {
    this.count = 0;
    this.next = 0;
    this.lateInARow = 0;
    this.base = undefined;
    this.loweredAtMs = undefined;
  }

  /** Whether it is so late that it says nothing of jitter. What stays later than any target covers is the path as it is now. */
  private isOutOfTime(transit: number): boolean {
    const lateMs = this.base === undefined ? 0 : transit - this.base;
    this.lateInARow = lateMs > this.bounds.maxMs ? this.lateInARow + 1 : 0;
    if (this.lateInARow <= ARRIVALS_LATE) return lateMs > CLOCK_JUMP_MS;
    this.forget();
    return false;
  }

  private measureFrame(captureMs: number): void {
    const stepMs = captureMs - (this.lastCaptureMs ?? captureMs);
    this.lastCaptureMs = captureMs;
    // Gaps of silence, of pauses and of what was lost are no frames.
    if (stepMs > 0 && stepMs < 4 * this.frame) this.frame += (stepMs - this.frame) / 16;
  }

  private review(nowMs: number): void {
    this.reviewedAtMs = nowMs;
    const sorted = this.transits.slice(0, this.count).sort();
    const fastest = sorted[0] ?? 0;
    const covered = sorted[Math.ceil(this.count * COVERED) - 1] ?? fastest;
    this.base = fastest;
    const wanted = this.clamped(covered - fastest + this.frame);
    if (wanted >= this.target) {
      this.target = wanted;
      this.loweredAtMs = nowMs;
      return;
    }
    this.loweredAtMs ??= nowMs;
    if (nowMs - this.loweredAtMs < DOWN_INTERVAL_MS) return;
    this.loweredAtMs = nowMs;
    this.target = Math.max(wanted, this.target - this.frame);
  }

  private clamped(ms: number): number {
    return Math.min(this.bounds.maxMs, Math.max(this.bounds.minMs, ms));
  }
}
