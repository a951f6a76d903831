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
    const seen = await Promise.all(
      requests
        .filter((request) => !request.url().includes("/api/"))
        .map(async (request) => [new URL(request.url()).pathname, (await request.sizes()).responseBodySize]),
    );
    const bytes = seen.reduce((sum, [, size]) => sum + size, 0);
    context.diagnostic(`${seen.map(([path, size]) => `${path} ${size}`).join(", ")}: ${bytes} bytes`);
    assert.ok(seen.some(([path]) => path.endsWith("app.js")) && bytes > 10_000);
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
    await eventually("a picture of everybody", ALL_MOVE_WITHIN_MS, async () => {
      for (const [name, number] of await numbers()) if (number !== undefined && !first.has(name)) first.set(name, number);
      return names.every((name) => first.has(name));
    });
    const moved = new Set();
    await eventually("a second on in every picture", ALL_MOVE_WITHIN_MS, async () => {
      for (const [name, number] of await numbers()) if (number >= first.get(name) + 15) moved.add(name);
      return names.every((name) => moved.has(name));
    });

    const [cpuBefore, before] = [await browserCpu(), await numbers()];
    const frozenBefore = freezes(await stats(ana.page));
    await pass(MEASURED_MS);
    const [cpuAfter, after] = [await browserCpu(), await numbers()];
    const seconds = MEASURED_MS / 1000;
    const rates = names.map((name) => ((after.get(name) - before.get(name)) / seconds).toFixed(1));
    const ages = (await stamps(ana.page)).flatMap(({ ageMs }) => ageMs ?? []);
    context.diagnostic(`frames a second went on by ${rates.join(", ")}; oldest picture ${Math.max(...ages)} ms`);
    context.diagnostic(
      `browser ${((cpuAfter - cpuBefore) / seconds).toFixed(2)} cores; freezes ${freezes(await stats(ana.page)) - frozenBefore}`,
    );
    await picture(ana.page, "crowd");
    assert.ok(
      rates.every((rate) => rate > 0),
      rates.join(", "),
    );
    assert.deepEqual(ana.complaints, []);
    await ana.close();
  });
});

function freezes(stats) {
  return (stats?.subscriptions ?? []).reduce((sum, subscription) => sum + subscription.freezes, 0);
}
