// Before a meeting: what keeps devices away is said in words, names are those that others can read, devices are chosen and come and go.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { eventually, hook, moves, openPage } from "../support/browser.mjs";
import { onDev } from "../support/ground.mjs";
import { enter, joinFromLobby, meets, WITHIN_MS } from "../support/people.mjs";

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
      await page.waitForSelector(hook("error"));
      assert.match(await page.textContent(hook("error")), words, name);
      await page.waitForSelector(`${hook("camera")}[data-on="false"]`);
      assert.equal(await page.isEnabled(hook("join")), true);
      assert.equal(await page.textContent("h1"), "Design review");
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
      assert.match(await page.textContent(`.field:has(${hook("name")})`), words);
      assert.equal(await page.getAttribute(hook("name"), "aria-invalid"), "true");
    }
    await joinFromLobby(page, "Grüße 李雷");
    await page.click(hook("leave"));
    await page.click(hook("rejoin"));
    assert.equal(await page.inputValue(hook("name")), "Grüße 李雷");
    await close();
  });

  test("the level meter moves, a device is chosen, and the choice is remembered", async () => {
    const { page, complaints, close } = await openPage(browser);
    await page.goto(await made());
    // The fake microphone beeps each second.
    await eventually("a level", WITHIN_MS, async () => Number(await page.getAttribute(hook("level-meter"), "aria-valuenow")) > 0);
    const ids = await page.$$eval(`${hook("select-microphone")} option`, (options) => options.map(({ value }) => value));
    assert.ok(ids.length >= 2, ids.join());
    await page.selectOption(hook("select-microphone"), ids.at(-1));
    await page.click(hook("speaker-test"));
    await page.waitForSelector(`${hook("speaker-test")}:disabled`);
    await page.waitForSelector(`${hook("speaker-test")}:enabled`);
    await page.reload();
    await eventually("the same microphone", WITHIN_MS, async () => (await page.inputValue(hook("select-microphone"))) === ids.at(-1));
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
    await ana.page.waitForSelector(hook("news"));
    assert.match(await ana.page.textContent(hook("news")), /your camera went away/i);
    await eventually("the camera is open again", WITHIN_MS, () =>
      ana.page.evaluate(() => globalThis.opened.some((track) => track.kind === "video" && track.readyState === "live")),
    );
    await moves(bo.page, anaId, 5, WITHIN_MS);

    // Whoever leaves takes the devices along, also those that are granted only then.
    await ana.page.click(hook("leave"));
    await ana.page.waitForSelector(hook("ended"));
    assert.deepEqual(await ana.page.evaluate(() => globalThis.opened.filter((track) => track.readyState === "live").length), 0);
    assert.deepEqual([...ana.complaints, ...bo.complaints], []);
    await bo.close();
    await ana.close();
  });
});
