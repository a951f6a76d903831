// Faults between a page and the servers: the page's own worker runs, with a WebTransport that can be told to fail.

/** Runs in the worker before anything else. */
const SHIM = `
const RealWebTransport = globalThis.WebTransport;
const faults = (globalThis.faults = { blocked: "", sessions: [] });
globalThis.WebTransport = class extends RealWebTransport {
  #broken;
  #closed;
  constructor(url, options) {
    if (faults.blocked !== "" && url.endsWith(faults.blocked)) throw new Error("blocked by the test");
    super(url, options);
    this.url = url;
    this.#closed = Promise.race([super.closed, new Promise((_, reject) => (this.#broken = reject))]);
    this.#closed.catch(() => undefined);
    faults.sessions.push(this);
  }
  get closed() {
    return this.#closed;
  }
  break() {
    this.#broken(new Error("broken by the test"));
    super.close();
  }
};
`;

/** Puts the shim before the worker of every page opened from now on; `blocked` is the end of the URLs that cannot be dialled. */
export async function withFaults(page, blocked = "") {
  await page.route("**/worker.js", async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: `${SHIM}faults.blocked = ${JSON.stringify(blocked)};\n${await response.text()}` });
  });
}

/** Breaks the standing sessions whose URL ends so; answers how many there were. */
export function breakSessions(page, urlEnd) {
  const [worker] = page.workers();
  return worker.evaluate((end) => {
    const found = globalThis.faults.sessions.filter((session) => session.url.endsWith(end));
    globalThis.faults.sessions = globalThis.faults.sessions.filter((session) => !found.includes(session));
    for (const session of found) session.break();
    return found.length;
  }, urlEnd);
}
