// One place for what went wrong, read out by screen readers.

import { element } from "./dom.ts";
import { icon } from "./icons.ts";
import type { Words } from "./words.ts";

export class Notice {
  readonly view = element("div", { class: "notice-place", attributes: { role: "alert" } });

  show(words: Words): void {
    const close = element(
      "button",
      { class: "notice-close", attributes: { type: "button", "aria-label": "Dismiss" }, on: { click: () => this.clear() } },
      icon("remove"),
    );
    this.view.replaceChildren(
      element("div", { class: "notice", testid: "error" }, element("p", {}, element("strong", {}, words.title), " ", words.advice), close),
    );
  }

  clear(): void {
    this.view.replaceChildren();
  }
}
