// What a page that stood still finds in its microphone's queue is left out; a device that is slow by itself is not silenced.
import assert from "node:assert/strict";
import { test } from "node:test";
import { EpochClock } from "../client/src/epoch-clock.ts";
import { StaleSound } from "../client/src/stale-sound.ts";

const START_US = 1_800_000_000_000_000n;

test("blocks that waited are left out, and the first fresh one is sent", () => {
  const clock = new EpochClock();
  const stale = new StaleSound();
  const skipped: number[] = [];
  for (let block = 0; block < 200; block += 1) {
    const captureMs = block * 10;
    // From 1000 ms on the worker stands still for 600 ms, and then has all at once.
    const nowMs = captureMs >= 1000 && captureMs < 1600 ? 1600 : captureMs + 10;
    const nowUs = START_US + BigInt(nowMs * 1000);
    clock.observe(captureMs * 1000, nowUs);
    if (stale.skips(nowMs, clock.ageUs(captureMs * 1000, nowUs))) skipped.push(captureMs);
  }
  assert.equal(skipped[0], 1000);
  assert.equal(skipped.at(-1), 1280);
});

test("a device that becomes slow for good is heard again after a second", () => {
  const stale = new StaleSound();
  let sent = 0;
  for (let nowMs = 0; nowMs < 3000; nowMs += 10) if (!stale.skips(nowMs, 400_000n)) sent += 1;
  assert.equal(sent, 200);
});
