// After the meeting: what happened, and where to go from here.

import { brand } from "./brand.ts";
import { element } from "./dom.ts";
import type { Words } from "./words.ts";

/** `isError`: it was not the person's own wish. `again` goes back to the lobby; absent where that would be of no use, or not welcome. */
export function endPage(words: Words, isError: boolean, again?: () => void): HTMLElement {
  const text = element(
    "div",
    { attributes: { role: "alert" } },
    element("h1", {}, words.title),
    element("p", { class: "lead" }, words.advice),
  );
  if (isError) text.dataset.testid = "error";
  return element(
    "div",
    { class: "page" },
    element("header", { class: "page-head" }, brand()),
    element(
      "main",
      { class: "end", testid: "ended" },
      text,
      element(
        "div",
        { class: "row" },
        ...(again === undefined
          ? []
          : [element("button", { testid: "rejoin", attributes: { type: "button" }, on: { click: again } }, "Join again")]),
        element("a", { class: "button primary", attributes: { href: "/" } }, "Back to the start"),
      ),
    ),
  );
}
