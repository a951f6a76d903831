// Puts the frames of one media stream in decoding order, although its groups arrive on streams that overtake one another.
// In: frames with the group they belong to, ends of groups, the time. Out: frames to decode, in order. A group is named by
// the sequence of its first frame. Never gives out an older group after a newer; a group that is late gives way. Where all groups are late
// for long, what they are late against was no sequence of this media stream: it begins anew.

/** What the order needs to know of a frame. */
export interface Ordered {
  sequence: bigint;
  lastSequence: bigint;
}

/**
 * Nothing but late frames for so long: begin anew with the next group. What two sessions bring twice while one takes the other's place is over
 * after one second.
 */
export const LATE_FOR_MS = 2000;
/** Frames held for a group that waits, over all waiting groups: four seconds at 60 a second. Beyond, the newest group begins. */
const WAITING_FRAMES_MAX = 240;

interface Waiting<F> {
  group: bigint;
  sinceMs: number;
  frames: F[];
  ended: boolean;
}

export class GroupOrder<F extends Ordered> {
  /** Frames that came too late or twice. */
  droppedFrames = 0;
  /** How often it began anew. */
  restarts = 0;
  private readonly holdMs: number;
  private current: { group: bigint; next: bigint; ended: boolean } | undefined;
  /** By group, oldest first. */
  private waiting: Waiting<F>[] = [];
  /** Since when nothing came but what was late. */
  private lateSinceMs: number | undefined;

  /** A newer group waits at most `holdMs` for the one before it to be complete. */
  constructor(holdMs: number) {
    this.holdMs = holdMs;
  }

  /** Frames to decode now that this one is here. */
  push(nowMs: number, group: bigint, frame: F): F[] {
    const out: F[] = [];
    if (this.isLost(nowMs, group, frame)) this.restart();
    const { current } = this;
    if (current === undefined) {
      this.current = { group, next: frame.lastSequence + 1n, ended: false };
      out.push(frame);
    } else if (group === current.group) {
      this.give(frame, out);
    } else if (group < current.group) {
      this.droppedFrames += 1;
    } else {
      this.wait(nowMs, group).frames.push(frame);
    }
    this.advance(nowMs, out);
    return out;
  }

  /** The stream of a group is over, whole or reset. */
  end(nowMs: number, group: bigint): F[] {
    const out: F[] = [];
    if (this.current?.group === group) this.current.ended = true;
    const waiting = this.waiting.find((it) => it.group === group);
    if (waiting !== undefined) waiting.ended = true;
    this.advance(nowMs, out);
    return out;
  }

  /** Frames that are due because the group before them kept them waiting too long. */
  expire(nowMs: number): F[] {
    const out: F[] = [];
    this.advance(nowMs, out);
    return out;
  }

  /** When `expire` is to be called next. */
  deadlineMs(): number | undefined {
    const [first] = this.waiting;
    return first === undefined ? undefined : first.sinceMs + this.holdMs;
  }

  /** Whether this frame begins a group, and all before it for a long time were as late as it is. */
  private isLost(nowMs: number, group: bigint, frame: F): boolean {
    if (this.current === undefined || frame.lastSequence >= this.current.next) return false;
    this.lateSinceMs ??= nowMs;
    return nowMs - this.lateSinceMs >= LATE_FOR_MS && frame.sequence === group;
  }

  private restart(): void {
    this.current = undefined;
    this.waiting = [];
    this.lateSinceMs = undefined;
    this.restarts += 1;
  }

  private wait(nowMs: number, group: bigint): Waiting<F> {
    const found = this.waiting.find((it) => it.group === group);
    if (found !== undefined) return found;
    const added = { group, sinceMs: nowMs, frames: [], ended: false };
    this.waiting.push(added);
    this.waiting.sort((a, b) => (a.group < b.group ? -1 : 1));
    return added;
  }

  private advance(nowMs: number, out: F[]): void {
    for (;;) {
      const [first] = this.waiting;
      const { current } = this;
      if (first === undefined || current === undefined) return;
      if (current.ended || first.group <= current.next) {
        this.begin(first, out);
        continue;
      }
      const held = this.waiting.reduce((sum, it) => sum + it.frames.length, 0);
      if (nowMs - first.sinceMs < this.holdMs && held <= WAITING_FRAMES_MAX) return;
      // Too long: what is newest is what people want to see.
      const newest = this.waiting[this.waiting.length - 1] ?? first;
      for (const older of this.waiting) if (older !== newest) this.droppedFrames += older.frames.length;
      this.begin(newest, out);
    }
  }

  private begin(waiting: Waiting<F>, out: F[]): void {
    const next = this.current?.next ?? waiting.group;
    this.current = { group: waiting.group, next, ended: waiting.ended };
    this.waiting = this.waiting.filter((it) => it.group > waiting.group);
    for (const frame of waiting.frames) this.give(frame, out);
  }

  private give(frame: F, out: F[]): void {
    if (this.current === undefined || frame.sequence < this.current.next) {
      this.droppedFrames += 1;
      return;
    }
    this.current.next = frame.lastSequence + 1n;
    this.lateSinceMs = undefined;
    out.push(frame);
  }
}
