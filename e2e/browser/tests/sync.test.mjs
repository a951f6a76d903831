// Picture and sound of one person reach the eye and the ear together.
import { describe, test } from "node:test";
import { eventually, hook } from "../support/browser.mjs";
import { startPattern } from "../support/dark-tower.mjs";
import { onDev } from "../support/ground.mjs";
import { flashesAfterBeeps, withLoudspeaker } from "../support/pattern.mjs";
import { enter, sees } from "../support/people.mjs";
import { stats, withStats } from "../support/worker.mjs";

/** An ear notices 45 ms of lead and 125 of lag. */
const SYNC_WITHIN_MS = 40;
const MARKS_MIN = 5;
/** A mark a second, and a browser that shares two cores hears and shows some of them late or not at all. */
const MARKS_WITHIN_MS = 60_000;

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];

describe("picture and sound", { timeout: 150_000 }, () => {
  let dev;
  let browser;
  onDev((ground) => ({ dev, browser } = ground));

  const prepare = async (page) => {
    await withLoudspeaker(page);
    await withStats(page);
  };

  test("flash and beep are together", async (context) => {
    const ana = await enter(browser, dev, "Ana", { prepare });
    const native = startPattern(ana.meetingUrl, "Robot", "test:sync");
    try {
      const { id } = await sees(ana.page, "Robot");
      const tile = `${hook("tile")}[data-participant-id="${id}"]`;
      await ana.page.waitForSelector(`${tile}[data-video="true"]`);
      // Playback finds its pace first: the newest marks count.
      const marks = [];
      const look = async () => {
        const { flashes, beeps, afterMs } = await flashesAfterBeeps(ana.page, tile, 3);
        marks.push(...afterMs);
        return { flashes, beeps, newest: marks.slice(-MARKS_MIN) };
      };
      const isTogether = ({ newest }) => newest.length === MARKS_MIN && Math.abs(median(newest)) <= SYNC_WITHIN_MS;
      await eventually(`${MARKS_MIN} marks, flash and beep within ${SYNC_WITHIN_MS} ms`, MARKS_WITHIN_MS, look, isTogether);
      const own = (await stats(ana.page))?.subscriptions?.map(({ syncOffsetMs }) => syncOffsetMs).find((it) => it !== undefined);
      context.diagnostic(`flash after beep: ${marks.map(Math.round).join(", ")} ms; the client says ${own ?? "nothing"}`);
    } finally {
      await native.stop();
    }
    await ana.close();
  });
});
