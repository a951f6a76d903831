// Chromium as people have it: no flag but the sandbox's and a camera and microphone that need no hardware.
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { inspect } from "node:util";
import { chromium } from "playwright-core";

const ARTIFACTS = fileURLToPath(new URL("../artifacts", import.meta.url));

export async function startBrowser() {
  await mkdir(ARTIFACTS, { recursive: true });
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--use-fake-device-for-media-stream=fps=30", "--use-fake-ui-for-media-stream"],
    ignoreDefaultArgs: ["--mute-audio"],
  });
}

/**
 * Said by Chromium of a frame that waited in a processor's stream while that was transferred to a worker: no script ever gets it. The same words would
 * tell of a frame that our scripts leave open; those are counted by the unit tests of whoever holds frames.
 */
const LOST_BY_CHROMIUM = "A VideoFrame was garbage collected without being closed.";

/** A page of a person of its own; what the page complains about fails the test at the end. */
export async function openPage(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 720 }, ...options });
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(`pageerror: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error" && !message.text().startsWith(LOST_BY_CHROMIUM)) complaints.push(`console: ${message.text()}`);
  });
  page.setDefaultTimeout(15_000);
  return { page, complaints, close: () => context.close() };
}

export const hook = (name) => `[data-testid="${name}"]`;

export function picture(page, name) {
  return page.screenshot({ path: `${ARTIFACTS}/${name}.png` });
}

/** Between two looks of `eventually`. */
const LOOK_INTERVAL_MS = 50;
/** Of what was seen last, in the words of a failure. */
const SEEN_CHARACTERS_MAX = 2_000;

/** Waits until `probe` answers something that `isIt` takes, and answers that; says what it waited for, and what it saw last, when it did not come. */
export async function eventually(what, withinMs, probe, isIt = Boolean) {
  const untilMs = Date.now() + withinMs;
  for (;;) {
    const answer = await probe();
    if (isIt(answer)) return answer;
    if (Date.now() > untilMs) throw new Error(`within ${withinMs} ms not seen: ${what}; last seen: ${inWords(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_INTERVAL_MS));
  }
}

function inWords(answer) {
  const words = inspect(answer, { depth: 6, breakLength: Infinity });
  return words.length > SEEN_CHARACTERS_MAX ? `${words.slice(0, SEEN_CHARACTERS_MAX)}…` : words;
}

/** Participants on screen: id, name, whether self, muted, speaking, level. */
export function tiles(page) {
  return page.$$eval(hook("tile"), (found) =>
    found.map((tile) => ({
      id: tile.dataset.participantId,
      name: tile.querySelector(".tile-name-text")?.textContent ?? "",
      isSelf: tile.dataset.self === "true",
      isMuted: tile.dataset.muted === "true",
      isSpeaking: tile.dataset.speaking === "true",
      level: Number(tile.dataset.audioLevel),
    })),
  );
}

/** A number that changes with the pixels of the picture inside `selector`; undefined while there is none. */
export function pixels(page, selector) {
  return page.evaluate((where) => {
    const source = document.querySelector(where)?.querySelector("canvas, video");
    if (!source) return undefined;
    const canvas = document.createElement("canvas");
    canvas.width = 64;
    canvas.height = 36;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(source, 0, 0, 64, 36);
    const { data } = context.getImageData(0, 0, 64, 36);
    let hash = 0;
    for (const byte of data) hash = (hash * 31 + byte) | 0;
    // All alike is an empty canvas, not a picture.
    return data.some((byte, index) => index % 4 !== 3 && byte !== data[index % 4]) ? hash : undefined;
  }, selector);
}

/** Waits until the pixels inside `selector` have had `count` different values. */
export async function changes(page, selector, count, withinMs) {
  const seen = new Set();
  const look = async () => {
    const hash = await pixels(page, selector);
    if (hash !== undefined) seen.add(hash);
    return seen.size;
  };
  await eventually(`${count} different pictures in ${selector}`, withinMs, look, (size) => size >= count);
}

/** Waits until the pixels inside `selector` have stayed the same for `ms`. */
export async function standsStill(page, selector, ms, withinMs) {
  let [last, sinceMs] = [undefined, Date.now()];
  const look = async () => {
    const hash = await pixels(page, selector);
    if (hash !== last) [last, sinceMs] = [hash, Date.now()];
    return Date.now() - sinceMs;
  };
  await eventually(`a picture that stands still in ${selector}`, withinMs, look, (stoodMs) => stoodMs >= ms);
}

const pictureOf = (participantId) => `${hook("tile")}[data-participant-id="${participantId}"][data-video="true"]`;

/** The same for a participant's visible picture. */
export function moves(page, participantId, count, withinMs) {
  return changes(page, pictureOf(participantId), count, withinMs);
}

/** Waits until a participant's visible picture has stayed the same for `ms`. */
export const freezes = (page, participantId, ms, withinMs) => standsStill(page, pictureOf(participantId), ms, withinMs);
