// How a publisher keeps its uplink fresh (DESIGN section 5). In: what is unsent and the time. Out: whether the group must be
// given up, and which bitrate to encode at. Never touches an encoder or a stream.

/** Unsent for longer than this, a group is worth nothing to a conversation: abort it and start at a key frame. */
export const BACKLOG_MAX_MS = 300;
/** Below this the path carries what is sent. */
const BACKLOG_CALM_MS = 60;
const LOWER_FACTOR = 0.7;
const RAISE_FACTOR = 1.08;
/** Between two raises; a lowering may follow at once. */
const RAISE_INTERVAL_MS = 2000;
/** Pictures below this bitrate help nobody. */
const BITRATE_MIN = 100_000;

export class UplinkRate {
  bitrate: number;
  private readonly bitrateMax: number;
  private changedAtMs = 0;

  constructor(bitrateMax: number) {
    this.bitrateMax = bitrateMax;
    this.bitrate = bitrateMax;
  }

  /** The group was given up. */
  lower(nowMs: number): void {
    this.bitrate = Math.max(Math.min(BITRATE_MIN, this.bitrateMax), Math.round(this.bitrate * LOWER_FACTOR));
    this.changedAtMs = nowMs;
  }

  /** Returns whether the bitrate went up. */
  calm(nowMs: number, backlogMs: number): boolean {
    if (backlogMs > BACKLOG_CALM_MS || this.bitrate >= this.bitrateMax) return false;
    if (nowMs - this.changedAtMs < RAISE_INTERVAL_MS) return false;
    this.bitrate = Math.min(this.bitrateMax, Math.round(this.bitrate * RAISE_FACTOR));
    this.changedAtMs = nowMs;
    return true;
  }
}
