// Before a meeting: what keeps devices away is said in words, names are those that others can read, devices are chosen and come and go.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { eventually, hook, moves, openPage } from "../support/browser.mjs";
import { onDev } from "../support/ground.mjs";
import { becomes, enter, joinFromLobby, meets, tells, WITHIN_MS } from "../support/people.mjs";

describe("the lobby", { timeout: 170_000 }, () => {
  let dev;
  let browser;
  onDev((ground) => ({ dev, browser } = ground));

  async function made(settings = {}) {
    const body = JSON.stringify({ display_name: "Design review", settings });
    const headers = { "content-type": "application/json" };
    const answer = await fetch(`${dev.url}/api/v1/meetings`, { method: "POST", headers, body });
    assert.equal(answer.status, 201);
    return (await answer.json()).meeting_url;
  }

  test("whatever keeps a device away is said in words, and one can join without it", async () => {
    const meetingUrl = await made();
    const causes = [
      { name: "NotAllowedError", message: "Permission denied", words: /camera and microphone access is blocked/i },
      { name: "NotAllowedError", message: "Permission denied by system", words: /blocked by your system.*privacy settings/is },
      { name: "NotFoundError", message: "", words: /no camera and no microphone.*plug them in/is },
      { name: "NotReadableError", message: "", words: /are in use.*close other programs/is },
    ];
    for (const { name, message, words } of causes) {
      const { page, complaints, close } = await openPage(browser);
      await page.addInitScript(
        ([error, why]) => {
          navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException(why, error));
        },
        [name, message],
      );
      await page.goto(meetingUrl);
      await tells(page, words);
      await page.waitForSelector(`${hook("camera")}[data-on="false"]`);
      await page.waitForSelector(`${hook("join")}:enabled`);
      await eventually(
        "the meeting's name",
        WITHIN_MS,
        () => page.textContent("h1"),
        (title) => title === "Design review",
      );
      assert.deepEqual(complaints, []);
      await close();
    }
  });

  test("a name that nobody can see is refused beside its field, and the one that is taken is remembered", async () => {
    const { page, close } = await openPage(browser);
    await page.goto(await made());
    for (const [name, words] of [
      ["\u200b\u2800", /others can see/],
      ["\u202eana", /hidden characters/],
      ["a".repeat(65), /at most 64/],
    ]) {
      await page.fill(hook("name"), name);
      await page.click(hook("join"));
      await eventually(
        "a refusal",
        WITHIN_MS,
        () => page.textContent(`.field:has(${hook("name")})`),
        (text) => words.test(text),
      );
      await becomes(page, hook("name"), "aria-invalid", "true");
    }
    await joinFromLobby(page, "Grüße 李雷");
    await page.click(hook("leave"));
    await page.click(hook("rejoin"));
    await eventually(
      "the name",
      WITHIN_MS,
      () => page.inputValue(hook("name")),
      (name) => name === "Grüße 李雷",
    );
    await close();
  });

  test("the level meter moves, a device is chosen, and the choice is remembered", async () => {
    const { page, complaints, close } = await openPage(browser);
    await page.goto(await made());
    // The fake microphone beeps each second.
    await eventually("a level", WITHIN_MS, async () => Number(await page.getAttribute(hook("level-meter"), "aria-valuenow")) > 0);
    const choices = () => page.$$eval(`${hook("select-microphone")} option`, (options) => options.map(({ value }) => value));
    const chosen = (await eventually("microphones to choose from", WITHIN_MS, choices, (ids) => ids.length >= 2)).at(-1);
    await page.selectOption(hook("select-microphone"), chosen);
    // The sound is short: a look from outside may come too late for it.
    await page.$eval(hook("speaker-test"), (button) => {
      globalThis.wasDisabled = [];
      new MutationObserver(() => globalThis.wasDisabled.push(button.disabled)).observe(button, { attributeFilter: ["disabled"] });
    });
    await page.click(hook("speaker-test"));
    await eventually(
      "the test sound, to its end",
      WITHIN_MS,
      () => page.evaluate(() => globalThis.wasDisabled),
      (was) => was.join() === "true,false",
    );
    await page.reload();
    await eventually(
      "the same microphone",
      WITHIN_MS,
      () => page.inputValue(hook("select-microphone")),
      (id) => id === chosen,
    );
    assert.deepEqual(complaints, []);
    await close();
  });

  test("a device that goes away gives its place to another one, in the room too, and the others go on seeing", async () => {
    const keepTracks = (page) =>
      page.addInitScript(() => {
        const devices = navigator.mediaDevices;
        const getUserMedia = devices.getUserMedia.bind(devices);
        globalThis.opened = [];
        devices.getUserMedia = async (constraints) => {
          const stream = await getUserMedia(constraints);
          globalThis.opened.push(...stream.getTracks());
          return stream;
        };
      });
    const ana = await enter(browser, dev, "Ana", { prepare: keepTracks });
    const bo = await enter(browser, dev, "Bo", { meetingUrl: ana.meetingUrl });
    const anaId = await meets(bo.page, "Ana");
    await ana.page.evaluate(() => {
      const camera = globalThis.opened.findLast((track) => track.kind === "video");
      camera.stop();
      // As the browser says it when a device is unplugged.
      camera.dispatchEvent(new Event("ended"));
    });
    await tells(ana.page, /your camera went away/i, "news");
    await eventually("the camera is open again", WITHIN_MS, () =>
      ana.page.evaluate(() => globalThis.opened.some((track) => track.kind === "video" && track.readyState === "live")),
    );
    await moves(bo.page, anaId, 5, WITHIN_MS);

    // Whoever leaves takes the devices along, also those that are granted only then.
    await ana.page.click(hook("leave"));
    await ana.page.waitForSelector(hook("ended"));
    const live = () => ana.page.evaluate(() => globalThis.opened.filter((track) => track.readyState === "live").length);
    await eventually("no device open", WITHIN_MS, live, (count) => count === 0);
    assert.deepEqual([...ana.complaints, ...bo.complaints], []);
    await bo.close();
    await ana.close();
  });
});
