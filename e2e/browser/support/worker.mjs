// What a test does to the page's worker before the page speaks to it, and what it overhears.

/** Runs in the page before it: what it says to a worker waits until the worker is prepared. */
function holdWorkers() {
  const RealWorker = globalThis.Worker;
  let release;
  const prepared = new Promise((resolve) => (release = resolve));
  globalThis.releaseWorkers = release;
  globalThis.Worker = class extends RealWorker {
    postMessage(...message) {
      void prepared.then(() => super.postMessage(...message));
    }
  };
}

/** Prepares a page that is not loaded yet: `prepare(argument)` runs in each of its workers before they hear anything. */
export async function prepareWorkers(page, prepare, argument) {
  await page.addInitScript(holdWorkers);
  page.on("worker", async (worker) => {
    await worker.evaluate(prepare, argument);
    await page.evaluate(() => globalThis.releaseWorkers());
  });
}

/** Runs in the page before it: keeps the newest statistics that the client's worker has told. */
function overhearStats() {
  const RealWorker = globalThis.Worker;
  globalThis.Worker = class extends RealWorker {
    constructor(...args) {
      super(...args);
      this.addEventListener("message", ({ data }) => {
        if (data?.kind === "event" && data.event.type === "stats") globalThis.newestStats = data.event.detail;
      });
    }
  };
}

/** Lets a test read the client's statistics by `stats(page)`. */
export const withStats = (page) => page.addInitScript(overhearStats);

/** `MeetingStats` of the client, or `undefined` before the first. */
export const stats = (page) => page.evaluate(() => globalThis.newestStats);
