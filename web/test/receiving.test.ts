// What is decoded, what is shown, what is given up: the decisions of receiving, in virtual time.
import assert from "node:assert/strict";
import { test } from "node:test";
import { avcCodec } from "../client/src/annex-b.ts";
import { DECODER_FAILURES_MAX, DecoderHealth } from "../client/src/decoder-health.ts";
import { EncodedQueue, QUEUE_MS_MAX } from "../client/src/encoded-queue.ts";
import { FREEZE_MS, FreezeMeter } from "../client/src/freeze-meter.ts";
import { LossyQueue } from "../client/src/lossy-queue.ts";
import { PictureQueue, PICTURES_MAX } from "../client/src/picture-queue.ts";
import { Rate } from "../client/src/rate.ts";
import { LevelReporter } from "../client/src/sound.ts";

const encoded = (frame: number, isKey: boolean, arrivedAtMs: number, bytes = 1000) => ({ frame, isKey, bytes, arrivedAtMs });

function drain(queue: EncodedQueue<number>, nowMs: number): number[] {
  const frames: number[] = [];
  for (let next = queue.shift(nowMs); next !== undefined; next = queue.shift(nowMs)) frames.push(next.frame);
  return frames;
}

test("decoding begins with a key frame", () => {
  const queue = new EncodedQueue<number>();
  assert.equal(queue.push(encoded(1, false, 0)), false);
  assert.equal(queue.push(encoded(2, true, 0)), true);
  queue.push(encoded(3, false, 0));
  assert.deepEqual(drain(queue, 0), [2, 3]);
  assert.equal(queue.dropped, 1);
});

test("what waits over a second is skipped to the newest key frame, or to the next", () => {
  const queue = new EncodedQueue<number>();
  queue.push(encoded(1, true, 0));
  queue.push(encoded(2, false, 30));
  queue.push(encoded(3, true, 900));
  queue.push(encoded(4, false, 930));
  assert.deepEqual(drain(queue, QUEUE_MS_MAX + 1), [3, 4]);
  queue.push(encoded(5, false, 2000));
  assert.deepEqual(drain(queue, 4000), []);
  assert.equal(queue.needsKey, true);
  assert.equal(queue.push(encoded(6, false, 4000)), false);
});

test("while nobody looks the newest group is kept, bounded", () => {
  const queue = new EncodedQueue<number>();
  for (let frame = 0; frame < 300; frame += 1) {
    queue.push(encoded(frame, frame % 60 === 0, frame * 33));
    queue.keepNewest(frame * 33);
    assert.ok(queue.length <= 60);
  }
  queue.freshen(300 * 33);
  assert.deepEqual(drain(queue, 300 * 33)[0], 240);
  // A publisher without key frames is not kept for ever.
  queue.push(encoded(300, true, 10_000));
  for (let frame = 301; frame < 600; frame += 1) {
    queue.push(encoded(frame, false, frame * 33));
    queue.keepNewest(frame * 33);
  }
  assert.ok(queue.length < 150);
});

test("a queue of large frames is bounded too", () => {
  const queue = new EncodedQueue<number>();
  for (let frame = 0; frame < 20; frame += 1) queue.push(encoded(frame, frame === 0, 0, 1024 * 1024));
  assert.ok(queue.length <= 8);
});

test("pictures are shown at their moment, overtaken ones never", () => {
  const pictures = new PictureQueue<string>();
  for (const [captureMs, picture] of [
    [0, "a"],
    [33, "b"],
    [66, "c"],
  ] as const)
    pictures.push({ captureMs, picture });
  assert.equal(pictures.due(90, 100).show, undefined);
  assert.equal(Math.round(pictures.due(90, 100).waitMs ?? 0), 8);
  assert.equal(pictures.due(99, 100).show?.picture, "a");
  const due = pictures.due(170, 100);
  assert.deepEqual([due.show?.picture, due.late.map((it) => it.picture), due.waitMs], ["c", ["b"], undefined]);
});

test("a picture out of all time is shown rather than held, and a full queue goes on", () => {
  const pictures = new PictureQueue<number>();
  pictures.push({ captureMs: 1e9, picture: 1 });
  assert.equal(pictures.due(0, 0).show?.picture, 1);
  for (let index = 0; index <= PICTURES_MAX; index += 1) pictures.push({ captureMs: 500 + index, picture: index });
  assert.equal(pictures.due(0, 0).show?.picture, 0);
  assert.equal(pictures.length, PICTURES_MAX);
});

test("a freeze is a gap that breaks the rhythm, as WebRTC counts it", () => {
  const meter = new FreezeMeter();
  let nowMs = 0;
  const play = (count: number, intervalMs: number): void => {
    for (let index = 0; index < count; index += 1) meter.shown((nowMs += intervalMs));
  };
  play(60, 33);
  play(1, 33 + FREEZE_MS - 1);
  assert.equal(meter.freezes, 0);
  play(60, 33);
  play(1, 33 + FREEZE_MS + 1);
  assert.deepEqual([meter.freezes, meter.freezeMs], [1, 33 + FREEZE_MS + 1]);
  // A shared screen that changes once a second is not frozen, and neither is one that nobody looked at.
  play(60, 1000);
  const before = meter.freezes;
  play(1, 2000);
  meter.pause();
  play(1, 60_000);
  assert.equal(meter.freezes, before);
});

test("a decoder is tried again with growing waits, then given up", () => {
  const health = new DecoderHealth();
  let nowMs = 0;
  const waits: number[] = [];
  for (let failure = 0; failure < DECODER_FAILURES_MAX; failure += 1) {
    health.failed(nowMs);
    const fromMs = nowMs;
    while (!health.mayTry(nowMs)) nowMs += 100;
    waits.push(nowMs - fromMs);
    assert.equal(health.isHopeless, false);
  }
  assert.deepEqual(waits, [0, 500, 1000, 2000, 4000]);
  health.failed(nowMs);
  assert.equal(health.isHopeless, true);
});

test("a decoder that works again has its failures forgotten", () => {
  const health = new DecoderHealth();
  for (let nowMs = 0; nowMs < 1e6; nowMs += 20_000) {
    health.failed(nowMs);
    assert.equal(health.isHopeless, false);
    health.decoded(nowMs + 15_000);
  }
});

test("a slow reader loses the oldest", () => {
  const gone: number[] = [];
  const queue = new LossyQueue<number>(3, (item) => gone.push(item));
  for (let item = 1; item <= 5; item += 1) queue.push(item);
  assert.deepEqual([gone, queue.shift(), queue.dropped], [[1, 2], 3, 2]);
  queue.clear();
  assert.deepEqual(gone, [1, 2, 4, 5]);
});

test("rates are of the time between two snapshots", () => {
  const rate = new Rate();
  rate.add(5);
  assert.equal(rate.perSecond(0), 0);
  rate.add(30);
  assert.equal(rate.perSecond(2000), 15);
  assert.deepEqual([rate.perSecond(3000), rate.total], [0, 35]);
});

test("loudness is told while something is heard, and once when it is silent", () => {
  const levels = new LevelReporter();
  assert.equal(levels.isNews("a", { level: 0, speaking: false }), false);
  assert.equal(levels.isNews("a", { level: 0.4, speaking: true }), true);
  assert.equal(levels.isNews("a", { level: 0.4, speaking: true }), true);
  assert.equal(levels.isNews("a", { level: 0, speaking: false }), true);
  assert.equal(levels.isNews("a", { level: 0, speaking: false }), false);
});

test("an H.264 key frame tells its profile and level", () => {
  const bytes = Uint8Array.from([0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x67, 0x64, 0x00, 0x1f, 0xac, 0, 0, 0, 1, 0x68]);
  assert.equal(avcCodec(bytes), "avc1.64001F");
  assert.equal(avcCodec(Uint8Array.from([0, 0, 1, 0x41, 1, 2, 3, 4, 5, 6, 7, 8])), undefined);
  assert.equal(avcCodec(new Uint8Array(3)), undefined);
});
