// Decoded pictures until their moment. In: pictures with their capture times, the time, what lies between capture and showing. Out: the
// picture to show now, those whose moment is over, when to look again. Never shows an older picture after a newer one. Whoever takes
// pictures out closes them.

/** A decoder's pool is small: pictures held here are missing there. */
export const PICTURES_MAX = 8;
/** A timer that comes a little early is on time. */
const EARLY_MS = 2;
/** No picture is held longer, whatever its timestamp says. */
const HOLD_MS_MAX = 1500;

export interface Held<P> {
  captureMs: number;
  picture: P;
}

export interface Due<P> {
  show: Held<P> | undefined;
  /** Overtaken by the one to show. */
  late: Held<P>[];
  /** Until the next one is due. */
  waitMs: number | undefined;
}

export class PictureQueue<P> {
  private held: Held<P>[] = [];

  get length(): number {
    return this.held.length;
  }

  /** How much time lies between the first and the last. */
  get spanMs(): number {
    const [first] = this.held;
    const last = this.held[this.held.length - 1];
    return first === undefined || last === undefined ? 0 : last.captureMs - first.captureMs;
  }

  push(item: Held<P>): void {
    this.held.push(item);
  }

  /** `offsetMs` is what to add to a capture time; the newest picture that is due is shown. */
  due(nowMs: number, offsetMs: number): Due<P> {
    let count = 0;
    for (const [index, { captureMs }] of this.held.entries()) if (this.waitMs(captureMs, nowMs, offsetMs) <= 0) count = index + 1;
    // More than fit: the oldest goes before its time, so that the decoder goes on.
    if (count === 0 && this.held.length > PICTURES_MAX) count = 1;
    const taken = this.held.splice(0, count);
    const show = taken.pop();
    const [next] = this.held;
    return { show, late: taken, waitMs: next === undefined ? undefined : Math.max(1, this.waitMs(next.captureMs, nowMs, offsetMs)) };
  }

  takeAll(): Held<P>[] {
    return this.held.splice(0);
  }

  private waitMs(captureMs: number, nowMs: number, offsetMs: number): number {
    const waitMs = captureMs + offsetMs - nowMs;
    return waitMs > HOLD_MS_MAX ? 0 : waitMs - EARLY_MS;
  }
}
