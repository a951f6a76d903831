// What is sent, and how: pace, delay of the way, bitrate, size and rate of pictures, codecs, clocks. Virtual time throughout.
import assert from "node:assert/strict";
import { test } from "node:test";
import { AudioGroups } from "../client/src/audio-groups.ts";
import { DrainTime } from "../client/src/drain-time.ts";
import { EncoderControl, type EncoderSigns } from "../client/src/encoder-control.ts";
import { EpochClock } from "../client/src/epoch-clock.ts";
import { Pacer } from "../client/src/pacer.ts";
import { SampleClock } from "../client/src/sample-clock.ts";
import { SentRate } from "../client/src/sent-rate.ts";
import { UplinkDelay } from "../client/src/uplink-delay.ts";
import { UplinkRate, type UplinkSigns } from "../client/src/uplink.ts";
import { chooseCodec, CodecWatch, type CodecSituation, decodes, fallbackCodec } from "../client/src/video-codecs.ts";

const CALM: UplinkSigns = { backlogMs: 0, queueMs: 0, loss: 0, sent: 0, available: 0 };
const FULL: UplinkSigns = { ...CALM, queueMs: 150 };
const IDLE: EncoderSigns = { ...CALM, pictures: 6, busy: 0, encodeMs: 4 };

/** Looks each 200 ms from `fromMs` to `toMs`. */
function look(fromMs: number, toMs: number, sample: (nowMs: number) => void): void {
  for (let nowMs = fromMs; nowMs < toMs; nowMs += 200) sample(nowMs);
}

test("pieces go at the pace, sound takes its share and never waits", () => {
  const pacer = new Pacer(800_000);
  assert.equal(pacer.pieceBytes, 2000, "20 ms of it");
  assert.equal(pacer.waitMs(0), 0);
  pacer.spend(0, 2000);
  assert.equal(pacer.waitMs(0), 16, "a little early, for timers are not exact");
  assert.equal(pacer.waitMs(16), 0);
  pacer.spend(16, 2000);
  pacer.spend(16, 100);
  assert.equal(pacer.waitMs(16), 21, "20 + 20 + 1 ms after the start, less the slack");
  pacer.setRate(30_000_000);
  assert.equal(pacer.pieceBytes, 16_384);
  assert.equal(pacer.waitMs(5000), 0);
});

test("a queue on the way is seen whatever the handler's clock says, and a moment's delay is none", () => {
  const delay = new UplinkDelay();
  const clockApartMs = 1_000_000;
  const ping = (sentAtMs: number, wayMs: number, backMs = 20): void => {
    delay.sent(sentAtMs);
    delay.answered(sentAtMs + wayMs + backMs, sentAtMs, sentAtMs + wayMs + clockApartMs);
  };
  assert.equal(delay.queueMs(0), 0);
  ping(0, 20);
  ping(200, 25);
  assert.equal(delay.queueMs(300), 0);
  for (const at of [400, 600, 800]) ping(at, 180);
  assert.equal(delay.queueMs(1000), 5, "busy for a moment");
  for (const at of [1000, 1200]) ping(at, 180);
  assert.equal(delay.queueMs(1400), 160);
  // The way back does not count.
  ping(1400, 20, 250);
  assert.equal(delay.queueMs(1700), 0);
});

test("a ping that stays away is late before its answer comes", () => {
  const delay = new UplinkDelay();
  delay.sent(0);
  delay.answered(40, 0, 20);
  delay.sent(200);
  assert.equal(delay.queueMs(500), 0);
  assert.equal(delay.queueMs(740), 500);
  delay.reset();
  assert.equal(delay.queueMs(10_000), 0);
});

test("a longer way is the way after a while", () => {
  const delay = new UplinkDelay();
  for (let at = 0; at < 100_000; at += 200) {
    const wayMs = at < 1000 ? 20 : 150;
    delay.sent(at);
    delay.answered(at + 2 * wayMs, at, at + wayMs);
    if (at === 20_000) assert.equal(delay.queueMs(at + 400), 130);
  }
  assert.equal(delay.queueMs(100_200), 0);
});

test("what a transport holds is seen at the end of a group, and while that stays away", () => {
  const drain = new DrainTime();
  drain.ended(0).arrived(30);
  assert.equal(drain.aboveMs(40), 0);
  drain.ended(2000).arrived(2430);
  assert.equal(drain.aboveMs(2500), 400);
  assert.equal(drain.aboveMs(3000), 0, "it has arrived, and that was a while ago");
  const late = drain.ended(4000);
  assert.equal(drain.aboveMs(4100), 70);
  assert.equal(drain.aboveMs(4530), 500);
  drain.forget();
  assert.equal(drain.aboveMs(4600), 0);
  late.arrived(9000);
  assert.equal(drain.aboveMs(9000), 0, "given up before");
  drain.ended(9100).dropped();
  assert.equal(drain.aboveMs(9900), 0);
});

test("the bitrate falls at once, waits for a queue that falls, and rises slowly, slowest where it fell", () => {
  const rate = new UplinkRate(800_000);
  assert.equal(rate.sample(0, FULL), true);
  assert.equal(rate.bitrate, 680_000);
  assert.equal(rate.sample(200, FULL), false, "the last step does not show yet");
  assert.equal(rate.sample(600, { ...FULL, queueMs: 110 }), false, "it is falling");
  assert.equal(rate.sample(800, { ...FULL, queueMs: 300 }), true);
  assert.equal(rate.bitrate, 476_000, "a long queue takes a larger step");
  assert.equal(rate.sample(2000, { ...CALM, queueMs: 60 }), false, "neither calm nor full");
  look(2000, 12_000, (nowMs) => rate.sample(nowMs, CALM));
  assert.ok(rate.bitrate > 650_000, String(rate.bitrate));
  const before = rate.bitrate;
  look(12_000, 14_000, (nowMs) => rate.sample(nowMs, CALM));
  assert.ok(rate.bitrate < before * 1.05, "near the knee");
  look(14_000, 60_000, (nowMs) => rate.sample(nowMs, CALM));
  assert.equal(rate.bitrate, 800_000);
  assert.equal(rate.isLimited, false);
});

test("a group given up costs more; there is a floor, and no bitrate below what was asked for", () => {
  const rate = new UplinkRate(800_000);
  rate.givenUp(0);
  assert.equal(rate.bitrate, 480_000);
  for (let index = 1; index < 20; index += 1) rate.givenUp(index * 1000);
  assert.equal(rate.bitrate, 100_000);
  assert.equal(rate.sample(30_000, FULL), false);
  const small = new UplinkRate(60_000);
  small.givenUp(0);
  assert.equal(small.bitrate, 60_000);
});

test("the other side's figure counts beside a queue, and not by itself", () => {
  const rate = new UplinkRate(1_000_000);
  look(0, 5000, (nowMs) => rate.sample(nowMs, { ...CALM, available: 200_000 }));
  assert.equal(rate.bitrate, 1_000_000, "a handler that sends us nothing has no large window");
  rate.sample(5000, { ...FULL, available: 700_000 });
  assert.equal(rate.bitrate, 700_000);
  rate.sample(6000, { ...CALM, loss: 0.2 });
  assert.equal(rate.bitrate, 595_000, "loss by itself does");
});

test("an encoder that sends less than it may is lowered from what it sends", () => {
  const rate = new UplinkRate(740_000);
  rate.sample(0, { ...FULL, sent: 400_000 });
  assert.equal(rate.bitrate, 374_000);
  rate.sample(1000, { ...FULL, sent: 10_000 });
  assert.equal(rate.bitrate, 127_160, "but not by what was sent in a quiet moment");
});

test("what is sent is counted over two seconds", () => {
  const rate = new SentRate();
  assert.deepEqual(
    [0, 500, 1000, 2000, 3000, 4000].map((nowMs) => rate.of(nowMs, nowMs * 10)),
    [0, 0, 80_000, 80_000, 80_000, 80_000],
  );
  assert.equal(rate.of(6000, 40_000), 0);
  assert.equal(rate.of(6200, 10), 0, "another count");
});

test("a camera's picture gets smaller with its bitrate, and larger again after a while", () => {
  const control = new EncoderControl({ kind: "camera", bitrateMax: 740_000, frameRateMax: 30 });
  control.size(640, 360);
  control.sample(0, IDLE);
  assert.deepEqual(control.plan, { bitrate: 740_000, scale: 1, frameRate: 30, limiter: "none" });
  control.givenUp(100);
  control.givenUp(200);
  assert.deepEqual(control.plan, { bitrate: 266_400, scale: 0.75, frameRate: 30, limiter: "uplink" });
  for (let index = 0; index < 5; index += 1) control.givenUp(300);
  assert.deepEqual(control.plan, { bitrate: 100_000, scale: 0.5, frameRate: 30, limiter: "uplink" });
  const sizes = new Set<number>();
  look(400, 60_000, (nowMs) => {
    control.sample(nowMs, IDLE);
    sizes.add(control.plan.scale);
  });
  assert.deepEqual([...sizes], [0.5, 0.75, 1], "one step at a time");
  assert.equal(control.plan.limiter, "none");
});

test("the size does not go up and down with small moves of the bitrate", () => {
  const control = new EncoderControl({ kind: "camera", bitrateMax: 740_000, frameRateMax: 30 });
  control.size(640, 360);
  control.givenUp(0);
  control.givenUp(1);
  let changes = 0;
  let scale = control.plan.scale;
  look(1000, 120_000, (nowMs) => {
    // Around 300 kb/s, where the step is.
    const isHigh = control.plan.bitrate > 330_000;
    control.sample(nowMs, { ...IDLE, queueMs: isHigh ? 120 : 0 });
    if (control.plan.scale !== scale) changes += 1;
    ({ scale } = control.plan);
  });
  assert.ok(changes <= 1, String(changes));
});

test("a screen keeps its size and gets slower", () => {
  const control = new EncoderControl({ kind: "screen", bitrateMax: 2_500_000, frameRateMax: 15 });
  control.size(1920, 1080);
  assert.deepEqual([control.plan.scale, control.plan.frameRate], [1, 15]);
  control.givenUp(0);
  control.givenUp(1);
  control.givenUp(2);
  assert.deepEqual(control.plan, { bitrate: 540_000, scale: 1, frameRate: 7, limiter: "uplink" });
  for (let index = 0; index < 9; index += 1) control.givenUp(3);
  assert.deepEqual([control.plan.scale, control.plan.frameRate], [1, 5]);
});

test("a machine that cannot keep up gets smaller pictures, and is tried again less and less often", () => {
  const control = new EncoderControl({ kind: "camera", bitrateMax: 2_500_000, frameRateMax: 30 });
  control.size(1280, 720);
  // Manages three quarters of the size, and no more.
  const raised: number[] = [];
  let scale = 1;
  look(0, 120_000, (nowMs) => {
    const isTooMuch = control.plan.scale === 1;
    control.sample(nowMs, { ...IDLE, busy: isTooMuch ? 4 : 0, encodeMs: isTooMuch ? 40 : 10 });
    if (control.plan.scale > scale) raised.push(nowMs);
    ({ scale } = control.plan);
  });
  assert.equal(control.plan.limiter, "cpu");
  assert.equal(scale, 0.75);
  assert.ok(raised.length >= 2 && raised.length <= 4, raised.join(" "));
  const gaps = raised.slice(1).map((at, index) => at - (raised[index] ?? 0));
  assert.deepEqual(
    gaps,
    [...gaps].sort((a, b) => a - b),
    "each time later",
  );
});

const SITUATION: CodecSituation = { type: "camera", others: [], encodes: ["VP9", "AV1", "H264", "VP8"], hardware: [], cores: 8 };

test("the codec is the best that everybody decodes", () => {
  const check = (change: Partial<CodecSituation>, expected: string | undefined): void =>
    assert.equal(chooseCodec({ ...SITUATION, ...change }), expected, JSON.stringify(change));
  check({}, "VP9");
  check({ cores: 2 }, "VP8");
  check({ cores: 2, hardware: ["H264"] }, "H264");
  check({ cores: 2, hardware: ["H264"], others: [["VP8", "vp09.00.10.08"]] }, "VP8");
  check({ type: "screen" }, "AV1");
  check({ type: "screen", others: [["VP9", "VP8"]] }, "VP9");
  check({ others: [["VP9"], ["H264", "vp8"]] }, "VP9");
  check(
    {
      others: [
        ["VP9", "VP8"],
        ["H264", "VP8"],
      ],
    },
    "VP8",
  );
  check({ others: [["H264"]] }, "H264");
  check({ others: [[], ["VP8", "VP9"]] }, "VP9");
  check({ others: [["HEVC"]] }, "VP9");
  check({ encodes: ["VP8"] }, "VP8");
  check({ encodes: [] }, undefined);
  assert.ok(decodes([], "VP8") && decodes([], "VP9") && !decodes([], "H264") && !decodes([], "AV1"));
});

test("who comes and cannot decode it changes the codec at once; who goes changes nothing for a minute", () => {
  const watch = new CodecWatch("VP9", 0);
  const others = (...lists: string[][]): CodecSituation => ({ ...SITUATION, others: lists });
  assert.equal(watch.next(1000, others(["VP9", "VP8"])), undefined);
  assert.equal(watch.next(2000, others(["VP9", "VP8"], ["VP8"])), "VP8");
  watch.moved(2000, "VP8");
  assert.equal(watch.next(3000, others(["VP9", "VP8"])), undefined, "gone again");
  assert.equal(watch.next(3500, others(["H264"])), "H264", "somebody else without a picture does not wait");
  assert.equal(watch.next(62_000, others(["VP9", "VP8"])), "VP9");
  assert.equal(new CodecWatch("VP8", 0).next(1e9, others()), undefined, "what was chosen at first stays");
});

test("a change that is refused is asked for again, but not at once", () => {
  const watch = new CodecWatch("VP9", 0);
  const situation: CodecSituation = { ...SITUATION, others: [["VP8"]] };
  assert.equal(watch.next(1000, situation), "VP8");
  watch.refused(1000);
  let asked = 0;
  for (let nowMs = 1200; nowMs < 61_000; nowMs += 200) {
    if (watch.next(nowMs, situation) === undefined) continue;
    asked += 1;
    watch.refused(nowMs);
  }
  assert.equal(asked, 5);
});

test("where an encoder fails, VP8 takes its place, but not at the cost of somebody's picture", () => {
  const encodes = ["VP9", "AV1", "H264", "VP8"] as const;
  const without = (...failed: string[]): CodecSituation => ({ ...SITUATION, encodes: encodes.filter((it) => !failed.includes(it)) });
  assert.equal(fallbackCodec(without("VP9")), "VP8");
  assert.equal(fallbackCodec(without("VP8")), "VP9");
  assert.equal(fallbackCodec({ ...without("VP9"), others: [["VP9", "H264"]] }), "H264");
  assert.equal(fallbackCodec(without("VP9", "VP8", "H264", "AV1")), undefined);
});

test("the quickest frame says where the capture clock stands", () => {
  const clock = new EpochClock();
  const epochUs = 1_700_000_000_000_000n;
  // Captured each 20 ms from 5 s on; the first three come late, the others after 10 ms.
  const at = [90, 60, 40, 10, 10, 12].map((lateMs, index) => {
    const captureUs = 5_000_000 + index * 20_000;
    clock.observe(captureUs, epochUs + BigInt(captureUs + lateMs * 1000));
    return clock.toEpochUs(captureUs) - epochUs - BigInt(captureUs);
  });
  assert.deepEqual(at, [90_000n, 70_001n, 50_002n, 30_003n, 10_004n, 10_000n], "never back, and right from the sixth on");
  // Another device, with a clock from elsewhere.
  clock.observe(77, epochUs + 9_000_000n);
  assert.equal(clock.toEpochUs(77), epochUs + 9_000_000n);
});

test("a clock that jumps for a moment is not followed, one that drifts is", () => {
  const clock = new EpochClock();
  let apartUs = 0n;
  for (let tick = 0; tick < 3000; tick += 1) {
    const realUs = tick * 20_000;
    // Fast by 50 parts in a million; and 400 ms ahead for half a second.
    const captureUs = realUs * 1.000_05 + (tick >= 1000 && tick < 1025 ? 400_000 : 0);
    clock.observe(captureUs, BigInt(realUs));
    apartUs = clock.toEpochUs(captureUs) - BigInt(realUs);
    if (tick > 1100) assert.ok(apartUs > -1000n && apartUs < 1000n, `${tick}: ${apartUs}`);
  }
});

test("time never stands still or goes back", () => {
  const clock = new EpochClock();
  clock.observe(1000, 50_000n);
  const first = clock.toEpochUs(1000);
  clock.observe(1001, 40_000n);
  assert.ok(clock.toEpochUs(1001) > first);
});

/** An encoder of sound as Chromium's: counts the packets that it gives, not those that it leaves out. Milliseconds. */
class FakeOpus {
  readonly clock = new SampleClock();
  private fedMs = 0;
  private countMs = 0;

  /** A packet's worth of samples, heard from `heardMs` on, in two blocks. */
  feed(heardMs: number): void {
    for (const part of [0, 10]) this.clock.feed(BigInt((heardMs + part) * 1000), 480, 48_000);
    this.fedMs += 20;
  }

  /** The next packet's time, in milliseconds. */
  packet(): number {
    const at = this.clock.at(7_000_000 + this.countMs * 1000);
    this.countMs += 20;
    return Number(at) / 1000;
  }
}

test("a packet's time is that of its samples, whatever the device left out before them", () => {
  const opus = new FakeOpus();
  const times = [1000, 1020, 1040, 1360, 1380].map((heardMs) => {
    opus.feed(heardMs);
    return opus.packet();
  });
  assert.deepEqual(times, [1000, 1020, 1040, 1360, 1380]);
});

test("silence that is left out does not shift the sound after it", () => {
  const opus = new FakeOpus();
  const late: number[] = [];
  for (let packet = 0; packet < 200; packet += 1) {
    opus.feed(packet * 20);
    // A long silence, and later one of a single packet.
    if ((packet >= 20 && packet < 60) || packet === 100) continue;
    late.push(packet * 20 - opus.packet());
  }
  assert.deepEqual(
    late.slice(0, 60),
    Array.from({ length: 60 }, () => 0),
    "at once after the long one",
  );
  assert.ok(
    late.slice(70).every((it) => it === 0),
    "soon after the short one",
  );
});

test("packets that come late in a burst keep their times", () => {
  const opus = new FakeOpus();
  let fed = 0;
  const times: number[] = [];
  // The encoder stands still for 60 ms now and then, and catches up.
  for (let packet = 0; packet < 100; packet += 1) {
    opus.feed(packet * 20);
    fed += 1;
    if (packet % 10 < 7)
      while (fed > 0) {
        times.push(opus.packet());
        fed -= 1;
      }
  }
  const apart = times.map((at, packet) => Math.abs(at - packet * 20));
  assert.ok(Math.max(...apart) <= 60, apart.join(" "));
  assert.ok(apart.filter((it) => it > 1).length <= 30, "and only while it catches up");
});

test("sound has a group a second, and a new one after silence", () => {
  const groups = new AudioGroups();
  const starts = Array.from({ length: 101 }, (_, index) => groups.starts(index * 20)).flatMap((it, index) => (it ? [index] : []));
  assert.deepEqual(starts, [0, 50, 100]);
  assert.equal(groups.starts(2020), false);
  assert.equal(groups.starts(2090), true);
  groups.restart();
  assert.equal(groups.starts(2100), true);
});
