// What the TypeScript client gives an application of somebody who publishes: pictures on elements, tracks, frames, and only what is seen.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { eventually, openPage, startBrowser } from "../support/browser.mjs";
import { bundle } from "../support/client.mjs";
import { publishes, startDev, startPattern } from "../support/dark-tower.mjs";
import { WITHIN_MS } from "../support/people.mjs";
import { stand } from "../support/processes.mjs";

/** Picture against sound; people notice from here on. */
const SYNC_MS_MAX = 40;

describe("receiving with the TypeScript client", { timeout: 170_000 }, () => {
  let ground;
  let person;
  let native;

  before(async () => {
    ground = await stand({ dev: startDev(), browser: startBrowser() });
    person = await openPage(ground.browser, { bypassCSP: true });
    const { page } = person;
    await page.goto(ground.dev.url);
    const source = await bundle('export { createMeeting, join, requestJoin } from "./index.ts";');
    const url = await page.evaluate(async (code) => {
      globalThis.client = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
      const { code: meeting, meeting_url } = await globalThis.client.createMeeting("Receiving");
      globalThis.code = meeting ?? meeting_url.split("/").pop();
      return meeting_url;
    }, source);
    native = startPattern(url, "Robot", "test:360p30", "test:tone");
    await publishes(native);
    await page.mouse.click(1, 1);
    await page.evaluate(async () => {
      const ticket = await globalThis.client.requestJoin(globalThis.code, "Ana");
      const audioContext = new AudioContext({ sampleRate: 48_000 });
      const meeting = await globalThis.client.join({
        ticket,
        displayName: "Ana",
        audioContext,
        autoSubscribe: "visible",
      });
      globalThis.meeting = meeting;
      globalThis.failures = [];
      meeting.on("subscription-failed", (detail) => globalThis.failures.push(detail));
      globalThis.of = (type) =>
        [...meeting.participants.value.values()].flatMap((it) => it.streams).find((it) => it.type === type)?.streamId;
      globalThis.stat = (type) => meeting.stats.value?.subscriptions.find((it) => it.type === type);
      /** Different pictures on an element within a second. */
      globalThis.moves = async (element) => {
        const surface = new OffscreenCanvas(64, 36).getContext("2d", {
          willReadFrequently: true,
        });
        const seen = new Set();
        for (const untilMs = performance.now() + 1000; performance.now() < untilMs;) {
          await new Promise((resolve) => requestAnimationFrame(resolve));
          surface.drawImage(element, 0, 0, 64, 36);
          seen.add(surface.getImageData(0, 0, 64, 36).data.join());
        }
        return seen.size;
      };
      globalThis.put = (element) => {
        document.body.replaceChildren(element);
        element.style.cssText = "position: fixed; inset: 0; width: 320px; height: 180px";
        return element;
      };
    });
    await eventually("both media streams", WITHIN_MS, () =>
      page.evaluate(() => globalThis.of("camera") !== undefined && globalThis.of("audio") !== undefined),
    );
  });

  after(async () => {
    await native?.stop();
    await ground?.close();
  });

  test("a picture that nobody looks at is not sent; on an element it is", async () => {
    const { page } = person;
    await eventually("the picture given up", WITHIN_MS, () =>
      page.evaluate(() => globalThis.stat("audio") !== undefined && globalThis.stat("camera") === undefined),
    );
    await page.evaluate(async () => {
      globalThis.canvas = globalThis.put(document.createElement("canvas"));
      await globalThis.meeting.attach(globalThis.of("camera"), globalThis.canvas);
    });
    await eventually("pictures on a canvas", WITHIN_MS, () => page.evaluate(async () => (await globalThis.moves(globalThis.canvas)) >= 5));
    await page.evaluate(() => (globalThis.canvas.style.display = "none"));
    await eventually("given up again", WITHIN_MS, () => page.evaluate(() => globalThis.stat("camera") === undefined));
    await page.evaluate(() => (globalThis.canvas.style.display = "block"));
    await eventually("pictures again", WITHIN_MS, () => page.evaluate(async () => (await globalThis.moves(globalThis.canvas)) >= 5));
  });

  test("pictures go with the sound, and the figures say so", async () => {
    const { page } = person;
    await eventually(
      "sound",
      WITHIN_MS,
      () => page.evaluate(() => globalThis.meeting.audio.value),
      (audio) => audio === "playing",
    );
    const figures = () =>
      page.evaluate(() => ({
        camera: globalThis.stat("camera"),
        audio: globalThis.stat("audio"),
      }));
    // The bitrate is that of the last second, so it tells of the pictures only a while after they are back.
    const areTogether = ({ camera, audio }) =>
      camera?.syncOffsetMs !== undefined &&
      Math.abs(camera.syncOffsetMs) <= SYNC_MS_MAX &&
      camera.latencyMs > 0 &&
      camera.bitrate > 10_000 &&
      camera.jitterTargetMs > 0 &&
      audio?.latencyMs !== undefined &&
      audio.bitrate > 1000 &&
      audio.jitterTargetMs >= 40;
    const { camera } = await eventually("picture and sound together, and their figures", WITHIN_MS, figures, areTogether);
    assert.equal(camera.width, 640);
    assert.ok(camera.framesReceived >= camera.framesDecoded && camera.framesDecoded >= camera.framesShown && camera.framesShown > 0);
  });

  test("a canvas is detached and attached again; a video element takes its place", async () => {
    const { page } = person;
    await page.evaluate(() => globalThis.meeting.detach(globalThis.of("camera")));
    // What was under way to the screen may still come; then it stands still.
    await eventually(
      "a canvas that stands still for a second",
      WITHIN_MS,
      () => page.evaluate(() => globalThis.moves(globalThis.canvas)),
      (pictures) => pictures === 1,
    );
    await page.evaluate(() => globalThis.meeting.attach(globalThis.of("camera"), globalThis.canvas));
    await eventually("pictures again", WITHIN_MS, () => page.evaluate(async () => (await globalThis.moves(globalThis.canvas)) >= 5));
    await page.evaluate(async () => {
      globalThis.video = globalThis.put(document.createElement("video"));
      await globalThis.meeting.attach(globalThis.of("camera"), globalThis.video);
    });
    await eventually("pictures on a video element", WITHIN_MS, () =>
      page.evaluate(async () => globalThis.video.videoWidth === 640 && (await globalThis.moves(globalThis.video)) >= 5),
    );
    await page.evaluate(() => globalThis.meeting.detach(globalThis.of("camera"), globalThis.video));
    assert.equal(await page.evaluate(() => globalThis.video.srcObject), null);
  });

  test("frames come decoded and encoded; a reader who sleeps finds the newest, in order", async () => {
    const { page } = person;
    const seen = await page.evaluate(async () => {
      const reader = globalThis.meeting.frames(globalThis.of("camera")).getReader();
      const first = (await reader.read()).value;
      const sizes = [first.displayWidth, first.displayHeight];
      const times = [first.timestamp];
      first.close();
      await new Promise((resolve) => setTimeout(resolve, 1500));
      for (let count = 0; count < 10; count += 1) {
        const { value } = await reader.read();
        times.push(value.timestamp);
        value.close();
      }
      await reader.cancel();
      const encoded = globalThis.meeting.encodedFrames(globalThis.of("camera")).getReader();
      const kinds = [];
      // A group that has just begun may be followed by another one at once.
      while (kinds.at(-1) !== "delta" && kinds.length < 10) kinds.push((await encoded.read()).value.kind);
      await encoded.cancel();
      const sounds = globalThis.meeting.frames(globalThis.of("audio")).getReader();
      const sound = (await sounds.read()).value;
      const rate = sound.sampleRate;
      sound.close();
      await sounds.cancel();
      return { sizes, times, kinds, rate };
    });
    assert.deepEqual(seen.sizes, [640, 360]);
    assert.deepEqual(
      seen.times.toSorted((a, b) => a - b),
      seen.times,
    );
    assert.ok(seen.times.at(-1) - seen.times[0] > 1_000_000, "the frames of a second and a half are not kept for a sleeper");
    assert.equal(seen.kinds[0], "key");
    assert.equal(seen.kinds.at(-1), "delta");
    assert.equal(seen.rate, 48_000);
  });

  test("a media stream as a track: pictures and sound", async () => {
    const { page } = person;
    await page.evaluate(async () => {
      const picture = await globalThis.meeting.mediaStream(globalThis.of("camera"));
      globalThis.video = globalThis.put(document.createElement("video"));
      globalThis.video.muted = true;
      globalThis.video.srcObject = picture;
      await globalThis.video.play();
      const sound = await globalThis.meeting.mediaStream(globalThis.of("audio"));
      const context = new AudioContext();
      const analyser = new AnalyserNode(context);
      context.createMediaStreamSource(sound).connect(analyser);
      globalThis.loud = () => {
        const samples = new Float32Array(analyser.fftSize);
        analyser.getFloatTimeDomainData(samples);
        return Math.max(...samples);
      };
    });
    await eventually("pictures of the track", WITHIN_MS, () => page.evaluate(async () => (await globalThis.moves(globalThis.video)) >= 5));
    await eventually("sound of the track", WITHIN_MS, () => page.evaluate(() => globalThis.loud() > 0.01));
  });

  test("when the publisher leaves, readers come to their end and nothing is left", async () => {
    const { page } = person;
    await page.evaluate(() => {
      const reader = globalThis.meeting.encodedFrames(globalThis.of("audio")).getReader();
      globalThis.end = (async () => {
        while (!(await reader.read()).done);
        return true;
      })();
    });
    await native.stop();
    assert.equal(await page.evaluate(() => globalThis.end), true);
    await eventually("no subscription left", WITHIN_MS, () =>
      page.evaluate(() => globalThis.meeting.stats.value.subscriptions.length === 0),
    );
    assert.deepEqual(await page.evaluate(() => globalThis.failures), []);
    await page.evaluate(() => globalThis.meeting.leave());
    assert.deepEqual(person.complaints, []);
  });
});
