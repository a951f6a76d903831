// Every state of the page at three sizes and in the dark, kept as pictures for people to look at, and looked through by axe.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { picture } from "./browser.mjs";

const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SIZES = [
  { width: 1280, height: 720 },
  { width: 768, height: 1024 },
  { width: 390, height: 844 },
];
/** As narrow as a page must fit: small telephones, and a laptop's window at 400 %. */
const NARROWEST = { width: 320, height: 640 };
/** What keeps somebody from using the page; axe's "moderate" and "minor" are matters of taste. */
const SERIOUS = new Set(["serious", "critical"]);

/** Two frames of the screen: whatever has changed its size has been laid out and painted, and what slides or fades has come to rest. */
const settled = (page) =>
  page.evaluate(async () => {
    const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
    await frame();
    await frame();
    const moving = document.getAnimations().filter((animation) => animation.effect.getComputedTiming().endTime !== Infinity);
    await Promise.allSettled(moving.map((animation) => animation.finished));
  });

/** Keeps `name` at each size, then dark at the first. Answers what is wrong with it, in words: nothing, one hopes. */
export async function keep(page, name) {
  const faults = [];
  for (const { width, height } of SIZES) {
    await page.setViewportSize({ width, height });
    await settled(page);
    await picture(page, `screen-${name}-${width}x${height}`);
    faults.push(...(await sticksOut(page)).map((what) => `${what} sticks out at ${width}x${height}`));
  }
  await page.setViewportSize(NARROWEST);
  await settled(page);
  faults.push(...(await sticksOut(page)).map((what) => `${what} sticks out at ${NARROWEST.width} pixels`));
  await page.setViewportSize(SIZES[0]);
  for (const colorScheme of ["dark", "light"]) {
    await page.emulateMedia({ colorScheme });
    await settled(page);
    if (colorScheme === "dark") await picture(page, `screen-${name}-dark`);
    faults.push(...(await serious(page)).map((fault) => `${colorScheme}: ${fault}`));
  }
  return faults;
}

/** What does not fit the window's width: the page, or a button that a page which scrolls nowhere has cut off. */
const sticksOut = (page) =>
  page.evaluate(() => {
    const isOut = ({ left, right }) => left < -1 || right > innerWidth + 1;
    const buttons = [...document.querySelectorAll("button")].filter(
      (button) => button.checkVisibility() && isOut(button.getBoundingClientRect()),
    );
    const names = buttons.map((button) => button.dataset.testid ?? button.getAttribute("aria-label") ?? button.textContent);
    return document.documentElement.scrollWidth > innerWidth ? ["the page", ...names] : names;
  });

/** What axe finds serious, in words. */
export async function serious(page) {
  // By the debugger, past the page's policy, which takes no script from elsewhere.
  await page.evaluate(AXE);
  const violations = await page.evaluate(async () => (await globalThis.axe.run({ resultTypes: ["violations"] })).violations);
  return violations
    .filter(({ impact }) => SERIOUS.has(impact))
    .map(({ id, help, nodes }) => `${id}: ${help} (${nodes.map(({ target }) => target.join(" ")).join(", ")})`);
}
