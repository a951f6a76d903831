// A menu behind a button, after the pattern that screen readers know: arrows move, Escape and Tab leave, the focus goes back.

import { element } from "./dom.ts";
import { icon, type IconName } from "./icons.ts";

export interface MenuItem {
  testid: string;
  icon: IconName;
  label: string;
  /** Ends something for good. */
  isRisky?: boolean;
  press: () => void;
}

export class Menu {
  /** Button and list. */
  readonly view: HTMLElement;
  private readonly button: HTMLButtonElement;
  private readonly list = element("div", {
    class: "menu",
    attributes: { role: "menu", "aria-label": "More" },
    on: { keydown: (event) => this.key(event) },
  });
  private readonly items: () => MenuItem[];

  /** `items` are asked for at each opening: what they say depends on what stands. */
  constructor(items: () => MenuItem[]) {
    this.items = items;
    this.list.hidden = true;
    this.button = element(
      "button",
      {
        class: "round",
        testid: "more",
        attributes: { type: "button", "aria-label": "More", title: "More", "aria-haspopup": "menu", "aria-expanded": "false" },
        on: { click: () => (this.list.hidden ? this.open() : this.close(true)) },
      },
      icon("more"),
    );
    this.view = element("div", { class: "menu-place" }, this.button, this.list);
    this.view.addEventListener("focusout", ({ relatedTarget }) => {
      if (!(relatedTarget instanceof Node) || !this.view.contains(relatedTarget)) this.close(false);
    });
  }

  private open(): void {
    this.list.replaceChildren(
      ...this.items().map(({ testid, icon: name, label, isRisky, press }) =>
        element(
          "button",
          {
            class: isRisky === true ? "menu-item risky" : "menu-item",
            testid,
            attributes: { type: "button", role: "menuitem", tabindex: "-1" },
            on: {
              click: () => {
                this.close(true);
                press();
              },
            },
          },
          icon(name),
          label,
        ),
      ),
    );
    this.list.hidden = false;
    this.button.setAttribute("aria-expanded", "true");
    this.focus(0);
  }

  private close(isFocusBack: boolean): void {
    if (this.list.hidden) return;
    // Hidden first: the focus that leaves a menu would close it once more.
    this.list.hidden = true;
    this.button.setAttribute("aria-expanded", "false");
    if (isFocusBack) this.button.focus();
  }

  private focus(index: number): void {
    const { children } = this.list;
    const item = children[(index + children.length) % children.length];
    if (item instanceof HTMLElement) item.focus();
  }

  private key(event: KeyboardEvent): void {
    const at = [...this.list.children].indexOf(document.activeElement ?? this.list);
    const moves: Record<string, () => void> = {
      ArrowDown: () => this.focus(at + 1),
      ArrowUp: () => this.focus(at - 1),
      Home: () => this.focus(0),
      End: () => this.focus(-1),
      Escape: () => this.close(true),
    };
    const act = moves[event.key];
    if (act === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }
}
