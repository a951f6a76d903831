// End-to-end encryption as both clients do it: our derivations, records, chat and links against the vectors that Rust reads too; and the
// rules of a stay.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fromBase64Url, toBase64Url } from "../client/src/base64url.ts";
import { CIPHER_OVERHEAD_BYTES_MAX } from "../client/src/cipher.ts";
import { DarkTowerError } from "../client/src/error.ts";
import { decodeFrameHeader, encodeFrameHeader } from "../client/src/frame.ts";
import { openChat, SEALED_CHAT_BYTES_MAX, sealChat } from "../client/src/sealed-chat.ts";
import { comparisonCode, createSecret, keyId, MeetingSecret, secretFromUrl, urlWithSecret } from "../client/src/secret.ts";
import { SFrameError } from "../client/src/sframe.ts";
import type { ChatMessage } from "../client/src/types.ts";
import { ChatLog } from "../client/src/worker/chat-log.ts";
import { Encryption, refusalOf } from "../client/src/worker/encryption.ts";

declare const PROJECT_ROOT: string;

interface SecretVector {
  secret: string;
  meeting_id: string;
}
interface RecordVector extends SecretVector {
  name: string;
  stream_id: string;
  sequence: string;
  header: string;
  payload: string;
  plain: string;
}
interface ChatVector extends SecretVector {
  name: string;
  sender_id: string;
  client_message_id: string;
  salt: string;
  words: string;
  content: string;
}
interface Vectors {
  secrets: (SecretVector & { name: string; text: string; key_id: string; comparison_code: string })[];
  links: { url: string; secret: string | null }[];
  invalid_links: { name: string; url: string }[];
  records: RecordVector[];
  invalid_records: RecordVector[];
  chat: ChatVector[];
  invalid_chat: ChatVector[];
}

const vectors = JSON.parse(readFileSync(`${PROJECT_ROOT}/proto/vectors/e2ee.json`, "utf8")) as Vectors;
const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, "hex"));
const hex = (from: Uint8Array): string => Buffer.from(from).toString("hex");
const MEETING = "550e8400-e29b-41d4-a716-446655440000";
const STREAM = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";
const SENDER = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

for (const vector of vectors.secrets) {
  test(`derives from ${vector.name}`, async () => {
    assert.equal(toBase64Url(bytes(vector.secret)), vector.text);
    assert.equal(await keyId(bytes(vector.secret), vector.meeting_id), vector.key_id);
    assert.equal(await comparisonCode(bytes(vector.secret), vector.meeting_id), vector.comparison_code);
  });
}

test("links carry a secret, or none", () => {
  for (const { url, secret } of vectors.links) {
    const found = secretFromUrl(url);
    assert.equal(found === undefined ? null : hex(found), secret, url);
  }
  const secret = createSecret();
  assert.deepEqual(secretFromUrl(urlWithSecret("https://meet.example/m/abcdefghij#k=old", secret)), secret);
});

for (const { name, url } of vectors.invalid_links) {
  test(`a link that was damaged is told as that: ${name}`, () => {
    assert.throws(
      () => secretFromUrl(url),
      (error) => error instanceof DarkTowerError && error.code === "WRONG_SECRET" && !error.message.includes("AAEC"),
    );
  });
}

for (const vector of vectors.records) {
  test(`seals and opens a record: ${vector.name}`, async () => {
    const sequence = BigInt(vector.sequence);
    const header = bytes(vector.header);
    const encryption = await Encryption.of(bytes(vector.secret), vector.meeting_id);
    const sealer = encryption.sealer(vector.stream_id);
    const overhead = sealer.overheadBytes(sequence);
    assert.ok(overhead <= CIPHER_OVERHEAD_BYTES_MAX);
    assert.equal(decodeFrameHeader(header).payloadLength, vector.plain.length / 2 + overhead);
    assert.equal(hex(await sealer.seal(header, sequence, bytes(vector.plain))), vector.payload);
    assert.equal(hex(await encryption.opener(vector.stream_id).open(header, sequence, bytes(vector.payload))), vector.plain);
  });
}

for (const vector of vectors.invalid_records) {
  test(`refuses a record: ${vector.name}`, async () => {
    const opener = (await Encryption.of(bytes(vector.secret), vector.meeting_id)).opener(vector.stream_id);
    await assert.rejects(opener.open(bytes(vector.header), BigInt(vector.sequence), bytes(vector.payload)), SFrameError);
  });
}

for (const vector of vectors.chat) {
  test(`seals and opens chat: ${vector.name}`, async () => {
    const secret = await MeetingSecret.of(bytes(vector.secret), vector.meeting_id);
    const { sender_id: sender, client_message_id: id, words, content } = vector;
    assert.equal(await sealChat(secret, sender, id, words, bytes(vector.salt)), content);
    assert.equal(await openChat(secret, sender, id, content), words);
    const again = await sealChat(secret, sender, id, words);
    assert.notEqual(again, content, "a salt of its own each time");
    assert.equal(await openChat(secret, sender, id, again), words);
  });
}

for (const vector of vectors.invalid_chat) {
  test(`refuses chat: ${vector.name}`, async () => {
    const secret = await MeetingSecret.of(bytes(vector.secret), vector.meeting_id);
    await assert.rejects(openChat(secret, vector.sender_id, vector.client_message_id, vector.content), SFrameError);
  });
}

test("a chat message is as long as its envelope has room for, and not longer", async () => {
  const secret = await MeetingSecret.of(new Uint8Array(32), MEETING);
  assert.equal(SEALED_CHAT_BYTES_MAX, 3035);
  const longest = "ü".repeat(1517) + "x";
  assert.equal((await sealChat(secret, SENDER, "1", longest)).length, 4096);
  await assert.rejects(
    sealChat(secret, SENDER, "1", `${longest}x`),
    (error) => error instanceof DarkTowerError && error.code === "INVALID_REQUEST" && error.message.includes("3035"),
  );
});

test("a secret that is taken over is wiped, and cannot be a short one", async () => {
  const secret = createSecret();
  await Encryption.of(secret, MEETING);
  assert.deepEqual(secret, new Uint8Array(32));
  await assert.rejects(Encryption.of(new Uint8Array(31), MEETING), DarkTowerError);
});

/** The header of record `sequence` with a payload of `length` bytes. */
function headerOf(sequence: bigint, payloadLength: number): Uint8Array {
  return encodeFrameHeader({
    kind: "audio",
    streamId: STREAM,
    timestampUs: 1n,
    sequence,
    payloadLength,
    flags: 1,
    reserved: new Uint8Array(6),
  });
}

test("a sequence is sealed once, whoever asks", async () => {
  const encryption = await Encryption.of(createSecret(), MEETING);
  const seal = (sequence: bigint): Promise<Uint8Array> =>
    encryption.sealer(STREAM).seal(headerOf(sequence, 20), sequence, new Uint8Array(3));
  await seal(0n);
  await seal(5n);
  await assert.rejects(seal(5n), DarkTowerError);
  await assert.rejects(seal(4n), DarkTowerError);
  const both = await Promise.allSettled([seal(6n), seal(6n)]);
  assert.deepEqual(
    both.map((it) => it.status),
    ["fulfilled", "rejected"],
  );
});

test("records may overtake one another a little, and not come from long ago; after a failure one key frame is asked for", async () => {
  const secret = createSecret();
  const from = await Encryption.of(secret.slice(), MEETING);
  const opener = (await Encryption.of(secret, MEETING)).opener(STREAM);
  const sealed = new Map<bigint, Uint8Array>();
  const sequences = [10n, 11n, 12n, 5000n, 5001n];
  const header = (sequence: bigint): Uint8Array => headerOf(sequence, 1 + 16 + from.sealer(STREAM).overheadBytes(sequence) - 16);
  for (const sequence of sequences) sealed.set(sequence, await from.sealer(STREAM).seal(header(sequence), sequence, new Uint8Array(1)));
  const open = (sequence: bigint): Promise<Uint8Array> => opener.open(header(sequence), sequence, sealed.get(sequence) ?? assert.fail());
  const asked = (nowMs: number): boolean[] => Object.values(opener.failed(nowMs));

  assert.deepEqual(asked(0), [true, false], "nothing was ever opened: a key frame would not help");
  await open(11n);
  await open(10n);
  assert.deepEqual(asked(500), [false, true], "told at most once a second");
  assert.deepEqual(asked(1500), [true, false], "asked for once");
  await open(5000n);
  await assert.rejects(open(12n), SFrameError, "from long ago");
  await open(5001n);
  assert.deepEqual(asked(1600), [false, true]);
  assert.equal(opener.failures, 4);
});

test("chat is opened once under each id, and what cannot be opened has no words", async () => {
  const secret = createSecret();
  const encryption = await Encryption.of(secret.slice(), MEETING);
  const content = await encryption.sealChat(SENDER, "1", "Hello");
  const message: ChatMessage = {
    messageId: "m",
    senderId: SENDER,
    senderName: "Ana",
    content,
    sentAt: 0,
    sequence: 7,
    clientMessageId: "1",
  };
  const opened = async (change: Partial<ChatMessage>): Promise<string | undefined> => {
    const { content: words, isUndecryptable } = await encryption.openChat({ ...message, ...change });
    assert.equal(isUndecryptable === true, words === "");
    return words;
  };
  assert.equal(await opened({}), "Hello");
  assert.equal(await opened({}), "Hello", "the answer and the event, and the history after a resume");
  assert.equal(await opened({ sequence: 8 }), "", "the same again as a newer message");
  assert.equal(await opened({ senderId: STREAM }), "", "in another's name");
  assert.equal(await opened({ content: "Hello", sequence: 9 }), "", "in the clear");
});

test("who stays, and who is told why not", () => {
  const mine = { keyId: "a", comparisonCode: "" };
  const code = (wantsEncryption: boolean, key: string, info = true): string | undefined =>
    refusalOf({ wantsEncryption, keyId: key }, info ? mine : undefined)?.code;
  assert.equal(code(true, "a"), undefined);
  assert.equal(code(true, ""), undefined, "a controller that lost its memory");
  assert.equal(code(true, "b"), "WRONG_SECRET");
  assert.equal(code(false, "a"), "NOT_ENCRYPTED");
  assert.equal(code(true, "a", false), "SECRET_MISSING");
  assert.equal(code(false, "", false), undefined);
});

test("base64url is one text for the same bytes", () => {
  for (let length = 0; length < 40; length += 1) {
    const some = Uint8Array.from({ length }, (_, index) => (index * 89 + length) & 0xff);
    const text = toBase64Url(some);
    assert.equal(text, Buffer.from(some).toString("base64url"));
    assert.deepEqual(fromBase64Url(text), some);
  }
  for (const text of ["A", "AB", "AAB", "A=", "AA==", "A A", "ä", "AA+A"]) {
    const found = fromBase64Url(text);
    assert.ok(found === undefined || toBase64Url(found) === text, text);
  }
  for (const text of ["A", "AB", "AAB", "AA==", "AA+A"]) assert.equal(fromBase64Url(text), undefined, text);
});

test("what was said first is sealed first, however long it takes", async () => {
  const waits = [30, 0, 10];
  const slow = {
    async sealChat(_sender: string, _id: string, words: string): Promise<string> {
      await new Promise((resolve) => setTimeout(resolve, waits.shift()));
      if (words === "refused") throw new DarkTowerError("INVALID_REQUEST", "too long");
      return `sealed ${words}`;
    },
  };
  const log = new ChatLog({ emit: () => undefined, encryption: () => slow as unknown as Encryption });
  const order: string[] = [];
  const say = (words: string): Promise<unknown> => log.contentOf("", "", words).then((content) => order.push(content));
  const said = ["first", "refused", "third"].map(say);
  const outcomes = await Promise.allSettled(said);
  assert.deepEqual(order, ["sealed first", "sealed third"]);
  assert.equal(outcomes[1]?.status, "rejected");
});
