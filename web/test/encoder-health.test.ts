// An encoder that fails is tried again with growing waits, and its codec is given up at last. Virtual time throughout.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ENCODER_FAILURES_MAX, EncoderHealth } from "../client/src/encoder-health.ts";

/** Jitter that changes nothing. */
const EVEN = (): number => 0.5;

test("a codec that never gave a picture is given up at its first failure", () => {
  const health = new EncoderHealth(EVEN);
  assert.equal(health.mayTry(0), true);
  health.failed(0);
  assert.equal(health.isHopeless, true);
  assert.equal(health.mayTry(1e9), false);
  health.restart();
  assert.equal(health.isHopeless, false);
  assert.equal(health.mayTry(0), true);
});

test("one that fails again and again is made a few times, with growing waits, and then no more", () => {
  const health = new EncoderHealth(EVEN);
  health.encoded(0);
  const waitsMs: number[] = [];
  let [failedAtMs, made] = [0, 0];
  // A picture each 33 ms, a failure for each that is handed in.
  for (let nowMs = 0; nowMs < 60_000; nowMs += 33) {
    if (!health.mayTry(nowMs)) continue;
    if (made > 0) waitsMs.push(nowMs - failedAtMs);
    made += 1;
    failedAtMs = nowMs;
    health.failed(nowMs);
  }
  assert.equal(made, ENCODER_FAILURES_MAX + 1);
  assert.ok(
    waitsMs.every((waitMs, index) => waitMs >= 200 * 2 ** index - 33 || waitMs >= 2000),
    waitsMs.join(" "),
  );
  assert.ok(
    waitsMs.every((waitMs) => waitMs < 2100),
    waitsMs.join(" "),
  );
  assert.equal(health.isHopeless, true);
});

test("waits are spread by chance", () => {
  const tried = (random: number): number => {
    const health = new EncoderHealth(() => random);
    health.encoded(0);
    health.failed(0);
    let nowMs = 0;
    while (!health.mayTry(nowMs)) nowMs += 1;
    return nowMs;
  };
  assert.deepEqual([0, 0.5, 1].map(tried), [100, 200, 300]);
});

test("what failed long ago is forgotten once it works again", () => {
  const health = new EncoderHealth(EVEN);
  for (let round = 0; round < 3 * ENCODER_FAILURES_MAX; round += 1) {
    const nowMs = round * 20_000;
    health.encoded(nowMs);
    health.failed(nowMs);
    assert.equal(health.isHopeless, false);
    health.encoded(nowMs + 500);
    health.encoded(nowMs + 12_000);
  }
});
