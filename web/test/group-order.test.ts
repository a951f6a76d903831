// Groups overtake one another; decoding order does not.
import assert from "node:assert/strict";
import { test } from "node:test";
import { GroupOrder, LATE_FOR_MS } from "../client/src/group-order.ts";

const frame = (sequence: number): { sequence: bigint; lastSequence: bigint } => ({
  sequence: BigInt(sequence),
  lastSequence: BigInt(sequence),
});
const numbers = (frames: { sequence: bigint }[]): number[] => frames.map((it) => Number(it.sequence));

test("frames of one group pass at once, doubles do not", () => {
  const order = new GroupOrder(100);
  assert.deepEqual(numbers(order.push(0, 4n, frame(4))), [4]);
  assert.deepEqual(numbers(order.push(0, 4n, frame(5))), [5]);
  assert.deepEqual(numbers(order.push(0, 4n, frame(5))), []);
  assert.equal(order.droppedFrames, 1);
});

test("a newer group waits for the tail of the one before, which then passes first", () => {
  const order = new GroupOrder(100);
  order.push(0, 0n, frame(0));
  assert.deepEqual(numbers(order.push(10, 3n, frame(3))), []);
  assert.deepEqual(numbers(order.push(11, 3n, frame(4))), []);
  assert.deepEqual(numbers(order.push(20, 0n, frame(1))), [1]);
  assert.deepEqual(numbers(order.push(30, 0n, frame(2))), [2, 3, 4]);
});

test("an ended group lets the next one begin", () => {
  const order = new GroupOrder(100);
  order.push(0, 0n, frame(0));
  order.push(10, 3n, frame(3));
  assert.deepEqual(numbers(order.end(20, 0n)), [3]);
});

test("after the hold the newest group wins, and the older ones never come back", () => {
  const order = new GroupOrder(100);
  order.push(0, 0n, frame(0));
  order.push(10, 3n, frame(3));
  order.push(20, 6n, frame(6));
  assert.equal(order.deadlineMs(), 110);
  assert.deepEqual(numbers(order.expire(109)), []);
  assert.deepEqual(numbers(order.expire(110)), [6]);
  assert.deepEqual(numbers(order.push(111, 3n, frame(4))), []);
  assert.deepEqual(numbers(order.push(112, 0n, frame(1))), []);
  assert.equal(order.deadlineMs(), undefined);
});

test("waiting frames are bounded", () => {
  const order = new GroupOrder(1e9);
  order.push(0, 0n, frame(0));
  let given = 0;
  for (let sequence = 100; sequence < 400; sequence += 1) given += order.push(1, 100n, frame(sequence)).length;
  assert.equal(given, 300);
});

/** Groups of ten frames, each as its own stream brings it, a frame each 33 ms from `fromMs` on; answers what passes. */
function play(order: GroupOrder<ReturnType<typeof frame>>, fromMs: number, from: number, count: number): number[] {
  const passed: number[] = [];
  for (let index = 0; index < count; index += 1) {
    const [sequence, nowMs] = [from + index, fromMs + index * 33];
    const group = BigInt(sequence - (sequence % 10));
    passed.push(...numbers(order.push(nowMs, group, frame(sequence))));
    if (sequence % 10 === 9) passed.push(...numbers(order.end(nowMs, group)));
  }
  return passed;
}

test("one absurd sequence does not stop a media stream: after a while it begins anew, with a group", () => {
  const absurd = 2n ** 63n;
  const strange: [bigint, { sequence: bigint; lastSequence: bigint }][] = [
    [absurd, { sequence: absurd, lastSequence: absurd }],
    [10n, { sequence: absurd, lastSequence: absurd }],
    [10n, { sequence: 10n, lastSequence: absurd }],
  ];
  for (const [group, odd] of strange) {
    const order = new GroupOrder<{ sequence: bigint; lastSequence: bigint }>(100);
    play(order, 0, 0, 10);
    order.push(330, group, odd);
    order.end(331, group);
    const passed = play(order, 340, 20, 200);
    assert.equal(order.restarts, 1);
    const lostFor = Math.ceil(LATE_FOR_MS / 33);
    assert.ok(passed.length >= 200 - lostFor - 20, `${passed.length} of 200`);
    assert.equal((passed[0] ?? -1) % 10, 0, "from the beginning of a group on");
    assert.deepEqual(
      passed,
      Array.from({ length: passed.length }, (_, index) => (passed[0] ?? 0) + index),
    );
  }
});

test("what comes twice while a session is replaced is late, and no reason to begin anew", () => {
  const order = new GroupOrder<{ sequence: bigint; lastSequence: bigint }>(100);
  play(order, 0, 0, 100);
  for (let nowMs = 3300; nowMs < 20_000; nowMs += 330) {
    play(order, nowMs, (nowMs / 33) % 1000, 10);
    assert.deepEqual(numbers(order.push(nowMs + 329, 0n, frame(0))), []);
  }
  assert.equal(order.restarts, 0);
});
