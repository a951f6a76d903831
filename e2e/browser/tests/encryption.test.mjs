// End-to-end encryption between the TypeScript client in Chromium and the native one: pictures and chat both ways, who comes late, and wrong links.
// The client is used as an application would, without the meeting page.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { changes, eventually, openPage, startBrowser } from "../support/browser.mjs";
import { bundle, startSite } from "../support/client.mjs";
import { startDev, startPattern } from "../support/dark-tower.mjs";
import { WITHIN_MS } from "../support/people.mjs";
import { stand } from "../support/processes.mjs";

/** Runs in the page: what the test calls by name. */
const APPLICATION = `
import * as client from "./index.ts";

const origin = new URLSearchParams(location.search).get("api") ?? "";
let meeting: client.Meeting;

async function enter(url: string, name: string, secret: Uint8Array | undefined): Promise<object> {
  const code = new URL(url).pathname.split("/").pop() ?? "";
  const ticket = await client.requestJoin(code, name, { origin });
  meeting = await client.join({ ticket, displayName: name, secret, workerUrl: "/worker.js" });
  meeting.on("undecryptable", ({ streamId }) => void events.push("undecryptable " + streamId));
  meeting.on("stream-published", show);
  for (const person of meeting.participants.value.values()) person.streams.forEach(show);
  return { encryption: meeting.encryption, id: meeting.participantId };
}

function show(stream: client.MediaStreamInfo): void {
  if (stream.type === "audio") return;
  const canvas = document.createElement("canvas");
  const box = document.body.appendChild(document.createElement("div"));
  box.id = "of-" + stream.participantId;
  box.append(canvas);
  void meeting.attach(stream.streamId, canvas);
}

const events: string[] = [];
Object.assign(globalThis, {
  events,
  create: async () => {
    const made = await client.createMeeting("Sealed", { origin, encrypted: true });
    return client.urlWithSecret(made.meeting_url, client.createSecret());
  },
  enter: (url: string, name: string) => enter(url, name, client.secretFromUrl(url)),
  refusal: async (url: string, how: "another" | "none" | "this") => {
    const secret = { another: client.createSecret(), none: undefined, this: client.secretFromUrl(url) }[how];
    try {
      await enter(url, "Mallory", secret);
    } catch (error) {
      return error instanceof client.DarkTowerError ? error.code : String(error);
    }
    return "let in";
  },
  openMeeting: async () => (await client.createMeeting("Open", { origin })).meeting_url,
  film: async () => {
    const media = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 360 }, audio: true });
    for (const track of media.getTracks()) await meeting.publish(track, track.kind === "video" ? "camera" : "audio");
  },
  say: (words: string) => meeting.sendChat(words).then((message) => message.content),
  chat: () => meeting.chat.value.map((message) => message.senderName + ": " + message.content),
  people: () => [...meeting.participants.value.values()].map((person) => person.name),
  idOf: (name: string) => [...meeting.participants.value.values()].find((person) => person.name === name)?.participantId,
  dropped: () => (meeting.stats.value?.subscriptions ?? []).map((it) => it.dropped.undecryptable ?? 0),
  leave: () => meeting.leave(),
});
`;

describe("an encrypted meeting", { timeout: 150_000 }, () => {
  let site;
  let ground;
  let dev;
  let browser;

  before(async () => {
    site = await startSite({
      "/": '<!doctype html><title>An application</title><script type="module" src="/app.js"></script>',
      "/app.js": await bundle(APPLICATION),
      "/worker.js": await bundle('import "./worker/entry.ts";'),
    });
    const origins = { DARK_TOWER__PUBLIC__ORIGINS: JSON.stringify([site.origin]) };
    ground = await stand({ dev: startDev(origins), browser: startBrowser() });
    ({ dev, browser } = ground);
  });

  after(async () => {
    await ground?.close();
    await site?.stop();
  });

  /** A page of somebody's own; functions of the application by name. */
  async function person() {
    const opened = await openPage(browser);
    await opened.page.goto(`${site.origin}/?${new URLSearchParams({ api: dev.url })}`);
    await opened.page.waitForFunction(() => globalThis.leave !== undefined);
    const call = (name, ...args) => opened.page.evaluate(([it, given]) => globalThis[it](...given), [name, args]);
    return { ...opened, call };
  }

  const reads = (who, line) =>
    eventually(
      `"${line}"`,
      WITHIN_MS,
      () => who.call("chat"),
      (lines) => lines.includes(line),
    );
  const sees = async (who, name) => {
    const id = await eventually(`${name} in the roster`, WITHIN_MS, () => who.call("idOf", name));
    await changes(who.page, `[id="of-${id}"]`, 3, WITHIN_MS);
  };

  test("pictures and chat go between browsers and a native participant; who comes late finds both", async () => {
    const ana = await person();
    const url = await ana.call("create");
    assert.match(url, /#k=[\w-]{43}$/);
    const { encryption, id } = await ana.call("enter", url, "Ana");
    assert.match(encryption.comparisonCode, /^\d{4} \d{4} \d{4}$/);
    await ana.call("film");

    const robot = startPattern(url, "Robot", "test:360p30", "test:tone");
    try {
      await sees(ana, "Robot");
      assert.equal(await ana.call("say", "Hello <Robot>, 世界"), "Hello <Robot>, 世界");
      await eventually("Robot hears Ana", WITHIN_MS, () => robot.lines.some((line) => /^Ana \([0-9a-f]{8}\): Hello <Robot>, 世界/.test(line)));

      const bo = await person();
      const bos = await bo.call("enter", url, "Bo");
      assert.deepEqual(bos.encryption, encryption);
      await reads(bo, "Ana: Hello <Robot>, 世界");
      await sees(bo, "Ana");
      await sees(bo, "Robot");
      await bo.call("say", "Hello Ana");
      await reads(ana, "Bo: Hello Ana");
      assert.deepEqual([await ana.page.evaluate("events"), await bo.page.evaluate("events")], [[], []]);
      assert.ok((await bo.call("dropped")).every((count) => count === 0));
      assert.notEqual(bos.id, id);
      await bo.call("leave");
      assert.deepEqual(bo.complaints, []);
      await bo.close();
    } finally {
      await robot.stop();
    }
    assert.deepEqual(ana.complaints, []);
    await ana.close();
  });

  test("a wrong link, one without its key, and a key that no meeting asks for are told at once", async () => {
    const ana = await person();
    const url = await ana.call("create");
    await ana.call("enter", url, "Ana");
    const mallory = await person();
    assert.equal(await mallory.call("refusal", url, "another"), "WRONG_SECRET");
    assert.equal(await mallory.call("refusal", url, "none"), "SECRET_MISSING");
    const open = await mallory.call("openMeeting");
    assert.equal(await mallory.call("refusal", `${open}${new URL(url).hash}`, "this"), "NOT_ENCRYPTED");
    await eventually(
      "Ana is alone",
      WITHIN_MS,
      () => ana.call("people"),
      (people) => people.length === 0,
    );
    await Promise.all([ana.close(), mallory.close()]);
  });
});
