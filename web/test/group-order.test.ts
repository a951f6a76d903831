// Groups overtake one another; decoding order does not.
import assert from "node:assert/strict";
import { test } from "node:test";
import { GroupOrder } from "../client/src/group-order.ts";

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
