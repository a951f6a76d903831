// The documentation page: made of the server's own description, whole, without a single request to anywhere else.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { eventually, openPage, picture } from "../support/browser.mjs";
import { onDev } from "../support/ground.mjs";

const WITHIN_MS = 10_000;
const CREATE = "#createMeeting";

describe("the documentation page", { timeout: 60_000 }, () => {
  let dev;
  let browser;
  onDev((ground) => ({ dev, browser } = ground));

  /** The page, with every address that it asked and every complaint about its policy. */
  async function openDocs(path, options) {
    const opened = await openPage(browser, options);
    const asked = [];
    opened.page.on("request", (request) => asked.push(request.url()));
    await opened.page.goto(`${dev.url}${path}`);
    await opened.page.waitForSelector("#app[data-ready]");
    return { ...opened, asked };
  }

  function nothingElse({ asked, complaints }) {
    const elsewhere = asked.filter((url) => new URL(url).origin !== new URL(dev.url).origin);
    assert.deepEqual([elsewhere, complaints], [[], []]);
  }

  test("everything that the API has is there, at the address of the reader", async () => {
    const docs = await openDocs("/docs");
    await picture(docs.page, "docs-1-top");
    const document = await (await fetch(`${dev.url}/api/v1/openapi.json`)).json();
    const described = Object.values(document.paths).flatMap((item) => Object.values(item).map((operation) => operation.operationId));
    const shown = await docs.page.$$eval(".call", (calls) => calls.map((call) => call.id));
    assert.deepEqual([...shown].sort(), [...described].sort());
    const empty = await docs.page.$$eval(
      ".call",
      (calls) => calls.filter((call) => call.querySelectorAll(".answers > li").length === 0).length,
    );
    assert.equal(empty, 0);
    const sample = await docs.page.textContent(`${CREATE} .panel pre`);
    assert.ok(sample.startsWith(`curl -s ${dev.url}/api/v1/meetings `), sample);
    assert.ok(!(await docs.page.textContent("main")).includes(document.servers[0].url), "the configured address is not this one");
    await docs.page.click(`${CREATE} .tab:text("Python")`);
    const listed = () => docs.page.textContent("#listMeetings .panel pre");
    await eventually("the choice for all calls", WITHIN_MS, listed, (text) => text.startsWith("import requests"));
    nothingElse(docs);
    await docs.close();
  });

  test("a call can be made from the page, with the token that it got there", async () => {
    const docs = await openDocs(`/docs${CREATE}`, { colorScheme: "dark" });
    const [id, secret] = [dev.addresses.client_id, dev.addresses.client_secret];
    await docs.page.click("#createToken .try summary");
    const body = JSON.stringify({ grant_type: "client_credentials", client_id: id, client_secret: secret });
    await docs.page.fill("#createToken .try textarea", body);
    await docs.page.click("#createToken .send");
    await docs.page.waitForSelector("#createToken .answer .status.good");
    await docs.page.click(`${CREATE} .try summary`);
    await eventually("the token in its field", WITHIN_MS, () => docs.page.inputValue(`${CREATE} .try input[type=password]`));
    await docs.page.click(`${CREATE} .send`);
    await docs.page.waitForSelector(`${CREATE} .answer .status.good`);
    const answer = JSON.parse(await docs.page.textContent(`${CREATE} .answer pre`));
    assert.match(answer.meeting_id, /^[0-9a-f-]{36}$/);
    await docs.page.locator(`${CREATE} .try`).scrollIntoViewIfNeeded();
    await picture(docs.page, "docs-2-try-it-dark");
    nothingElse(docs);
    await docs.close();
  });

  test("a phone has it all in one column, and finds its way", async () => {
    const docs = await openDocs("/docs", { viewport: { width: 390, height: 844 } });
    const width = await docs.page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 390, `the page is ${width} wide`);
    await picture(docs.page, "docs-3-phone");
    await docs.page.click(".menu");
    await docs.page.fill("nav input", "join");
    await eventually(
      "one call",
      WITHIN_MS,
      () => docs.page.locator("nav li:visible").allTextContents(),
      (found) => found.join() === "Join a meetingPOST",
    );
    await docs.page.click("nav li:visible a");
    await eventually("the call is in view", WITHIN_MS, () =>
      docs.page.$eval("#joinMeeting", (call) => Math.abs(call.getBoundingClientRect().top) < 200),
    );
    await eventually("the contents are out of the way", WITHIN_MS, async () => !(await docs.page.isVisible("nav")));
    await picture(docs.page, "docs-4-phone-call");
    nothingElse(docs);
    await docs.close();
  });
});
