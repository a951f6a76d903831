// When the samples inside an encoded packet were heard. In: samples as they are handed to an encoder, with their time; what the encoder
// calls its packets. Out: the packet's time. Pure. An encoder counts samples from the first one on and looks at no time after that: what a
// device left out or gave twice would shift the sound against the picture for good.

/** Blocks of samples that are remembered: more than an encoder holds. */
const BLOCKS_MAX = 64;
/** An encoder whose count is this far from ours has begun to count anew. */
const APART_US = 500_000;
const PACKET_US = 20_000;

export class SampleClock {
  private readonly blocks: { positionUs: number; epochUs: bigint }[] = [];
  private fedUs = 0;
  private anchorUs: number | undefined;

  /** `frames` samples at `sampleRate`, the first of them heard at `epochUs`, go into the encoder. */
  feed(epochUs: bigint, frames: number, sampleRate: number): void {
    this.blocks.push({ positionUs: this.fedUs, epochUs });
    if (this.blocks.length > BLOCKS_MAX) this.blocks.shift();
    this.fedUs += (frames * 1_000_000) / sampleRate;
  }

  /** When the packet was heard that the encoder says is of `packetUs`, by its own count. */
  at(packetUs: number): bigint {
    this.anchorUs ??= packetUs;
    let positionUs = packetUs - this.anchorUs;
    if (positionUs > this.fedUs || positionUs < this.fedUs - APART_US) {
      positionUs = Math.max(0, this.fedUs - PACKET_US);
      this.anchorUs = packetUs - positionUs;
    }
    let found = this.blocks[0] ?? { positionUs, epochUs: 0n };
    for (const block of this.blocks) if (block.positionUs <= positionUs) found = block;
    return found.epochUs + BigInt(Math.round(positionUs - found.positionUs));
  }
}
