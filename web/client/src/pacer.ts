// When the next piece of a picture may go out, so that sound never waits behind one (DESIGN section 5). In: bytes and the time. Out: how
// long to wait, and how large a piece is. Sound never waits, and what it takes is the pictures'. Pure.

/** A packet of sound comes each 20 ms; a piece that takes no longer keeps it waiting for one at most. */
const PIECE_MS = 20;
/** A piece is a packet at least, and no more than QUIC takes in one go. */
const PIECE_BYTES_MIN = 1200;
const PIECE_BYTES_MAX = 16 * 1024;
/** Pieces go this much before their time: timers are no finer. */
const SLACK_MS = 4;

export class Pacer {
  private rate: number;
  private freeAtMs = -Infinity;

  /** Bits per second. */
  constructor(rate: number) {
    this.rate = rate;
  }

  setRate(rate: number): void {
    this.rate = rate;
  }

  get pieceBytes(): number {
    const bytes = Math.floor((this.rate / 8) * (PIECE_MS / 1000));
    return Math.min(PIECE_BYTES_MAX, Math.max(PIECE_BYTES_MIN, bytes));
  }

  /** For how long the next piece has to wait; 0: it may go. */
  waitMs(nowMs: number): number {
    return Math.max(0, this.freeAtMs - SLACK_MS - nowMs);
  }

  /** So many bytes go now. */
  spend(nowMs: number, bytes: number): void {
    this.freeAtMs = Math.max(this.freeAtMs, nowMs) + (bytes * 8000) / this.rate;
  }
}
