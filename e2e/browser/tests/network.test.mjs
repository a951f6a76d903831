// The network of one page is cut while a meeting goes on: the page says so calmly and comes back by itself, without a reload.
import assert from "node:assert/strict";
import { setTimeout as pass } from "node:timers/promises";
import { after, before, describe, test } from "node:test";
import { eventually, hook, moves, picture, startBrowser } from "../support/browser.mjs";
import { startDev } from "../support/dark-tower.mjs";
import { startNetwork } from "../support/network.mjs";
import { byName, enter, meets, others, reads, says, WITHIN_MS } from "../support/people.mjs";
import { stand } from "../support/processes.mjs";

/** Shorter and longer than the controller's window of five seconds, which begins when it notices the loss, three seconds after. */
const SHORT_MS = 2_000;
const LONG_MS = 20_000;
/** From the healing to the first new pictures both ways: a dial that is under way may fail after its four seconds, and the next try waits for up to 7.5. */
const BACK_WITHIN_MS = 15_000;

const RECONNECTING = `${hook("banner")} [data-state="reconnecting"]`;

describe("a page whose network is cut", { timeout: 180_000 }, () => {
  let ground;
  let dev;
  let browser;
  let network;

  before(async () => {
    ground = await stand({ dev: startDev(), browser: startBrowser() });
    ({ dev, browser } = ground);
    network = await startNetwork(dev);
  });

  after(async () => {
    await network?.stop();
    await ground?.close();
  });

  /** Bo has the ordinary network and Ana the one that can be cut; they see and hear each other. */
  async function meet() {
    const bo = await enter(browser, dev, "Bo");
    const ana = await enter(browser, dev, "Ana", { meetingUrl: network.through(bo.meetingUrl), prepare: network.prepare });
    await ana.page.evaluate(() => (globalThis.wasNotReloaded = true));
    return { ana, bo, anaId: await meets(bo.page, "Ana"), boId: await meets(ana.page, "Bo") };
  }

  /** Cuts for `ms`; the page says that it reconnects, in words. */
  async function cutFor(ana, ms, name) {
    const healsAt = pass(ms);
    await network.cut();
    await ana.page.waitForSelector(RECONNECTING);
    await eventually(
      "words about it",
      WITHIN_MS,
      () => ana.page.textContent(hook("banner")),
      (words) => /reconnecting/i.test(words),
    );
    await picture(ana.page, name);
    await healsAt;
    await network.heal();
  }

  async function part(...people) {
    for (const { page, close } of people) {
      assert.equal(await page.$(hook("error")), null);
      await close();
    }
  }

  test("two seconds: the same participant, nobody else notices, pictures go on both ways", async (context) => {
    const { ana, bo, anaId, boId } = await meet();
    await cutFor(ana, SHORT_MS, "cut-short");
    const healedMs = Date.now();
    await says(bo.page, "Are you there?");
    await moves(ana.page, boId, 5, BACK_WITHIN_MS);
    await moves(bo.page, anaId, 5, BACK_WITHIN_MS);
    context.diagnostic(`pictures both ways ${Date.now() - healedMs} ms after the healing`);
    await reads(ana.page, "Are you there?");
    await ana.page.waitForSelector(RECONNECTING, { state: "detached" });
    assert.deepEqual(
      (await others(bo.page)).map(({ id }) => id),
      [anaId],
    );
    assert.equal(await ana.page.evaluate(() => globalThis.wasNotReloaded), true);
    await part(ana, bo);
  });

  test("twenty seconds: the others see her go; she comes back by herself as a new participant, with the chat", async (context) => {
    const { ana, bo, anaId, boId } = await meet();
    await says(ana.page, "Before");
    await reads(bo.page, "Before");
    const cut = cutFor(ana, LONG_MS, "cut-long");
    await eventually(
      "Ana gone",
      LONG_MS,
      () => byName(bo.page, "Ana"),
      (it) => it === undefined,
    );
    await says(bo.page, "Meanwhile");
    await cut;
    const healedMs = Date.now();
    const back = await eventually("Ana back", BACK_WITHIN_MS, () => byName(bo.page, "Ana"));
    assert.notEqual(back.id, anaId);
    await moves(bo.page, back.id, 5, BACK_WITHIN_MS);
    await moves(ana.page, boId, 5, BACK_WITHIN_MS);
    context.diagnostic(`pictures both ways ${Date.now() - healedMs} ms after the healing`);
    await reads(ana.page, "Before", "Meanwhile");
    await ana.page.waitForSelector(RECONNECTING, { state: "detached" });
    for (const { page } of [ana, bo])
      await eventually(
        "one other",
        WITHIN_MS,
        () => others(page),
        (found) => found.length === 1,
      );
    assert.equal(await ana.page.evaluate(() => globalThis.wasNotReloaded), true);
    await part(ana, bo);
  });
});
