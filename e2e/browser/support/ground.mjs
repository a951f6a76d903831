// What most suites stand on: `dark-tower dev` and a browser, there before the first test and gone after the last.
import { after, before } from "node:test";
import { startBrowser } from "./browser.mjs";
import { startDev } from "./dark-tower.mjs";
import { stand } from "./processes.mjs";

/** Inside `describe`: `started` gets `{ dev, browser }` before the first test. */
export function onDev(started) {
  let ground;
  before(async () => {
    ground = await stand({ dev: startDev(), browser: startBrowser() });
    started(ground);
  });
  after(() => ground?.close());
}
