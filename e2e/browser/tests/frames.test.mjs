// A camera's pictures reach the others also where the browser's `MediaStreamTrackProcessor` gives none though the track is live.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, test } from "node:test";
import { eventually, hook, moves, openPage } from "../support/browser.mjs";
import { bundle } from "../support/client.mjs";
import { onDev } from "../support/ground.mjs";
import { enter, meets, sees, WITHIN_MS } from "../support/people.mjs";
import { mendProcessors, withSilentProcessors } from "../support/processors.mjs";
import { stats, told, withStats } from "../support/worker.mjs";

const camera = async (page) => (await stats(page))?.publications.find(({ type }) => type === "camera");
const isByElement = ({ origin, framesPerSecond } = {}) => origin === "element" && framesPerSecond > 0;

describe("pictures of a track whose processor gives none", { timeout: 170_000 }, () => {
  let dev;
  let browser;
  onDev((ground) => ({ dev, browser } = ground));

  async function createMeeting(settings) {
    const created = await fetch(`${dev.url}/api/v1/meetings`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ display_name: "Frames", settings }),
    });
    assert.equal(created.status, 201);
    return (await created.json()).meeting_url;
  }

  const secret = () => `#k=${randomBytes(32).toString("base64url")}`;
  for (const [kind, settings, fragment] of [
    ["an open", {}, ""],
    ["an encrypted", { enable_e2e_encryption: true }, secret()],
  ]) {
    test(`${kind} meeting: they come by way of an element, after the camera was off and on as well`, async () => {
      const meetingUrl = (await createMeeting(settings)) + fragment;
      const ana = await enter(browser, dev, "Ana", { meetingUrl });
      const prepare = async (page) => {
        await withStats(page);
        await withSilentProcessors(page);
      };
      const bo = await enter(browser, dev, "Bo", { meetingUrl, prepare });
      const boId = await meets(ana.page, "Bo");
      const own = await eventually("pictures from an element", WITHIN_MS, () => camera(bo.page), isByElement);
      assert.match(own.originReason, /no first picture from the track's processor, for \d+ ms/);

      const tile = `${hook("tile")}[data-participant-id="${boId}"]`;
      await bo.page.click(hook("camera"));
      await ana.page.waitForSelector(`${tile}[data-video="false"]`);
      await bo.page.click(hook("camera"));
      await ana.page.waitForSelector(`${tile}[data-video="true"]`);
      await moves(ana.page, boId, 5, WITHIN_MS);
      assert.equal(await told(bo.page, "frame-origin-changed"), 2);

      await bo.page.click(hook("quality"));
      await eventually(
        "a word on it",
        WITHIN_MS,
        () => bo.page.textContent(hook("connection-facts")),
        (facts) => /hidden video element/.test(facts),
      );
      assert.deepEqual([...ana.complaints, ...bo.complaints], []);
      await ana.close();
      await bo.close();
    });
  }

  test("a processor that falls silent later on is noticed too", async () => {
    const ana = await enter(browser, dev, "Ana");
    const prepare = async (page) => {
      await withStats(page);
      await withSilentProcessors(page, 5);
    };
    const bo = await enter(browser, dev, "Bo", { meetingUrl: ana.meetingUrl, prepare });
    await meets(ana.page, "Bo");
    const own = await eventually("pictures from an element", WITHIN_MS, () => camera(bo.page), isByElement);
    // On a busy machine the element may have shown one before the processor did.
    assert.match(own.originReason, /no (further|first) picture/);
    assert.deepEqual([...ana.complaints, ...bo.complaints], []);
    await ana.close();
    await bo.close();
  });

  test("an application's `replaceTrack` goes to another track and back to processors", async () => {
    const ana = await enter(browser, dev, "Ana");
    const bo = await openPage(browser, { bypassCSP: true });
    await withSilentProcessors(bo.page);
    await bo.page.goto(dev.url);
    const source = await bundle('export { join, requestJoin } from "./index.ts";');
    await bo.page.evaluate(
      async ([code, meetingCode]) => {
        const client = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
        const meeting = await client.join({ ticket: await client.requestJoin(meetingCode, "Bo"), displayName: "Bo", isVideoOn: true });
        const track = async (width, height) =>
          (await navigator.mediaDevices.getUserMedia({ video: { width: { exact: width }, height: { exact: height } } })).getVideoTracks()[0];
        globalThis.origins = [];
        meeting.on("frame-origin-changed", ({ origin }) => globalThis.origins.push(origin));
        const publication = await meeting.publish(await track(640, 360), "camera");
        globalThis.replace = async (width, height) => publication.replaceTrack(await track(width, height));
        globalThis.own = () => meeting.stats.value?.publications[0];
      },
      [source, ana.meetingUrl.split("/").pop()],
    );
    const own = () => bo.page.evaluate(() => globalThis.own());
    const { id } = await sees(ana.page, "Bo");
    await moves(ana.page, id, 5, WITHIN_MS);
    await eventually("the first track's, from an element", WITHIN_MS, own, isByElement);

    await bo.page.evaluate(() => globalThis.replace(320, 180));
    await eventually("another track's, from an element", WITHIN_MS, own, (it) => isByElement(it) && it.width === 320);
    await moves(ana.page, id, 5, WITHIN_MS);
    assert.deepEqual(await bo.page.evaluate(() => globalThis.origins), ["element", "processor", "element"]);

    await mendProcessors(bo.page);
    await bo.page.evaluate(() => globalThis.replace(640, 360));
    await eventually("a third track's", WITHIN_MS, own, (it) => it.width === 640 && it.framesPerSecond > 0);
    await moves(ana.page, id, 5, WITHIN_MS);
    // A processor that works may still be the slower one for a moment on a busy machine.
    assert.equal((await bo.page.evaluate(() => globalThis.origins))[3], "processor");
    assert.deepEqual([...ana.complaints, ...bo.complaints], []);
    await ana.close();
    await bo.close();
  });
});
