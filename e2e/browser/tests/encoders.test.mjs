// A page's encoder that fails gives way to another codec, and those who watch go on seeing.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { eventually, hook } from "../support/browser.mjs";
import { onDev } from "../support/ground.mjs";
import { enter, meets, WITHIN_MS } from "../support/people.mjs";
import { prepareWorkers, stats, withStats } from "../support/worker.mjs";

/** `ENCODER_FAILURES_MAX` of the client, and the one that is too many. */
const FAILURES = 6;
/** Runs in the worker before it is spoken to: a machine that prefers VP9, whose encoder fails for good once it has encoded so many pictures. */
function failVp9(pictures) {
  Object.defineProperty(navigator, "hardwareConcurrency", { value: 8 });
  globalThis.failures = 0;
  let left = pictures;
  globalThis.VideoEncoder = class extends VideoEncoder {
    #fail;
    #codec = "";
    constructor(init) {
      super(init);
      this.#fail = init.error;
    }
    configure(config) {
      this.#codec = config.codec;
      super.configure(config);
    }
    encode(...args) {
      if (!this.#codec.startsWith("vp09") || left > 0) {
        left -= 1;
        super.encode(...args);
        return;
      }
      globalThis.failures += 1;
      this.close();
      this.#fail(new DOMException("broken by the test", "EncodingError"));
    }
  };
}

const inWorker = (page, name) => page.workers()[0].evaluate((it) => globalThis[it], name);
const camera = async (page) => (await stats(page))?.publications.find((it) => it.type === "camera");

describe("a page's encoders", { timeout: 120_000 }, () => {
  let dev;
  let browser;
  onDev((ground) => ({ dev, browser } = ground));

  for (const [when, pictures, failures] of [
    ["on its first picture is replaced at once", 0, 1],
    ["after a while is tried again a few times, with waits, and then replaced", 30, FAILURES],
  ]) {
    test(`an encoder that fails ${when}; everybody sees`, async () => {
      const prepare = async (page) => {
        await withStats(page);
        await prepareWorkers(page, failVp9, pictures);
      };
      const ana = await enter(browser, dev, "Ana", { prepare });
      const ben = await enter(browser, dev, "Ben", {
        meetingUrl: ana.meetingUrl,
      });
      await eventually(
        "VP8 in the place of VP9",
        WITHIN_MS,
        () => camera(ana.page),
        (own) => own?.codec === "VP8" && own.framesPerSecond > 0,
      );
      assert.equal(await inWorker(ana.page, "failures"), failures);
      await meets(ben.page, "Ana");
      assert.equal(await ana.page.$(hook("error")), null);
      await ben.close();
      await ana.close();
    });
  }
});
