// What people do on the page, and what they see there.
import { eventually, hook, moves, openPage, tiles } from "./browser.mjs";

export const WITHIN_MS = 20_000;

export async function joinFromLobby(page, name) {
  await page.fill(hook("name"), name);
  await page.click(hook("join"));
  await page.waitForSelector(hook("leave"));
}

/** Opens a page and a meeting, or the meeting at `meetingUrl`; `prepare` sees the page before it loads. */
export async function enter(browser, dev, name, { meetingUrl, prepare, ...options } = {}) {
  const person = await openPage(browser, options);
  const { page } = person;
  await prepare?.(page);
  await page.goto(meetingUrl ?? `${dev.url}/`);
  if (meetingUrl === undefined) {
    await page.click(hook("create"));
    await page.waitForSelector(hook("join"));
  }
  await joinFromLobby(page, name);
  return { ...person, meetingUrl: page.url() };
}

export const others = async (page) => (await tiles(page)).filter((tile) => !tile.isSelf);
export const byName = async (page, name) => (await others(page)).find((tile) => tile.name === name);
export const sees = (page, name) => eventually(`a tile of ${name}`, WITHIN_MS, () => byName(page, name));

export async function hears(page, name) {
  await eventually(`sound of ${name}`, WITHIN_MS, async () => ((await byName(page, name))?.level ?? 0) > 0);
}

/** A tile, pictures that change, and sound. */
export async function meets(page, name) {
  const { id } = await sees(page, name);
  await moves(page, id, 5, WITHIN_MS);
  await hears(page, name);
  return id;
}

/** Waits until the page says so, as something that went wrong (`error`) or as calm news (`news`). */
export const tells = (page, words, kind = "error") =>
  eventually(
    `${kind} in words: ${words}`,
    WITHIN_MS,
    () => page.$$eval(hook(kind), (found) => found.map((it) => it.textContent).join("\n")),
    (all) => words.test(all),
  );

/** Waits until an attribute of the first such element is this; `null`: it has none. */
export const becomes = (page, selector, name, value) =>
  eventually(
    `${selector} with ${name}=${value}`,
    WITHIN_MS,
    () => page.getAttribute(selector, name),
    (it) => it === value,
  );

export async function says(page, text) {
  await page.fill(hook("chat-input"), text);
  await page.press(hook("chat-input"), "Enter");
}

export const chat = (page) => page.$$eval(`${hook("chat-message")} .chat-text`, (found) => found.map((item) => item.textContent));

/** The chat is these lines and no others. */
export const reads = (page, ...texts) =>
  eventually(
    `chat ${texts.join(", ")}`,
    WITHIN_MS,
    () => chat(page),
    (lines) => lines.join("\n") === texts.join("\n"),
  );
