// Encoded pictures between their arrival and the decoder. In: frames in decoding order, with when they arrived. Out: frames that are worth
// decoding. Bounded in time and bytes: what waits too long is skipped up to the next key frame, and nothing that needs a skipped frame
// is given out.

/** A second behind, pictures are no conversation any more: skip to what is now. */
export const QUEUE_MS_MAX = 1000;
/** While nobody looks, the newest group is kept, so that whoever does sees something at once: a group of ours is two seconds long. */
const KEPT_MS_MAX = 4500;
/** As much as a handler keeps of a group for a joiner (DESIGN section 5, late join). */
const BYTES_MAX = 8 * 1024 * 1024;

export interface Queued<F> {
  frame: F;
  isKey: boolean;
  bytes: number;
  arrivedAtMs: number;
}

export class EncodedQueue<F> {
  /** Frames that were skipped. */
  dropped = 0;
  /** What comes next must be a key frame: something before it is missing. */
  needsKey = true;
  private items: Queued<F>[] = [];
  private bytes = 0;

  get length(): number {
    return this.items.length;
  }

  /** False when the frame is of no use without a key frame that is not there. */
  push(item: Queued<F>): boolean {
    if (this.needsKey && !item.isKey) {
      this.dropped += 1;
      return false;
    }
    this.needsKey = false;
    this.items.push(item);
    this.bytes += item.bytes;
    if (this.bytes > BYTES_MAX) this.skip();
    return true;
  }

  /** The next one to decode. */
  shift(nowMs: number): Queued<F> | undefined {
    const [oldest] = this.items;
    if (oldest !== undefined && nowMs - oldest.arrivedAtMs > QUEUE_MS_MAX) this.skip();
    const next = this.items.shift();
    if (next !== undefined) this.bytes -= next.bytes;
    return next;
  }

  /** Nobody decodes now: keeps what somebody would begin with. */
  keepNewest(nowMs: number): void {
    const key = this.newestKey();
    if (key > 0) this.drop(key);
    const [oldest] = this.items;
    if (oldest !== undefined && nowMs - oldest.arrivedAtMs > KEPT_MS_MAX) this.clear();
  }

  /** What somebody who begins to look begins with: kept frames count as just arrived. */
  freshen(nowMs: number): void {
    for (const item of this.items) item.arrivedAtMs = nowMs;
  }

  /** The decoder lost its thread: goes on with the next key frame, here or to come. */
  restart(): void {
    const key = this.items.findIndex((item) => item.isKey);
    if (key < 0) this.clear();
    else this.drop(key);
  }

  /** Drops everything; goes on with a key frame. */
  clear(): void {
    this.drop(this.items.length);
    this.needsKey = true;
  }

  /** To the newest key frame, or to the next that comes. */
  private skip(): void {
    const key = this.newestKey();
    if (key > 0) this.drop(key);
    else this.clear();
  }

  private newestKey(): number {
    for (let index = this.items.length - 1; index >= 0; index -= 1) if (this.items[index]?.isKey === true) return index;
    return -1;
  }

  private drop(count: number): void {
    for (const item of this.items.splice(0, count)) this.bytes -= item.bytes;
    this.dropped += count;
  }
}
