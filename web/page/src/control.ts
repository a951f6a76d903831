// Round buttons that switch something on and off.

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
