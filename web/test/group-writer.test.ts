// A publisher's groups: a stream each, one sequence, and nothing after it was given up.
import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { test } from "node:test";
import type { RecordCipher } from "../client/src/cipher.ts";
import { decodeFrameHeader, type Frame, FrameReader } from "../client/src/frame.ts";
import { type EncodedFrame, GroupWriter } from "../client/src/worker/group-writer.ts";
import type { MediaSession } from "../client/src/worker/media-session.ts";

class FakeTransportError extends Error {}
Object.assign(globalThis, { WebTransportError: FakeTransportError });

const STREAM = "550e8400-e29b-41d4-a716-446655440000";

/** One stream as the handler would see it; writes wait while `stalled`. */
class FakeStream {
  readonly reader = new FrameReader();
  readonly frames: string[] = [];
  last: Frame | undefined;
  end: "open" | "closed" | "aborted" = "open";
  private readonly session: FakeSession;

  constructor(session: FakeSession) {
    this.session = session;
  }

  async write(bytes: Uint8Array): Promise<void> {
    await this.session.gate;
    if (this.end === "aborted") throw new Error("aborted");
    for (const frame of this.reader.push(bytes)) {
      this.frames.push(`${frame.sequence}:${frame.kind}`);
      this.last = frame;
    }
  }

  async close(): Promise<void> {
    if (this.end === "open") this.end = "closed";
  }

  async abort(): Promise<void> {
    this.end = "aborted";
  }
}

class FakeSession {
  readonly streams: FakeStream[] = [];
  isOver = false;
  gate: Promise<void> = Promise.resolve();
  release: () => void = () => undefined;

  stall(): void {
    this.gate = new Promise((resolve) => (this.release = resolve));
  }

  async openGroup(): Promise<FakeStream> {
    await this.gate;
    const stream = new FakeStream(this);
    this.streams.push(stream);
    return stream;
  }

  story(): string[] {
    return this.streams.map((stream) => `${stream.frames.join(" ")} ${stream.end}`);
  }
}

const key: EncodedFrame = { kind: "video_key", startsGroup: true, timestampUs: 1n, payload: new Uint8Array(3) };
const delta: EncodedFrame = { kind: "video_delta", startsGroup: false, timestampUs: 2n, payload: new Uint8Array(2) };

function world(cipher?: RecordCipher): { session: FakeSession; writer: GroupWriter; move: (to: FakeSession) => void } {
  let session = new FakeSession();
  const writer = new GroupWriter(STREAM, () => session as unknown as MediaSession, cipher);
  return { session, writer, move: (to) => void (session = to) };
}

test("a stream per group, one sequence over all", async () => {
  const { session, writer } = world();
  assert.deepEqual(
    [key, delta, delta, key, delta].map((frame) => writer.push(0, frame)),
    [true, true, true, true, true],
  );
  await turn();
  assert.deepEqual(session.story(), ["0:video_key 1:video_delta 2:video_delta closed", "3:video_key 4:video_delta open"]);
  assert.equal(writer.backlogMs(500), 0);
});

test("what cannot go on is refused until a group starts", async () => {
  const { session, writer } = world();
  assert.equal(writer.push(0, delta), false);
  writer.push(0, key);
  await turn();
  session.isOver = true;
  assert.equal(writer.push(0, delta), false);
});

test("a late group is given up: reset, nothing more of it, the sequence goes on", async () => {
  const { session, writer } = world();
  writer.push(0, key);
  await turn();
  session.stall();
  writer.push(10, delta);
  writer.push(20, delta);
  await turn();
  assert.equal(writer.backlogMs(410), 400);
  writer.abort();
  assert.equal(writer.backlogMs(410), 0);
  session.release();
  await turn();
  assert.equal(writer.push(420, delta), false);
  writer.push(430, key);
  await turn();
  assert.deepEqual(session.story(), ["0:video_key aborted", "2:video_key open"]);
});

test("after the end of a group nothing of it is sent, even when its stream was just being opened", async () => {
  const { session, writer } = world();
  session.stall();
  writer.push(0, key);
  await turn();
  writer.finish();
  session.release();
  await turn();
  assert.deepEqual(session.story(), [" aborted"]);
});

test("a new session begins with a group of its own", async () => {
  const { session, writer, move } = world();
  writer.push(0, key);
  await turn();
  const next = new FakeSession();
  move(next);
  assert.equal(writer.push(1, delta), false);
  assert.equal(writer.push(2, key), true);
  writer.push(3, delta);
  await turn();
  assert.deepEqual([session.story(), next.story()], [["0:video_key closed"], ["1:video_key 2:video_delta open"]]);
});

test("the queue is bounded", async () => {
  const { session, writer } = world();
  session.stall();
  const taken = Array.from({ length: 200 }, (_, index) => writer.push(index, index === 0 ? key : delta)).filter(Boolean).length;
  assert.equal(taken, 64);
});

test("with a cipher each record is sealed once, with the length that it will have in its header", async () => {
  const seen: string[] = [];
  let ready: () => void = () => undefined;
  let gate = Promise.resolve();
  const cipher: RecordCipher = {
    overheadBytes: () => 2,
    seal: async (header, sequence, payload) => {
      seen.push(`${decodeFrameHeader(header).payloadLength}:${sequence}`);
      await gate;
      return Uint8Array.from([7, ...payload, 7]);
    },
    open: (_header, _sequence, payload) => Promise.resolve(payload),
  };
  const { session, writer } = world(cipher);
  writer.push(0, key);
  await turn();
  assert.deepEqual([...(session.streams[0]?.last?.payload ?? [])], [7, 0, 0, 0, 7]);
  gate = new Promise((resolve) => (ready = resolve));
  writer.push(1, delta);
  await turn();
  writer.abort();
  ready();
  writer.push(2, key);
  await turn();
  assert.deepEqual(session.story(), ["0:video_key aborted", "2:video_key open"], "what was sealed and given up is not sent");
  assert.deepEqual(seen, ["5:0", "4:1", "5:2"]);
});
