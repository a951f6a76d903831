// What people read and press in the room: chat, numbers, keys, names, pictures that stand still.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { PublicationStats, SubscriptionStats } from "../client/src/stats.ts";
import { linkify, roomLeft, startsGroup } from "../page/src/chat-text.ts";
import { isMeant } from "../page/src/people-panel.ts";
import { PictureHealth } from "../page/src/picture-health.ts";
import { actionOf, type Key, SHORTCUTS } from "../page/src/shortcuts.ts";
import { bitrateWords, connectionFacts, dropWords, durationWords, publicationFacts, subscriptionFacts } from "../page/src/stats-words.ts";

/** Links of a text, as text and address. */
const links = (text: string): [string, string][] =>
  linkify(text).flatMap((part) => (part.href === undefined ? [] : [[part.text, part.href] as [string, string]]));

test("links are http and https alone, end where the sentence does, and the text stays what it was", () => {
  const cases: [text: string, ...links: string[]][] = [
    ["no link"],
    ["https://example.org", "https://example.org"],
    ["see https://example.org/a?b=c#d, please", "https://example.org/a?b=c#d"],
    ["(https://example.org/a_(b)).", "https://example.org/a_(b)"],
    ["“https://example.org/x”", "https://example.org/x"],
    ["HTTP://EXAMPLE.org/A!", "HTTP://EXAMPLE.org/A"],
    ["two: http://a.example https://b.example…", "http://a.example", "https://b.example"],
    ["https://例え.jp/ä", "https://例え.jp/ä"],
    ["http://127.0.0.1:8080/m/abc", "http://127.0.0.1:8080/m/abc"],
    ["http://[::1]:8080/", "http://[::1]:8080/"],
    ["javascript:alert(1) data:text/html,x file:///etc/passwd ftp://a.example"],
    ["xhttps://example.org"],
    ["https://"],
    ["https://bank.example@evil.example/"],
    ["https://user:word@evil.example/"],
    ['https://a.example/<b>"x"', "https://a.example/"],
    ["https://a.example/\u202Egpj.exe", "https://a.example/"],
    ["line https://a.example\nhttps://b.example", "https://a.example", "https://b.example"],
  ];
  for (const [text, ...wanted] of cases) {
    assert.deepEqual(
      links(text).map(([shown]) => shown),
      wanted,
      text,
    );
    assert.equal(
      linkify(text)
        .map((part) => part.text)
        .join(""),
      text,
    );
    for (const [, href] of links(text)) assert.match(href, /^https?:/u);
  }
  assert.equal(linkify("").length, 0);
});

test("hostile text is taken apart without losing any of it", () => {
  for (const text of ["(".repeat(4096), `https://${")".repeat(4000)}`, "https://a".repeat(450), `https://a.example/${"!".repeat(4000)}`]) {
    const parts = linkify(text);
    assert.equal(parts.map((part) => part.text).join(""), text);
    assert.ok(parts.length <= 2);
  }
});

test("messages of one person stand together for five minutes", () => {
  const at = (senderId: string, minutes: number, senderName = senderId): { senderId: string; senderName: string; sentAt: number } => ({
    senderId,
    senderName,
    sentAt: minutes * 60_000,
  });
  assert.equal(startsGroup(at("ana", 0), undefined), true);
  assert.equal(startsGroup(at("ana", 4), at("ana", 0)), false);
  assert.equal(startsGroup(at("ana", 6), at("ana", 0)), true);
  assert.equal(startsGroup(at("bo", 1), at("ana", 0)), true);
});

test("the limit of 4 KiB is told before it is met, in bytes as the meeting counts them", () => {
  assert.deepEqual(roomLeft("hello"), { words: "", isTooLong: false });
  assert.deepEqual(roomLeft("a".repeat(4096)), { words: "At most 100 characters left.", isTooLong: false });
  assert.equal(roomLeft(` ${"a".repeat(4096)} `).isTooLong, false, "blanks around it are not sent");
  assert.match(roomLeft("ä".repeat(2100)).words, /too long, by up to 200 characters/u);
  assert.equal(roomLeft("ä".repeat(2100)).isTooLong, true);
});

test("keys: one thing each, none with a modifier or held down, none that somebody else has answered", () => {
  const key = (change: Partial<Key>): Key => ({
    key: "m",
    ctrlKey: false,
    metaKey: false,
    altKey: false,
    repeat: false,
    defaultPrevented: false,
    ...change,
  });
  assert.equal(actionOf(key({})), "mute");
  assert.equal(actionOf(key({ key: "M" })), "mute", "with Shift or Caps Lock as well");
  assert.equal(actionOf(key({ key: "?" })), "help");
  assert.equal(actionOf(key({ key: "Escape" })), "close");
  assert.equal(actionOf(key({ key: "x" })), undefined);
  for (const change of [{ ctrlKey: true }, { metaKey: true }, { altKey: true }, { repeat: true }, { defaultPrevented: true }]) {
    assert.equal(actionOf(key(change)), undefined);
  }
  assert.equal(new Set(SHORTCUTS.map((shortcut) => shortcut.key)).size, SHORTCUTS.length);
  assert.equal(new Set(SHORTCUTS.map((shortcut) => shortcut.action)).size, SHORTCUTS.length);
});

test("people are found by parts of their names, in any case and without accents", () => {
  assert.ok(isMeant("Zoë Brontë", "bronte"));
  assert.ok(isMeant("Zoë Brontë", "Z bro"));
  assert.ok(isMeant("Ana", ""));
  assert.ok(!isMeant("Ana", "bo"));
});

const RECEIVED: SubscriptionStats = {
  streamId: "s",
  participantId: "p",
  type: "camera",
  codec: "VP9",
  width: 640,
  height: 360,
  bitrate: 640_400,
  framesPerSecond: 29.6,
  framesReceived: 300,
  framesDecoded: 299,
  framesShown: 298,
  freezes: 2,
  freezeMs: 1400,
  dropped: { late: 3, "handler:expired": 12, "handler:odd_cause": 1, hidden: 0 },
  decoderErrors: 0,
  keyFramesRequested: 0,
  jitterTargetMs: 50,
  bufferedMs: 42.4,
  latencyMs: 118.6,
  syncOffsetMs: -12,
  layer: { wanted: "high", allowed: "low", forwarded: "low", limiter: "bandwidth", lastChange: "" },
  estimatedBitrate: 900_000,
};
const SENT: PublicationStats = {
  streamId: "o",
  type: "audio",
  origin: "processor",
  originReason: "",
  codec: "Opus",
  width: 0,
  height: 0,
  targetBitrate: 32_000,
  bitrate: 31_000,
  framesPerSecond: 50,
  framesEncoded: 100,
  framesSent: 100,
  framesDropped: 0,
  keyFrames: 0,
  groupsAborted: 0,
  backlogMs: 0,
  limiter: "uplink",
};

test("numbers in words", () => {
  assert.deepEqual([0, 950, 31_499, 999_499, 999_500, 2_345_678].map(bitrateWords), [
    "0 kb/s",
    "1 kb/s",
    "31 kb/s",
    "999 kb/s",
    "1.0 Mb/s",
    "2.3 Mb/s",
  ]);
  assert.deepEqual([0.4, 118.6, 1400, 12_345].map(durationWords), ["0 ms", "119 ms", "1.4 s", "12 s"]);
  assert.equal(dropWords(RECEIVED.dropped), "12 too old at the server, 3 too late, 1 server: odd cause");
  assert.deepEqual(Object.fromEntries(subscriptionFacts(RECEIVED)), {
    Picture: "640 × 360 · 30 a second · VP9",
    Received: "640 kb/s",
    "Quality layer": "low · wanted: high · your connection does not take more",
    Delay: "119 ms",
    Buffer: "42 ms of 50 ms",
    "Picture after sound": "-12 ms",
    Freezes: "2, 1.4 s together",
    "Left out": "12 too old at the server, 3 too late, 1 server: odd cause",
  });
  assert.deepEqual(Object.fromEntries(publicationFacts(SENT)), {
    Sound: "Opus · 50 packets a second",
    Sent: "31 kb/s · aims at 32 kb/s",
    Limit: "held back by your upload",
  });
  const stats = {
    atMs: 0,
    signaling: "websocket" as const,
    rttMs: undefined,
    handlerUrl: "https://media.example:4434/m",
    publications: [SENT],
    subscriptions: [RECEIVED],
  };
  assert.deepEqual(Object.fromEntries(connectionFacts(stats)), {
    "There and back": "not measured yet",
    Receiving: "640 kb/s · the path takes about 900 kb/s",
    Sending: "31 kb/s",
    Signaling: "WebSocket (TCP)",
    "Media server": "media.example:4434",
  });
});

test("a camera that is watched and shows nothing new for three seconds stands still; screens and hidden pictures may", () => {
  const health = new PictureHealth();
  const look = (shown: number, isWatched = true, type: SubscriptionStats["type"] = "camera"): boolean =>
    health.look([{ streamId: "s", type, framesShown: shown }], () => isWatched).has("s");
  assert.deepEqual([look(10), look(40), look(40), look(40), look(40), look(40), look(41)], [false, false, false, false, true, true, false]);
  assert.deepEqual([look(41), look(41), look(41, false), look(41), look(41), look(41)], [false, false, false, false, false, false]);
  assert.deepEqual(
    [1, 1, 1, 1, 1].map((shown) => look(shown, true, "screen")),
    [false, false, false, false, false],
  );
  assert.deepEqual(
    [0, 0, 0, 0, 0].map((shown) => look(shown)),
    [false, false, false, false, false],
    "the first picture is on its way",
  );
});
