// People meet: two in Chromium, one without a browser. The page is all they touch.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { changes, eventually, hook, moves, openPage, picture, tiles } from "../support/browser.mjs";
import { startPattern } from "../support/dark-tower.mjs";
import { onDev } from "../support/ground.mjs";
import { byName, chat, enter, hears, joinFromLobby, meets, others, reads, says, sees, tells, WITHIN_MS } from "../support/people.mjs";
import { told, withStats } from "../support/worker.mjs";

describe("the meeting page", { timeout: 170_000 }, () => {
  let dev;
  let browser;
  onDev((ground) => ({ dev, browser } = ground));

  test("a meeting of two browsers and a native participant", async () => {
    const ana = await openPage(browser);
    await ana.page.goto(`${dev.url}/`);
    await ana.page.fill(hook("name"), "Ana");
    await ana.page.click(hook("create"));
    await ana.page.waitForSelector(hook("join"));
    await ana.page.waitForFunction(() => (document.querySelector("video")?.readyState ?? 0) >= 2);
    await picture(ana.page, "1-lobby");
    await joinFromLobby(ana.page, "Ana");
    const meetingUrl = ana.page.url();
    assert.match(meetingUrl, /\/m\/[a-z2-7]{10}$/);

    const bo = await enter(browser, dev, "Bo", { meetingUrl, colorScheme: "dark" });
    const boId = await meets(ana.page, "Bo");
    await meets(bo.page, "Ana");
    await eventually(
      "a word on quality",
      WITHIN_MS,
      () => ana.page.textContent(hook("quality")),
      (words) => /connection/i.test(words),
    );
    await picture(ana.page, "2-two-people");

    const native = startPattern(meetingUrl, "Robot", "test:360p30", "test:tone");
    try {
      for (const { page } of [ana, bo]) {
        await meets(page, "Robot").catch((error) => {
          throw new Error(`${error.message}\n${native.lines.join("\n")}`);
        });
      }

      await says(ana.page, "Hello <b>Bo</b>");
      await reads(bo.page, "Hello <b>Bo</b>");
      await says(bo.page, "Hi Ana");
      await reads(ana.page, "Hello <b>Bo</b>", "Hi Ana");
      await reads(bo.page, "Hello <b>Bo</b>", "Hi Ana");
      await picture(ana.page, "3-three-people");
      await picture(bo.page, "3-three-people-dark");

      const late = await enter(browser, dev, "Cy", { meetingUrl, viewport: { width: 420, height: 860 } });
      await reads(late.page, "Hello <b>Bo</b>", "Hi Ana");
      await eventually(
        "three others",
        WITHIN_MS,
        () => others(late.page),
        (found) => found.length === 3,
      );
      await meets(late.page, "Ana");
      await picture(late.page, "4-late-small");
      await meets(ana.page, "Cy");
      await late.page.click(hook("leave"));
      await late.page.waitForSelector(hook("ended"));
      await eventually(
        "Cy gone",
        WITHIN_MS,
        () => byName(ana.page, "Cy"),
        (it) => it === undefined,
      );
      assert.deepEqual(late.complaints, []);
      await late.close();

      await bo.page.click(hook("mute"));
      await eventually(
        "Bo muted",
        WITHIN_MS,
        () => byName(ana.page, "Bo"),
        (it) => it?.isMuted === true,
      );
      await eventually(
        "Bo silent",
        WITHIN_MS,
        () => byName(ana.page, "Bo"),
        (it) => it?.level === 0,
      );
      await bo.page.click(hook("mute"));
      await eventually(
        "Bo unmuted",
        WITHIN_MS,
        () => byName(ana.page, "Bo"),
        (it) => it?.isMuted === false,
      );
      await hears(ana.page, "Bo");

      await bo.page.click(hook("camera"));
      const boTile = `${hook("tile")}[data-participant-id="${boId}"]`;
      await ana.page.waitForSelector(`${boTile}[data-video="false"]`);
      await picture(ana.page, "5-camera-off");
      await bo.page.click(hook("camera"));
      await ana.page.waitForSelector(`${boTile}[data-video="true"]`);
      await moves(ana.page, boId, 3, WITHIN_MS);
    } finally {
      await native.stop();
    }
    await eventually(
      "Robot gone",
      WITHIN_MS,
      () => byName(ana.page, "Robot"),
      (it) => it === undefined,
    );

    await bo.page.click(hook("leave"));
    await bo.page.waitForSelector(hook("ended"));
    await eventually(
      "Bo gone",
      WITHIN_MS,
      () => others(ana.page),
      (found) => found.length === 0,
    );
    assert.deepEqual(await chat(ana.page), ["Hello <b>Bo</b>", "Hi Ana"]);
    await ana.page.click(hook("leave"));
    await ana.page.waitForSelector(hook("ended"));
    assert.deepEqual([...ana.complaints, ...bo.complaints], []);
    await ana.close();
    await bo.close();
  });

  test("a shared screen is shown large to the others, and goes away", async () => {
    const ana = await enter(browser, dev, "Ana");
    const bo = await enter(browser, dev, "Bo", { meetingUrl: ana.meetingUrl });
    await sees(ana.page, "Bo");
    await ana.page.click(hook("share"));
    await bo.page.waitForSelector(hook("screen"));
    await changes(bo.page, hook("screen"), 3, WITHIN_MS);
    await picture(bo.page, "8-shared-screen");
    await ana.page.click(hook("share"));
    await bo.page.waitForSelector(hook("screen"), { state: "detached" });
    assert.deepEqual([...ana.complaints, ...bo.complaints], []);
    await ana.close();
    await bo.close();
  });

  test("a host removes somebody, who is told in words", async () => {
    const host = await enter(browser, dev, "Host");
    const guest = await enter(browser, dev, "Guest", { meetingUrl: host.meetingUrl });
    await sees(host.page, "Guest");
    await host.page.hover(`${hook("tile")}[data-self="false"]`);
    await host.page.click('[aria-label="Remove Guest from the meeting"]');
    await host.page.click(hook("confirm"));
    await tells(guest.page, /you were removed/i);
    await picture(guest.page, "6-removed");
    await eventually(
      "Guest gone",
      WITHIN_MS,
      () => others(host.page),
      (found) => found.length === 0,
    );
    await guest.close();
    await host.close();
  });

  test("whoever is asked to be quiet is quiet, reads why, and may speak again; a meeting says what it was made for", async () => {
    const api = (path, method, body) =>
      fetch(`${dev.url}/api/v1/meetings${path}`, { method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    const created = await api("", "POST", { display_name: "Quiet", settings: { recording_enabled: true } });
    assert.equal(created.status, 201);
    const { meeting_url: meetingUrl, meeting_id: id } = await created.json();
    const ana = await enter(browser, dev, "Ana", { meetingUrl });
    const bo = await enter(browser, dev, "Bo", { meetingUrl, prepare: withStats });
    const boId = await meets(ana.page, "Bo");
    assert.match(await bo.page.textContent(hook("may-be-recorded")), /may be recorded/i);

    const asked = await api(`/${id}/participants/${boId}`, "PATCH", { is_muted: true, is_video_on: false, reason: "an echo <b>" });
    assert.equal(asked.status, 202, await asked.text());
    await tells(bo.page, /microphone and camera were turned off.*“an echo <b>”.*on again/is, "news");
    assert.equal(await bo.page.getAttribute(`:has(> ${hook("news")})`, "role"), "status");
    await eventually(
      "Bo muted",
      WITHIN_MS,
      () => byName(ana.page, "Bo"),
      (it) => it?.isMuted === true,
    );
    await eventually(
      "Bo silent",
      WITHIN_MS,
      () => byName(ana.page, "Bo"),
      (it) => it?.level === 0,
    );
    await ana.page.waitForSelector(`${hook("tile")}[data-participant-id="${boId}"][data-video="false"]`);
    await picture(bo.page, "9-asked-to-be-quiet");

    // Asked again, there is nothing left to turn off, and nothing to say.
    await bo.page.click(`${hook("news")} button`);
    assert.equal((await api(`/${id}/participants/${boId}`, "PATCH", { is_muted: true })).status, 202);
    await eventually(
      "the second request at Bo's",
      WITHIN_MS,
      () => told(bo.page, "mute-requested"),
      (count) => count === 2,
    );
    await bo.page.click(hook("mute"));
    await eventually(
      "Bo unmuted",
      WITHIN_MS,
      () => byName(ana.page, "Bo"),
      (it) => it?.isMuted === false,
    );
    await hears(ana.page, "Bo");
    assert.equal(await bo.page.$(hook("news")), null);
    assert.deepEqual([...ana.complaints, ...bo.complaints], []);
    await ana.close();
    await bo.close();
  });

  test("somebody removed through the API is told in words", async () => {
    const ana = await enter(browser, dev, "Ana");
    const bo = await enter(browser, dev, "Bo", { meetingUrl: ana.meetingUrl });
    const { id } = await sees(ana.page, "Bo");
    const code = ana.meetingUrl.split("/").pop();
    const { status } = await fetch(`${dev.url}/api/v1/meetings/${code}/participants/${id}`, { method: "DELETE" });
    assert.equal(status, 200);
    await tells(bo.page, /you were removed/i);
    await eventually(
      "Bo gone",
      WITHIN_MS,
      () => others(ana.page),
      (found) => found.length === 0,
    );
    assert.deepEqual(ana.complaints, []);
    await ana.close();
    await bo.close();
  });

  test("the end of a meeting is told in words, to those inside and to those who come after", async () => {
    const ana = await enter(browser, dev, "Ana");
    const code = ana.meetingUrl.split("/").pop();
    const { status } = await fetch(`${dev.url}/api/v1/meetings/${code}`, { method: "DELETE" });
    assert.equal(status, 200);
    await tells(ana.page, /the meeting has ended/i);
    assert.equal(await ana.page.$(hook("rejoin")), null, "there is nothing to come back to");
    await ana.page.goto(ana.meetingUrl);
    await ana.page.click(hook("join"));
    await tells(ana.page, /has ended.*new link/is);
    await ana.close();
  });

  test("somebody without camera and microphone still joins, and is told why", async () => {
    const refuse = () => {
      const getUserMedia = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("no", "NotAllowedError"));
      globalThis.allow = () => (navigator.mediaDevices.getUserMedia = getUserMedia);
    };
    const person = await enter(browser, dev, "Di", { prepare: (page) => page.addInitScript(refuse) });
    await tells(person.page, /access is blocked.*take part without it/is);
    await eventually(
      "muted",
      WITHIN_MS,
      () => tiles(person.page),
      ([own]) => own?.isMuted === true,
    );
    // Allowed at last: what was said about it goes by itself.
    await person.page.evaluate(() => void globalThis.allow());
    await person.page.click(hook("mute"));
    await eventually(
      "unmuted",
      WITHIN_MS,
      () => tiles(person.page),
      ([own]) => own?.isMuted === false,
    );
    await person.page.waitForSelector(hook("error"), { state: "detached" });
    await person.close();
  });

  test("a meeting that does not exist is told in words", async () => {
    const { page, close } = await openPage(browser);
    await page.goto(`${dev.url}/m/aaaaaaaaaa`);
    await page.fill(hook("name"), "Eve");
    await page.click(hook("join"));
    await tells(page, /does not exist.*check the link/is);
    await picture(page, "7-unknown-meeting");
    await close();
  });
});
