// What keeps a stay calm: silence, quality that does not flicker, races between ways.
import assert from "node:assert/strict";
import { test } from "node:test";
import { CalmQuality, type QualityInput } from "../client/src/quality.ts";
import { RecentSum } from "../client/src/recent-sum.ts";
import { Silence } from "../client/src/silence.ts";
import { race } from "../client/src/worker/race.ts";

test("a session is silent after a second and a half, and not because nobody listened", () => {
  const silence = new Silence(0);
  const check = (heardAtMs: number, nowMs: number, expected: boolean): void =>
    assert.equal(silence.check(heardAtMs, nowMs), expected, `heard ${heardAtMs}, now ${nowMs}`);
  for (let nowMs = 250; nowMs <= 1500; nowMs += 250) check(0, nowMs, false);
  check(0, 1750, true);
  check(1700, 2000, false);
  // The lid was closed for a minute.
  check(1700, 62_000, false);
  for (let nowMs = 62_250; nowMs <= 63_500; nowMs += 250) check(1700, nowMs, false);
  check(1700, 63_750, true);
});

test("quality gets worse after a moment and better after a while; what is lost is told at once", () => {
  const calm = new CalmQuality();
  const good: QualityInput = { rttMs: 20, packetLoss: 0, signaling: "connected", media: "connected", groupsAborted: 0, frozen: 0 };
  const lossy = { ...good, packetLoss: 0.1 };
  const check = (nowMs: number, input: QualityInput, level: string, reason: string): void => {
    const told = calm.judge(nowMs, input);
    assert.deepEqual([told.level, told.reason], [level, reason], `at ${nowMs}`);
  };
  check(0, good, "good", "");
  check(1000, lossy, "good", "");
  check(2000, good, "good", "");
  check(3000, lossy, "good", "");
  check(4000, lossy, "good", "");
  check(5000, lossy, "poor", "loss");
  check(6000, good, "poor", "loss");
  check(9000, good, "poor", "loss");
  check(10_000, good, "good", "");
  check(10_100, { ...good, signaling: "reconnecting" }, "lost", "signaling");
  check(10_200, good, "good", "");
});

test("what came lately is summed, what is older is forgotten", () => {
  const sum = new RecentSum(1000);
  sum.add(0, 1);
  sum.add(100, 2);
  sum.add(600, 4);
  assert.equal(sum.value(700), 7);
  assert.equal(sum.value(1050), 4);
  assert.equal(sum.value(1600), 0);
});

/** A way that stands or fails when it is told. */
class Way {
  isBegun = false;
  stand!: () => void;
  fail!: () => void;
  readonly afterMs: number;
  private readonly outcome: Promise<string>;

  constructor(name: string, afterMs: number) {
    this.afterMs = afterMs;
    this.outcome = new Promise((resolve, reject) => {
      this.stand = () => resolve(name);
      this.fail = () => reject(new Error(`${name} failed`));
    });
  }

  start(): Promise<string> {
    this.isBegun = true;
    return this.outcome;
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("the first way to stand wins; who stands later is handed back", async () => {
  const [first, second] = [new Way("first", 0), new Way("second", 5)];
  const late: string[] = [];
  const raced = race([first, second], (name) => late.push(name));
  assert.deepEqual([first.isBegun, second.isBegun], [true, false]);
  while (!second.isBegun) await turn();
  second.stand();
  assert.equal(await raced, "second");
  first.stand();
  await turn();
  assert.deepEqual(late, ["first"]);
});

test("a way that fails lets the next begin at once; when all fail the first reason is told", async () => {
  const [first, second] = [new Way("first", 0), new Way("second", 60_000)];
  const raced = race([first, second], () => undefined);
  first.fail();
  await turn();
  assert.ok(second.isBegun);
  second.fail();
  await assert.rejects(raced, /first failed/u);
  await assert.rejects(
    race([], () => undefined),
    /nothing to try/u,
  );
});
