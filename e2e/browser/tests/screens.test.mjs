// The page in every state, kept as pictures in artifacts/ (look at them); axe finds nothing serious in any, in light and dark.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { eventually, hook, openPage, startBrowser } from "../support/browser.mjs";
import { publishes, startDev, startPattern } from "../support/dark-tower.mjs";
import { startNetwork } from "../support/network.mjs";
import { enter, joinFromLobby, meets, others, reads, says, sees, WITHIN_MS } from "../support/people.mjs";
import { stand } from "../support/processes.mjs";
import { keep } from "../support/screens.mjs";

const NAMES = ["Bilal", "Chiara", "Dmitri", "Esther Abimbola-Okonkwo", "Fatou", "Gert", "Hana"];

describe("the page's looks", { timeout: 240_000 }, () => {
  let ground;
  let dev;
  let browser;
  let network;
  const natives = [];

  before(async () => {
    ground = await stand({ dev: startDev(), browser: startBrowser() });
    ({ dev, browser } = ground);
    network = await startNetwork(dev);
  });

  after(async () => {
    await Promise.all(natives.map((native) => native.stop()));
    await network?.stop();
    await ground?.close();
  });

  const faults = [];

  /** Keeps pictures of a state, and looks it through; what is wrong is told at the end, of all states. */
  async function look(page, state) {
    const found = await keep(page, state);
    faults.push(...found.map((fault) => `${state}: ${fault}`));
  }

  test("from the front page to the end of a meeting", async () => {
    const ana = await openPage(browser);
    const { page } = ana;
    await network.prepare(page);
    await page.goto(network.through(`${dev.url}/`));
    await look(page, "home");
    await page.fill(hook("name"), "Ana");
    await page.click(hook("create"));
    await page.waitForSelector(hook("join"));
    await page.waitForFunction(() => (document.querySelector("video")?.readyState ?? 0) >= 2);
    await look(page, "lobby");
    await joinFromLobby(page, "Ana");
    await look(page, "1-person");
    const meetingUrl = `${dev.url}${new URL(page.url()).pathname}`;

    const bo = await enter(browser, dev, "Bo", { meetingUrl });
    await meets(page, "Bo");
    await look(page, "2-people");

    await says(bo.page, "Shall we begin? The agenda is at https://example.org/agenda?of=today");
    await says(page, "Yes, a minute");
    await reads(page, "Shall we begin? The agenda is at https://example.org/agenda?of=today", "Yes, a minute");
    if (!(await page.isVisible(hook("chat-input")))) await page.click(hook("chat"));
    await page.waitForSelector(hook("chat-input"), { state: "visible" });
    await look(page, "chat");
    await page.click(hook("chat"));

    await bo.page.click(hook("share"));
    await page.waitForSelector(hook("screen"));
    await look(page, "share");
    await bo.page.click(hook("share"));
    await page.waitForSelector(hook("screen"), { state: "detached" });

    for (const name of NAMES) {
      const native = startPattern(meetingUrl, name, "test:360p10");
      natives.push(native);
      await publishes(native);
    }
    for (const name of NAMES) await sees(page, name);
    const pictures = () => page.$$eval(`${hook("tile")}[data-video="true"]`, (tiles) => tiles.length);
    await eventually("nine pictures", WITHIN_MS, pictures, (count) => count === 9);
    await look(page, "9-people");
    await Promise.all(natives.splice(0).map((native) => native.stop()));
    await eventually(
      "two people",
      WITHIN_MS,
      () => others(page),
      (found) => found.length === 1,
    );

    await network.cut();
    await page.waitForSelector(`${hook("banner")} [data-state="reconnecting"]`);
    await look(page, "reconnecting");
    await network.heal();
    await page.waitForSelector(`${hook("banner")} [data-state="reconnecting"]`, { state: "detached" });

    // She was away for long, and may be another participant now.
    const id = await page.getAttribute(`${hook("tile")}[data-self="true"]`, "data-participant-id");
    await eventually(
      "Ana as she is now",
      WITHIN_MS,
      () => others(bo.page),
      (found) => found.length === 1 && found[0].id === id,
    );
    const code = meetingUrl.split("/").pop();
    const { status } = await fetch(`${dev.url}/api/v1/meetings/${code}/participants/${id}`, { method: "DELETE" });
    assert.equal(status, 200);
    await page.waitForSelector(hook("error"));
    await look(page, "error");
    await bo.close();
    await ana.close();
    assert.deepEqual(faults, []);
  });
});
