// End-to-end encryption on the page: whoever has the whole link meets as in any meeting; whoever has not is told what is wrong with the link.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, test } from "node:test";
import { eventually, hook, openPage, picture } from "../support/browser.mjs";
import { onDev } from "../support/ground.mjs";
import { enter, meets, others, reads, says, tells, WITHIN_MS } from "../support/people.mjs";

const fragment = () => `#k=${randomBytes(32).toString("base64url")}`;

describe("an encrypted meeting", { timeout: 120_000 }, () => {
  let dev;
  let browser;
  onDev((ground) => ({ dev, browser } = ground));

  async function createMeeting() {
    const created = await fetch(`${dev.url}/api/v1/meetings`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ display_name: "Between us", settings: { enable_e2e_encryption: true } }),
    });
    assert.equal(created.status, 201);
    return (await created.json()).meeting_url;
  }

  test("those with the whole link see, hear and read each other, and compare a code; a late joiner too", async () => {
    const meetingUrl = (await createMeeting()) + fragment();
    const ana = await enter(browser, dev, "Ana", { meetingUrl });
    const bo = await enter(browser, dev, "Bo", { meetingUrl });
    await meets(ana.page, "Bo");
    await meets(bo.page, "Ana");
    await says(ana.page, "Only for us");
    await reads(bo.page, "Only for us");
    const codes = [];
    for (const { page } of [ana, bo]) {
      await page.click(hook("encryption"));
      await page.waitForSelector(hook("comparison-code"));
      codes.push((await page.textContent(hook("comparison-code"))).trim());
      await picture(page, `encrypted-${codes.length}`);
      await page.keyboard.press("Escape");
    }
    assert.match(codes[0], /\d{4}/);
    assert.equal(codes[0], codes[1]);
    const cy = await enter(browser, dev, "Cy", { meetingUrl });
    await reads(cy.page, "Only for us");
    await meets(cy.page, "Ana");
    for (const { complaints, close } of [ana, bo, cy]) {
      assert.deepEqual(complaints, []);
      await close();
    }
  });

  test("a wrong link, and one without its secret, are told in words; nobody is let in", async () => {
    const meetingUrl = await createMeeting();
    const ana = await enter(browser, dev, "Ana", { meetingUrl: meetingUrl + fragment() });
    for (const [link, name] of [
      [meetingUrl + fragment(), "wrong-link"],
      [meetingUrl, "no-secret"],
    ]) {
      const { page, close } = await openPage(browser);
      await page.goto(link);
      await page.fill(hook("name"), "Eve");
      await page.click(hook("join"));
      await tells(page, /end-to-end encrypted.*link/is);
      await page.waitForSelector(`${hook("join")}:enabled`);
      assert.equal(await page.$(hook("leave")), null);
      await picture(page, name);
      await close();
    }
    await eventually(
      "nobody but Ana",
      WITHIN_MS,
      () => others(ana.page),
      (found) => found.length === 0,
    );
    await ana.close();
  });
});
