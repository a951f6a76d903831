// Who is here: everybody with what they do, a search when there are many, and what a host may do.

import { element } from "./dom.ts";
import { icon } from "./icons.ts";
import { panelFrame, type SidePanel } from "./side-panel.ts";
import { hue, initials } from "./words.ts";

/** From so many people on one looks for a name rather than at all of them. */
const SEARCH_FROM = 8;

export interface Person {
  id: string;
  participantId: string;
  name: string;
  isSelf: boolean;
  isHost: boolean;
  isMuted: boolean;
  hasVideo: boolean;
  isSharing: boolean;
}

export interface PeopleEvents {
  close: () => void;
  copyLink: () => void;
  /** Shows somebody large. */
  pin: (id: string) => void;
  /** Present for hosts. */
  remove?: (participantId: string, name: string) => void;
}

/** Whether `name` is meant by what was typed: each word somewhere in it, accents aside. Pure. */
export function isMeant(name: string, search: string): boolean {
  const plain = (text: string): string => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  return plain(search)
    .split(/\s+/u)
    .every((word) => plain(name).includes(word));
}

export class PeoplePanel implements SidePanel {
  readonly view: HTMLElement;
  private readonly events: PeopleEvents;
  private readonly list = element("ul", { class: "people-list" });
  private readonly count = element("p", { class: "people-count" });
  private readonly search = element("input", {
    class: "people-search",
    testid: "people-search",
    attributes: { type: "search", placeholder: "Find somebody", "aria-label": "Find somebody by name", autocomplete: "off" },
    on: { input: () => this.filter() },
  });
  private readonly nobody = element("p", { class: "panel-note" }, "Nobody here has that name.");
  private readonly rows = new Map<string, { person: Person; view: HTMLElement; text: string }>();
  private readonly speaking = new Set<string>();

  constructor(events: PeopleEvents) {
    this.events = events;
    this.nobody.hidden = true;
    this.view = panelFrame(
      "People",
      "people-panel",
      events.close,
      element(
        "div",
        { class: "people-tools" },
        element("button", { attributes: { type: "button" }, on: { click: events.copyLink } }, icon("link"), "Copy link"),
        this.search,
      ),
      this.count,
      this.list,
      this.nobody,
    );
  }

  opened(): void {
    this.search.value = "";
    this.filter();
  }

  focus(): void {
    if (this.search.hidden) this.view.querySelector<HTMLElement>("h2")?.focus();
    else this.search.focus();
  }

  /** Everybody, oneself first, then by name. Rows stay, so that the focus in one stays. */
  show(people: readonly Person[]): void {
    const sorted = [...people].sort(
      (a, b) => Number(b.isSelf) - Number(a.isSelf) || a.name.localeCompare(b.name) || a.id.localeCompare(b.id),
    );
    const present = new Set(people.map(({ id }) => id));
    for (const [id, { view }] of this.rows) {
      if (present.has(id)) continue;
      view.remove();
      this.rows.delete(id);
    }
    let last: HTMLElement | undefined;
    for (const person of sorted) {
      const text = JSON.stringify(person);
      const row = this.rows.get(person.id);
      const view = row?.view ?? element("li", { class: "person", testid: "person" });
      if (row?.text !== text) {
        this.fill(view, person);
        this.rows.set(person.id, { person, view, text });
      }
      const wanted = last === undefined ? this.list.firstElementChild : last.nextElementSibling;
      if (wanted !== view) this.list.insertBefore(view, wanted);
      last = view;
    }
    this.count.textContent = people.length === 1 ? "Only you are here." : `${people.length} people`;
    this.search.hidden = people.length < SEARCH_FROM;
    this.filter();
  }

  heard(id: string, isSpeaking: boolean): void {
    if (this.speaking.has(id) === isSpeaking) return;
    if (isSpeaking) this.speaking.add(id);
    else this.speaking.delete(id);
    const row = this.rows.get(id);
    if (row !== undefined) row.view.dataset.speaking = String(isSpeaking);
  }

  private filter(): void {
    const search = this.search.hidden ? "" : this.search.value.trim();
    let shown = 0;
    for (const { person, view } of this.rows.values()) {
      view.hidden = !isMeant(person.name, search);
      if (!view.hidden) shown += 1;
    }
    this.nobody.hidden = shown > 0;
  }

  private fill(view: HTMLElement, person: Person): void {
    const { id, participantId, name, isSelf, isHost, isMuted, hasVideo, isSharing } = person;
    const hadFocus = view.contains(document.activeElement);
    const avatar = element("span", { class: "person-avatar", attributes: { "aria-hidden": "true" } }, initials(name));
    avatar.style.setProperty("--hue", String(hue(participantId)));
    const marks = [isSelf ? "You" : "", isHost ? "Host" : "", isSharing ? "Sharing" : ""].filter((text) => text !== "");
    const sign = (isOn: boolean, on: "microphone" | "camera", off: "microphoneOff" | "cameraOff", what: string): HTMLElement =>
      element(
        "span",
        { class: isOn ? "person-sign" : "person-sign off", attributes: { role: "img", "aria-label": `${what} ${isOn ? "on" : "off"}` } },
        icon(isOn ? on : off),
      );
    const action = (what: string, name: "pin" | "remove", press: () => void): HTMLElement =>
      element(
        "button",
        { class: "plain", attributes: { type: "button", "aria-label": what, title: what }, on: { click: press } },
        icon(name),
      );
    const { remove } = this.events;
    view.dataset.speaking = String(this.speaking.has(id));
    view.replaceChildren(
      avatar,
      element(
        "span",
        { class: "person-name" },
        element("span", { class: "person-name-text" }, name),
        ...(marks.length === 0 ? [] : [element("span", { class: "person-marks" }, marks.join(" · "))]),
      ),
      sign(!isMuted, "microphone", "microphoneOff", "Microphone"),
      sign(hasVideo, "camera", "cameraOff", "Camera"),
      ...(isSelf ? [] : [action(`Show ${name} large`, "pin", () => this.events.pin(id))]),
      ...(isSelf || remove === undefined ? [] : [action(`Remove ${name} from the meeting…`, "remove", () => remove(participantId, name))]),
    );
    if (hadFocus) view.querySelector<HTMLElement>("button")?.focus();
  }
}
