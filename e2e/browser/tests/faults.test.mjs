// What breaks between the page and the servers is mended without a reload.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { eventually, moves } from "../support/browser.mjs";
import { breakSessions, withFaults } from "../support/faults.mjs";
import { onDev } from "../support/ground.mjs";
import { byName, chat, enter, meets, reads, says, WITHIN_MS } from "../support/people.mjs";

/** A break is resumed inside the controller's window of five seconds. */
const RESUMED_WITHIN_MS = 5_000;

describe("faults", { timeout: 120_000 }, () => {
  let dev;
  let browser;
  onDev((ground) => ({ dev, browser } = ground));

  test("where WebTransport does not reach the controller, signaling goes over a WebSocket", async () => {
    const ana = await enter(browser, dev, "Ana", { prepare: (page) => withFaults(page, "/wt") });
    const bo = await enter(browser, dev, "Bo", { meetingUrl: ana.meetingUrl });
    await meets(ana.page, "Bo");
    await meets(bo.page, "Ana");
    await says(ana.page, "Over a socket");
    await reads(bo.page, "Over a socket");
    await ana.close();
    await bo.close();
  });

  test("broken signaling is resumed: the same participant, and nothing said meanwhile is lost", async () => {
    const ana = await enter(browser, dev, "Ana", { prepare: (page) => withFaults(page) });
    const bo = await enter(browser, dev, "Bo", { meetingUrl: ana.meetingUrl });
    const anaId = await meets(bo.page, "Ana");
    await meets(ana.page, "Bo");
    assert.equal(await breakSessions(ana.page, "/wt"), 1);
    await says(bo.page, "Said while Ana was away");
    await says(ana.page, "Said by Ana while away");
    for (const { page } of [ana, bo])
      await eventually(
        "both lines",
        RESUMED_WITHIN_MS,
        () => chat(page),
        (lines) => lines.length === 2,
      );
    assert.equal((await byName(bo.page, "Ana"))?.id, anaId);
    await moves(bo.page, anaId, 5, WITHIN_MS);
    await ana.close();
    await bo.close();
  });

  test("a broken media session is replaced, both ways", async () => {
    const ana = await enter(browser, dev, "Ana", { prepare: (page) => withFaults(page) });
    const bo = await enter(browser, dev, "Bo", { meetingUrl: ana.meetingUrl });
    const anaId = await meets(bo.page, "Ana");
    const boId = await meets(ana.page, "Bo");
    assert.equal(await breakSessions(ana.page, "/media"), 1);
    await moves(bo.page, anaId, 10, WITHIN_MS);
    await moves(ana.page, boId, 10, WITHIN_MS);
    await ana.close();
    await bo.close();
  });
});
