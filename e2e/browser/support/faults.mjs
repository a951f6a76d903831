// Faults between a page and the servers: the page's own worker runs, with a WebTransport that can be told to fail.
import { prepareWorkers } from "./worker.mjs";

/** Runs in the worker before it is spoken to. */
function faultyTransport(blocked) {
  const RealWebTransport = globalThis.WebTransport;
  const sessions = [];
  globalThis.WebTransport = class extends RealWebTransport {
    #break;
    #closed;
    constructor(url, options) {
      if (blocked !== "" && url.endsWith(blocked)) throw new Error("blocked by the test");
      super(url, options);
      this.url = url;
      this.#closed = Promise.race([super.closed, new Promise((_, reject) => (this.#break = reject))]);
      this.#closed.catch(() => undefined);
      sessions.push(this);
    }
    get closed() {
      return this.#closed;
    }
    breakOff() {
      this.#break(new Error("broken by the test"));
      this.close();
    }
  };
  globalThis.breakSessions = (urlEnd) => {
    const found = sessions.filter((session) => session.url.endsWith(urlEnd));
    for (const session of found) {
      sessions.splice(sessions.indexOf(session), 1);
      session.breakOff();
    }
    return found.length;
  };
}

/** Prepares a page that is not loaded yet; `blocked` is the end of the URLs that cannot be dialled. */
export const withFaults = (page, blocked = "") => prepareWorkers(page, faultyTransport, blocked);

/** Breaks the standing sessions whose URL ends so; answers how many there were. */
export function breakSessions(page, urlEnd) {
  const [worker] = page.workers();
  return worker.evaluate((end) => globalThis.breakSessions(end), urlEnd);
}
