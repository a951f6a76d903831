// Gives out turns on the uplink: sound at once, pieces of pictures at a pace, in the order in which they ask. In: bytes about to be sent.
// Out: when they may be. One for everything that this participant publishes. Never sees what it lets pass.

import { Pacer } from "../pacer.ts";

/** What a writer needs of it. */
export interface Turns {
  /** How much of a picture goes in one turn. */
  readonly pieceBytes: number;
  /** Sound goes now; what it takes is the pictures'. */
  sound(bytes: number): void;
  /** Resolves when a piece of so many bytes may go. */
  turn(bytes: number): Promise<void>;
}

export class UplinkTurns implements Turns {
  private readonly pacer: Pacer;
  private readonly waiting: { bytes: number; go: () => void }[] = [];
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(rate: number) {
    this.pacer = new Pacer(rate);
  }

  get pieceBytes(): number {
    return this.pacer.pieceBytes;
  }

  setRate(rate: number): void {
    this.pacer.setRate(rate);
  }

  sound(bytes: number): void {
    this.pacer.spend(performance.now(), bytes);
  }

  turn(bytes: number): Promise<void> {
    return new Promise((go) => {
      this.waiting.push({ bytes, go });
      if (this.timer === undefined) this.next();
    });
  }

  private next(): void {
    this.timer = undefined;
    for (let first = this.waiting[0]; first !== undefined; first = this.waiting[0]) {
      const nowMs = performance.now();
      const waitMs = this.pacer.waitMs(nowMs);
      if (waitMs > 0) {
        this.timer = setTimeout(() => this.next(), waitMs);
        return;
      }
      this.waiting.shift();
      this.pacer.spend(nowMs, first.bytes);
      first.go();
    }
  }
}
