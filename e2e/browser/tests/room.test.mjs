// What one does in the room besides talking: keys, layouts, the chat's marks and links, the list, the end.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { eventually, hook, picture, startBrowser } from "../support/browser.mjs";
import { startDev } from "../support/dark-tower.mjs";
import { becomes, enter, reads, says, sees, tells, WITHIN_MS } from "../support/people.mjs";
import { stand } from "../support/processes.mjs";

const SELF = `${hook("tile")}[data-self="true"]`;
const OTHER = `${hook("tile")}[data-self="false"]`;
const PHONE = {
  viewport: { width: 390, height: 844 },
  hasTouch: true,
  isMobile: true,
};

describe("the room", { timeout: 170_000 }, () => {
  let ground;
  let dev;
  let browser;

  before(async () => {
    ground = await stand({ dev: startDev(), browser: startBrowser() });
    ({ dev, browser } = ground);
  });

  after(async () => {
    await ground?.close();
  });

  const attribute = (page, selector, name) => page.getAttribute(selector, name);
  const hasFocus = (page, testid) =>
    eventually(
      `the focus on ${testid}`,
      WITHIN_MS,
      () => page.evaluate(() => document.activeElement?.dataset.testid),
      (it) => it === testid,
    );

  test("keys do what a press would do, and nothing else", async () => {
    const { page, complaints, close } = await enter(browser, dev, "Ana");
    await becomes(page, hook("mute"), "data-on", "true");
    await page.waitForSelector(`${SELF}[data-video="true"]`);

    await page.keyboard.press("m");
    await becomes(page, hook("mute"), "data-on", "false");
    await becomes(page, SELF, "data-muted", "true");
    await page.keyboard.press("Control+m");
    await page.focus(hook("chat-input"));
    await page.keyboard.type("mvclp?");
    assert.equal(await page.inputValue(hook("chat-input")), "mvclp?");
    assert.equal(await attribute(page, hook("mute"), "data-on"), "false");
    assert.ok(await page.isVisible(hook("chat-panel")));

    // Escape ends writing and closes the panel; the focus is not lost with it.
    await page.keyboard.press("Escape");
    await page.waitForSelector(hook("chat-panel"), { state: "hidden" });
    await page.keyboard.press("p");
    await page.waitForSelector(hook("people-panel"));
    await page.keyboard.press("c");
    await page.waitForSelector(hook("people-panel"), { state: "hidden" });
    await hasFocus(page, "chat-input");
    await page.click(`${hook("chat-panel")} header button`);

    // A dialog has the keys to itself, and gives the focus back.
    await page.focus(hook("more"));
    await page.keyboard.press("?");
    await page.waitForSelector(hook("help-dialog"));
    await page.keyboard.press("m");
    await page.keyboard.press("Escape");
    await page.waitForSelector(hook("help-dialog"), { state: "detached" });
    assert.equal(await attribute(page, hook("mute"), "data-on"), "false");
    await hasFocus(page, "more");

    await page.$eval(hook("mute"), (button) => (button.disabled = true));
    await page.keyboard.press("m");
    await page.keyboard.press("v");
    await becomes(page, hook("camera"), "data-on", "false");
    assert.equal(await attribute(page, hook("mute"), "data-on"), "false", "a key does not press a disabled button");
    assert.deepEqual(complaints, []);
    await close();
  });

  test("two people: the chat's mark and link, who is shown large, and a host's end for everybody", async () => {
    const ana = await enter(browser, dev, "Ana");
    const bo = await enter(browser, dev, "Bo", {
      meetingUrl: ana.meetingUrl,
      ...PHONE,
    });
    await Promise.all([sees(ana.page, "Bo"), sees(bo.page, "Ana")]);
    await ana.page.waitForSelector(`${OTHER}[data-video="true"]`);
    await bo.page.waitForSelector(`${OTHER}[data-video="true"]`);

    // On a telephone the other one fills the screen, and one's own picture floats above; at a desk both stand side by side.
    await becomes(bo.page, OTHER, "data-role", "main");
    await becomes(bo.page, SELF, "data-role", "float");
    await becomes(ana.page, SELF, "data-role", "grid");
    await picture(bo.page, "room-phone");

    await ana.page.keyboard.press("c");
    await ana.page.waitForSelector(hook("chat-panel"), { state: "hidden" });
    await bo.page.click(hook("chat"));
    await says(bo.page, "See https://example.org/a_(b). javascript:alert(1)");
    await reads(ana.page, "See https://example.org/a_(b). javascript:alert(1)");
    const label = () => attribute(ana.page, hook("chat"), "aria-label");
    await eventually("a mark of one new message", WITHIN_MS, label, (words) => /1 new message$/.test(words));
    await ana.page.click(hook("chat"));
    await becomes(ana.page, hook("chat"), "aria-label", "Chat (C)");
    const links = await ana.page.$$eval(`${hook("chat-message")} a`, (found) =>
      found.map(({ href, target, rel }) => ({ href, target, rel })),
    );
    assert.deepEqual(links, [
      {
        href: "https://example.org/a_(b)",
        target: "_blank",
        rel: "noopener noreferrer",
      },
    ]);

    await ana.page.click(OTHER);
    await becomes(ana.page, OTHER, "data-role", "main");
    await becomes(ana.page, SELF, "data-role", "strip");
    await ana.page.hover(OTHER);
    await ana.page.click(`${OTHER} ${hook("pin")}`);
    await becomes(ana.page, OTHER, "data-role", "grid");
    await ana.page.click(hook("layout"));
    await becomes(ana.page, OTHER, "data-role", "main");
    await picture(ana.page, "room-speaker");

    await ana.page.click(hook("quality"));
    const facts = () => ana.page.textContent(hook("connection-facts"));
    await eventually("numbers of Bo's picture", WITHIN_MS, facts, (words) => /Bo: camera.*\d+ × \d+.*kb\/s/s.test(words));
    await picture(ana.page, "room-connection");

    assert.equal(await bo.page.$(hook("end")), null);
    await ana.page.click(hook("more"));
    await ana.page.click(hook("end"));
    await ana.page.click(hook("confirm"));
    for (const { page } of [ana, bo]) await tells(page, /the meeting has ended/i);
    assert.deepEqual([...ana.complaints, ...bo.complaints], []);
    await ana.close();
    await bo.close();
  });

  test("a camera that is allowed only after leaving is let go at once", async () => {
    const late = () => {
      const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      globalThis.given = [];
      navigator.mediaDevices.getUserMedia = async (wishes) => {
        await new Promise((resolve) => (globalThis.allow = resolve));
        const stream = await ask(wishes);
        globalThis.given.push(...stream.getTracks());
        return stream;
      };
    };
    const { page, close } = await enter(browser, dev, "Cy", {
      prepare: (fresh) => fresh.addInitScript(late),
    });
    await page.click(hook("leave"));
    await page.waitForSelector(hook("ended"));
    await page.evaluate(() => globalThis.allow());
    await eventually("tracks that are ended", WITHIN_MS, () =>
      page.evaluate(() => globalThis.given.length === 2 && globalThis.given.every((track) => track.readyState === "ended")),
    );
    await close();
  });
});
