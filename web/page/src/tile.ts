// One person, or one shared screen, on the stage: picture or initials, name, whether muted, whether speaking, what is amiss.

import { element } from "./dom.ts";
import { fit } from "./fit.ts";
import { icon } from "./icons.ts";
import type { Size } from "./layout.ts";
import type { Placement, Role } from "./stage-plan.ts";
import { hue, initials } from "./words.ts";

/** What the stage moves about. */
export interface StageItem {
  /** Stays for as long as it is there. */
  readonly id: string;
  readonly kind: "person" | "screen";
  readonly isSelf: boolean;
  readonly view: HTMLElement;
  /** `undefined`: not shown. */
  place(placement: Placement | undefined): void;
  setPinned(isPinned: boolean): void;
}

export interface TileActions {
  /** Shows it large, or no more. */
  pin: () => void;
  /** Present for hosts, on the tiles of others. */
  remove?: () => void;
}

export interface TilePerson extends TileActions {
  id: string;
  participantId: string;
  name: string;
  isSelf: boolean;
}

/** Pin and remove; and a press anywhere on the tile pins. */
class Controls {
  readonly view = element("div", { class: "tile-actions" });
  private readonly pin: HTMLButtonElement;

  constructor(tile: HTMLElement, name: string, { pin, remove }: TileActions) {
    const pinLabel = `Show ${name} large`;
    this.pin = element(
      "button",
      {
        class: "tile-action",
        testid: "pin",
        attributes: { type: "button", "aria-label": pinLabel, "aria-pressed": "false", title: pinLabel },
        on: { click: pin },
      },
      icon("pin"),
    );
    this.view.append(this.pin);
    if (remove !== undefined) {
      const attributes = { type: "button", "aria-label": `Remove ${name} from the meeting`, title: `Remove ${name}` };
      this.view.append(element("button", { class: "tile-action", testid: "remove", attributes, on: { click: remove } }, icon("remove")));
    }
    tile.addEventListener("click", ({ target }) => {
      if (target instanceof Element && target.closest("button") === null) pin();
    });
  }

  setPinned(isPinned: boolean): void {
    this.pin.setAttribute("aria-pressed", String(isPinned));
  }
}

function placeView(view: HTMLElement, placement: Placement | undefined): void {
  view.hidden = placement === undefined;
  if (placement === undefined) return;
  const { x, y, width, height, role } = placement;
  view.dataset.role = role satisfies Role;
  const { style } = view;
  style.left = `${x}px`;
  style.top = `${y}px`;
  style.width = `${width}px`;
  style.height = `${height}px`;
}

export class Tile implements StageItem {
  readonly id: string;
  readonly kind = "person";
  readonly isSelf: boolean;
  readonly view: HTMLElement;
  private readonly picture = element("div", { class: "tile-picture" });
  private readonly hint = element("span", { class: "tile-hint" });
  private readonly mutedMark = element(
    "span",
    { class: "tile-muted", attributes: { role: "img", "aria-label": "muted" } },
    icon("microphoneOff"),
  );
  private readonly controls: Controls;
  private size: Size = { width: 0, height: 0 };
  private pictureSize: Size = { width: 0, height: 0 };

  constructor({ id, participantId, name, isSelf, ...actions }: TilePerson) {
    this.id = id;
    this.isSelf = isSelf;
    const avatar = element("span", { class: "avatar", attributes: { "aria-hidden": "true" } }, initials(name));
    const label = element(
      "span",
      { class: "tile-name" },
      this.mutedMark,
      element("span", { class: "tile-speaking", attributes: { "aria-hidden": "true" } }, element("i"), element("i"), element("i")),
      element("span", { class: "tile-name-text" }, isSelf ? `${name} (you)` : name),
    );
    this.view = element(
      "article",
      { class: "tile", testid: "tile", attributes: { "aria-label": isSelf ? `${name}, you` : name } },
      avatar,
      this.picture,
      this.hint,
      label,
    );
    this.controls = new Controls(this.view, isSelf ? "yourself" : name, actions);
    this.view.append(this.controls.view);
    this.view.style.setProperty("--hue", String(hue(participantId)));
    this.view.dataset.self = String(isSelf);
    this.view.dataset.video = "false";
    this.setParticipant(participantId);
    this.setMuted(false);
    this.setSound(0, false);
    this.setHint("");
  }

  /** One's own id changes when one comes back as a new participant. */
  setParticipant(participantId: string): void {
    this.view.dataset.participantId = participantId;
  }

  /** A canvas or video; absent: initials. */
  setPicture(picture: HTMLCanvasElement | HTMLVideoElement | undefined): void {
    this.picture.replaceChildren(...(picture === undefined ? [] : [picture]));
    this.view.dataset.video = "false";
    this.pictureSize = { width: 0, height: 0 };
    this.setHint("");
  }

  /** There is something to see in the picture, of this many pixels. */
  setVideo(size: Size): void {
    this.pictureSize = size;
    this.view.dataset.video = "true";
    this.refit();
  }

  get hasVideo(): boolean {
    return this.view.dataset.video === "true";
  }

  setMuted(isMuted: boolean): void {
    this.view.dataset.muted = String(isMuted);
    this.mutedMark.hidden = !isMuted;
  }

  /** Level from 0 to 1. */
  setSound(level: number, speaking: boolean): void {
    this.view.dataset.audioLevel = level.toFixed(3);
    this.view.dataset.speaking = String(speaking);
  }

  /** What is amiss with the picture, in a word or two; empty: nothing. */
  setHint(text: string): void {
    if (this.hint.textContent !== text) this.hint.textContent = text;
    this.hint.hidden = text === "";
  }

  place(placement: Placement | undefined): void {
    placeView(this.view, placement);
    if (placement === undefined) return;
    this.size = placement;
    this.refit();
  }

  setPinned(isPinned: boolean): void {
    this.controls.setPinned(isPinned);
  }

  private refit(): void {
    this.view.dataset.fit = fit(this.pictureSize, this.size);
  }
}

/** A shared screen: shown whole, with the name of whoever shares it. */
export class ScreenTile implements StageItem {
  readonly id: string;
  readonly kind = "screen";
  readonly isSelf = false;
  readonly view: HTMLElement;
  private readonly controls: Controls;

  constructor(streamId: string, name: string, picture: HTMLCanvasElement, actions: TileActions) {
    this.id = streamId;
    const label = `${name} is sharing`;
    this.view = element(
      "figure",
      { class: "tile screen", testid: "screen", attributes: { "aria-label": label } },
      element("span", { class: "screen-waiting" }, `${name}'s screen is on its way…`),
      picture,
      element("figcaption", { class: "tile-name" }, icon("share"), element("span", { class: "tile-name-text" }, label)),
    );
    this.controls = new Controls(this.view, `${name}'s screen`, actions);
    this.view.append(this.controls.view);
  }

  place(placement: Placement | undefined): void {
    placeView(this.view, placement);
  }

  setPinned(isPinned: boolean): void {
    this.controls.setPinned(isPinned);
  }
}
