// A publisher's sources on one clock.
import assert from "node:assert/strict";
import { test } from "node:test";
import { EpochClock } from "../client/src/worker/epoch-clock.ts";

const EPOCH_MS = 1_800_000_000_000;

test("sources that count from anywhere go together to what their fastest frames needed", () => {
  let nowMs = EPOCH_MS;
  const camera = new EpochClock(() => nowMs);
  const microphone = new EpochClock(() => nowMs);
  for (let frame = 0; frame < 60; frame += 1) {
    // The first pictures take long: a camera and an encoder start.
    nowMs = EPOCH_MS + frame * 33 + (frame < 5 ? 120 : 12);
    camera.arrived(frame * 33_000);
    nowMs = EPOCH_MS + frame * 33 + 10;
    microphone.arrived(77_000_000_000 + frame * 33_000);
  }
  nowMs = EPOCH_MS + 10_000;
  const apartUs = camera.toEpochUs(3_000_000) - microphone.toEpochUs(77_003_000_000);
  assert.equal(Number(apartUs), 2000);
});

test("times never step back, and the clock stands when it has settled", () => {
  let nowMs = EPOCH_MS + 500;
  const clock = new EpochClock(() => nowMs);
  clock.arrived(0);
  const first = clock.toEpochUs(0);
  nowMs = EPOCH_MS + 33 + 5;
  clock.arrived(33_000);
  const second = clock.toEpochUs(33_000);
  assert.ok(second > first);
  nowMs = EPOCH_MS + 60_000;
  clock.arrived(90_000_000);
  assert.equal(Number(clock.toEpochUs(61_000_000) / 1000n), EPOCH_MS + 61_000 + 5);
});
