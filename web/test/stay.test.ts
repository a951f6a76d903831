// When a stay dials anew, comes back as a new participant, or is over: each test is a story of inputs and what they make the client do.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ErrorCode } from "../client/src/error.ts";
import { REJOIN_FOR_MS, RESUME_FOR_MS, Stay, type StayInput } from "../client/src/stay.ts";

/** A stay whose jitter is the middle one: waits are 200, 400, 800 ms … */
class Story {
  readonly stay: Stay;
  nowMs = 1000;

  constructor(canRejoin = true) {
    this.stay = new Stay(canRejoin, () => 0.5);
  }

  /** What an input leads to, in short. */
  when(input: StayInput): string[] {
    return this.stay.handle(this.nowMs, input).map((output) => {
      if (output.type === "end") return `end ${output.reason}${output.error === undefined ? "" : ` ${output.error.code}`}`;
      if (output.type === "state") return output.state;
      return output.type === "drop" ? `drop ${output.attempt}` : `${output.type} ${output.attempt} ${output.way}`;
    });
  }

  after(ms: number, input: StayInput = { type: "tick" }): string[] {
    this.nowMs += ms;
    return this.when(input);
  }

  fails(attempt: number, code: ErrorCode, details: Record<string, string> = {}): string[] {
    return this.when({ type: "failed", attempt, error: { code, message: "", details } });
  }

  /** Lets the next attempt begin. */
  untilNext(): string[] {
    const { deadlineMs } = this.stay;
    assert.ok(deadlineMs !== undefined, "something is waited for");
    this.nowMs = Math.max(this.nowMs, deadlineMs);
    return this.when({ type: "tick" });
  }
}

const broken: StayInput = { type: "closed", code: undefined };

test("a broken session is resumed at once, and everything is well again", () => {
  const story = new Story();
  assert.deepEqual(story.when(broken), ["reconnecting", "dial 1 resume"]);
  assert.deepEqual(story.when({ type: "dialled", attempt: 1 }), ["join 1 resume"]);
  assert.deepEqual(story.when({ type: "stood", attempt: 1 }), ["connected"]);
  assert.equal(story.stay.deadlineMs, undefined);
});

test("whoever says goodbye has left, however the session ends then", () => {
  for (const code of ["NORMAL", "MOVED", undefined] as const) {
    const story = new Story();
    assert.deepEqual(story.when({ type: "leaving" }), []);
    assert.deepEqual(story.when({ type: "closed", code }), ["end left"]);
  }
});

test("attempts that fail come again with growing waits", () => {
  const story = new Story();
  story.when(broken);
  const waits: number[] = [];
  for (let attempt = 1; attempt <= 5; attempt += 1) {
    story.fails(attempt, "CONNECTION_FAILED");
    waits.push((story.stay.deadlineMs ?? 0) - story.nowMs);
    assert.deepEqual(story.untilNext(), [`dial ${attempt + 1} resume`]);
  }
  assert.deepEqual(waits, [200, 400, 800, 1600, 2000]);
});

test("a silent session that speaks again stays, and what was dialled beside it is dropped", () => {
  const story = new Story();
  assert.deepEqual(story.when({ type: "silent" }), ["reconnecting", "dial 1 resume"]);
  assert.deepEqual(story.when({ type: "spoke" }), ["connected", "drop 1"]);
  assert.deepEqual(story.when({ type: "dialled", attempt: 1 }), ["drop 1"]);
  assert.deepEqual(story.when({ type: "silent" }), ["reconnecting", "dial 2 resume"]);
});

test("a join that is said is not taken back: the newer session wins, and the end of the older one is our own doing", () => {
  const story = new Story();
  story.when({ type: "silent" });
  story.when({ type: "dialled", attempt: 1 });
  assert.deepEqual(story.when({ type: "spoke" }), ["connected"]);
  assert.deepEqual(story.when({ type: "closed", code: "MOVED" }), ["reconnecting"]);
  assert.deepEqual(story.when({ type: "stood", attempt: 1 }), ["connected"]);
});

test("when the answer to our own resume is lost, the end of the older session is no stranger's", () => {
  const story = new Story();
  story.when({ type: "silent" });
  story.when({ type: "dialled", attempt: 1 });
  assert.deepEqual(story.fails(1, "CONNECTION_LOST"), []);
  assert.deepEqual(story.when({ type: "closed", code: "MOVED" }), []);
  assert.deepEqual(story.untilNext(), ["dial 2 resume"]);
});

test("a session that somebody else took over is over", () => {
  assert.deepEqual(new Story().when({ type: "closed", code: "MOVED" }), ["end moved"]);
  const story = new Story();
  // Taken over again after a resume of ours: that is another's.
  story.when(broken);
  story.when({ type: "dialled", attempt: 1 });
  story.when({ type: "stood", attempt: 1 });
  assert.deepEqual(story.when({ type: "closed", code: "MOVED" }), ["end moved"]);
});

test("an order to move is followed beside the session in use, whose end as moved is part of it", () => {
  const story = new Story();
  assert.deepEqual(story.when({ type: "ordered" }), ["dial 1 resume"]);
  assert.deepEqual(story.when({ type: "dialled", attempt: 1 }), ["join 1 resume"]);
  assert.deepEqual(story.when({ type: "closed", code: "MOVED" }), ["reconnecting"]);
  assert.deepEqual(story.when({ type: "stood", attempt: 1 }), ["connected"]);

  const calm = new Story();
  calm.when({ type: "ordered" });
  calm.when({ type: "dialled", attempt: 1 });
  assert.deepEqual(calm.when({ type: "stood", attempt: 1 }), []);
});

test("an order that cannot be followed is tried again while the session stands, and not for ever", () => {
  const story = new Story();
  story.when({ type: "ordered" });
  for (let attempt = 1; attempt < 10; attempt += 1) {
    assert.deepEqual(story.fails(attempt, "UNAVAILABLE"), []);
    assert.deepEqual(story.untilNext(), [`dial ${attempt + 1} resume`]);
  }
  assert.deepEqual(story.fails(10, "UNAVAILABLE"), []);
  assert.equal(story.stay.deadlineMs, undefined);
  assert.deepEqual(story.when(broken), ["reconnecting", "dial 11 resume"]);
});

test("after the window, and when the place is gone, a new participant comes by a new ticket", () => {
  const late = new Story();
  late.when(broken);
  let attempt = 1;
  while (late.nowMs < 1000 + RESUME_FOR_MS) {
    late.fails(attempt, "CONNECTION_FAILED");
    const next = late.untilNext();
    attempt += 1;
    assert.match(next[0] ?? "", late.nowMs < 1000 + RESUME_FOR_MS ? /resume/u : /rejoin/u);
  }

  for (const code of ["UNAUTHORIZED", "NOT_FOUND"] as const) {
    const gone = new Story();
    gone.when(broken);
    gone.when({ type: "dialled", attempt: 1 });
    assert.deepEqual(gone.fails(1, code), ["dial 2 rejoin"]);
    assert.deepEqual(gone.when({ type: "dialled", attempt: 2 }), ["join 2 rejoin"]);
    assert.deepEqual(gone.when({ type: "stood", attempt: 2 }), ["connected"]);
    // Its own place is resumed first, the next time.
    assert.deepEqual(gone.when(broken), ["reconnecting", "dial 3 resume"]);
  }
});

test("without a source of tickets the meeting is over then", () => {
  const story = new Story(false);
  story.when(broken);
  story.when({ type: "dialled", attempt: 1 });
  assert.deepEqual(story.fails(1, "UNAUTHORIZED"), ["end connection-lost UNAUTHORIZED"]);
});

test("who was removed, and whose meeting has ended, does not come back", () => {
  assert.deepEqual(new Story().when({ type: "closed", code: "FORBIDDEN" }), ["end kicked"]);
  assert.deepEqual(new Story().when({ type: "closed", code: "NORMAL" }), ["end meeting-ended"]);
  const removed = new Story();
  removed.when(broken);
  removed.when({ type: "dialled", attempt: 1 });
  assert.deepEqual(removed.fails(1, "FORBIDDEN"), ["end kicked FORBIDDEN"]);
  const secret = new Story();
  secret.when(broken);
  secret.when({ type: "dialled", attempt: 1 });
  assert.deepEqual(secret.fails(1, "WRONG_SECRET"), ["end refused WRONG_SECRET"]);
});

/** A stay that is trying to rejoin with attempt 2. */
function rejoining(): Story {
  const story = new Story();
  story.when(broken);
  story.when({ type: "dialled", attempt: 1 });
  story.fails(1, "UNAUTHORIZED");
  return story;
}

test("a refusal that will not get better ends the stay", () => {
  const check = (code: ErrorCode, expected: string): void => assert.deepEqual(rejoining().fails(2, code), [expected]);
  check("MEETING_ENDED", "end meeting-ended MEETING_ENDED");
  check("FORBIDDEN", "end refused FORBIDDEN");
  check("MEETING_NOT_FOUND", "end refused MEETING_NOT_FOUND");
  check("INVALID_REQUEST", "end refused INVALID_REQUEST");
  check("NOT_ENCRYPTED", "end refused NOT_ENCRYPTED");
});

test("a fresh ticket that is refused is worth two more, not three", () => {
  const story = rejoining();
  assert.deepEqual(story.fails(2, "UNAUTHORIZED"), []);
  assert.deepEqual(story.untilNext(), ["dial 3 rejoin"]);
  assert.deepEqual(story.fails(3, "NOT_FOUND"), []);
  assert.deepEqual(story.untilNext(), ["dial 4 rejoin"]);
  assert.deepEqual(story.fails(4, "UNAUTHORIZED"), ["end refused UNAUTHORIZED"]);
});

test("what may pass is tried for about two minutes, as slowly as the server asks", () => {
  const story = rejoining();
  story.fails(2, "RATE_LIMITED", { retry_after: "20" });
  assert.equal((story.stay.deadlineMs ?? 0) - story.nowMs, 20_000);
  let attempt = 3;
  assert.deepEqual(story.untilNext(), ["dial 3 rejoin"]);
  let said: string[] = [];
  while (said.length === 0) {
    said = story.fails(attempt, "CONNECTION_FAILED");
    if (said.length > 0) break;
    attempt += 1;
    assert.deepEqual(story.untilNext(), [`dial ${attempt} rejoin`]);
  }
  assert.deepEqual(said, ["end connection-lost CONNECTION_FAILED"]);
  assert.ok(story.nowMs >= 1000 + REJOIN_FOR_MS && story.nowMs < 1000 + REJOIN_FOR_MS + 10_000);
  assert.ok(attempt < 50, `${attempt} attempts`);
});

test("a network that is back is used at once", () => {
  const story = new Story();
  assert.deepEqual(story.when({ type: "online" }), []);
  story.when(broken);
  assert.deepEqual(story.after(3000, { type: "online" }), ["drop 1", "dial 2 resume"]);
  story.fails(2, "CONNECTION_FAILED");
  assert.deepEqual(story.when({ type: "online" }), ["dial 3 resume"]);
  story.when({ type: "dialled", attempt: 3 });
  assert.deepEqual(story.when({ type: "online" }), []);
});

test("after the end nothing begins, and what still stands is dropped", () => {
  const story = new Story();
  story.when(broken);
  assert.deepEqual(story.when({ type: "closed", code: "FORBIDDEN" }), ["drop 1", "end kicked"]);
  assert.deepEqual(story.when({ type: "dialled", attempt: 1 }), ["drop 1"]);
  assert.deepEqual(story.when({ type: "stood", attempt: 1 }), ["drop 1"]);
  assert.deepEqual(story.when({ type: "online" }), []);
  assert.equal(story.stay.deadlineMs, undefined);
});
