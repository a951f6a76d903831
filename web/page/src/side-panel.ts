// The frame of what opens at the side of the stage: title, close button, content. On a telephone it lies over the stage.

import { element } from "./dom.ts";
import { icon } from "./icons.ts";

export interface SidePanel {
  readonly view: HTMLElement;
  /** Told when it is shown and when it is hidden. */
  opened(isOpen: boolean): void;
  /** Puts the focus where it is of use. */
  focus(): void;
}

/** `close` is pressed by the person. */
export function panelFrame(title: string, testid: string, close: () => void, ...content: (Node | undefined)[]): HTMLElement {
  const attributes = { type: "button", "aria-label": `Close ${title.toLowerCase()}`, title: "Close (Esc)" };
  const heading = element("h2", { attributes: { tabindex: "-1" } }, title);
  return element(
    "aside",
    { class: "panel", testid, attributes: { "aria-label": title } },
    element(
      "header",
      { class: "panel-head" },
      heading,
      element("button", { class: "plain", attributes, on: { click: close } }, icon("remove")),
    ),
    ...content,
  );
}

/** The panels of a room: one is open at a time. */
export class SidePanels<Name extends string> {
  private readonly panels: Record<Name, SidePanel>;
  private readonly changed: (open: Name | undefined) => void;
  private current: Name | undefined;
  /** Where the focus was before, for when the panel closes. */
  private origin: HTMLElement | undefined;

  constructor(panels: Record<Name, SidePanel>, changed: (open: Name | undefined) => void) {
    this.panels = panels;
    this.changed = changed;
    for (const panel of Object.values<SidePanel>(panels)) panel.view.hidden = true;
  }

  get open(): Name | undefined {
    return this.current;
  }

  get views(): HTMLElement[] {
    return Object.values<SidePanel>(this.panels).map((panel) => panel.view);
  }

  toggle(name: Name): void {
    this.show(this.current === name ? undefined : name);
  }

  /** `isQuiet`: the focus stays where it is. */
  show(name: Name | undefined, isQuiet = false): void {
    const before = this.current;
    if (before === name) return;
    if (before !== undefined) {
      const panel = this.panels[before];
      const hadFocus = panel.view.contains(document.activeElement);
      panel.view.hidden = true;
      panel.opened(false);
      if (name === undefined && hadFocus) this.leaveFocus();
    }
    this.current = name;
    if (name !== undefined) {
      if (before === undefined) this.origin = document.activeElement instanceof HTMLElement ? document.activeElement : undefined;
      this.panels[name].view.hidden = false;
      this.panels[name].opened(true);
      if (!isQuiet) this.panels[name].focus();
    }
    this.changed(name);
  }

  /** Where it was before; where that is gone, nowhere: a hidden field would go on taking keys until the next picture of the page. */
  private leaveFocus(): void {
    const { activeElement } = document;
    this.origin?.focus();
    if (document.activeElement === activeElement && activeElement instanceof HTMLElement) activeElement.blur();
  }
}
