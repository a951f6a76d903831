// What is published, with encoders, frames and a session that are made up: pauses stop the encoders, and failures do not become a storm.
import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { afterEach, beforeEach, mock, test } from "node:test";
import type { PublishArguments } from "../client/src/messages.ts";
import { AudioPublication } from "../client/src/worker/audio-publication.ts";
import type { PublicationEvents } from "../client/src/worker/media-publication.ts";
import { Publications, type PublicationsContext } from "../client/src/worker/publications.ts";
import { VideoPublication } from "../client/src/worker/video-publication.ts";

const PICTURE_MS = 40;
let nowMs = 0;
/** Of both kinds. */
let made: FakeEncoder[] = [];
let failing: "never" | "always" = "never";

class FakeEncoder {
  state = "unconfigured";
  readonly encodeQueueSize = 0;
  readonly keys: boolean[] = [];
  private readonly init: VideoEncoderInit;

  constructor(init: VideoEncoderInit) {
    this.init = init;
    made.push(this);
  }

  configure(): void {
    this.state = "configured";
  }

  encode({ timestamp }: { timestamp: number }, options?: { keyFrame: boolean }): void {
    this.keys.push(options?.keyFrame ?? true);
    if (failing === "always") {
      this.state = "closed";
      this.init.error(new DOMException("made up", "EncodingError"));
      return;
    }
    const type = options?.keyFrame === false ? "delta" : "key";
    this.init.output({ type, timestamp, byteLength: 10, copyTo: () => undefined } as unknown as EncodedVideoChunk, {});
  }

  close(): void {
    this.state = "closed";
  }
}

const GROUP = { write: () => Promise.resolve(), close: () => Promise.resolve() };
const SESSION = { isOver: false, openGroup: () => Promise.resolve(GROUP) };

const EVENTS = {
  session: () => SESSION,
  turns: { pieceBytes: 65_536, sound: () => undefined, turn: () => Promise.resolve() },
  cipher: () => undefined,
  suspectsProcessor: () => false,
  failed: (error: Error) => assert.fail(error),
} as unknown as PublicationEvents;

const ARGUMENTS = { type: "camera", endsWithSource: false, mayStandStill: true, options: {} } as unknown as PublishArguments;

/** A frame of both kinds. */
function frame(): VideoFrame & AudioData {
  const closable = { close: () => undefined, copyTo: () => undefined, clone: () => frame() };
  const picture = { timestamp: nowMs * 1000, displayWidth: 640, displayHeight: 360 };
  const sound = { duration: PICTURE_MS * 1000, numberOfFrames: 1920, numberOfChannels: 1, sampleRate: 48_000 };
  return { ...closable, ...picture, ...sound } as unknown as VideoFrame & AudioData;
}

beforeEach(() => {
  [nowMs, made, failing] = [0, [], "never"];
  mock.method(performance, "now", () => nowMs);
  Object.assign(globalThis, { VideoEncoder: FakeEncoder, AudioEncoder: FakeEncoder, VideoFrame: frame });
});

afterEach(() => mock.restoreAll());

/** Frames at the pace of a camera; what `each` does comes after every one of them. */
async function feed(writer: WritableStreamDefaultWriter<VideoFrame & AudioData>, count: number, each?: () => void): Promise<void> {
  for (let index = 0; index < count; index += 1) {
    nowMs += PICTURE_MS;
    await writer.write(frame());
    await turn();
    each?.();
  }
}

const faultOf = ({ fault }: VideoPublication): VideoPublication["fault"] => fault;

const encoded = (): number => made.reduce((sum, { keys }) => sum + keys.length, 0);

function pictures(): { publication: VideoPublication; writer: WritableStreamDefaultWriter<VideoFrame & AudioData> } {
  const { readable, writable } = new TransformStream<VideoFrame & AudioData, VideoFrame & AudioData>();
  const video = { codec: "vp09.00.40.08", bitrateMax: 500_000, frameRateMax: 30, contentHint: "motion" } as const;
  const publication = new VideoPublication("6ba7b810-9dad-41d1-80b4-00c04fd430c8", ARGUMENTS, readable, video, EVENTS);
  void publication.run();
  return { publication, writer: writable.getWriter() };
}

test("pictures that nobody takes are not encoded, also those of a source that stands still; the first after that is a key frame", async () => {
  const { publication, writer } = pictures();
  await feed(writer, 10);
  assert.equal(encoded(), 10);
  publication.setPaused(true);
  assert.equal(made[0]?.state, "closed", "nor does an encoder hold memory");
  const path = { queueMs: 0, loss: 0, available: 0 };
  await feed(writer, 50, () => publication.tick(nowMs, path));
  publication.requestKey();
  for (const until = nowMs + 5000; nowMs < until; nowMs += 200) publication.tick(nowMs, path);
  assert.equal(encoded(), 10);
  assert.equal(publication.stats(nowMs).limiter, "paused");
  publication.setPaused(false);
  await feed(writer, 5);
  assert.equal(made.length, 2);
  assert.deepEqual([made[1]?.keys.length !== 0, made[1]?.keys[0]], [true, true]);
  publication.stop();
});

test("sound that nobody takes is not encoded", async () => {
  const { readable, writable } = new TransformStream<VideoFrame & AudioData, VideoFrame & AudioData>();
  const about = { bitrate: 40_000, isMusic: false, muted: false };
  const publication = new AudioPublication("6ba7b810-9dad-41d1-80b4-00c04fd430c8", ARGUMENTS, readable, about, EVENTS);
  void publication.run();
  const writer = writable.getWriter();
  await feed(writer, 10);
  assert.equal(encoded(), 10);
  publication.setPaused(true);
  await feed(writer, 50);
  assert.equal(encoded(), 10);
  publication.setPaused(false);
  await feed(writer, 10);
  assert.equal(encoded(), 20);
  publication.stop();
});

test("an encoder that begins to fail is made a few times in many seconds, and then its codec is at fault", async () => {
  const { publication, writer } = pictures();
  await feed(writer, 10);
  failing = "always";
  await feed(writer, 25);
  assert.ok(made.length <= 4, `${made.length} encoders in a second`);
  assert.equal(faultOf(publication), undefined);
  await feed(writer, 500);
  assert.equal(made.length, 6, "the first, and five more");
  assert.equal(faultOf(publication)?.code, "UNSUPPORTED_CODEC");
  assert.deepEqual(faultOf(publication)?.details, { codec: "VP9" });
  failing = "never";
  publication.moveTo("6ba7b811-9dad-41d1-80b4-00c04fd430c8", "vp8");
  assert.equal(faultOf(publication), undefined);
  await feed(writer, 5);
  assert.deepEqual(made.at(-1)?.keys, [true, false, false, false, false]);
  publication.stop();
});

test("a codec whose encoder never works is at fault at once", async () => {
  const { publication, writer } = pictures();
  failing = "always";
  await feed(writer, 25);
  assert.equal(made.length, 1);
  assert.equal(faultOf(publication)?.code, "UNSUPPORTED_CODEC");
  publication.stop();
});

test("a track whose pictures are missing is told of, and taken another way until another one takes its place", async () => {
  let missing = 0;
  const origins: string[] = [];
  const events = { ...EVENTS, framesMissing: () => (missing += 1), originChanged: (origin: string) => origins.push(origin) };
  const video = { codec: "vp8", bitrateMax: 500_000, frameRateMax: 30, contentHint: "motion" } as const;
  const path = { queueMs: 0, loss: 0, available: 0 };
  const silent = (): ReadableStream<VideoFrame> => new ReadableStream({}, { highWaterMark: 0 });
  mock.timers.enable({ apis: ["setTimeout"] });
  const args = { ...ARGUMENTS, mayStandStill: false };
  const publication = new VideoPublication("6ba7b810-9dad-41d1-80b4-00c04fd430c8", args, silent(), video, events);
  void publication.run();
  const looks = (forMs: number): void => {
    for (const until = nowMs + forMs; nowMs < until; nowMs += 200) publication.tick(nowMs, path);
  };
  looks(800);
  assert.equal(missing, 1);
  const another = new TransformStream<VideoFrame, VideoFrame>();
  const writer = another.writable.getWriter();
  publication.relieve(another.readable);
  await writer.write(frame());
  await turn();
  assert.equal(publication.stats(nowMs).origin, "processor");
  mock.timers.tick(1000);
  await turn();
  await feed(writer, 10);
  assert.equal(encoded(), 10);
  assert.deepEqual(made[0]?.keys.slice(0, 2), [true, false]);
  assert.match(publication.stats(nowMs).originReason, /no first picture/u);
  looks(20_000);
  assert.equal(missing, 1, "there is no third way");
  publication.replace(silent(), { origin: "processor", reason: "", mayStandStill: true });
  const { origin, originReason } = publication.stats(nowMs);
  assert.deepEqual([origin, originReason], ["processor", ""]);
  assert.deepEqual(origins, ["element", "processor"]);
  await assert.rejects(writer.write(frame()), "nobody reads it any more");
  publication.stop();
  mock.timers.reset();
});

test("what nobody took of one media session is sent on the next one", async () => {
  const { readable } = new TransformStream();
  const answered = { case: "ack", value: {} };
  const nothing = (): void => undefined;
  const context = { ...EVENTS, request: () => Promise.resolve(answered), changed: nothing, emit: nothing, othersDecode: () => [] };
  const publications = new Publications(context as unknown as PublicationsContext);
  const source = { kind: "readable", readable } as const;
  const args = { ...ARGUMENTS, publicationId: "camera", source, encodedCodec: "vp8" } as PublishArguments;
  const { streamId } = await publications.publish(args);
  const limiter = (): string | undefined => publications.stats(nowMs)[0]?.limiter;
  try {
    publications.setPaused(streamId, true);
    assert.equal(limiter(), "paused");
    publications.restart();
    assert.equal(limiter(), "none");
  } finally {
    publications.close();
  }
});
