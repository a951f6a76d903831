// The header codec against the golden vectors that the Rust codec reads too, and frames out of torn streams.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  decodeFrameHeader,
  encodeFrameHeader,
  FLAG_END_OF_FRAME,
  type FrameHeader,
  FrameError,
  FrameJoiner,
  FrameReader,
  RecordReader,
  type FrameKind,
} from "../client/src/frame.ts";

declare const PROJECT_ROOT: string;

interface Vectors {
  valid: {
    name: string;
    bytes: string;
    kind: FrameKind;
    stream_id: string;
    timestamp_us: string;
    sequence: string;
    payload_length: number;
    flags: number;
    reserved: string;
  }[];
  invalid: { name: string; bytes: string; payload_bytes_max: number; error: string }[];
}

const vectors = JSON.parse(readFileSync(`${PROJECT_ROOT}/proto/vectors/frame_header.json`, "utf8")) as Vectors;
const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "hex"));

for (const vector of vectors.valid) {
  test(`reads and writes ${vector.name}`, () => {
    const header = decodeFrameHeader(hex(vector.bytes), 0xffff_ffff);
    const expected: FrameHeader = {
      kind: vector.kind,
      streamId: vector.stream_id,
      timestampUs: BigInt(vector.timestamp_us),
      sequence: BigInt(vector.sequence),
      payloadLength: vector.payload_length,
      flags: vector.flags,
      reserved: hex(vector.reserved),
    };
    assert.deepEqual(header, expected);
    assert.equal(Buffer.from(encodeFrameHeader(header)).toString("hex"), vector.bytes);
  });
}

for (const vector of vectors.invalid) {
  test(`refuses ${vector.name}`, () => {
    assert.throws(
      () => decodeFrameHeader(hex(vector.bytes), vector.payload_bytes_max),
      (error) => error instanceof FrameError && error.fault === vector.error,
    );
  });
}

const STREAM = "550e8400-e29b-41d4-a716-446655440000";

function record(sequence: bigint, payload: number[], flags = FLAG_END_OF_FRAME, kind: FrameKind = "video_delta"): Uint8Array {
  const header = { kind, streamId: STREAM, timestampUs: 5n, sequence, payloadLength: payload.length, flags, reserved: new Uint8Array(6) };
  return Uint8Array.from([...encodeFrameHeader(header), ...payload]);
}

test("puts frames together however the bytes arrive", () => {
  const wire = Uint8Array.from([...record(7n, [1, 2], 0, "video_key"), ...record(8n, [3]), ...record(9n, []), ...record(10n, [4, 5, 6])]);
  for (let step = 1; step <= wire.length; step += 1) {
    const reader = new FrameReader();
    const frames = [];
    for (let at = 0; at < wire.length; at += step) frames.push(...reader.push(wire.subarray(at, at + step)));
    assert.deepEqual(
      frames.map((frame) => [frame.kind, frame.sequence, frame.lastSequence, [...frame.payload]]),
      [
        ["video_key", 7n, 8n, [1, 2, 3]],
        ["video_delta", 9n, 9n, []],
        ["video_delta", 10n, 10n, [4, 5, 6]],
      ],
    );
  }
});

test("a lost record takes its frame with it, and pictures up to the next key frame", () => {
  const story: [sequence: bigint, ends: boolean, kind: FrameKind, lost: boolean][] = [
    [0n, false, "video_key", false],
    [1n, true, "video_key", true],
    [2n, true, "video_delta", false],
    [3n, false, "video_key", true],
    [4n, true, "video_key", false],
    [5n, true, "video_delta", false],
    [6n, false, "video_key", false],
    [7n, true, "video_key", false],
    [8n, true, "video_delta", false],
    [9n, true, "audio", true],
    [10n, true, "audio", false],
  ];
  const joiner = new FrameJoiner();
  const whole = [];
  for (const [sequence, ends, kind, lost] of story) {
    const [{ header, headerBytes, payload } = assert.fail("a record")] = new RecordReader().push(
      record(sequence, [Number(sequence)], ends ? FLAG_END_OF_FRAME : 0, kind),
    );
    assert.deepEqual(decodeFrameHeader(headerBytes), header);
    if (lost) joiner.lose(header);
    else whole.push(joiner.push(header, payload));
  }
  assert.deepEqual(
    whole.filter((frame) => frame !== undefined).map((frame) => [frame.kind, frame.sequence, [...frame.payload]]),
    [
      ["video_key", 6n, [6, 7]],
      ["video_delta", 8n, [8]],
      ["audio", 10n, [10]],
    ],
  );
});

test("no bytes make the reader fail in another way than its own", () => {
  let seed = 1;
  const random = (): number => (seed = (seed * 1_103_515_245 + 12_345) % 0x8000_0000) / 0x8000_0000;
  for (let round = 0; round < 500; round += 1) {
    const bytes = Uint8Array.from({ length: Math.floor(random() * 200) }, () => Math.floor(random() * 256));
    if (round % 2 === 0 && bytes.length > 1) bytes.set([1, Math.floor(random() * 4)]);
    try {
      new FrameReader(1000).push(bytes);
    } catch (error) {
      assert.ok(error instanceof FrameError);
    }
  }
});
