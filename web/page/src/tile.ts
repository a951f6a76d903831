// One person in the grid: picture or initials, name, whether muted, whether speaking.

import { element } from "./dom.ts";
import { icon } from "./icons.ts";
import { hue, initials } from "./words.ts";

export interface TilePerson {
  participantId: string;
  name: string;
  isSelf: boolean;
  /** Present for hosts, on the tiles of others. */
  remove?: () => void;
}

export class Tile {
  readonly view: HTMLElement;
  private readonly picture = element("div", { class: "tile-picture" });
  private readonly mutedMark = element(
    "span",
    { class: "tile-muted", attributes: { role: "img", "aria-label": "muted" } },
    icon("microphoneOff"),
  );

  constructor({ participantId, name, isSelf, remove }: TilePerson) {
    const avatar = element("span", { class: "avatar", attributes: { "aria-hidden": "true" } }, initials(name));
    const label = element(
      "span",
      { class: "tile-name" },
      this.mutedMark,
      element("span", { class: "tile-name-text" }, isSelf ? `${name} (you)` : name),
    );
    this.view = element(
      "article",
      { class: "tile", testid: "tile", attributes: { "aria-label": isSelf ? `${name}, you` : name } },
      avatar,
      this.picture,
      label,
    );
    this.view.style.setProperty("--hue", String(hue(participantId)));
    this.view.dataset.participantId = participantId;
    this.view.dataset.self = String(isSelf);
    this.view.dataset.video = "false";
    this.setMuted(false);
    this.setSound(0, false);
    if (remove !== undefined) {
      const attributes = { type: "button", "aria-label": `Remove ${name} from the meeting`, title: `Remove ${name}` };
      this.view.append(element("button", { class: "tile-remove", attributes, on: { click: remove } }, icon("remove")));
    }
  }

  /** A canvas or video; absent: initials. */
  setPicture(picture: HTMLCanvasElement | HTMLVideoElement | undefined): void {
    this.picture.replaceChildren(...(picture === undefined ? [] : [picture]));
    this.setVideo(false);
  }

  /** Whether there is something to see in the picture yet. */
  setVideo(isVisible: boolean): void {
    this.view.dataset.video = String(isVisible);
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
}
