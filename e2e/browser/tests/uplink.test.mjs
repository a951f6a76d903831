// What a page publishes keeps to what carries it and to who receives it: a narrow uplink, and somebody who decodes less.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { eventually, moves, startBrowser } from "../support/browser.mjs";
import { startDev } from "../support/dark-tower.mjs";
import { startNetwork } from "../support/network.mjs";
import { enter, meets, WITHIN_MS } from "../support/people.mjs";
import { stand } from "../support/processes.mjs";
import { prepareWorkers, stats, withStats } from "../support/worker.mjs";

/** Half of what the camera's picture and the sound take. */
const NARROW_KBPS = 250;
/** From the narrowing until pictures are fresh again; the bitrate falls within two. */
const FRESH_WITHIN_MS = 30_000;
/** Capture to screen, the receiver's own buffer included, which has grown by what it saw. */
const FRESH_MS = 700;
/** From the last viewer's going, ten seconds until it is noticed at the latest, and five more that a picture may be without anybody. */
const RESTS_WITHIN_MS = 40_000;

const camera = async (page) => (await stats(page))?.publications.find((it) => it.type === "camera");

/** Runs in the worker before it is spoken to: a browser that has no decoder for `refused`. */
function decodeLess(refused) {
  const real = VideoDecoder.isConfigSupported.bind(VideoDecoder);
  VideoDecoder.isConfigSupported = async (config) => (config.codec.startsWith(refused) ? { supported: false, config } : real(config));
}

describe("what a page publishes", { timeout: 240_000 }, () => {
  let ground;
  let network;

  before(async () => {
    ground = await stand({ dev: startDev(), browser: startBrowser() });
    network = await startNetwork(ground.dev);
  });

  after(async () => {
    await network?.stop();
    await ground?.close();
  });

  test("a narrow uplink takes bits from the picture, not time from the meeting", async () => {
    const { browser, dev } = ground;
    const ben = await enter(browser, dev, "Ben", { prepare: withStats });
    const prepare = async (page) => {
      await withStats(page);
      await network.prepare(page);
    };
    const ana = await enter(browser, dev, "Ana", { meetingUrl: network.through(ben.meetingUrl), prepare });
    const id = await meets(ben.page, "Ana");
    await network.narrowUplink(NARROW_KBPS);
    // Right after the narrowing a backlog is still being given up.
    const isHeldBack = (own) =>
      own?.limiter === "uplink" && own.bitrate < NARROW_KBPS * 1000 && own.targetBitrate < 740_000 && own.backlogMs <= 300;
    await eventually("a picture held back by the uplink", FRESH_WITHIN_MS, () => camera(ana.page), isHeldBack);
    const latencies = async () => (await stats(ben.page))?.subscriptions.map(({ type, latencyMs }) => ({ type, latencyMs })) ?? [];
    const areFresh = (got) => got.length === 2 && got.every(({ latencyMs }) => latencyMs !== undefined && latencyMs < FRESH_MS);
    await eventually("fresh pictures and sound over the narrow uplink", FRESH_WITHIN_MS, latencies, areFresh);
    await moves(ben.page, id, 5, WITHIN_MS);
    await network.narrowUplink(0);
    await ana.close();
    await ben.close();
  });

  test("a camera that nobody watches is not encoded, and whoever comes sees it", async (context) => {
    const { browser, dev } = ground;
    const ana = await enter(browser, dev, "Ana", { prepare: withStats });
    const rests = (own) => own?.limiter === "paused" && own.framesPerSecond === 0;
    for (const name of ["Ben", "Eve"]) {
      const { framesEncoded } = await eventually("a camera at rest", RESTS_WITHIN_MS, () => camera(ana.page), rests);
      const other = await enter(browser, dev, name, { meetingUrl: ana.meetingUrl });
      const began = performance.now();
      await meets(other.page, "Ana");
      context.diagnostic(`${name} sees Ana ${Math.round(performance.now() - began)} ms after entering`);
      const isUp = (own) => own.limiter !== "paused" && own.framesEncoded > framesEncoded;
      await eventually("a camera that is encoded again", WITHIN_MS, () => camera(ana.page), isUp);
      await other.close();
    }
    await ana.close();
  });

  test("who comes and cannot decode the codec gets another, and everybody goes on seeing", async () => {
    const { browser, dev } = ground;
    const ana = await enter(browser, dev, "Ana", { prepare: withStats });
    const { meetingUrl } = ana;
    const ben = await enter(browser, dev, "Ben", { meetingUrl });
    await meets(ben.page, "Ana");
    const { codec, streamId } = await eventually("a codec", WITHIN_MS, () => camera(ana.page));
    const refused = { VP8: "vp8", VP9: "vp09", H264: "avc1", AV1: "av01" }[codec];
    const eve = await enter(browser, dev, "Eve", { meetingUrl, prepare: (page) => prepareWorkers(page, decodeLess, refused) });
    const isAnother = (own) => own !== undefined && own.codec !== codec;
    const moved = await eventually("another codec", WITHIN_MS, () => camera(ana.page), isAnother);
    assert.notEqual(moved.streamId, streamId);
    for (const person of [eve, ben]) await meets(person.page, "Ana");
    for (const person of [eve, ben, ana]) await person.close();
  });
});
