// How long to hold what arrives unevenly. All time is virtual.
import assert from "node:assert/strict";
import { test } from "node:test";
import { JitterTarget } from "../client/src/jitter-target.ts";

const BOUNDS = { minMs: 10, maxMs: 400, frameMs: 20 };
/** The publisher's clock is somewhere else altogether. */
const APART_MS = 1e12;
/** Frames every 20 ms, each late by what `delay` says. */
function feed(target: JitterTarget, from: number, count: number, delay: (index: number) => number): number {
  for (let index = from; index < from + count; index += 1) target.arrived(index * 20 + delay(index), APART_MS + index * 20);
  return from + count;
}

test("an even path needs one frame, however long it is", () => {
  const target = new JitterTarget(BOUNDS);
  feed(target, 0, 500, () => 300);
  assert.equal(Math.round(target.targetMs), 20);
  assert.equal(Math.round(target.dueMs(APART_MS + 1000) ?? 0), 1000 + 300 + 20);
});

test("the target covers nearly all arrivals: the 95th percentile and a frame", () => {
  const target = new JitterTarget(BOUNDS);
  // Every tenth is 80 ms late: more than five in a hundred.
  feed(target, 0, 600, (index) => (index % 10 === 0 ? 80 : 0));
  assert.equal(Math.round(target.targetMs), 100);
  const calm = new JitterTarget(BOUNDS);
  feed(calm, 0, 600, (index) => (index % 100 === 0 ? 80 : 0));
  assert.equal(Math.round(calm.targetMs), 20);
});

test("up at once, down by a frame a second at most", () => {
  const target = new JitterTarget(BOUNDS);
  let next = feed(target, 0, 200, () => 0);
  next = feed(target, next, 25, () => 100);
  assert.ok(target.targetMs >= 120, `${target.targetMs}`);
  // What was late leaves the window after 256 arrivals; from then on it comes down.
  next = feed(target, next, 256, () => 0);
  let before = target.targetMs;
  for (let second = 0; second < 4; second += 1) {
    next = feed(target, next, 50, () => 0);
    assert.ok(before - target.targetMs <= 20.01, `${before} -> ${target.targetMs}`);
    before = target.targetMs;
  }
  feed(target, next, 300, () => 0);
  assert.equal(Math.round(target.targetMs), 20);
});

test("never over the most", () => {
  const target = new JitterTarget(BOUNDS);
  feed(target, 0, 500, (index) => (index % 2) * 900);
  assert.equal(target.targetMs, 400);
});

test("a joiner's burst of what was kept does not count as jitter", () => {
  const target = new JitterTarget(BOUNDS);
  // Two seconds of frames within 100 ms, then live.
  for (let index = 0; index < 100; index += 1) target.arrived(2000 + index, APART_MS + index * 20);
  for (let index = 100; index < 200; index += 1) target.arrived(index * 20 + 101, APART_MS + index * 20);
  assert.ok(target.targetMs < 45, `${target.targetMs}`);
  assert.ok(Math.abs((target.baseMs ?? 0) + APART_MS - 101) < 20, `${target.baseMs}`);
});

test("a publisher's clock that was set is followed", () => {
  for (const jumpMs of [5000, -5000]) {
    const target = new JitterTarget(BOUNDS);
    feed(target, 0, 300, () => 0);
    for (let index = 300; index < 400; index += 1) target.arrived(index * 20, APART_MS + index * 20 + jumpMs);
    assert.equal(Math.round((target.baseMs ?? 0) + APART_MS), -jumpMs);
    assert.ok(target.targetMs < 45);
  }
});

test("a path that becomes longer than any target covers is followed within a second, not taken for jitter", () => {
  const target = new JitterTarget(BOUNDS);
  const next = feed(target, 0, 300, () => 0);
  feed(target, next, 50, () => 700);
  assert.equal(Math.round((target.baseMs ?? 0) + APART_MS), 700);
  assert.ok(target.targetMs <= 400);
});

test("the frame is measured, gaps of silence are none", () => {
  const target = new JitterTarget({ ...BOUNDS, frameMs: 33 });
  for (let index = 0; index < 300; index += 1) {
    const captureMs = index * 20 + Math.floor(index / 50) * 5000;
    target.arrived(captureMs, captureMs);
  }
  assert.equal(Math.round(target.targetMs), 20);
});
