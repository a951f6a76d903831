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
    const tiles = [...this.grid.children] as HTMLElement[];
    const { columns, width, height } = bestGrid(tiles.length, this.grid.clientWidth, this.grid.clientHeight, GAP_PX);
    // Two tracks a tile, so that a last row that is not full can stand in the middle.
    this.grid.style.setProperty("--tracks", String(2 * columns));
    this.grid.style.setProperty("--track-width", `${(width - GAP_PX) / 2}px`);
    this.grid.style.setProperty("--tile-height", `${height}px`);
    const inLastRow = tiles.length % columns;
    for (const [index, tile] of tiles.entries()) {
      const isFirstOfLastRow = inLastRow > 0 && index === tiles.length - inLastRow;
      tile.style.setProperty("grid-column", isFirstOfLastRow ? `${columns - inLastRow + 1} / span 2` : "span 2");
    }
  }
}
