// Even sound from uneven arrival: complete, in time, without clicks, bounded. The loudspeaker's time is virtual.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Limiter } from "../client/src/limiter.ts";
import { SoundBuffer } from "../client/src/sound-buffer.ts";

const RATE = 48_000;
const PACKET = 960;
const PACKET_MS = 20;
const QUANTUM = 128;
const QUANTUM_MS = (QUANTUM * 1000) / RATE;
const PITCH = 440;
/** The publisher's clock. */
const EPOCH_MS = 1_800_000_000_000;

function tone(packet: number, amplitude = 0.5): Float32Array[] {
  const samples = new Float32Array(PACKET);
  for (let index = 0; index < PACKET; index += 1) {
    samples[index] = amplitude * Math.sin((2 * Math.PI * PITCH * (packet * PACKET + index)) / RATE);
  }
  return [samples];
}

/** Plays `seconds`; packet n is sent at n × 20 ms, and arrives when `delay` says, or never. */
function run(
  buffer: SoundBuffer,
  seconds: number,
  delay: (packet: number) => number | undefined,
  make: (packet: number) => Float32Array[] = tone,
): Float32Array {
  const arrivals: { atMs: number; packet: number }[] = [];
  for (let packet = 0; packet * PACKET_MS < seconds * 1000; packet += 1) {
    const delayMs = delay(packet);
    if (delayMs !== undefined) arrivals.push({ atMs: packet * PACKET_MS + delayMs, packet });
  }
  arrivals.sort((a, b) => a.atMs - b.atMs);
  const heard = new Float32Array(Math.floor((seconds * RATE) / QUANTUM) * QUANTUM);
  let sent = -1;
  for (let at = 0; at < heard.length; at += QUANTUM) {
    const nowMs = (at * 1000) / RATE;
    while ((arrivals[0]?.atMs ?? Infinity) <= nowMs) {
      const next = arrivals.shift();
      if (next === undefined) break;
      const isBehindLoss = next.packet > sent + 1 && delay(sent + 1) === undefined;
      buffer.push(next.atMs, EPOCH_MS + next.packet * PACKET_MS, make(next.packet), isBehindLoss);
      sent = Math.max(sent, next.packet);
    }
    const out = [heard.subarray(at, at + QUANTUM), new Float32Array(QUANTUM)];
    buffer.mixInto(nowMs, out);
    assert.deepEqual(out[0], out[1]);
  }
  return heard;
}

/** The largest step from one sample to the next: a sine of this pitch at half scale steps by 0.029. */
function largestStep(samples: Float32Array): number {
  let most = 0;
  for (let index = 1; index < samples.length; index += 1)
    most = Math.max(most, Math.abs((samples[index] ?? 0) - (samples[index - 1] ?? 0)));
  return most;
}

/** Pitch by zero crossings. */
function pitch(samples: Float32Array): number {
  let crossings = 0;
  for (let index = 1; index < samples.length; index += 1) if ((samples[index - 1] ?? 0) < 0 && (samples[index] ?? 0) >= 0) crossings += 1;
  return (crossings * RATE) / samples.length;
}

const CLICK = 0.06;
const from = (samples: Float32Array, ms: number): Float32Array => samples.subarray((ms * RATE) / 1000);

test("an even arrival is heard whole, in order, after the least delay", () => {
  const buffer = new SoundBuffer();
  const heard = run(buffer, 3, () => 30);
  const begin = heard.findIndex((sample) => Math.abs(sample) > 0.01);
  assert.ok((begin * 1000) / RATE < 30 + 40 + 2 * QUANTUM_MS + 1, `${begin}`);
  assert.ok(largestStep(heard) < CLICK);
  assert.equal(Math.round(pitch(from(heard, 200))), PITCH);
  assert.deepEqual(buffer.counts, { gaps: 0, gapSamples: 0, droppedSamples: 0 });
});

test("jitter below the target is not heard; jitter above it raises the target", () => {
  const buffer = new SoundBuffer();
  const late = (packet: number): number => 30 + (packet % 7 === 0 ? 90 : (packet * 7) % 20);
  run(buffer, 4, late);
  const { gaps } = buffer.counts;
  assert.ok(buffer.targetMs >= 105 && buffer.targetMs < 130, `${buffer.targetMs}`);
  const calm = new SoundBuffer();
  const heard = run(calm, 10, late);
  // What is learned in the first seconds holds for the rest.
  assert.ok(calm.counts.gaps <= gaps + 1, `${calm.counts.gaps} after ${gaps}`);
  assert.ok(largestStep(from(heard, 4000)) < CLICK);
  assert.ok(Math.abs(pitch(from(heard, 4000)) - PITCH) < 3);
});

test("a lost packet is filled without a click, and counted", () => {
  const buffer = new SoundBuffer();
  const heard = run(buffer, 3, (packet) => (packet === 60 || packet === 100 ? undefined : 20));
  assert.equal(buffer.counts.gaps, 2);
  assert.equal(buffer.counts.gapSamples, 2 * PACKET);
  assert.ok(largestStep(heard) < CLICK, `${largestStep(heard)}`);
});

test("silence that was not sent is no gap, and sound after it comes softly", () => {
  const buffer = new SoundBuffer();
  // The publisher falls silent for a second, with the sequence going on: nothing is lost.
  const times = (packet: number): number => packet * PACKET_MS + (packet >= 50 ? 1000 : 0);
  const heard = new Float32Array(3 * RATE - ((3 * RATE) % QUANTUM));
  let packet = 0;
  for (let at = 0; at < heard.length; at += QUANTUM) {
    const nowMs = (at * 1000) / RATE;
    while (times(packet) + 20 <= nowMs) {
      buffer.push(times(packet) + 20, EPOCH_MS + times(packet), tone(packet));
      packet += 1;
    }
    buffer.mixInto(nowMs, [heard.subarray(at, at + QUANTUM)]);
  }
  assert.equal(buffer.counts.gaps, 0);
  assert.ok(largestStep(heard) < CLICK);
  assert.ok(heard.subarray(1.3 * RATE, 1.9 * RATE).every((sample) => sample === 0));
  assert.ok(heard.subarray(2.2 * RATE, 2.4 * RATE).some((sample) => Math.abs(sample) > 0.4));
});

test("a stall of the network is a gap, after which sound is in time again", () => {
  const buffer = new SoundBuffer();
  const heard = run(buffer, 8, (packet) => (packet >= 280 && packet < 290 ? 20 + (290 - packet) * PACKET_MS : 20));
  assert.equal(buffer.counts.gaps, 1);
  assert.ok(largestStep(heard) < CLICK, `${largestStep(heard)}`);
  const lagMs = 8000 - ((buffer.heardMs ?? 0) - EPOCH_MS);
  assert.ok(lagMs < 20 + 40 + 30, `${lagMs}`);
});

test("it waits for pictures, and stops waiting, without a click or another pitch", () => {
  const buffer = new SoundBuffer();
  const heard = new Float32Array(8 * RATE - ((8 * RATE) % QUANTUM));
  let packet = 0;
  const lagAt = new Map<number, number>();
  for (let at = 0; at < heard.length; at += QUANTUM) {
    const nowMs = (at * 1000) / RATE;
    while (packet * PACKET_MS + 20 <= nowMs) {
      buffer.push(packet * PACKET_MS + 20, EPOCH_MS + packet * PACKET_MS, tone(packet));
      packet += 1;
    }
    if (nowMs >= 2000 && nowMs < 5000) buffer.setWaits(120);
    else buffer.setWaits(0);
    buffer.mixInto(nowMs, [heard.subarray(at, at + QUANTUM)]);
    lagAt.set(Math.floor(nowMs / 100), nowMs - ((buffer.heardMs ?? 0) - EPOCH_MS));
  }
  assert.ok((lagAt.get(19) ?? 0) < 70, `${lagAt.get(19)}`);
  assert.ok(Math.abs((lagAt.get(49) ?? 0) - 180) <= 25, `${lagAt.get(49)}`);
  assert.ok((lagAt.get(79) ?? 0) < 85, `${lagAt.get(79)}`);
  assert.deepEqual(buffer.counts.gaps, 0);
  assert.ok(largestStep(heard) < CLICK, `${largestStep(heard)}`);
  assert.ok(Math.abs(pitch(from(heard, 200)) - PITCH) < 3, `${pitch(from(heard, 200))}`);
});

test("a clock that runs a little faster is followed for an hour's worth of drift without a gap", () => {
  const buffer = new SoundBuffer();
  // The publisher's samples come 0.5 % too fast by our clock: 50 times worse than a bad crystal.
  const heard = run(buffer, 20, (packet) => 20 - packet * PACKET_MS * 0.005 + 100);
  assert.equal(buffer.counts.gaps, 0);
  assert.ok(buffer.heldMs < 150, `${buffer.heldMs}`);
  assert.ok(largestStep(heard) < CLICK, `${largestStep(heard)}`);
});

test("whatever arrives in one burst, what is held is bounded", () => {
  const buffer = new SoundBuffer();
  for (let packet = 0; packet < 500; packet += 1) buffer.push(0, EPOCH_MS + packet * PACKET_MS, tone(packet));
  assert.ok(buffer.heldMs <= 1000, `${buffer.heldMs}`);
  assert.ok(buffer.counts.droppedSamples > 0);
});

for (const [what, wrongMs] of [
  ["absurdly late", 2 ** 53],
  ["absurdly early", 0],
  ["a day ahead", EPOCH_MS + 86_400_000],
] as const) {
  test(`one packet whose time is ${what} does not silence those behind it`, () => {
    const buffer = new SoundBuffer();
    const calm = run(buffer, 2, () => 20);
    assert.ok(from(calm, 1000).some((sample) => Math.abs(sample) > 0.4));
    const heard = new Float32Array(2 * RATE - ((2 * RATE) % QUANTUM));
    let packet = 100;
    buffer.push(2000, wrongMs, tone(0));
    for (let at = 0; at < heard.length; at += QUANTUM) {
      const nowMs = 2000 + (at * 1000) / RATE;
      while (packet * PACKET_MS + 20 <= nowMs) {
        buffer.push(packet * PACKET_MS + 20, EPOCH_MS + packet * PACKET_MS, tone(packet));
        packet += 1;
      }
      buffer.mixInto(nowMs, [heard.subarray(at, at + QUANTUM)]);
    }
    assert.equal(Math.round(pitch(from(heard, 1000))), PITCH);
    const lagMs = 4000 - ((buffer.heardMs ?? 0) - EPOCH_MS);
    assert.ok(lagMs < 20 + 40 + 60, `${lagMs}`);
  });
}

test("a publisher whose clock is set back by an hour is heard on", () => {
  const buffer = new SoundBuffer();
  const heard = new Float32Array(4 * RATE - ((4 * RATE) % QUANTUM));
  let packet = 0;
  for (let at = 0; at < heard.length; at += QUANTUM) {
    const nowMs = (at * 1000) / RATE;
    while (packet * PACKET_MS + 20 <= nowMs) {
      buffer.push(packet * PACKET_MS + 20, EPOCH_MS + packet * PACKET_MS - (packet >= 100 ? 3_600_000 : 0), tone(packet));
      packet += 1;
    }
    buffer.mixInto(nowMs, [heard.subarray(at, at + QUANTUM)]);
  }
  assert.ok(from(heard, 2300).some((sample) => Math.abs(sample) > 0.4));
  assert.ok(buffer.heldMs <= 200, `${buffer.heldMs}`);
});

test("a publisher that leaves fades out, and nothing is kept of it", () => {
  const buffer = new SoundBuffer();
  let packet = 0;
  const heard = new Float32Array(RATE - (RATE % QUANTUM));
  for (let at = 0; at < heard.length; at += QUANTUM) {
    const nowMs = (at * 1000) / RATE;
    while (nowMs < 500 && packet * PACKET_MS + 20 <= nowMs) {
      buffer.push(packet * PACKET_MS + 20, EPOCH_MS + packet * PACKET_MS, tone(packet));
      packet += 1;
    }
    if (nowMs >= 500 && nowMs < 500 + QUANTUM_MS) buffer.end();
    buffer.mixInto(nowMs, [heard.subarray(at, at + QUANTUM)]);
  }
  assert.ok(largestStep(heard) < CLICK);
  assert.equal(buffer.isIdle, true);
});

test("twenty voices at once stay within full scale, softly", () => {
  const limiter = new Limiter();
  let before = 0;
  for (let block = 0; block < 1000; block += 1) {
    const samples = new Float32Array(QUANTUM);
    for (let index = 0; index < QUANTUM; index += 1)
      samples[index] = 4 * Math.sin((2 * Math.PI * PITCH * (block * QUANTUM + index)) / RATE);
    limiter.process([samples]);
    assert.ok(samples.every((sample) => Math.abs(sample) <= 1));
    if (block > 10) assert.ok(Math.abs((samples[0] ?? 0) - before) < 0.12);
    before = samples[QUANTUM - 1] ?? 0;
  }
  const quiet = new Float32Array(QUANTUM).fill(0.1);
  for (let block = 0; block < 3000; block += 1) limiter.process([quiet.slice()]);
  limiter.process([quiet]);
  assert.ok(Math.abs((quiet[5] ?? 0) - 0.1) < 1e-6);
});
