// Small pure parts: codes, ids, lengths, names of codecs, waiting, loudness, quality, words.
import assert from "node:assert/strict";
import { test } from "node:test";
import { backoffMs } from "../client/src/backoff.ts";
import { codeFromNumber, codeFromWebSocket, codeNumber, CODES, worthRetrying } from "../client/src/code.ts";
import { codecName, decoderCodec } from "../client/src/codec.ts";
import { ErrorCode as WireCode } from "../client/src/generated/darktower/v1/signaling_pb.ts";
import { MessageReader, withLength } from "../client/src/length-prefix.ts";
import { judgeQuality, type QualityInput } from "../client/src/quality.ts";
import { soundLevel, SoundMeter } from "../client/src/sound.ts";
import { uuidFromBytes, uuidToBytes } from "../client/src/uuid.ts";
import { captureWords, endWords, errorWords, initials, muteWords, qualityWords } from "../page/src/words.ts";

test("codes are the contract's", () => {
  for (const code of CODES) {
    if (code !== "NORMAL") assert.equal(WireCode[code as keyof typeof WireCode], codeNumber(code));
    assert.equal(codeFromNumber(codeNumber(code)), code);
  }
  assert.equal(codeFromNumber(13), undefined);
  assert.deepEqual([codeFromWebSocket(1000), codeFromWebSocket(4012), codeFromWebSocket(1006)], ["NORMAL", "MOVED", undefined]);
  assert.deepEqual(CODES.filter(worthRetrying).map(codeNumber), [6, 7, 9, 11]);
});

test("ids are lower-case UUIDs", () => {
  const text = "550e8400-e29b-41d4-a716-446655440000";
  assert.equal(uuidFromBytes(uuidToBytes(text)), text);
  for (const wrong of ["", text.toUpperCase(), `${text}0`, text.replace("5", "g")]) assert.throws(() => uuidToBytes(wrong), RangeError);
});

test("messages are split however they arrive, and refused by their length alone", () => {
  const wire = Uint8Array.from([...withLength(Uint8Array.from([1])), ...withLength(Uint8Array.from([2, 3]))]);
  for (let step = 1; step <= wire.length; step += 1) {
    const reader = new MessageReader();
    const messages = [];
    for (let at = 0; at < wire.length; at += step) messages.push(...reader.push(wire.subarray(at, at + step)));
    assert.deepEqual(
      messages.map((message) => [...message]),
      [[1], [2, 3]],
    );
  }
  for (const prefix of [
    [0, 0, 0, 0],
    [255, 255, 255, 255],
  ])
    assert.throws(() => new MessageReader().push(Uint8Array.from(prefix)), RangeError);
  assert.throws(() => withLength(new Uint8Array(64 * 1024 + 1)), RangeError);
});

test("codecs are compared before the first dot, case-blind", () => {
  assert.deepEqual(["VP8", "vp9", "vp09.02.10.10", "H264", "Opus", "theora"].map(decoderCodec), [
    "vp8",
    "vp09.00.40.08",
    "vp09.02.10.10",
    "avc1.42E028",
    "opus",
    undefined,
  ]);
  assert.deepEqual(["vp8", "vp09.00.40.08", "avc1.42E028"].map(codecName), ["VP8", "VP9", "H264"]);
});

test("the first attempt is at once, later ones spread and bounded", () => {
  assert.equal(backoffMs(0, 0.9, 2000), 0);
  assert.deepEqual(
    [backoffMs(1, 0, 2000), backoffMs(1, 1, 2000), backoffMs(20, 1, 2000), backoffMs(20, 0.5, 10_000)],
    [100, 300, 3000, 10_000],
  );
});

test("silence is 0, full scale is 1, speech is noticed and ends", () => {
  const tone = (amplitude: number): Float32Array => Float32Array.from({ length: 960 }, (_, index) => amplitude * Math.sin(index / 7));
  assert.equal(soundLevel(new Float32Array(960)), 0);
  assert.ok(soundLevel(tone(1)) > 0.9 && soundLevel(tone(0.0001)) === 0);
  const meter = new SoundMeter();
  meter.hear(0, tone(0.2));
  assert.ok(meter.speaking(10) && meter.take() > 0.3);
  assert.ok(!meter.speaking(500));
  for (let report = 0; report < 12; report += 1) meter.take();
  assert.equal(meter.take(), 0);
});

test("quality is said in plain words with its reason", () => {
  const calm: QualityInput = { rttMs: 20, packetLoss: 0, signaling: "connected", media: "connected", groupsAborted: 0, frozen: 0 };
  const check = (change: Partial<QualityInput>, expected: string): void =>
    assert.equal(qualityWords(judgeQuality({ ...calm, ...change })), expected);
  check({}, "Good connection");
  check({ rttMs: 300 }, "Fair connection: long delay");
  check({ packetLoss: 0.1 }, "Poor connection: data gets lost on the way");
  check({ signaling: "reconnecting" }, "Connection lost: reconnecting");
  check({ frozen: 0.1 }, "Fair connection: pictures stand still at times");
  check({ media: "lost" }, "Connection lost: no sound and pictures at the moment");
});

test("every refusal has words, and says what to do", () => {
  const codes = [
    ...CODES.slice(1),
    "MEETING_NOT_FOUND",
    "MEETING_ENDED",
    "UNSUPPORTED_BROWSER",
    "CONNECTION_FAILED",
    "CONNECTION_LOST",
    "TIMED_OUT",
    "ENDED",
    "SECRET_MISSING",
    "WRONG_SECRET",
    "NOT_ENCRYPTED",
  ] as const;
  for (const code of codes) {
    const { title, advice } = errorWords({ code, message: "a field", details: {} });
    assert.ok(title.endsWith(".") && advice.length > 20 && !title.includes("_"), code);
  }
  for (const name of ["NotAllowedError", "NotFoundError", "NotReadableError", "Whatever"])
    assert.match(captureWords("Camera", name).advice, /take part without it/u);
  assert.match(endWords("kicked").title, /were removed/u);
  assert.match(endWords("connection-lost", { code: "MEETING_ENDED" }).title, /ended/u);
});

test("initials are taken from what people type", () => {
  assert.deepEqual(["Ana Maria Sousa", "bo", "", "王 小明"].map(initials), ["AS", "B", "?", "王小"]);
});

test("a mute by request is said calmly, with the reason and the way back", () => {
  const both = muteWords({ microphone: true, camera: true }, "");
  assert.match(both.title, /microphone and camera were turned off/u);
  assert.equal(both.advice, "You can turn them on again.");
  const one = muteWords({ microphone: true, camera: false }, " an echo ");
  assert.match(one.title, /^Your microphone was turned off/u);
  assert.equal(one.advice, "They said: “an echo”. You can turn it on again.");
  assert.match(muteWords({ microphone: false, camera: true }, "").title, /^Your camera was/u);
});
