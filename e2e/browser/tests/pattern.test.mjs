// What a native publisher sends is what a person at the page sees and hears: which pictures, and which tone.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { eventually, picture } from "../support/browser.mjs";
import { startPattern } from "../support/dark-tower.mjs";
import { onDev } from "../support/ground.mjs";
import { stamps, withLoudspeaker, withStamps } from "../support/pattern.mjs";
import { enter, sees, WITHIN_MS } from "../support/people.mjs";

/** Hertz. */
const TONE = { of: 440, within: 15 };
/** From the publisher's clock to the screen of a busy machine; a person in conversation notices 400. */
const AGE_MS_MAX = 1_000;

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];

describe("a test pattern on the page", { timeout: 120_000 }, () => {
  let dev;
  let browser;
  onDev((ground) => ({ dev, browser } = ground));

  const prepare = async (page) => {
    await withLoudspeaker(page);
    await withStamps(page);
  };

  test("the picture is whole and young, its frames come in order; the sound is the tone, without a gap", async (context) => {
    const ana = await enter(browser, dev, "Ana", { prepare });
    const native = startPattern(ana.meetingUrl, "Robot", "test:360p30", "test:tone");
    try {
      await sees(ana.page, "Robot");
      const robot = async () => (await stamps(ana.page)).find(({ name }) => name === "Robot");
      const seen = [];
      const look = async () => {
        const stamp = await robot();
        if (stamp?.number !== undefined && stamp.number !== seen.at(-1)?.number) seen.push(stamp);
        return { pictures: seen.length, ageMs: median(seen.slice(-10).map((it) => it.ageMs)) };
      };
      // Whoever joins late begins with pictures of the group under way, and has to catch up.
      const isYoung = ({ pictures, ageMs }) => pictures >= 20 && ageMs >= 0 && ageMs < AGE_MS_MAX;
      const { ageMs } = await eventually("twenty pictures of Robot, one after the other, the last ten young", WITHIN_MS, look, isYoung);
      assert.deepEqual(
        seen.map(({ number }) => number),
        seen.map(({ number }) => number).toSorted((a, b) => a - b),
      );
      await picture(ana.page, "pattern");

      let inARow = 0;
      const hear = async () => {
        const [loudness, pitch] = await ana.page.evaluate(() => [globalThis.loudness?.() ?? 0, globalThis.pitch?.() ?? 0]);
        inARow = loudness > 0.01 && Math.abs(pitch - TONE.of) <= TONE.within ? inARow + 1 : 0;
        return { inARow, loudness, pitch };
      };
      const { pitch } = await eventually("a second of the tone without a gap", WITHIN_MS, hear, (heard) => heard.inARow >= 20);
      context.diagnostic(`glass to glass ${Math.round(ageMs)} ms (median), pitch ${pitch.toFixed(1)} Hz`);
    } finally {
      await native.stop();
    }
    assert.deepEqual(ana.complaints, []);
    await ana.close();
  });
});
