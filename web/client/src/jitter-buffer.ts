// Sound between its irregular arrival and the loudspeaker's even beat, for one media stream.
// In: blocks of samples as they are decoded. Out: exactly as many samples as asked for, silence where there are none.
// Starts when the target is there, grows the target after it ran dry, drops the oldest when too much has piled up. Bounded.

const SAMPLE_RATE = 48_000;
const MS = SAMPLE_RATE / 1000;
/** Three Opus packets: what a quiet network needs. */
const TARGET_MIN = 60 * MS;
/** Later than this a conversation suffers more than from gaps. */
const TARGET_MAX = 200 * MS;
const TARGET_STEP = 20 * MS;
/** Above target plus this much the oldest sound is dropped, down to the target. */
const SLACK = 100 * MS;
/** After so long without running dry, the target shrinks by a step. */
const CALM = 10 * SAMPLE_RATE;
/** Never held longer than this, whatever arrives in one burst. */
const CAPACITY = 2 * SAMPLE_RATE;

export class JitterBuffer {
  /** Samples dropped because too many had piled up. */
  droppedSamples = 0;
  /** How often it ran dry. */
  underruns = 0;
  private blocks: Float32Array[][] = [];
  /** Samples of the first block that are used up. */
  private used = 0;
  private held = 0;
  private target = TARGET_MIN;
  private playing = false;
  private calm = 0;

  get heldSamples(): number {
    return this.held;
  }

  /** One or two channels of equal length. */
  push(channels: Float32Array[]): void {
    const length = channels[0]?.length ?? 0;
    if (length === 0) return;
    this.blocks.push(channels);
    this.held += length;
    const most = this.playing ? this.target + SLACK : CAPACITY;
    if (this.held > most) this.drop(this.held - this.target);
  }

  /** Adds the next samples to `out` (mono goes to every channel). */
  mixInto(out: Float32Array[]): void {
    const wanted = out[0]?.length ?? 0;
    if (!this.playing) {
      if (this.held < this.target) return;
      if (this.held > this.target + SLACK) this.drop(this.held - this.target);
      this.playing = true;
    }
    let at = 0;
    while (at < wanted) {
      const block = this.blocks[0];
      if (block === undefined) {
        this.ranDry();
        return;
      }
      const length = block[0]?.length ?? 0;
      const take = Math.min(length - this.used, wanted - at);
      for (let channel = 0; channel < out.length; channel += 1) {
        const source = block[Math.min(channel, block.length - 1)];
        const target = out[channel];
        if (source === undefined || target === undefined) continue;
        for (let index = 0; index < take; index += 1) {
          target[at + index] = (target[at + index] ?? 0) + (source[this.used + index] ?? 0);
        }
      }
      at += take;
      this.consume(take, length);
    }
    this.calm += wanted;
    if (this.calm >= CALM) {
      this.calm = 0;
      this.target = Math.max(TARGET_MIN, this.target - TARGET_STEP);
    }
  }

  private ranDry(): void {
    this.playing = false;
    this.underruns += 1;
    this.calm = 0;
    this.target = Math.min(TARGET_MAX, this.target + TARGET_STEP);
  }

  private drop(samples: number): void {
    this.droppedSamples += samples;
    let left = samples;
    while (left > 0) {
      const block = this.blocks[0];
      if (block === undefined) return;
      const length = block[0]?.length ?? 0;
      const take = Math.min(length - this.used, left);
      left -= take;
      this.consume(take, length);
    }
  }

  private consume(samples: number, blockLength: number): void {
    this.used += samples;
    this.held -= samples;
    if (this.used >= blockLength) {
      this.blocks.shift();
      this.used = 0;
    }
  }
}
