// The row of controls below the stage. In: what stands. Out: presses.

import type { OwnMedia } from "./own-media.ts";
import { Opener, Toggle } from "./control.ts";
import { element } from "./dom.ts";
import { icon } from "./icons.ts";
import { Menu, type MenuItem } from "./menu.ts";
import type { Action } from "./shortcuts.ts";

export type PanelName = "chat" | "people" | "connection";

export interface ToolbarEvents {
  act: (action: Action) => void;
  leave: () => void;
  /** What stands behind "More". */
  menu: () => MenuItem[];
}

export class Toolbar {
  readonly view: HTMLElement;
  private readonly mute: Toggle;
  private readonly camera: Toggle;
  private readonly share: Toggle;
  private readonly layout: Opener;
  private readonly panels: Record<"chat" | "people", Opener>;

  constructor({ act, leave, menu }: ToolbarEvents) {
    this.mute = new Toggle(
      {
        testid: "mute",
        on: { icon: "microphone", label: "Mute (M)" },
        off: { icon: "microphoneOff", label: "Unmute (M)" },
        alertOff: true,
        press: () => act("mute"),
      },
      false,
    );
    this.camera = new Toggle(
      {
        testid: "camera",
        on: { icon: "camera", label: "Turn camera off (V)" },
        off: { icon: "cameraOff", label: "Turn camera on (V)" },
        alertOff: true,
        press: () => act("camera"),
      },
      false,
    );
    this.share = new Toggle(
      {
        testid: "share",
        on: { icon: "share", label: "Stop sharing (S)" },
        off: { icon: "share", label: "Share your screen (S)" },
        alertOff: false,
        press: () => act("share"),
      },
      false,
    );
    // Telephones have no screens to share.
    this.share.view.hidden = !("getDisplayMedia" in (navigator.mediaDevices ?? {}));
    this.layout = new Opener({
      testid: "layout",
      icon: "spotlight",
      label: "Speaker large (L)",
      isSpare: true,
      press: () => act("layout"),
    });
    const settings = new Opener({
      testid: "settings",
      icon: "settings",
      label: "Devices (D)",
      isSpare: true,
      press: () => act("settings"),
    });
    settings.view.removeAttribute("aria-pressed");
    settings.view.setAttribute("aria-haspopup", "dialog");
    this.panels = {
      people: new Opener({ testid: "people", icon: "people", label: "People (P)", press: () => act("people") }),
      chat: new Opener({ testid: "chat", icon: "chat", label: "Chat (C)", press: () => act("chat") }),
    };
    const attributes = { type: "button", "aria-label": "Leave the meeting", title: "Leave" };
    const leaveButton = element("button", { class: "round danger", testid: "leave", attributes, on: { click: leave } }, icon("leave"));
    this.view = element(
      "nav",
      { class: "toolbar", attributes: { "aria-label": "Meeting controls" } },
      element("div", { class: "toolbar-side" }),
      element(
        "div",
        { class: "toolbar-main" },
        this.mute.view,
        this.camera.view,
        this.share.view,
        this.layout.view,
        settings.view,
        new Menu(menu).view,
        leaveButton,
      ),
      element("div", { class: "toolbar-side end" }, this.panels.people.view, this.panels.chat.view),
    );
  }

  show(own: OwnMedia): void {
    this.mute.set(!own.isMuted);
    this.camera.set(own.camera !== undefined);
    this.share.set(own.isSharing);
    // One that waits for a device stays enabled, for a disabled button loses the focus; it is marked, and a press does nothing.
    this.mute.view.setAttribute("aria-busy", String(own.isBusy.microphone));
    this.camera.view.setAttribute("aria-busy", String(own.isBusy.camera));
    this.share.view.setAttribute("aria-busy", String(own.isBusy.screen));
    for (const toggle of [this.mute, this.camera, this.share]) toggle.enable(own.canPublish);
  }

  showPanel(open: PanelName | undefined): void {
    this.panels.chat.set(open === "chat");
    this.panels.people.set(open === "people");
  }

  showLayout(isSpeaker: boolean): void {
    this.layout.set(isSpeaker);
  }

  /** Whether a press of this control would do anything now; those that are no control here always do. */
  isEnabled(action: Action): boolean {
    const controls: Partial<Record<Action, HTMLButtonElement>> = { mute: this.mute.view, camera: this.camera.view, share: this.share.view };
    const control = controls[action];
    return control === undefined || (!control.disabled && !control.hidden);
  }

  unread(count: number): void {
    this.panels.chat.count(count, count === 1 ? "new message" : "new messages");
  }

  people(count: number): void {
    this.panels.people.count(count, count === 1 ? "person" : "people");
  }
}
