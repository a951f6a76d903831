// One place for what people should know, read out by screen readers: at once what went wrong, in its turn what is calm news.

import { element } from "./dom.ts";
import { icon } from "./icons.ts";
import type { Words } from "./words.ts";

export class Notice {
  readonly view: HTMLElement;
  private readonly testid: "error" | "news";
  private shown = "";

  constructor(kind: "error" | "news" = "error") {
    this.testid = kind;
    // Both roles are live regions: what is put in is read once.
    this.view = element("div", { class: "notice-place", attributes: { role: kind === "error" ? "alert" : "status" } });
  }

  /** Shows these and nothing else. What stands there already stays, so that it is not read out again. */
  show(...all: Words[]): void {
    const shown = JSON.stringify(all);
    if (shown === this.shown) return;
    this.shown = shown;
    this.view.replaceChildren(...all.map((words) => this.note(words)));
  }

  /** Takes these away, if they are what stands there. */
  withdraw(...all: Words[]): void {
    if (JSON.stringify(all) === this.shown) this.clear();
  }

  clear(): void {
    this.shown = "";
    this.view.replaceChildren();
  }

  private dismiss(note: HTMLElement): void {
    note.remove();
    // The same may be said again from now on.
    this.shown = "";
  }

  private note(words: Words): HTMLElement {
    const close = element(
      "button",
      { class: "notice-close", attributes: { type: "button", "aria-label": "Dismiss" }, on: { click: () => this.dismiss(note) } },
      icon("remove"),
    );
    const note = element(
      "div",
      { class: this.testid === "error" ? "notice" : "notice calm", testid: this.testid },
      icon("info"),
      element("p", {}, element("strong", {}, words.title), " ", words.advice),
      close,
    );
    return note;
  }
}
