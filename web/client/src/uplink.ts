// How much a publisher may send (DESIGN section 5). In: what is unsent, what waits on the way, what is lost, and the time. Out: the bitrate
// to encode at. Falls at once and rises slowly, most slowly near where it fell last. Pure: never touches an encoder or a stream.

/** Unsent for longer than this, a group is worth nothing to a conversation: abort it and start at a key frame. */
export const BACKLOG_MAX_MS = 300;
/** Above this the uplink carries less than is sent; it is a third of what people take for delay. */
const QUEUE_HIGH_MS = 100;
/** A queue that long will take a second to be gone. */
const QUEUE_LONG_MS = 250;
/** Below this the path carries what is sent. */
const QUEUE_CALM_MS = 40;
/** Loss that a full queue makes, and what a radio loses without being full. */
const LOSS_HIGH = 0.1;
const LOSS_CALM = 0.03;
const GIVEN_UP_FACTOR = 0.6;
const LONG_FACTOR = 0.7;
const LOWER_FACTOR = 0.85;
/** A lowering shows after a round trip and a frame or two; a queue that is falling is being dealt with. */
const LOWER_INTERVAL_MS = 500;
const FALLING = 0.8;
const RAISE_FACTOR = 1.08;
const RAISE_INTERVAL_MS = 1000;
/** Close to where it went wrong, steps are small, for so long. */
const KNEE = 0.9;
const KNEE_RAISE_FACTOR = 1.03;
const KNEE_INTERVAL_MS = 2000;
const KNEE_REMEMBERED_MS = 20_000;
/** What was sent, and a little: an encoder that needs less than it may is not slowed by being allowed a little less. */
const SENT_FACTOR = 1.1;
/** But what was sent for a moment is not everything. */
const SENT_SHARE_MIN = 0.4;
/** Pictures below this bitrate help nobody. */
const BITRATE_MIN = 100_000;

export interface UplinkSigns {
  /** Milliseconds for which the oldest frame is unsent here. */
  backlogMs: number;
  /** Milliseconds that what is sent waits on the way. */
  queueMs: number;
  /** 0 to 1. */
  loss: number;
  /** Bits per second that went out lately; 0: not known. */
  sent: number;
  /** What the other side thinks that the path carries, in bits per second; 0: not known. It may not have been put to the test. */
  available: number;
}

export class UplinkRate {
  /** Bits per second to encode at. */
  bitrate: number;
  private readonly bitrateMax: number;
  private readonly bitrateMin: number;
  private changedAtMs = -Infinity;
  private calmSinceMs = Infinity;
  private queueAtChangeMs = 0;
  private knee = { bitrate: Infinity, atMs: -Infinity };

  constructor(bitrateMax: number) {
    this.bitrateMax = bitrateMax;
    this.bitrateMin = Math.min(BITRATE_MIN, bitrateMax);
    this.bitrate = bitrateMax;
  }

  get isLimited(): boolean {
    return this.bitrate < this.bitrateMax;
  }

  /** A group was given up. `sent` as in the signs. */
  givenUp(nowMs: number, sent = 0): void {
    this.lower(nowMs, this.used(sent) * GIVEN_UP_FACTOR, BACKLOG_MAX_MS);
  }

  /** Looks at the path; returns whether the bitrate is another now. */
  sample(nowMs: number, { backlogMs, queueMs, loss, sent, available }: UplinkSigns): boolean {
    const waitMs = Math.max(backlogMs, queueMs);
    if (waitMs > QUEUE_CALM_MS || loss > LOSS_CALM) this.calmSinceMs = Infinity;
    else this.calmSinceMs = Math.min(this.calmSinceMs, nowMs);
    if (waitMs > QUEUE_HIGH_MS || loss > LOSS_HIGH) {
      const early = nowMs - this.changedAtMs < LOWER_INTERVAL_MS;
      const isFalling = loss <= LOSS_HIGH && waitMs < this.queueAtChangeMs * FALLING;
      if (early || isFalling || this.bitrate <= this.bitrateMin) return false;
      const lowered = this.used(sent) * (waitMs > QUEUE_LONG_MS ? LONG_FACTOR : LOWER_FACTOR);
      // By itself the other side's figure proves nothing, for it measures what it sends; beside a queue it is worth believing.
      this.lower(nowMs, available > 0 ? Math.min(lowered, Math.max(available, lowered * LONG_FACTOR)) : lowered, waitMs);
      return true;
    }
    return this.raise(nowMs);
  }

  /** Of the bitrate, what is really made use of. */
  private used(sent: number): number {
    return sent > 0 ? Math.min(this.bitrate, Math.max(this.bitrate * SENT_SHARE_MIN, sent * SENT_FACTOR)) : this.bitrate;
  }

  private lower(nowMs: number, bitrate: number, waitMs: number): void {
    this.knee = { bitrate: this.bitrate, atMs: nowMs };
    this.bitrate = Math.max(this.bitrateMin, Math.round(bitrate));
    this.changedAtMs = nowMs;
    this.calmSinceMs = Infinity;
    this.queueAtChangeMs = waitMs;
  }

  private raise(nowMs: number): boolean {
    if (this.bitrate >= this.bitrateMax) return false;
    const nearKnee = this.bitrate >= this.knee.bitrate * KNEE && nowMs - this.knee.atMs < KNEE_REMEMBERED_MS;
    const intervalMs = nearKnee ? KNEE_INTERVAL_MS : RAISE_INTERVAL_MS;
    if (nowMs - Math.max(this.changedAtMs, this.calmSinceMs) < intervalMs) return false;
    this.bitrate = Math.min(this.bitrateMax, Math.round(this.bitrate * (nearKnee ? KNEE_RAISE_FACTOR : RAISE_FACTOR)));
    this.changedAtMs = nowMs;
    this.queueAtChangeMs = 0;
    return true;
  }
}
