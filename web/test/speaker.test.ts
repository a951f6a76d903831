// Whose turn it is, and who stands on the first page.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ActiveSpeaker, HOLD_MS, SILENCE_MS, START_MS } from "../page/src/active-speaker.ts";
import { PageOrder } from "../page/src/page-order.ts";

const STEP_MS = 100;

/** Lets people speak in turns of `[who, for how long]`; who had the stage at each step. */
function play(turns: readonly (readonly [ids: readonly string[], durationMs: number])[]): { at: number; holder: string | undefined }[] {
  const speaker = new ActiveSpeaker();
  const seen: { at: number; holder: string | undefined }[] = [];
  let now = 0;
  for (const [ids, durationMs] of turns) {
    for (const until = now + durationMs; now < until; now += STEP_MS) {
      for (const id of ids) speaker.hear(id, true, now);
      seen.push({ at: now, holder: speaker.at(now) });
    }
  }
  return seen;
}

const last = (seen: ReturnType<typeof play>): string | undefined => seen[seen.length - 1]?.holder;

test("who speaks has the stage, and keeps it when all fall silent", () => {
  assert.equal(last(play([[[], 1000]])), undefined);
  assert.equal(last(play([[["ana"], START_MS + 2 * STEP_MS]])), "ana");
  assert.equal(
    last(
      play([
        [["ana"], 1000],
        [[], 60_000],
      ]),
    ),
    "ana",
  );
});

test("a cough takes the stage from nobody", () => {
  const seen = play([
    [["ana"], 3000],
    [[], 3000],
    [["bo"], START_MS - STEP_MS],
    [[], 3000],
  ]);
  assert.equal(last(seen), "ana");
});

test("a pause for breath is no end, and two at once do not take turns", () => {
  assert.equal(
    last(
      play([
        [["ana"], 3000],
        [["bo"], SILENCE_MS - 2 * STEP_MS],
        [["ana"], 3000],
      ]),
    ),
    "ana",
  );
  assert.equal(
    last(
      play([
        [["ana"], 3000],
        [["ana", "bo"], 10_000],
      ]),
    ),
    "ana",
  );
  assert.equal(
    last(
      play([
        [["ana"], 3000],
        [["bo"], 3000],
      ]),
    ),
    "bo",
  );
});

test("however people talk, the stage never changes twice within its hold", () => {
  let seed = 7;
  const random = (below: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((seed / 2_147_483_648) * below);
  };
  const names = ["ana", "bo", "cy"];
  for (let run = 0; run < 200; run += 1) {
    const turns = Array.from({ length: 40 }, () => [names.filter(() => random(3) === 0), STEP_MS * (1 + random(15))] as const);
    let before: { at: number; holder: string | undefined } | undefined;
    for (const now of play(turns)) {
      if (before !== undefined && before.holder === now.holder) continue;
      if (before?.holder !== undefined) assert.ok(now.at - before.at >= HOLD_MS, `changed after ${now.at - before.at} ms`);
      before = now;
    }
  }
});

test("who leaves gives the stage up at once", () => {
  const speaker = new ActiveSpeaker();
  for (let now = 0; now <= 1000; now += STEP_MS) speaker.hear("ana", true, now);
  assert.equal(speaker.at(1000), "ana");
  speaker.forget("ana");
  assert.equal(speaker.at(1100), undefined);
});

test("who speaks on a later page comes to the first one, in the place of whoever was silent longest; nobody else moves", () => {
  const order = new PageOrder();
  order.add("me", true);
  for (const id of ["a", "b", "c", "d", "e"]) order.add(id);
  assert.equal(order.speaks("a", 3), false, "already seen");
  assert.equal(order.speaks("e", 3), true);
  assert.deepEqual(order.order, ["me", "a", "e", "c", "d", "b"], "not oneself, and not who spoke last");
  assert.equal(order.speaks("d", 3), true);
  assert.deepEqual(order.order, ["me", "d", "e", "c", "a", "b"]);
  order.remove("e");
  assert.deepEqual(order.order, ["me", "d", "c", "a", "b"]);
  order.add("d");
  assert.deepEqual(order.order, ["me", "d", "c", "a", "b"], "once");
  assert.equal(order.speaks("b", 1), false, "the only place is one's own");
  assert.equal(order.speaks("nobody", 3), false);
});
