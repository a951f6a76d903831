// When the samples that a decoder gives out were captured. In: packets as they are handed to a decoder of sound, what comes out. Out: the
// packet that an output belongs to. Pure. A decoder gives only the first packet's timestamp back and counts samples from there (Chromium
// does): behind a pause, a mute or a loss its times are wrong by as much as was left out, and pictures would wait for sound of long ago.

/** So long after a packet all that a decoder had was given out: what is still remembered of it gave nothing. */
const THROUGH_MS = 500;

/** What is remembered of a packet inside the decoder. */
export interface PacketInside {
  /** Microseconds, by the publisher's clock. */
  captureUs: number;
  /** A packet before it was lost on the way. */
  afterLoss: boolean;
}

export class PacketTimes {
  private inside: PacketInside[] = [];
  private fedAtMs = -Infinity;
  private readonly packetsMax: number;

  /** `packetsMax`: more are never inside a decoder. */
  constructor(packetsMax: number) {
    this.packetsMax = packetsMax;
  }

  /** A packet goes into the decoder. */
  fed(nowMs: number, packet: PacketInside): void {
    if (nowMs - this.fedAtMs > THROUGH_MS) this.inside = [];
    this.fedAtMs = nowMs;
    this.inside.push(packet);
    if (this.inside.length > this.packetsMax) this.inside.shift();
  }

  /** The samples of a packet came out: which one. Packets come out in their order, each at once. */
  given(): PacketInside | undefined {
    return this.inside.shift();
  }

  /** Another decoder: what the one before had is lost. */
  clear(): void {
    this.inside = [];
  }
}
