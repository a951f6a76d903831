// A publisher's sources on one clock.
import assert from "node:assert/strict";
import { test } from "node:test";
import { EpochClock } from "../client/src/epoch-clock.ts";

const EPOCH_MS = 1_800_000_000_000;

test("sources that count from anywhere go together to what their fastest frames needed", () => {
  let nowMs = EPOCH_MS;
  const camera = new EpochClock();
  const microphone = new EpochClock();
  for (let frame = 0; frame < 60; frame += 1) {
    // The first pictures take long: a camera and an encoder start.
    nowMs = EPOCH_MS + frame * 33 + (frame < 5 ? 120 : 12);
    camera.observe(frame * 33_000, BigInt(nowMs * 1000));
    nowMs = EPOCH_MS + frame * 33 + 10;
    microphone.observe(77_000_000_000 + frame * 33_000, BigInt(nowMs * 1000));
  }
  const apartUs = camera.toEpochUs(3_000_000) - microphone.toEpochUs(77_003_000_000);
  assert.equal(Number(apartUs), 2000);
});
