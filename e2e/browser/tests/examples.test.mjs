// The examples work as their README says, on pages of another origin than the API's.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { changes, eventually, openPage, picture, startBrowser } from "../support/browser.mjs";
import { startDev } from "../support/dark-tower.mjs";
import { startExamples } from "../support/examples.mjs";
import { enter, reads, says, sees, WITHIN_MS } from "../support/people.mjs";
import { stand } from "../support/processes.mjs";

describe("examples", { timeout: 180_000 }, () => {
  let ground;
  let examples;
  let dev;
  let browser;

  before(async () => {
    examples = await startExamples();
    const origins = {
      DARK_TOWER__PUBLIC__ORIGINS: JSON.stringify([examples.origin]),
    };
    ground = await stand({ dev: startDev(origins), browser: startBrowser() });
    ({ dev, browser } = ground);
  });

  after(async () => {
    await ground?.close();
    await examples?.stop();
  });

  /** Opens an example and starts it; answers once it is in the meeting. */
  async function start(name, meetingUrl) {
    const person = await openPage(browser);
    const query = new URLSearchParams({
      api: dev.url,
      meeting: meetingUrl === undefined ? "" : meetingUrl.split("/").at(-1),
    });
    await person.page.goto(`${examples.origin}/${name}/?${query}`);
    await person.page.click("form button");
    const said = () => person.page.textContent("[role=status]");
    const words = await eventually(`${name} in the meeting, or why not`, WITHIN_MS, said, (it) => /^In the meeting|^[A-Z_]+: /u.test(it));
    assert.doesNotMatch(words, /^[A-Z_]+: /u);
    const code = words.split(" ").at(-1);
    return { ...person, meetingUrl: `${dev.url}/m/${code}` };
  }

  test("a canvas is published and watched", async () => {
    const canvas = await start("canvas");
    const watch = await start("watch", canvas.meetingUrl);
    await watch.page.waitForSelector("#people canvas");
    await changes(watch.page, "#people figure", 5, WITHIN_MS);
    await eventually(
      "the name below",
      WITHIN_MS,
      () => watch.page.textContent("#people figcaption"),
      (name) => name === "Canvas",
    );
    await picture(watch.page, "example-watch");
    await canvas.page.click("text=Stop");
    await watch.page.waitForSelector("#people figure", { state: "detached" });
    await eventually("nobody else", WITHIN_MS, async () => (await watch.page.textContent("p:last-of-type")).endsWith("nobody else"));
    for (const person of [canvas, watch]) {
      assert.deepEqual(person.complaints, []);
      await person.close();
    }
  });

  test("a bot in a Worker answers in the chat and shows its pictures", async () => {
    const ana = await enter(browser, dev, "Ana");
    const bot = await start("bot", ana.meetingUrl);
    const { id } = await sees(ana.page, "Bot");
    await changes(ana.page, `[data-testid="tile"][data-participant-id="${id}"]`, 5, WITHIN_MS);
    await says(ana.page, "!people");
    await reads(ana.page, "!people", "2 of us are here");
    await picture(bot.page, "example-bot");
    assert.deepEqual(bot.complaints, []);
    await ana.close();
    await bot.close();
  });
});
