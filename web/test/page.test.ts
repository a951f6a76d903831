// The page around the meeting room, as far as it is pure: names, addresses, devices and what is said about them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { addressPath, codeOfPath, readAddress } from "../page/src/address.ts";
import { type CaptureFault, captureWords, faultOf, faultsWords, faultWords } from "../page/src/capture-words.ts";
import { choiceLabels, isWorthAsking, otherDevice } from "../page/src/device-choice.ts";
import { meterLevel } from "../page/src/meter.ts";
import { checkName, meetingNameOf, nameWords } from "../page/src/name.ts";
import { presenceWords } from "../page/src/words.ts";

const HERE = "https://meet.example/m/abcdefghij#k=old";

/** The cases of `common_core::name`, so that the page and the servers refuse the same. */
test("names are accepted and refused as the servers do", () => {
  const check = (text: string, expected: string): void => {
    const { name, fault } = checkName(text);
    assert.equal(fault === undefined ? `=${name}` : fault, expected, JSON.stringify(text));
  };
  check("  Ana  ", "=Ana");
  check("\u0085Ana\u3000", "=Ana");
  check("ä".repeat(64), `=${"ä".repeat(64)}`);
  check("😀".repeat(64), `=${"😀".repeat(64)}`);
  check("a".repeat(65), "too-long");
  for (const text of ["a\r\nb", "a\0", "\u001b[31mred", "\u009b31m", "a\u007f", "a\u2028b", "a\u2029b", "a\ud800"]) check(text, "control");
  for (const text of ["\u202eana", "a\u2066b", "ana\u202c"]) check(text, "direction");
  const unseen = ["", " \t", "\u200b", "\u200b \ufeff", "\u2060\u200d", "\u00ad", "\u3164\u115f", "\u2800", "\ufe0f", "\u{e0041}"];
  for (const text of unseen) check(text, "empty");
  const flag = "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}";
  for (const text of [
    "Grüße",
    "李雷",
    "محمد",
    "نامه\u200cها",
    "יעל\u200f",
    "e\u0301",
    "👨\u200d👩\u200d👧",
    flag,
    'O\'Neil "Jr"',
    "❤\ufe0f",
  ])
    check(text, `=${text}`);
  for (const fault of ["empty", "too-long", "control", "direction"] as const) assert.match(nameWords(fault), /^[TA-Z].*\.$/u);
  assert.deepEqual([meetingNameOf(""), meetingNameOf("Ana")], ["Meeting", "Ana's meeting"]);
  assert.equal(checkName(meetingNameOf("😀".repeat(64))).fault, undefined);
});

test("a code and a whole link lead to the meeting, with what stands behind the #", () => {
  const check = (text: string, expected: string | undefined): void => {
    const read = readAddress(text, HERE);
    const shown = read === undefined ? undefined : "elsewhere" in read ? `elsewhere: ${read.elsewhere}` : addressPath(read.address);
    assert.equal(shown, expected, text);
  };
  check("abcdefghij", "/m/abcdefghij");
  check(" ABCDE-fghij ", "/m/abcdefghij");
  check("abc def ghij#k=s_-1", "/m/abcdefghij#k=s_-1");
  check("550E8400-e29b-41d4-a716-446655440000", "/m/550e8400-e29b-41d4-a716-446655440000");
  check("https://meet.example/m/abcdefghij?from=mail#k=s_-1", "/m/abcdefghij#k=s_-1");
  check("meet.example/m/abcdefghij/", "/m/abcdefghij");
  check("/m/abcdefghij", "/m/abcdefghij");
  check("https://other.example/m/abcdefghij#k=s", "elsewhere: other.example");
  for (const text of ["", "  ", "#k=s", "https://meet.example/", "https://meet.example/m/", "https://"]) check(text, undefined);
  const local = readAddress("http://127.0.0.1:8080/m/abcdefghij", "http://localhost:8080/");
  assert.deepEqual(local, { address: { code: "abcdefghij", fragment: "" } });
  assert.deepEqual(["/", "/m/", "/m/abc", "/m/a%20b/", "/m/%ff", "/docs"].map(codeOfPath), [
    undefined,
    undefined,
    "abc",
    "a b",
    "%ff",
    undefined,
  ]);
});

test("what keeps a device away is told apart", () => {
  const calm = { name: "NotAllowedError", message: "", permission: undefined, isSecure: true, isAllowedByPolicy: true } as const;
  const check = (change: Partial<Parameters<typeof faultOf>[0]>, expected: CaptureFault): void =>
    assert.equal(faultOf({ ...calm, ...change }), expected);
  check({}, "denied");
  check({ permission: "denied" }, "denied");
  check({ permission: "granted" }, "denied");
  check({ permission: "prompt" }, "dismissed");
  check({ message: "Permission denied by system" }, "system");
  check({ isAllowedByPolicy: false }, "policy");
  check({ isSecure: false, isAllowedByPolicy: false }, "insecure");
  check({ name: "NotFoundError" }, "not-found");
  check({ name: "OverconstrainedError" }, "not-found");
  check({ name: "NotReadableError" }, "in-use");
  check({ name: "TypeError" }, "unknown");
});

test("each cause has words with what to do, and both devices one note where the cause is one", () => {
  const all: CaptureFault[] = [
    "denied",
    "dismissed",
    "system",
    "policy",
    "insecure",
    "not-found",
    "in-use",
    "unplugged",
    "silenced",
    "unknown",
  ];
  const titles = new Set<string>();
  for (const fault of all) {
    const { title, advice } = faultWords("Camera", fault);
    titles.add(title);
    assert.ok(title.endsWith(".") && advice.length > 20, fault);
    if (fault !== "silenced") assert.match(advice, /You can take part without it\.$/u);
    const both = faultsWords(fault, fault);
    assert.equal(both.length, 1);
    assert.match(both[0]?.title ?? "", /camera and (no )?microphone/iu);
  }
  assert.equal(titles.size, all.length);
  assert.match(captureWords("Screen", "NotReadableError").title, /^Screen is in use/u);
  assert.deepEqual(
    faultsWords("denied", "not-found").map(({ title }) => title),
    ["Camera access is blocked.", "No microphone was found."],
  );
  assert.deepEqual(faultsWords(undefined, undefined), []);
});

test("after a refusal of both nobody is asked again for what was declined", () => {
  assert.equal(isWorthAsking("prompt", "prompt"), false);
  assert.equal(isWorthAsking("denied", "prompt"), false);
  assert.equal(isWorthAsking("prompt", "denied"), true);
  assert.equal(isWorthAsking("granted", "denied"), true);
  assert.equal(isWorthAsking(undefined, undefined), true);
});

test("another device takes the place of one that went away", () => {
  const named = (deviceId: string): { deviceId: string; label: string } => ({ deviceId, label: deviceId });
  const [a, b, preferred] = [named("a"), named("b"), named("default")];
  assert.equal(otherDevice([a, b], "b"), b);
  assert.equal(otherDevice([a, preferred], "b"), preferred);
  assert.equal(otherDevice([a], "b"), a);
  assert.equal(otherDevice([a].slice(1), "b"), undefined);
});

test("devices have names that differ, the system's choice first", () => {
  const choices = [
    { deviceId: "a", label: "HD Webcam (046d:0825)" },
    { deviceId: "b", label: "HD Webcam (046d:0825)" },
    { deviceId: "c", label: "" },
    { deviceId: "default", label: "Default" },
  ];
  assert.deepEqual(
    choiceLabels(choices, "Camera").map(({ value, label }) => `${value}: ${label}`),
    ["default: Default", "a: HD Webcam", "b: HD Webcam (2)", "c: Camera 4"],
  );
});

test("the level meter shows silence as nothing and loud speech in full", () => {
  const tone = (amplitude: number): Float32Array => Float32Array.from({ length: 480 }, (_, index) => amplitude * Math.sin(index / 7));
  assert.deepEqual([meterLevel(new Float32Array(480)), meterLevel(new Float32Array(0)), meterLevel(tone(1))], [0, 0, 1]);
  const quiet = meterLevel(tone(0.02));
  assert.ok(quiet > 0.2 && quiet < 0.6, String(quiet));
});

test("who is there is said as people say it", () => {
  assert.deepEqual([0, 1, 5].map(presenceWords), ["Nobody else is here yet.", "One person is here.", "5 people are here."]);
});
