// What a controller says is kept within bounds, however much it says.
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ChatMessageSchema } from "../client/src/generated/darktower/v1/signaling_pb.ts";
import { NewestNumbers } from "../client/src/newest-numbers.ts";
import type { JoinTicket, MeetingEvent } from "../client/src/types.ts";
import { ChatLog, OPENING_MAX } from "../client/src/worker/chat-log.ts";
import { Addresses, ALTERNATES_MAX, HASHES_MAX } from "../client/src/worker/dialler.ts";
import type { Encryption } from "../client/src/worker/encryption.ts";

test("numbers are known, the newest of them", () => {
  const numbers = new NewestNumbers(3);
  assert.deepEqual(
    [5, 5, 1, 9, 5, 1].map((it) => numbers.isNew(it)),
    [true, false, true, true, false, false],
  );
  assert.equal(numbers.isNew(2), true);
  assert.equal(numbers.isNew(5), true, "longer ago than three others");
  assert.equal(numbers.isNew(9), false);
});

const message = (sequence: number) =>
  create(ChatMessageSchema, { sequence: BigInt(sequence), senderId: "x", senderName: "X", content: "words" });

test("a chat message is told once, whoever tells of it", async () => {
  const told: MeetingEvent[] = [];
  const log = new ChatLog({ emit: (event) => told.push(event), encryption: () => undefined });
  assert.equal((await log.history([message(1), message(2)])).length, 2);
  await Promise.all([log.heard(message(2)), log.heard(message(3)), log.heard(message(3))]);
  assert.deepEqual(
    told.map(({ type }) => type),
    ["chat"],
  );
  assert.equal(log.newest, 3);
});

test("messages wait to be opened, but not more than fit; those passed over are not known", async () => {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  const encryption = { openChat: (it: unknown) => opened.then(() => it) } as unknown as Encryption;
  const told: MeetingEvent[] = [];
  const log = new ChatLog({ emit: (event) => told.push(event), encryption: () => encryption });
  const outcomes = Array.from({ length: OPENING_MAX + 10 }, (_, index) => log.heard(message(index + 1)));
  open();
  const settled = await Promise.allSettled(outcomes);
  assert.equal(settled.filter(({ status }) => status === "fulfilled").length, OPENING_MAX);
  assert.equal(told.length, OPENING_MAX);
  assert.equal(log.newest, OPENING_MAX);
  await log.heard(message(OPENING_MAX + 1));
  assert.equal(told.length, OPENING_MAX + 1);
});

const TICKET = { meeting_controller_url: "https://mc/wt", certificate_hashes: [] as string[] } as unknown as JoinTicket;
const hash = (number: number): Uint8Array => new Uint8Array(32).fill(number & 255).fill(number >> 8, 0, 16);

test("alternates are dialled once each, and a few of them", () => {
  const addresses = new Addresses(TICKET, "");
  addresses.alternates = ["https://mc/wt", "https://a/wt", "https://a/wt", ...Array.from({ length: 1000 }, (_, it) => `https://${it}/wt`)];
  assert.equal(addresses.alternates.length, ALTERNATES_MAX);
  assert.deepEqual(addresses.alternates.slice(0, 2), ["https://a/wt", "https://0/wt"]);
});

test("of certificates the newest are trusted, and only what a browser takes for one", () => {
  const addresses = new Addresses({ ...TICKET, certificate_hashes: [btoa(String.fromCharCode(...hash(1)))] }, "");
  addresses.learnHashes([hash(1), new Uint8Array(31), new Uint8Array(0), hash(2)]);
  assert.deepEqual(addresses.hashes, [hash(1), hash(2)]);
  for (let number = 3; number < 3 + HASHES_MAX; number += 1) addresses.learnHashes([hash(1), hash(number)]);
  assert.equal(addresses.hashes.length, HASHES_MAX);
  assert.deepEqual(addresses.hashes.at(-1), hash(2 + HASHES_MAX));
  assert.ok(
    addresses.hashes.some((known) => String(known) === String(hash(1))),
    "told again and again",
  );
  assert.ok(!addresses.hashes.some((known) => String(known) === String(hash(2))), "the oldest");
  addresses.learnHashes(Array.from({ length: 10_000 }, (_, number) => hash(number)));
  assert.equal(addresses.hashes.length, HASHES_MAX);
});
