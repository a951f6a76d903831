// Nine native publishers and one page: every picture moves. What it costs and how smooth it is is printed.
import assert from "node:assert/strict";
import { setTimeout as pass } from "node:timers/promises";
import { after, before, describe, test } from "node:test";
import { eventually, hook, openPage, picture, startBrowser } from "../support/browser.mjs";
import { publishes, startDev, startPattern } from "../support/dark-tower.mjs";
import { browserCpu } from "../support/cpu.mjs";
import { stamps, withStamps } from "../support/pattern.mjs";
import { enter } from "../support/people.mjs";
import { stand } from "../support/processes.mjs";
import { stats, withStats } from "../support/worker.mjs";

const PUBLISHERS = 9;
const ALL_MOVE_WITHIN_MS = 40_000;
const MEASURED_MS = 5_000;
/** The page, compressed, as a visitor downloads it. */
const BUNDLE_BYTES_MAX = 150_000;

describe("a crowd", { timeout: 120_000 }, () => {
  let ground;
  let dev;
  let browser;
  const natives = [];

  before(async () => {
    ground = await stand({ dev: startDev(), browser: startBrowser() });
    ({ dev, browser } = ground);
  });

  after(async () => {
    await Promise.all(natives.map((native) => native.stop()));
    await ground?.close();
  });

  test("the page is small", async (context) => {
    const { page, close } = await openPage(browser);
    const requests = [];
    page.on("requestfinished", (request) => requests.push(request));
    await page.goto(`${dev.url}/m/aaaaaaaaaa`);
    await page.waitForSelector(hook("join"));
    // What the room needs besides is fetched when it is entered.
    for (const script of ["worker.js", "audio-worklet.js"])
      await page.evaluate((path) => fetch(`/${path}`).then((it) => it.text()), script);
    // Told a moment after the page has what it asked for.
    const files = () => requests.filter((request) => !request.url().includes("/api/"));
    const parts = ["app.js", "style.css", "worker.js", "audio-worklet.js"];
    const paths = () => files().map((request) => new URL(request.url()).pathname);
    await eventually("all parts of the page", ALL_MOVE_WITHIN_MS, paths, (found) => parts.every((part) => found.includes(`/${part}`)));
    const seen = await Promise.all(
      files().map(async (request) => [new URL(request.url()).pathname, (await request.sizes()).responseBodySize]),
    );
    const bytes = seen.reduce((sum, [, size]) => sum + size, 0);
    context.diagnostic(`${seen.map(([path, size]) => `${path} ${size}`).join(", ")}: ${bytes} bytes`);
    assert.ok(bytes > 10_000, `${bytes} bytes`);
    assert.ok(bytes < BUNDLE_BYTES_MAX, `${bytes} bytes`);
    await close();
  });

  test("nine native publishers and one page: all pictures move", async (context) => {
    const prepare = async (page) => {
      await withStamps(page);
      await withStats(page);
    };
    const ana = await enter(browser, dev, "Ana", { prepare });
    const names = Array.from({ length: PUBLISHERS }, (_, index) => `Robot ${index + 1}`);
    for (const [index, name] of names.entries()) {
      const native = startPattern(ana.meetingUrl, name, "test:360p15", ...(index === 0 ? ["test:tone"] : []));
      natives.push(native);
      await publishes(native);
    }
    const numbers = async () => new Map((await stamps(ana.page)).map(({ name, number }) => [name, number]));
    const first = new Map();
    const missing = (found) => names.filter((name) => !found.has(name));
    await eventually(
      "a picture of everybody",
      ALL_MOVE_WITHIN_MS,
      async () => {
        for (const [name, number] of await numbers()) if (number !== undefined && !first.has(name)) first.set(name, number);
        return missing(first);
      },
      (names) => names.length === 0,
    );
    /** Waits until every picture is `frames` on from `begin`; answers the newest that was seen of each. */
    const goOn = async (begin, frames) => {
      const newest = new Map();
      await eventually(
        `every picture ${frames} on`,
        ALL_MOVE_WITHIN_MS,
        async () => {
          for (const [name, number] of await numbers()) if (number >= begin.get(name) + frames) newest.set(name, number);
          return missing(newest);
        },
        (names) => names.length === 0,
      );
      return newest;
    };
    const before = await goOn(first, 15);
    const [cpuBefore, beganMs] = [await browserCpu(), Date.now()];
    const frozenBefore = freezes(await stats(ana.page));
    await pass(MEASURED_MS);
    const after = await goOn(before, 1);
    const [cpuAfter, seconds] = [await browserCpu(), (Date.now() - beganMs) / 1000];
    const rates = names.map((name) => ((after.get(name) - before.get(name)) / seconds).toFixed(1));
    const ages = (await stamps(ana.page)).flatMap(({ ageMs }) => ageMs ?? []);
    context.diagnostic(`frames a second went on by ${rates.join(", ")}; oldest picture ${Math.max(...ages)} ms`);
    context.diagnostic(
      `browser ${((cpuAfter - cpuBefore) / seconds).toFixed(2)} cores; freezes ${freezes(await stats(ana.page)) - frozenBefore}`,
    );
    await picture(ana.page, "crowd");
    assert.deepEqual(ana.complaints, []);
    await ana.close();
  });
});

function freezes(stats) {
  return (stats?.subscriptions ?? []).reduce((sum, subscription) => sum + subscription.freezes, 0);
}
