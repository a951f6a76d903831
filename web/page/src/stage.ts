// Where the tiles stand: an even grid, or a shared screen with the people beside it.

import { element } from "./dom.ts";
import { bestGrid } from "./layout.ts";
import type { Tile } from "./tile.ts";

const GAP_PX = 12;

export class Stage {
  readonly view: HTMLElement;
  private readonly grid = element("div", { class: "grid" });
  private readonly spotlight = element("div", { class: "spotlight" });
  private readonly screens = new Map<string, HTMLElement>();

  constructor() {
    this.view = element("section", { class: "stage", attributes: { "aria-label": "Participants" } }, this.spotlight, this.grid);
    this.spotlight.hidden = true;
    new ResizeObserver(() => this.arrange()).observe(this.grid);
  }

  add(tile: Tile): void {
    this.grid.append(tile.view);
    this.arrange();
  }

  remove(tile: Tile): void {
    tile.view.remove();
    this.arrange();
  }

  /** The last screen shared is shown large. */
  addScreen(streamId: string, name: string, picture: HTMLElement): void {
    const label = `${name} is sharing`;
    const screen = element(
      "figure",
      { class: "screen", testid: "screen", attributes: { "aria-label": label } },
      picture,
      element("figcaption", { class: "tile-name" }, label),
    );
    this.screens.set(streamId, screen);
    this.showScreen();
  }

  removeScreen(streamId: string): void {
    this.screens.get(streamId)?.remove();
    this.screens.delete(streamId);
    this.showScreen();
  }

  private showScreen(): void {
    const last = [...this.screens.values()].pop();
    this.spotlight.replaceChildren(...(last === undefined ? [] : [last]));
    this.spotlight.hidden = last === undefined;
    this.view.classList.toggle("with-screen", last !== undefined);
    this.arrange();
  }

  private arrange(): void {
    const { columns, width, height } = bestGrid(this.grid.childElementCount, this.grid.clientWidth, this.grid.clientHeight, GAP_PX);
    this.grid.style.setProperty("--columns", String(columns));
    this.grid.style.setProperty("--tile-width", `${width}px`);
    this.grid.style.setProperty("--tile-height", `${height}px`);
  }
}
