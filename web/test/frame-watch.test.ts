import assert from "node:assert/strict";
import { test } from "node:test";
import { FIRST_WITHIN_MS, FrameWatch, NEXT_WITHIN_MS, SAY_INTERVAL_MS, shouldGivePictures } from "../client/src/frame-watch.ts";

const LOOK_MS = 200;

/** Looks at a watch for so long; answers the times, from the first look on, at which it said something. */
class Looker {
  readonly watch: FrameWatch;
  readonly isSaidAtOnce: boolean;
  private nowMs = 5_000;

  constructor({ mayStandStill = false, isSuspect = false } = {}) {
    this.watch = new FrameWatch(mayStandStill, isSuspect);
    this.isSaidAtOnce = this.watch.look(this.nowMs);
  }

  looks(forMs: number, each?: () => void): number[] {
    const [said, fromMs] = [[] as number[], this.nowMs];
    while (this.nowMs < fromMs + forMs) {
      this.nowMs += LOOK_MS;
      each?.();
      if (this.watch.look(this.nowMs)) said.push(this.nowMs - fromMs);
    }
    return said;
  }

  /** This thread stands still for so long, and then looks. */
  stalls(ms: number): boolean {
    this.nowMs += ms;
    return this.watch.look(this.nowMs);
  }
}

test("a track that gives no first picture is told of soon, and again while it gives none", () => {
  const looker = new Looker();
  assert.deepEqual(looker.looks(3000), [FIRST_WITHIN_MS, FIRST_WITHIN_MS + SAY_INTERVAL_MS, FIRST_WITHIN_MS + 2 * SAY_INTERVAL_MS]);
  assert.match(looker.watch.reason, /no first picture .* for 3000 ms/u);
  looker.watch.frame();
  assert.equal(looker.watch.isMissing, false);
});

test("pictures that come, however slowly, are not missing; those that stay away later on are", () => {
  const looker = new Looker();
  looker.watch.frame();
  assert.deepEqual(
    looker.looks(60_000, () => looker.watch.frame()),
    [],
  );
  assert.deepEqual(looker.looks(NEXT_WITHIN_MS - 2 * LOOK_MS), []);
  looker.watch.frame();
  assert.deepEqual(looker.looks(3000), [NEXT_WITHIN_MS, NEXT_WITHIN_MS + SAY_INTERVAL_MS]);
  assert.match(looker.watch.reason, /no further picture/u);
  looker.watch.frame();
  assert.deepEqual(looker.looks(NEXT_WITHIN_MS), [NEXT_WITHIN_MS], "anew, at once");
});

test("a screen or canvas owes the first picture alone", () => {
  const looker = new Looker({ mayStandStill: true });
  assert.deepEqual(looker.looks(1000), [FIRST_WITHIN_MS]);
  looker.watch.frame();
  assert.deepEqual(looker.looks(60_000), []);
});

test("where another track's pictures were missing, the next one's are missed at once", () => {
  const looker = new Looker({ isSuspect: true });
  assert.equal(looker.isSaidAtOnce, true);
  assert.match(looker.watch.reason, /no first picture .*, as of another track before/u);
  assert.deepEqual(looker.looks(2000), [SAY_INTERVAL_MS, 2 * SAY_INTERVAL_MS]);
  looker.watch.frame();
  assert.deepEqual(looker.looks(NEXT_WITHIN_MS - LOOK_MS), [], "it works after all");
  assert.equal(new Looker().isSaidAtOnce, false);
});

test("a thread that stood still has not seen that pictures are missing", () => {
  const looker = new Looker();
  assert.equal(looker.stalls(10_000), false);
  looker.watch.frame();
  assert.equal(looker.stalls(60_000), false);
  assert.equal(looker.watch.isMissing, false);
});

test("of a track that is over, off or muted nothing is expected", () => {
  const track = { readyState: "live", enabled: true, muted: false } as const;
  assert.equal(shouldGivePictures(track), true);
  assert.equal(shouldGivePictures({ ...track, readyState: "ended" }), false);
  assert.equal(shouldGivePictures({ ...track, enabled: false }), false);
  assert.equal(shouldGivePictures({ ...track, muted: true }), false);
});
