// One calm line over the stage about the connection: being resumed, back again. Said once each, by a live region that is silent otherwise.

import { element } from "./dom.ts";

/** Long enough to be read. */
const BACK_SHOWN_MS = 4000;
/** A break that is over before one notices is not told. */
const BREAK_TOLD_AFTER_MS = 700;

export class Banner {
  readonly view = element("div", { class: "banner-place", testid: "banner", attributes: { role: "status" } });
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** Signaling is being resumed. */
  breaking(): void {
    this.later(BREAK_TOLD_AFTER_MS, () =>
      this.say("reconnecting", "Reconnecting…", "You stay in the meeting. Others may not see or hear you for a moment."),
    );
  }

  /** It stands again; said when the break was. */
  back(): void {
    const { firstElementChild: line } = this.view;
    if (line === null) this.stop();
    else if (line instanceof HTMLElement && line.dataset.state !== "back") this.say("back", "You are back.", "");
  }

  /** Back as a new participant. */
  rejoined(): void {
    this.say("back", "You are back.", "You were away for a while, so you joined again.");
  }

  stop(): void {
    clearTimeout(this.timer);
    this.view.replaceChildren();
  }

  private say(state: "reconnecting" | "back", title: string, advice: string): void {
    clearTimeout(this.timer);
    const spinner = state === "reconnecting" ? element("span", { class: "spinner", attributes: { "aria-hidden": "true" } }) : undefined;
    const text = element("span", {}, element("strong", {}, title), advice === "" ? undefined : ` ${advice}`);
    const line = element("p", { class: "banner" }, spinner, text);
    line.dataset.state = state;
    this.view.replaceChildren(line);
    if (state === "back") this.later(BACK_SHOWN_MS, () => this.stop());
  }

  private later(milliseconds: number, act: () => void): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(act, milliseconds);
  }
}
