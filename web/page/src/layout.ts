// How many columns make the tiles largest. Pure.

export interface Grid {
  columns: number;
  /** Pixels of a tile. */
  width: number;
  height: number;
}

const ASPECT = 16 / 9;

/** The best grid for `count` tiles of 16:9 in an area, `gap` pixels apart. */
export function bestGrid(count: number, areaWidth: number, areaHeight: number, gap: number): Grid {
  let best: Grid = { columns: 1, width: 0, height: 0 };
  for (let columns = 1; columns <= Math.max(1, count); columns += 1) {
    const rows = Math.ceil(Math.max(1, count) / columns);
    const most = (areaWidth - gap * (columns - 1)) / columns;
    const width = Math.floor(Math.max(0, Math.min(most, ((areaHeight - gap * (rows - 1)) / rows) * ASPECT)));
    if (width > best.width) best = { columns, width, height: Math.floor(width / ASPECT) };
  }
  return best;
}
