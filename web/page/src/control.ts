// Round buttons of a toolbar: those that switch something, and those that open something.

import { element } from "./dom.ts";
import { icon, type IconName } from "./icons.ts";

interface ToggleLook {
  testid: string;
  on: { icon: IconName; label: string };
  off: { icon: IconName; label: string };
  /** Off is a state to be noticed (muted), not the quiet one (not sharing). */
  alertOff: boolean;
  press: () => void;
}

/** A switch whose label says what a press does now; so it needs no pressed state beside. */
export class Toggle {
  readonly view: HTMLButtonElement;
  private readonly look: ToggleLook;

  /** `label` says what a press does in that state. */
  constructor(look: ToggleLook, isOn: boolean) {
    this.look = look;
    this.view = element("button", { class: "round", testid: look.testid, attributes: { type: "button" }, on: { click: look.press } });
    this.set(isOn);
  }

  set(isOn: boolean): void {
    const { icon: name, label } = isOn ? this.look.on : this.look.off;
    this.view.replaceChildren(icon(name));
    this.view.setAttribute("aria-label", label);
    this.view.title = label;
    this.view.dataset.on = String(isOn);
    this.view.classList.toggle("alert", !isOn && this.look.alertOff);
    this.view.classList.toggle("active", isOn && !this.look.alertOff);
  }

  enable(enabled: boolean): void {
    this.view.disabled = !enabled;
  }
}

interface OpenerLook {
  testid: string;
  icon: IconName;
  label: string;
  /** Left out where there is little room: the menu has it too. */
  isSpare?: boolean;
  press: () => void;
}

/** A button with one name, pressed or not, and a number of what waits behind it. */
export class Opener {
  readonly view: HTMLButtonElement;
  private readonly badge = element("span", { class: "badge", attributes: { "aria-hidden": "true" } });
  private readonly label: string;

  constructor({ testid, icon: name, label, isSpare, press }: OpenerLook) {
    this.label = label;
    this.badge.hidden = true;
    this.view = element(
      "button",
      {
        class: isSpare === true ? "round spare" : "round",
        testid,
        attributes: { type: "button", title: label, "aria-label": label, "aria-pressed": "false" },
        on: { click: press },
      },
      icon(name),
      this.badge,
    );
  }

  set(isOpen: boolean): void {
    this.view.setAttribute("aria-pressed", String(isOpen));
    this.view.classList.toggle("active", isOpen);
  }

  /** `what` says the number in words for those who do not see it; 0 shows none. */
  count(number: number, what: string): void {
    this.badge.hidden = number === 0;
    this.badge.textContent = number > 99 ? "99+" : String(number);
    this.view.setAttribute("aria-label", number === 0 ? this.label : `${this.label}, ${number} ${what}`);
  }
}
