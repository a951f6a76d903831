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
    try {
      await worker.evaluate(prepare, argument);
      await page.evaluate(() => globalThis.releaseWorkers());
    } catch (error) {
      // Whoever closes a page does not wait for its worker.
      if (!page.isClosed()) throw error;
    }
  });
}

/** Runs in the page before it: keeps the newest statistics that the client's worker has told, and how often it told of what. */
function overhear() {
  const RealWorker = globalThis.Worker;
  globalThis.eventsTold = {};
  globalThis.Worker = class extends RealWorker {
    constructor(...args) {
      super(...args);
      this.addEventListener("message", ({ data }) => {
        if (data?.kind !== "event") return;
        const { type, detail } = data.event;
        globalThis.eventsTold[type] = (globalThis.eventsTold[type] ?? 0) + 1;
        if (type === "stats") globalThis.newestStats = detail;
      });
    }
  };
}

/** Lets a test read the client's statistics by `stats(page)` and count its events by `told(page, type)`. */
export const withStats = (page) => page.addInitScript(overhear);

/** How many events of this type the client has told. */
export const told = (page, type) => page.evaluate((it) => globalThis.eventsTold[it] ?? 0, type);

/** `MeetingStats` of the client, or `undefined` before the first. */
export const stats = (page) => page.evaluate(() => globalThis.newestStats);
