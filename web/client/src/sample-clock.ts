// When the samples inside an encoded packet were heard. In: samples as they are handed to an encoder, with their time; what the encoder
// calls its packets, as they come out. Out: the packet's time. Pure. An encoder's own count is worth little: it looks at no time after the
// first, so what a device left out is missing, and Chromium's does not count the packets that it leaves out in silence. But a packet comes out
// when its last sample has gone in, or later; so its count is believed as far as it agrees with that.

/** Blocks of samples that are remembered: more than an encoder holds. */
const BLOCKS_MAX = 64;
const PACKET_US = 20_000;
/** No packet for so long is silence; the one that ends it is fresh. */
const SILENCE_US = 60_000;
/** So many packets in a row that all come late show packets left out before them; one by itself, a machine that was busy. */
const LATE_PACKETS = 8;
const LATE_US = 15_000;

export class SampleClock {
  private readonly blocks: { positionUs: number; epochUs: bigint }[] = [];
  private fedUs = 0;
  private fedAtLastUs = 0;
  /** What the encoder calls the first sample. */
  private anchorUs: number | undefined;
  private lateness: number[] = [];
  private lastUs = -1n;

  /** `frames` samples at `sampleRate`, the first of them heard at `epochUs`, go into the encoder. */
  feed(epochUs: bigint, frames: number, sampleRate: number): void {
    this.blocks.push({ positionUs: this.fedUs, epochUs });
    if (this.blocks.length > BLOCKS_MAX) this.blocks.shift();
    this.fedUs += (frames * 1_000_000) / sampleRate;
  }

  /** When the packet was heard that comes out now and that the encoder says is of `packetUs`. Later at each call than at the one before. */
  at(packetUs: number): bigint {
    const newestUs = Math.max(0, this.fedUs - PACKET_US);
    const isAfterSilence = this.fedUs - this.fedAtLastUs >= SILENCE_US + PACKET_US;
    this.fedAtLastUs = this.fedUs;
    if (this.anchorUs === undefined) this.anchorUs = packetUs;
    else if (isAfterSilence) this.shift(newestUs - (packetUs - this.anchorUs));
    const lateUs = newestUs - (packetUs - this.anchorUs);
    this.lateness.push(lateUs);
    const leastUs = Math.min(...this.lateness);
    if (lateUs < 0) this.shift(lateUs);
    else if (this.lateness.length >= LATE_PACKETS && leastUs >= LATE_US) this.shift(leastUs);
    else if (this.lateness.length >= LATE_PACKETS) this.lateness.shift();
    const at = this.timeOf(packetUs - this.anchorUs);
    this.lastUs = at > this.lastUs ? at : this.lastUs + 1n;
    return this.lastUs;
  }

  /** Packets are of that much later samples than was thought. */
  private shift(byUs: number): void {
    this.anchorUs = (this.anchorUs ?? 0) - byUs;
    this.lateness = [];
  }

  private timeOf(positionUs: number): bigint {
    let found = this.blocks[0] ?? { positionUs, epochUs: 0n };
    for (const block of this.blocks) if (block.positionUs <= positionUs) found = block;
    return found.epochUs + BigInt(Math.round(positionUs - found.positionUs));
  }
}
