// The page for everybody: axe finds nothing grave in any state, and the keyboard is enough from the first page to the end.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { eventually, hook, openPage, picture } from "../support/browser.mjs";
import { onDev } from "../support/ground.mjs";
import { serious } from "../support/screens.mjs";
import { becomes, enter, joinFromLobby, reads, sees, WITHIN_MS } from "../support/people.mjs";

/** More controls than any state of the page has. */
const TABS_MAX = 60;

describe("the page for everybody", { timeout: 170_000 }, () => {
  let dev;
  let browser;
  onDev((ground) => ({ dev, browser } = ground));

  // Colours have arrived where they stay, so that contrast is judged of that.
  const calm = { reducedMotion: "reduce" };

  async function violations(page, state) {
    const found = [];
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      found.push(...(await serious(page)).map((fault) => `${state}, ${colorScheme}: ${fault}`));
    }
    return found;
  }

  test("axe finds nothing grave before and after a meeting", async () => {
    const { page, complaints, close } = await openPage(browser, calm);
    const found = [];
    const judge = async (state) => found.push(...(await violations(page, state)));
    await page.goto(`${dev.url}/`);
    await judge("home");
    await page.fill(hook("name"), "\u200b");
    await page.fill(hook("code"), "https://other.example/m/abcdefghij");
    await page.click(hook("continue"));
    await page.click(hook("create"));
    await becomes(page, hook("name"), "aria-invalid", "true");
    await page.waitForSelector("#code-refusal:not(:empty)");
    await judge("home with refusals");
    await page.fill(hook("name"), "Ana");
    await page.click(hook("create"));
    await page.waitForSelector(hook("join"));
    await page.waitForFunction(() => (document.querySelector("video")?.readyState ?? 0) >= 2);
    await judge("lobby");
    await page.click(".treatments summary");
    await page.click(hook("camera"));
    await page.click(hook("mute"));
    for (const device of ["camera", "mute"]) await becomes(page, hook(device), "data-on", "false");
    await judge("lobby with everything off and options open");
    assert.deepEqual(complaints, []);
    await page.goto(`${dev.url}/m/aaaaaaaaaa`);
    await page.waitForSelector(hook("error"));
    await judge("lobby of a meeting that is not there");
    assert.deepEqual(found, []);
    await close();
  });

  test("axe finds nothing grave in the room, its panels and dialogs, nor at the end", async () => {
    const ana = await openPage(browser, calm);
    const { page } = ana;
    const found = [];
    const judge = async (state) => found.push(...(await violations(page, state)));
    await page.goto(`${dev.url}/`);
    await page.check(hook("encrypt"));
    await page.click(hook("create"));
    await page.waitForSelector(hook("join"));
    await judge("lobby of an encrypted meeting");
    await joinFromLobby(page, "Ana");
    const bo = await enter(browser, dev, "Bo", { meetingUrl: page.url(), ...calm });
    await sees(page, "Bo");
    await page.fill(hook("chat-input"), "See https://example.com/ and say hello");
    await page.press(hook("chat-input"), "Enter");
    await reads(bo.page, "See https://example.com/ and say hello");
    await judge("room with chat");
    await page.keyboard.press("Escape");
    for (const panel of ["people", "quality"]) {
      await page.click(hook(panel));
      await judge(`room with ${panel}`);
    }
    await page.click(hook("encryption"));
    await judge("comparison code");
    await page.keyboard.press("Escape");
    await page.click(hook("more"));
    await judge("menu");
    await page.click(hook("menu-settings"));
    await page.click(".treatments summary");
    await judge("devices in the room");
    await page.keyboard.press("Escape");
    await page.click(hook("more"));
    await page.click(hook("menu-help"));
    await judge("help");
    await page.keyboard.press("Escape");
    await page.click(hook("camera"));
    await page.click(hook("mute"));
    for (const device of ["camera", "mute"]) await becomes(page, hook(device), "data-on", "false");
    await judge("room with everything off");
    await page.click(hook("leave"));
    await page.waitForSelector(hook("ended"));
    await judge("end");
    assert.deepEqual(found, []);
    assert.deepEqual(ana.complaints, []);
    await bo.close();
    await ana.close();
  });

  const focused = (page, of) => page.evaluate((property) => document.activeElement?.[property] ?? "", of);

  /** Goes on with the Tab key until the focus is there, once it can be. */
  async function tabTo(page, selector) {
    await page.waitForSelector(`${selector}:enabled`);
    for (let count = 0; count < TABS_MAX; count += 1) {
      if (await page.evaluate((where) => document.activeElement?.matches(where) ?? false, selector)) return;
      await page.keyboard.press("Tab");
    }
    throw new Error(`the Tab key does not lead to ${selector}`);
  }

  test("create, lobby, room, chat and leave with the keyboard alone, and the focus can be seen", async () => {
    const { page, complaints, close } = await openPage(browser, calm);
    await page.goto(`${dev.url}/`);
    await tabTo(page, hook("name"));
    await page.keyboard.type("Kim");
    await tabTo(page, hook("encrypt"));
    await page.keyboard.press("Space");
    await tabTo(page, hook("create"));
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.equal(outline, "solid");
    await page.keyboard.press("Enter");
    await page.waitForSelector(hook("join"));
    // The name is remembered, and the field has the focus.
    await eventually(
      "the name in the field with the focus",
      WITHIN_MS,
      () => focused(page, "value"),
      (name) => name === "Kim",
    );
    await page.waitForSelector(`${hook("camera")}[data-on="true"]`);
    await tabTo(page, hook("select-microphone"));
    await page.keyboard.press("Shift+Tab");
    await tabTo(page, hook("camera"));
    await page.keyboard.press("Space");
    await page.waitForSelector(`${hook("camera")}[data-on="false"]`);
    await tabTo(page, hook("join"));
    await page.keyboard.press("Enter");
    await page.waitForSelector(hook("leave"));
    await tabTo(page, hook("chat-input"));
    await page.keyboard.type("hello");
    await page.keyboard.press("Enter");
    await reads(page, "hello");
    await tabTo(page, hook("leave"));
    await picture(page, "accessibility-1-focus");
    await page.keyboard.press("Enter");
    await page.waitForSelector(hook("ended"));
    await eventually(
      "words with the focus",
      WITHIN_MS,
      () => focused(page, "textContent"),
      (words) => /you left/i.test(words),
    );
    await tabTo(page, hook("rejoin"));
    await page.keyboard.press("Enter");
    await page.waitForSelector(hook("join"));
    assert.deepEqual(complaints, []);
    await close();
  });
});
