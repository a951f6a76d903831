// One place for what people should know, read out by screen readers: at once what went wrong, in its turn what is calm news.

import { element } from "./dom.ts";
import { icon } from "./icons.ts";
import type { Words } from "./words.ts";

export class Notice {
  readonly view: HTMLElement;
  private readonly testid: "error" | "news";

  constructor(kind: "error" | "news" = "error") {
    this.testid = kind;
    // Both roles are live regions: what is put in is read once.
    this.view = element("div", { class: "notice-place", attributes: { role: kind === "error" ? "alert" : "status" } });
  }

  show(words: Words): void {
    const close = element(
      "button",
      { class: "notice-close", attributes: { type: "button", "aria-label": "Dismiss" }, on: { click: () => this.clear() } },
      icon("remove"),
    );
    this.view.replaceChildren(
      element(
        "div",
        { class: this.testid === "error" ? "notice" : "notice calm", testid: this.testid },
        element("p", {}, element("strong", {}, words.title), " ", words.advice),
        close,
      ),
    );
  }

  clear(): void {
    this.view.replaceChildren();
  }
}
