// Notices that a track which should give pictures gives none. In: that a picture came, and looks at the clock. Out: whether pictures are
// missing, and when to say so. Pure. A browser's MediaStreamTrackProcessor may fall silent where the track itself plays on: Chromium counts the
// frames of a camera that scripts hold, among them those in queues that nobody reads any more, and hands out none beyond a few.

/** A look counts for so long at most: what came while this thread stood still is read before the next one. */
const LOOK_MS_MAX = 250;
/** Until the first picture. Some cameras take longer; so it is a reason to look at another way, not to take it. */
export const FIRST_WITHIN_MS = 400;
/** Between two pictures: a camera in the dark gives five a second. */
export const NEXT_WITHIN_MS = 2000;
/** Said again after this, for the track may have been muted or turned off when it was said before. */
export const SAY_INTERVAL_MS = 1000;

/** What a `MediaStreamTrack` says of itself. */
export interface TrackState {
  readonly readyState: "live" | "ended";
  readonly enabled: boolean;
  readonly muted: boolean;
}

/** Whether pictures are to be expected of a track. */
export function shouldGivePictures({ readyState, enabled, muted }: TrackState): boolean {
  return readyState === "live" && enabled && !muted;
}

export class FrameWatch {
  private readonly mayStandStill: boolean;
  private readonly isSuspect: boolean;
  private hasBegun = false;
  private lookedAtMs: number | undefined;
  /** Without a picture, as far as looks tell. */
  private dryMs = 0;
  private sayAtMs = 0;

  /** `mayStandStill`: pictures may stay away behind the first, as those of a screen do. `isSuspect`: another track's did, so this one's are missed at once. */
  constructor(mayStandStill: boolean, isSuspect: boolean) {
    this.mayStandStill = mayStandStill;
    this.isSuspect = isSuspect;
  }

  /** A picture came. */
  frame(): void {
    this.hasBegun = true;
    this.dryMs = 0;
    this.sayAtMs = 0;
  }

  /** Looks several times a second; `true`: pictures are missing, and it is time to say so. */
  look(nowMs: number): boolean {
    this.dryMs += Math.min(LOOK_MS_MAX, nowMs - (this.lookedAtMs ?? nowMs));
    this.lookedAtMs = nowMs;
    if (!this.isMissing || this.dryMs < this.sayAtMs) return false;
    this.sayAtMs = this.dryMs + SAY_INTERVAL_MS;
    return true;
  }

  get isMissing(): boolean {
    if (!this.hasBegun) return this.isSuspect || this.dryMs >= FIRST_WITHIN_MS;
    return !this.mayStandStill && this.dryMs >= NEXT_WITHIN_MS;
  }

  /** What is missing, for a log. */
  get reason(): string {
    const why = !this.hasBegun && this.isSuspect ? "as of another track before" : `for ${Math.round(this.dryMs)} ms`;
    return `no ${this.hasBegun ? "further" : "first"} picture from the track's processor, ${why}`;
  }
}
