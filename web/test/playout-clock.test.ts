// Pictures go with the sound of the same person, whatever either of them alone would need.
import assert from "node:assert/strict";
import { test } from "node:test";
import { PlayoutClock, SOUND_WAITS_MAX_MS } from "../client/src/playout-clock.ts";

const FRAME_MS = 33;

test("without sound pictures go by their own need", () => {
  const clock = new PlayoutClock();
  assert.equal(clock.pictureOffset(0, 70), 70);
  assert.equal(clock.soundOffset(0), undefined);
});

test("pictures follow the sound within 40 ms, slowly enough not to be seen", () => {
  const clock = new PlayoutClock();
  clock.pictureOffset(0, 50);
  let before = 50;
  for (let nowMs = FRAME_MS; nowMs <= 3000; nowMs += FRAME_MS) {
    clock.heard(nowMs, 0, 180);
    const offset = clock.pictureOffset(nowMs, 50);
    assert.ok(Math.abs(offset - before) <= FRAME_MS * 0.25 + 1e-9);
    before = offset;
    if (nowMs > 1500) assert.ok(Math.abs(offset - 180) < 40, `${offset} at ${nowMs}`);
  }
});

test("one odd report moves little", () => {
  const clock = new PlayoutClock();
  for (let nowMs = 0; nowMs < 1000; nowMs += 100) clock.heard(nowMs, 0, 100);
  clock.heard(1000, 0, 150);
  assert.equal(Math.round(clock.soundOffset(1000) ?? 0), 110);
});

test("when the sound falls silent pictures go back to their own need, and find the sound again", () => {
  const clock = new PlayoutClock();
  for (let nowMs = 0; nowMs <= 1000; nowMs += 100) clock.heard(nowMs, 0, 200);
  assert.equal(clock.pictureOffset(1000, 60), 200);
  assert.equal(clock.soundOffset(4000), undefined);
  let offset = 0;
  for (let nowMs = 4000; nowMs < 6000; nowMs += FRAME_MS) offset = clock.pictureOffset(nowMs, 60);
  assert.equal(offset, 60);
});

test("sound waits for pictures that take longer, up to a bound", () => {
  const clock = new PlayoutClock();
  // The sound is heard after 80 ms and what it waits; the pictures need 150.
  let waits = 0;
  for (let nowMs = 0; nowMs < 20_000; nowMs += 100) {
    clock.heard(nowMs, 0, 80 + waits);
    waits = clock.soundWaits(nowMs, 150);
  }
  assert.ok(Math.abs(80 + waits - 150) <= 15, `${waits}`);
  for (let nowMs = 20_000; nowMs < 40_000; nowMs += 100) {
    clock.heard(nowMs, 0, 80 + waits);
    waits = clock.soundWaits(nowMs, 600);
  }
  assert.equal(waits, SOUND_WAITS_MAX_MS);
  for (let nowMs = 40_000; nowMs < 60_000; nowMs += 100) {
    clock.heard(nowMs, 0, 80 + waits);
    waits = clock.soundWaits(nowMs, 60);
  }
  assert.ok(waits <= 10, `${waits}`);
});

test("sound waits for nothing once there are no pictures", () => {
  const clock = new PlayoutClock();
  let waits = 0;
  for (let nowMs = 0; nowMs < 10_000; nowMs += 100) {
    clock.heard(nowMs, 0, 80 + waits);
    waits = clock.soundWaits(nowMs, 150);
  }
  assert.ok(waits > 50, `${waits}`);
  for (let nowMs = 10_000; nowMs < 13_000; nowMs += 100) {
    clock.heard(nowMs, 0, 80 + waits);
    waits = clock.soundWaits(nowMs, undefined);
  }
  assert.equal(waits, 0);
});

test("clocks that have nothing to do with one another are left apart", () => {
  const clock = new PlayoutClock();
  clock.heard(0, 0, 1_000_000);
  assert.equal(clock.pictureOffset(0, 70), 70);
  assert.equal(clock.soundWaits(0, 70), 0);
});
