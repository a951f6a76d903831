// Keeps the mix of many voices inside what a loudspeaker takes, softly: the gain goes down at once and comes back slowly. In: samples,
// changed in place. Out: none beyond full scale.

/** Just below full scale: a converter's filter overshoots a little. */
const CEILING = 0.97;
/** Of the way back to full gain, per block: a quantum of 128 samples at 48 kHz is 2.7 ms, so about half a second. */
const RELEASE = 0.005;

export class Limiter {
  private gain = 1;

  process(channels: Float32Array[]): void {
    let most = 0;
    for (const samples of channels) for (const sample of samples) most = Math.max(most, Math.abs(sample));
    const before = this.gain;
    const wanted = most * before > CEILING ? CEILING / most : before + (1 - before) * RELEASE;
    this.gain = wanted;
    if (before === 1 && wanted === 1) return;
    const length = channels[0]?.length ?? 0;
    for (const samples of channels) {
      for (let index = 0; index < length; index += 1) {
        // Along the block, so that no step is heard; the rest of a sudden peak is cut.
        const gain = before + ((wanted - before) * (index + 1)) / length;
        samples[index] = Math.min(1, Math.max(-1, (samples[index] ?? 0) * gain));
      }
    }
    if (1 - this.gain < 1e-4) this.gain = 1;
  }
}
