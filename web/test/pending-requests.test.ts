// Requests over breaks: what waits, what is said again, what must not be.
import assert from "node:assert/strict";
import { test } from "node:test";
import { DarkTowerError, type ErrorCode } from "../client/src/error.ts";
import { PendingRequests, type Standpoint } from "../client/src/worker/pending-requests.ts";
import type { ClientBody, ServerBody, SignalingSession } from "../client/src/worker/signaling.ts";

/** A session that a test answers and breaks. */
class FakeSession {
  isOver = false;
  heardAtMs = Infinity;
  readonly said: ClientBody[] = [];
  private readonly waiting: { resolve: (body: ServerBody) => void; reject: (error: Error) => void }[] = [];

  request(body: ClientBody): Promise<ServerBody> {
    if (this.isOver) return Promise.reject(new DarkTowerError("CONNECTION_LOST", "over"));
    this.said.push(body);
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }

  answers(body: ServerBody = { case: undefined }): void {
    this.waiting.shift()?.resolve(body);
  }

  refuses(code: ErrorCode): void {
    this.waiting.shift()?.reject(new DarkTowerError(code, "refused"));
  }

  breaks(): void {
    this.isOver = true;
    for (const { reject } of this.waiting.splice(0)) reject(new DarkTowerError("CONNECTION_LOST", "broke"));
  }

  get cases(): unknown[] {
    return this.said.map((body) => body.case);
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const same: Standpoint = { isSame: true, published: new Set(), chat: new Map() };

class Story {
  readonly pending = new PendingRequests();
  readonly outcomes: string[] = [];

  stands(standpoint: Standpoint = same): FakeSession {
    const session = new FakeSession();
    this.pending.stands(session as unknown as SignalingSession, standpoint);
    return session;
  }

  asks(body: ClientBody, make?: () => ClientBody): void {
    const name = body.case ?? "";
    this.pending.request(body, make).then(
      () => this.outcomes.push(`${name} done`),
      (thrown: unknown) => this.outcomes.push(`${name} ${DarkTowerError.from(thrown).code}`),
    );
  }
}

const publish: ClientBody = { case: "publish", value: { streamId: "s1" } };
const chat: ClientBody = { case: "chat", value: { clientMessageId: "c1" } };

test("what is asked before a session stands is said when it does, in order", async () => {
  const story = new Story();
  story.asks(chat);
  story.asks({ case: "state", value: {} });
  const session = story.stands();
  await turn();
  assert.deepEqual(session.cases, ["chat", "state"]);
  session.answers();
  session.refuses("FORBIDDEN");
  await turn();
  assert.deepEqual(story.outcomes, ["chat done", "state FORBIDDEN"]);
});

test("a publication that was under way is not announced twice: the snapshot of the resume answers it", async () => {
  const story = new Story();
  const first = story.stands();
  story.asks(publish);
  await turn();
  first.breaks();
  await turn();
  const second = story.stands({ ...same, published: new Set(["s1"]) });
  await turn();
  assert.deepEqual([second.cases, story.outcomes], [[], ["publish done"]]);
});

test("one that the controller does not know is announced again; a conflict then means that it came through", async () => {
  const story = new Story();
  const first = story.stands();
  story.asks(publish);
  await turn();
  // The new session stands before the old one is seen to be over.
  const second = story.stands();
  first.breaks();
  await turn();
  assert.deepEqual(second.cases, ["publish"]);
  second.refuses("CONFLICT");
  await turn();
  assert.deepEqual(story.outcomes, ["publish done"]);
});

test("what is stopped before its announcement was answered is announced and stopped, in this order", async () => {
  const story = new Story();
  const first = story.stands();
  story.asks(publish);
  await turn();
  first.breaks();
  story.asks({ case: "unpublish", value: { streamId: "s1" } });
  await turn();
  const second = story.stands();
  await turn();
  assert.deepEqual(second.cases, ["publish", "unpublish"]);
});

test("what a silent session did not answer in time waits for the next one, or for it to speak again", async () => {
  const story = new Story();
  const session = story.stands();
  session.heardAtMs = 0;
  story.asks(chat);
  await turn();
  session.refuses("TIMED_OUT");
  await turn();
  assert.deepEqual(story.outcomes, []);
  story.pending.spoke();
  await turn();
  assert.deepEqual(session.cases, ["chat", "chat"]);
  session.heardAtMs = Infinity;
  session.refuses("TIMED_OUT");
  await turn();
  assert.deepEqual(story.outcomes, ["chat TIMED_OUT"]);
});

test("a conflict the first time is a conflict", async () => {
  const story = new Story();
  const session = story.stands();
  story.asks(publish);
  await turn();
  session.refuses("CONFLICT");
  await turn();
  assert.deepEqual(story.outcomes, ["publish CONFLICT"]);
});

test("what would be heard twice is not repeated; what was not said yet is no repeat", async () => {
  const story = new Story();
  const first = story.stands();
  story.asks({ case: "relay", value: { kind: "a" } });
  await turn();
  first.breaks();
  story.asks({ case: "relay", value: { kind: "b" } });
  await turn();
  assert.deepEqual(story.outcomes, ["relay CONNECTION_LOST"]);
  const second = story.stands();
  await turn();
  assert.deepEqual(
    second.said.map((body) => body.case === "relay" && body.value.kind),
    ["b"],
  );
});

test("as a new participant: chat that came through is not said again, what is gone needs no end, what is said is made anew", async () => {
  const story = new Story();
  const first = story.stands();
  let streamId = "s1";
  story.asks(chat);
  story.asks(publish, () => ({ case: "publish", value: { streamId } }));
  story.asks({ case: "unpublish", value: { streamId: "s0" } });
  await turn();
  first.breaks();
  await turn();
  streamId = "s2";
  const told: ServerBody = { case: undefined };
  const second = story.stands({ isSame: false, published: new Set(), chat: new Map([["c1", told]]) });
  await turn();
  assert.deepEqual(second.said, [{ case: "publish", value: { streamId: "s2" } }]);
  // Under another's id it would not be ours.
  second.refuses("CONFLICT");
  await turn();
  assert.deepEqual(story.outcomes, ["chat done", "unpublish done", "publish CONFLICT"]);
});

test("what waits is bounded, and ends with the meeting", async () => {
  const story = new Story();
  for (let index = 0; index < 257; index += 1) story.asks({ case: "state", value: {} });
  await turn();
  assert.deepEqual(story.outcomes, ["state UNAVAILABLE"]);
  story.pending.close();
  await turn();
  assert.equal(story.outcomes.filter((outcome) => outcome === "state ENDED").length, 256);
  story.asks(chat);
  await turn();
  assert.equal(story.outcomes.at(-1), "chat ENDED");
});
