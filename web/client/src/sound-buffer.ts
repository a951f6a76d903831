// Sound between its uneven arrival and the loudspeaker's even beat, for one media stream. In: blocks of decoded samples with their capture
// times, the loudspeaker's time. Out: exactly as many samples as asked for, added to a mix. A moment of capture is heard as long after
// it as the slowest of nearly all arrivals needs (`JitterTarget`) and as pictures of the same participant need (`setWaits`). What is
// missing is filled with the sound before it, fading; what is too much or too little is cut out or repeated where the wave allows it.
// Bounded. All counts of samples are at 48 kHz.

import { JitterTarget } from "./jitter-target.ts";
import { bestLag, LAG_MAX, OVERLAP, peak } from "./splice.ts";

const PER_MS = 48;
/** Two Opus packets at least, for threads of a busy machine; more than the most, and people talk over one another. */
const TARGET = { minMs: 40, maxMs: 400, frameMs: 20 };
/** Blocks whose times differ from where the one before ended by less follow upon it: times are rounded, and clocks creep. */
const SEAM = 5 * PER_MS;
/** Played sound that is kept, to repeat it. */
const HISTORY = LAG_MAX + OVERLAP;
/** The longest that is held, whatever arrives in one burst. */
const HELD_MAX = 1000 * PER_MS;
/** A missing piece is filled for so long, fading; a hole beyond that is heard as silence. */
const CONCEALED_MAX = 40 * PER_MS;
/** 2.5 ms: short enough for a consonant, long enough not to click. */
const FADE = 120;
/** Off by less, nobody notices, and every correction is a small wound. */
const TOLERANCE = 20 * PER_MS;
/** Off by more, a hundred small corrections would be worse than one jump. */
const JUMP = 250 * PER_MS;
/** At most one correction in so long. */
const CORRECTION_INTERVAL = 40 * PER_MS;
/** Sound this far from what is held is of another clock: the publisher's was set, its machine slept, or a time is wrong. */
const CLOCK_JUMP = 2000 * PER_MS;
/** Quieter than this (-50 dB) a cut needs no matching wave, and a small error is mended too. */
const SILENCE = 0.003;
const TOLERANCE_IN_SILENCE = 5 * PER_MS;

interface Block {
  /** Capture time of the first sample and of the one behind the last, in samples. */
  start: number;
  end: number;
  channels: Float32Array[];
  /** Something between this and the block before was lost on the way. */
  afterLoss: boolean;
}

/** What became of the sound, from the start. */
export interface SoundCounts {
  /** Interruptions of sound that the publisher sent: lost, or too late. Silence that was not sent is none. */
  gaps: number;
  /** Filled or silent for want of sound that was sent. */
  gapSamples: number;
  /** Came after its moment, or fell out of a full buffer. */
  droppedSamples: number;
}

export class SoundBuffer {
  readonly counts: SoundCounts = { gaps: 0, gapSamples: 0, droppedSamples: 0 };
  private readonly jitter = new JitterTarget(TARGET);
  private blocks: Block[] = [];
  /** Capture time of the next sample; what lies before was heard. */
  private position = -Infinity;
  private isHeard = false;
  private waitsMs = 0;
  private sinceCorrection = 0;
  private crossing: { to: number; left: number; length: number } | undefined;
  /** Repeats the last period while something is missing. */
  private fill: { loop: Float32Array[]; given: number } | undefined;
  private fadeIn = 0;
  /** Where sound was missing that may yet turn out to have been sent. */
  private gapFrom: number | undefined;

  get targetMs(): number {
    return this.jitter.targetMs;
  }

  /** Neither heard nor held. */
  get isIdle(): boolean {
    return !this.isHeard && this.blocks.every((block) => block.end <= this.position);
  }

  /** Not yet heard. */
  get heldMs(): number {
    return this.blocks.reduce((sum, block) => sum + Math.max(0, block.end - Math.max(block.start, this.position)), 0) / PER_MS;
  }

  /** Capture time of the next sample in milliseconds; `undefined` while nothing is heard. */
  get heardMs(): number | undefined {
    return this.isHeard ? this.position / PER_MS : undefined;
  }

  /** Pictures of the same participant take so much longer. */
  setWaits(waitsMs: number): void {
    this.waitsMs = waitsMs;
  }

  /** One or two channels of equal length, captured from `captureMs` on. */
  push(nowMs: number, captureMs: number, channels: Float32Array[], afterLoss = false): void {
    const length = channels[0]?.length ?? 0;
    if (length === 0) return;
    if (!Number.isFinite(captureMs)) return;
    if (this.isOfAnotherClock(captureMs * PER_MS)) this.startOver();
    this.jitter.arrived(nowMs, captureMs);
    const start = this.seam(Math.round(captureMs * PER_MS));
    const block = { start, end: start + length, channels, afterLoss };
    if (this.gapFrom !== undefined && start <= this.gapFrom + SEAM && block.end > this.gapFrom) this.missed(this.position - this.gapFrom);
    const last = this.blocks[this.blocks.length - 1];
    if (block.end <= this.position || (last !== undefined && block.end <= last.end)) {
      this.counts.droppedSamples += length;
      return;
    }
    this.blocks.push(block);
    while (this.blocks.length > 1 && block.end - (this.blocks[0]?.start ?? 0) > HELD_MAX) this.dropOldest();
  }

  /** The publisher is gone: what is held is not heard any more. */
  end(): void {
    this.blocks = this.blocks.filter((block) => block.start < this.position);
    for (const block of this.blocks) block.end = Math.min(block.end, this.position);
  }

  /** Adds the next samples to `out` (mono goes to every channel); `nowMs` is the loudspeaker's time of the first of them. */
  mixInto(nowMs: number, out: Float32Array[]): void {
    const length = out[0]?.length ?? 0;
    const dueMs = this.jitter.baseMs;
    if (dueMs === undefined) return;
    const wanted = Math.round((nowMs - dueMs - this.jitter.targetMs - this.waitsMs) * PER_MS);
    if (!this.isHeard && !this.begin(wanted, length)) return;
    this.sinceCorrection += length;
    this.correct(wanted - this.position);
    let at = 0;
    while (at < length && this.isHeard) at += this.step(out, at, length - at);
    this.forgetHeard();
  }

  /** A pause puts sound far ahead of what was heard last; only what still is held says that the clock is another. Back is always another. */
  private isOfAnotherClock(start: number): boolean {
    const last = this.blocks[this.blocks.length - 1];
    const isAhead = last !== undefined && last.end > this.position && start - last.end > CLOCK_JUMP;
    return isAhead || this.position - start > CLOCK_JUMP;
  }

  /** Nothing that was heard or measured says anything of what comes; without this all of it would be too late, or everything after it. */
  private startOver(): void {
    while (this.blocks.length > 0) this.dropOldest();
    this.jitter.forget();
    this.position = -Infinity;
    this.isHeard = false;
    this.crossing = undefined;
    this.fill = undefined;
    this.gapFrom = undefined;
  }

  /** Times of blocks that follow upon one another are made to meet. */
  private seam(start: number): number {
    const last = this.blocks[this.blocks.length - 1];
    return last !== undefined && Math.abs(start - last.end) <= SEAM ? last.end : start;
  }

  private begin(wanted: number, length: number): boolean {
    const from = Math.max(wanted, this.position);
    if (from >= wanted + length) return false;
    for (;;) {
      const [first] = this.blocks;
      if (first === undefined || first.start >= wanted + length) return false;
      if (first.end > from) {
        if (first.afterLoss) this.missed(0);
        this.position = Math.max(from, first.start);
        this.isHeard = true;
        this.fadeIn = FADE;
        this.gapFrom = undefined;
        return true;
      }
      this.dropOldest();
    }
  }

  private step(out: Float32Array[], at: number, most: number): number {
    if (this.crossing !== undefined) return this.cross(this.crossing, out, at, most);
    const run = Math.min(most, this.available(this.position));
    if (run === 0) return this.conceal(out, at, most);
    this.resume(run);
    if (this.fadeIn === 0) {
      this.play(out, at, run);
    } else {
      const samples = this.read(this.position, run, out.length);
      this.fadeInto(samples);
      add(out, at, samples);
    }
    this.position += run;
    return run;
  }

  /** The usual case, without a copy. */
  private play(out: Float32Array[], at: number, run: number): void {
    for (const { start, end, channels } of this.blocks) {
      const from = Math.max(this.position, start);
      const to = Math.min(this.position + run, end);
      for (let channel = 0; from < to && channel < out.length; channel += 1) {
        const source = channels[Math.min(channel, channels.length - 1)];
        const target = out[channel];
        if (source === undefined || target === undefined) continue;
        const shift = at + from - this.position;
        for (let index = 0; index < to - from; index += 1) {
          target[shift + index] = (target[shift + index] ?? 0) + (source[from - start + index] ?? 0);
        }
      }
    }
  }

  /** Sound goes on behind a gap. */
  private resume(run: number): void {
    if (this.fill === undefined && this.gapFrom === undefined) return;
    const block = this.blockAt(this.position);
    if (this.gapFrom !== undefined && block?.afterLoss === true) this.missed(this.position - this.gapFrom);
    this.gapFrom = undefined;
    this.fadeIn = Math.min(FADE, Math.max(run, 1));
  }

  /** Behind silence or a fill, sound comes in softly, and the fill goes out under it. */
  private fadeInto(samples: Float32Array[]): void {
    const { fill } = this;
    if (this.fadeIn === 0) return;
    const length = Math.min(this.fadeIn, samples[0]?.length ?? 0);
    const total = this.fadeIn;
    for (let index = 0; index < length; index += 1) {
      const share = (index + 1) / total;
      for (const [channel, target] of samples.entries()) {
        const under = fill === undefined ? 0 : filled(fill.loop, channel, fill.given + index);
        target[index] = (target[index] ?? 0) * share + under * (1 - share);
      }
    }
    this.fadeIn = 0;
    this.fill = undefined;
  }

  /** Nothing is there at the position: repeats what was before it, fading, until it is silence. */
  private conceal(out: Float32Array[], at: number, most: number): number {
    this.gapFrom ??= this.position;
    this.fill ??= { loop: this.lastPeriod(out.length), given: 0 };
    const { fill } = this;
    const next = this.blocks.find((block) => block.start > this.position);
    const run = Math.min(most, next === undefined ? most : next.start - this.position);
    const length = Math.min(run, CONCEALED_MAX - fill.given);
    if (length <= 0) {
      // Silence from here on; the loudspeaker's time decides when sound is heard again.
      this.isHeard = false;
      this.fill = undefined;
      return 0;
    }
    for (const [channel, target] of out.entries()) {
      for (let index = 0; index < length; index += 1) {
        target[at + index] = (target[at + index] ?? 0) + filled(fill.loop, channel, fill.given + index);
      }
    }
    fill.given += length;
    this.position += length;
    return length;
  }

  private cross(crossing: { to: number; left: number; length: number }, out: Float32Array[], at: number, most: number): number {
    const run = Math.min(most, crossing.left);
    const from = this.read(this.position, run, out.length);
    const to = this.read(crossing.to, run, out.length);
    for (const [channel, target] of from.entries()) {
      for (let index = 0; index < run; index += 1) {
        const share = (crossing.length - crossing.left + index + 1) / crossing.length;
        target[index] = (target[index] ?? 0) * (1 - share) + (to[channel]?.[index] ?? 0) * share;
      }
    }
    add(out, at, from);
    this.position += run;
    crossing.to += run;
    crossing.left -= run;
    if (crossing.left === 0) {
      this.position = crossing.to;
      this.crossing = undefined;
    }
    return run;
  }

  /** Brings the position nearer to where it should be; `off` above zero: it is behind. */
  private correct(off: number): void {
    if (this.crossing !== undefined || this.fill !== undefined || this.sinceCorrection < CORRECTION_INTERVAL) return;
    if (Math.abs(off) <= TOLERANCE_IN_SILENCE || this.available(this.position) < (off > 0 ? HISTORY : OVERLAP)) return;
    this.sinceCorrection = 0;
    const ahead = this.read(this.position, HISTORY, 1)[0];
    if (ahead === undefined) return;
    let shift: number | undefined;
    if (Math.abs(off) > JUMP) shift = off;
    else if (peak(ahead) < SILENCE) shift = off > 0 ? Math.min(off, LAG_MAX) : Math.max(off, -LAG_MAX);
    else if (off > TOLERANCE) shift = bestLag(ahead);
    else if (off < -TOLERANCE) shift = -this.lagBefore();
    if (shift === undefined || shift === 0) return;
    const to = this.position + shift;
    if (this.available(to) < OVERLAP) return;
    this.crossing = { to, left: OVERLAP, length: OVERLAP };
  }

  /** How far before the position the wave looks like the one that comes. */
  private lagBefore(): number {
    const from = this.position - LAG_MAX;
    const around = this.read(from, LAG_MAX + OVERLAP, 1)[0]?.reverse();
    return around === undefined ? 0 : bestLag(around);
  }

  /** The last period before the position, which goes on in itself. */
  private lastPeriod(channels: number): Float32Array[] {
    const before = this.read(this.position - HISTORY, HISTORY, channels);
    const [first] = before;
    if (first === undefined) return [];
    const lag = bestLag(first.slice().reverse());
    return before.map((samples) => samples.slice(HISTORY - lag));
  }

  private missed(samples: number): void {
    this.counts.gaps += 1;
    this.counts.gapSamples += Math.max(0, samples);
    this.gapFrom = undefined;
  }

  private blockAt(position: number): Block | undefined {
    return this.blocks.find((block) => block.start <= position && position < block.end);
  }

  /** Samples without a hole from `position` on, as far as anybody asks. */
  private available(position: number): number {
    let end = position;
    for (const block of this.blocks) if (block.start <= end && block.end > end) end = block.end;
    return end - position;
  }

  /** Samples from `position` on; zero where there are none. */
  private read(position: number, length: number, channels: number): Float32Array[] {
    const out = Array.from({ length: channels }, () => new Float32Array(length));
    for (const { start, end, channels: sources } of this.blocks) {
      const from = Math.max(position, start);
      const to = Math.min(position + length, end);
      if (from >= to) continue;
      for (const [channel, target] of out.entries()) {
        const source = sources[Math.min(channel, sources.length - 1)];
        if (source !== undefined) target.set(source.subarray(from - start, to - start), from - position);
      }
    }
    return out;
  }

  private dropOldest(): void {
    const oldest = this.blocks.shift();
    if (oldest !== undefined) this.counts.droppedSamples += Math.max(0, oldest.end - Math.max(oldest.start, this.position));
  }

  private forgetHeard(): void {
    while ((this.blocks[0]?.end ?? Infinity) < this.position - HISTORY) this.blocks.shift();
  }
}

function filled(loop: Float32Array[], channel: number, given: number): number {
  const samples = loop[channel];
  if (samples === undefined || samples.length === 0) return 0;
  return (samples[given % samples.length] ?? 0) * Math.max(0, 1 - given / CONCEALED_MAX);
}

function add(out: Float32Array[], at: number, samples: Float32Array[]): void {
  for (const [channel, target] of out.entries()) {
    const source = samples[channel];
    if (source === undefined) continue;
    for (let index = 0; index < source.length; index += 1) target[at + index] = (target[at + index] ?? 0) + (source[index] ?? 0);
  }
}
