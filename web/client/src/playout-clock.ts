// When the pictures of one participant are to be seen, so that they go with the sound. In: what the pictures need, which moment of the
// sound is heard when. Out: what to add to a capture time, and how much longer the sound has to wait for pictures that take longer.
// Sound leads: pictures follow it. All times are milliseconds; capture times are the publisher's, all others ours, and only differences
// within one participant are formed.

/** Sound that was not reported for so long is not heard: silence, a mute, a blocked loudspeaker. */
const SOUND_STALE_MS = 1500;
/** Pictures move along the clock by at most this share of the time that passes: sound is stretched and shortened about as fast. */
const SLEW = 0.25;
/** Beyond this a slow move would leave pictures and sound apart for seconds. */
const JUMP_MS = 500;
/** Pictures and sound of a participant whose clocks are further apart than this have not one clock: each goes by itself. */
const APART_MAX_MS = 1000;
/** How much of a new report counts; one report is off by what a quantum and a timer are. */
const SMOOTHING = 0.2;
/** A conversation suffers more from sound that waits longer than this than from pictures that follow it. */
export const SOUND_WAITS_MAX_MS = 200;
/** Sound is moved when it pays, and not before the last move is through. */
const WAIT_STEP_MS = 10;
const WAIT_INTERVAL_MS = 2000;

export class PlayoutClock {
  private sound: { offsetMs: number; atMs: number } | undefined;
  private offset: number | undefined;
  private movedAtMs = 0;
  private waits = 0;
  private waitsSetAtMs = -Infinity;

  /** The loudspeaker gives out at `heardMs` what was captured at `captureMs`. */
  heard(nowMs: number, captureMs: number, heardMs: number): void {
    const offsetMs = heardMs - captureMs;
    const before = this.soundOffset(nowMs);
    const isNear = before !== undefined && Math.abs(offsetMs - before) < JUMP_MS;
    this.sound = { offsetMs: isNear ? before + (offsetMs - before) * SMOOTHING : offsetMs, atMs: nowMs };
  }

  /** What lies between the capture and the hearing of sound; `undefined` while nothing is heard. */
  soundOffset(nowMs: number): number | undefined {
    return this.sound === undefined || nowMs - this.sound.atMs > SOUND_STALE_MS ? undefined : this.sound.offsetMs;
  }

  /**
   * What lies between the capture and the showing of a picture. `neededMs` is the least with which pictures come in time, by what is
   * known of them alone. To be asked for each picture.
   */
  pictureOffset(nowMs: number, neededMs: number): number {
    const soundMs = this.soundOffset(nowMs);
    const wanted = soundMs !== undefined && Math.abs(soundMs - neededMs) <= APART_MAX_MS ? soundMs : neededMs;
    const { offset } = this;
    const most = Math.max(0, nowMs - this.movedAtMs) * SLEW;
    this.movedAtMs = nowMs;
    if (offset === undefined || Math.abs(wanted - offset) > JUMP_MS) this.offset = wanted;
    else this.offset = offset + Math.min(most, Math.max(-most, wanted - offset));
    return this.offset ?? wanted;
  }

  /**
   * How much longer than on its own account sound has to wait, so that pictures which need `neededMs` are not behind it. `undefined`: there
   * are no pictures, and it waits for nothing.
   */
  soundWaits(nowMs: number, neededMs: number | undefined): number {
    const offset = this.soundOffset(nowMs);
    if (offset === undefined || nowMs - this.waitsSetAtMs < WAIT_INTERVAL_MS) return this.waits;
    if (neededMs !== undefined && Math.abs(offset - neededMs) > APART_MAX_MS) return this.waits;
    const wanted = neededMs === undefined ? 0 : Math.min(SOUND_WAITS_MAX_MS, Math.max(0, this.waits + neededMs - offset));
    if (Math.abs(wanted - this.waits) >= WAIT_STEP_MS) {
      this.waits = wanted;
      this.waitsSetAtMs = nowMs;
    }
    return this.waits;
  }
}
