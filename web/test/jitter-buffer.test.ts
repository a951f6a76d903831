// Even sound from uneven arrival, with bounds.
import assert from "node:assert/strict";
import { test } from "node:test";
import { JitterBuffer } from "../client/src/jitter-buffer.ts";

const PACKET = 960;
const QUANTUM = 128;
const packet = (value: number): Float32Array[] => [new Float32Array(PACKET).fill(value)];

function play(buffer: JitterBuffer, quanta: number): number[] {
  const heard: number[] = [];
  for (let index = 0; index < quanta; index += 1) {
    const out = [new Float32Array(QUANTUM), new Float32Array(QUANTUM)];
    buffer.mixInto(out);
    assert.deepEqual(out[0], out[1]);
    heard.push(...(out[0] ?? []));
  }
  return heard;
}

test("starts when the target is there, and gives out every sample once", () => {
  const buffer = new JitterBuffer();
  buffer.push(packet(1));
  assert.ok(play(buffer, 1).every((sample) => sample === 0));
  buffer.push(packet(2));
  buffer.push(packet(3));
  const heard = play(buffer, 23);
  for (const value of [1, 2, 3]) assert.equal(heard.filter((sample) => sample === value).length, PACKET);
  assert.equal(buffer.underruns, 1);
});

test("a burst is cut to the target, the newest kept", () => {
  const buffer = new JitterBuffer();
  for (let value = 1; value <= 200; value += 1) buffer.push(packet(value));
  assert.ok(buffer.heldSamples <= 96_000);
  const heard = play(buffer, 40);
  assert.ok((heard[0] ?? 0) > 190);
  assert.ok(buffer.droppedSamples > 0);
});

test("mixes into what is there", () => {
  const buffer = new JitterBuffer();
  for (let index = 0; index < 3; index += 1) buffer.push([new Float32Array(PACKET).fill(0.25), new Float32Array(PACKET).fill(0.5)]);
  const out = [new Float32Array(QUANTUM).fill(0.25), new Float32Array(QUANTUM).fill(0.25)];
  buffer.mixInto(out);
  assert.deepEqual([out[0]?.[0], out[1]?.[127]], [0.5, 0.75]);
});
