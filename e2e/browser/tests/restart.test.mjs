// Media lives on separate processes: a handler that crashes and is started again costs pictures for a moment, and nothing else.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { eventually, freezes, hook, moves, picture, startBrowser } from "../support/browser.mjs";
import { startCluster } from "../support/cluster.mjs";
import { startNative } from "../support/dark-tower.mjs";
import { byName, enter, meets, reads, says, WITHIN_MS } from "../support/people.mjs";
import { stamps, withStamps } from "../support/pattern.mjs";
import { stand } from "../support/processes.mjs";

/** From the start of the handler's process to new pictures (bar R2, one handler). */
const RETURNED_WITHIN_MS = 3_000;
/** Longer than what is held for jitter. */
const STOOD_STILL_MS = 1_000;

describe("a handler that crashes", { timeout: 120_000 }, () => {
  let ground;
  let cluster;
  let browser;

  before(async () => {
    ground = await stand({ cluster: startCluster(), browser: startBrowser() });
    ({ cluster, browser } = ground);
  });

  after(() => ground?.close());

  test("pictures return within three seconds of its restart, both ways; chat goes on meanwhile", async (context) => {
    const options = { ignoreHTTPSErrors: true, prepare: withStamps };
    const ana = await enter(browser, cluster, "Ana", options);
    const bo = await enter(browser, cluster, "Bo", { ...options, meetingUrl: ana.meetingUrl });
    const native = startNative(ana.meetingUrl, "Robot", "--insecure", "--publish", "test:360p30");
    try {
      const boId = await meets(ana.page, "Bo");
      const anaId = await meets(bo.page, "Ana");
      const number = async (page) => (await stamps(page)).find(({ name }) => name === "Robot")?.number;
      await eventually("Robot's pictures", WITHIN_MS, () => number(ana.page));

      await cluster.kill("mh-1");
      await says(ana.page, "Frozen?");
      await reads(bo.page, "Frozen?");
      await picture(ana.page, "handler-gone");
      // What had arrived before is shown to its end: pictures that move from now on are new ones.
      await freezes(ana.page, boId, STOOD_STILL_MS, WITHIN_MS);
      await freezes(bo.page, anaId, STOOD_STILL_MS, WITHIN_MS);
      const before = await eventually("Robot's last picture", WITHIN_MS, () => number(ana.page));
      cluster.launch("mh-1");
      const launchedMs = Date.now();
      const seen = async (name, newer) => {
        await newer;
        context.diagnostic(`${name} ${Date.now() - launchedMs} ms after the restart`);
      };
      // The first of the pictures that differ is the one that stood still.
      await Promise.all([
        seen(
          "Robot at Ana's",
          eventually(
            "newer pictures of Robot",
            RETURNED_WITHIN_MS,
            () => number(ana.page),
            (it) => it > before,
          ),
        ),
        seen("Bo at Ana's", moves(ana.page, boId, 2, RETURNED_WITHIN_MS)),
        seen("Ana at Bo's", moves(bo.page, anaId, 2, RETURNED_WITHIN_MS)),
      ]);
      assert.equal((await byName(bo.page, "Ana")).id, anaId);
      assert.equal((await byName(ana.page, "Bo")).id, boId);
      assert.equal(await ana.page.$(hook("error")), null);
    } finally {
      await native.stop();
    }
    await ana.close();
    await bo.close();
  });
});
