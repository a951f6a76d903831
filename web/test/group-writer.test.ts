// A publisher's groups: a stream each, one sequence, and nothing after it was given up.
import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { test } from "node:test";
import type { RecordCipher } from "../client/src/cipher.ts";
import { decodeFrameHeader, type Frame, FrameReader } from "../client/src/frame.ts";
import { GroupWriter, type OutgoingFrame, withHeaderRoom } from "../client/src/worker/group-writer.ts";
import type { MediaSession } from "../client/src/worker/media-session.ts";
import type { Turns } from "../client/src/worker/uplink-turns.ts";

class FakeTransportError extends Error {}
Object.assign(globalThis, { WebTransportError: FakeTransportError });

const STREAM = "550e8400-e29b-41d4-a716-446655440000";

/** One stream as the handler would see it; writes wait while `stalled`. */
class FakeStream {
  /** Lengths of what was written. */
  readonly writes: number[] = [];
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
    this.writes.push(bytes.length);
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

const key: OutgoingFrame = { kind: "video_key", startsGroup: true, timestampUs: 1n, payload: new Uint8Array(3) };
const delta: OutgoingFrame = { kind: "video_delta", startsGroup: false, timestampUs: 2n, payload: new Uint8Array(2) };

/** Turns as they come, in pieces of 100 bytes, unless `hold` keeps pictures back; tells what went when. */
class FakeTurns implements Turns {
  readonly pieceBytes = 100;
  readonly told: string[] = [];
  hold = false;
  private readonly waiting: (() => void)[] = [];

  sound(bytes: number): void {
    this.told.push(`sound ${bytes}`);
  }

  turn(bytes: number): Promise<void> {
    this.told.push(`picture ${bytes}`);
    return this.hold ? new Promise((resolve) => this.waiting.push(resolve)) : Promise.resolve();
  }

  go(): void {
    this.waiting.shift()?.();
  }
}

function world(cipher?: RecordCipher): {
  session: FakeSession;
  turns: FakeTurns;
  writer: GroupWriter;
  move: (to: FakeSession) => void;
} {
  let session = new FakeSession();
  const turns = new FakeTurns();
  const writer = new GroupWriter(STREAM, () => session as unknown as MediaSession, turns, cipher);
  return { session, turns, writer, move: (to) => void (session = to) };
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

test("a key frame goes in pieces, each in its turn, and is one record", async () => {
  const { session, turns, writer } = world();
  const payload = withHeaderRoom(250);
  payload.forEach((_, index) => (payload[index] = index));
  writer.push(0, { ...key, payload });
  await turn();
  assert.deepEqual(session.streams[0]?.writes, [100, 100, 96]);
  assert.deepEqual(session.streams[0]?.last?.payload, Uint8Array.from(payload));
  assert.deepEqual([writer.framesSent, writer.bytesSent], [1, 296]);
  assert.deepEqual(turns.told, ["picture 100", "picture 100", "picture 96"]);
});

test("sound goes at once while a key frame has to wait", async () => {
  const { session, turns, writer: picture } = world();
  const sound = new GroupWriter(STREAM, () => session as unknown as MediaSession, turns);
  turns.hold = true;
  picture.push(0, { ...key, payload: new Uint8Array(250) });
  await turn();
  sound.push(1, { kind: "audio", startsGroup: true, timestampUs: 1n, payload: new Uint8Array(3) });
  await turn();
  assert.deepEqual(session.story(), [" open", "0:audio open"]);
  turns.go();
  await turn();
  assert.deepEqual(session.streams[0]?.writes, [100]);
  assert.equal(picture.backlogMs(40), 40, "unsent until its last piece is");
});

test("what ends inside a record is reset, for its stream cannot end in order", async () => {
  const { session, turns, writer } = world();
  turns.hold = true;
  writer.push(0, { ...key, payload: new Uint8Array(250) });
  await turn();
  turns.go();
  await turn();
  writer.finish();
  turns.go();
  turns.hold = false;
  writer.push(1, key);
  await turn();
  assert.deepEqual(session.story(), [" aborted", "1:video_key open"]);
});

test("a frame over the limit of a record goes in several", async () => {
  const { session, writer } = world();
  const payload = new Uint8Array(4 * 1024 * 1024 + 5).fill(9);
  writer.push(0, { ...key, payload });
  writer.push(1, delta);
  // Written in pieces of a hundred bytes.
  while (writer.framesSent < 2) await turn();
  assert.deepEqual(session.story(), ["0:video_key 2:video_delta open"]);
});

test("what no other frame needs is marked", async () => {
  const { session, writer } = world();
  writer.push(0, key);
  await turn();
  let flags = 0;
  const [stream] = session.streams;
  assert.ok(stream);
  stream.write = async (bytes) => void (flags = decodeFrameHeader(bytes).flags);
  writer.push(0, { ...delta, isDiscardable: true });
  await turn();
  assert.equal(flags, 3);
});
