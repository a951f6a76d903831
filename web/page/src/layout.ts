// Where tiles stand. In: how many, and the size of the area. Out: boxes, in pixels. Never touches the page.
//
// A camera's picture is cut to its tile, so a tile may be a little narrower than the picture: that uses the area far better
// than a fixed shape. How narrow follows the area: on a phone held upright faces stand upright as well.

export interface Size {
  width: number;
  height: number;
}

export interface Box extends Size {
  x: number;
  y: number;
}

/** Pixels between tiles. */
export const GAP_PX = 8;
/** Most tiles on one page. More faces than this nobody can tell apart. */
export const PAGE_TILES_MAX = 49;
/** Below this a tile shows neither face nor name. */
export const TILE_MIN: Size = { width: 100, height: 70 };

/** The widest shape of a tile: what cameras send. */
const WIDEST = 16 / 9;
const NARROWEST_LANDSCAPE = 4 / 3;
const NARROWEST_PORTRAIT = 9 / 16;

/** The strip beside a large picture: part of the area, within these bounds. */
const STRIP_PART = 0.19;
const STRIP_SIDE = { min: 132, max: 260 };
const STRIP_BOTTOM = { min: 76, max: 150 };
/** From this shape on the strip stands beside the large picture, not below it. */
const STRIP_BESIDE_FROM = 1.15;

const FLOAT_PART = 0.3;
const FLOAT_WIDTH = { min: 88, max: 180 };
const FLOAT_MARGIN_PX = 12;

export interface Grid {
  columns: number;
  rows: number;
  /** Of every tile, whole pixels. */
  tile: Size;
  /** Tiles of a full page, and how many pages there are. */
  perPage: number;
  pages: number;
}

const clamp = (value: number, { min, max }: { min: number; max: number }): number => Math.max(min, Math.min(max, value));

/** The largest tile of an allowed shape inside a cell. */
function tileWithin(cell: Size, narrowest: number): Size {
  const aspect = Math.max(narrowest, Math.min(WIDEST, cell.width / cell.height));
  const width = Math.max(0, Math.min(cell.width, cell.height * aspect));
  return { width: Math.floor(width), height: Math.floor(Math.min(cell.height, width / aspect)) };
}

/** The columns that make `count` tiles largest; with equal tiles, the fewer places stay empty the better. */
function largest(count: number, area: Size): Omit<Grid, "perPage" | "pages"> {
  const narrowest = area.width >= area.height ? NARROWEST_LANDSCAPE : NARROWEST_PORTRAIT;
  let best = { columns: 1, rows: count, tile: { width: 0, height: 0 } };
  let bestArea = -1;
  for (let columns = 1; columns <= count; columns += 1) {
    const rows = Math.ceil(count / columns);
    const cell = { width: (area.width - GAP_PX * (columns - 1)) / columns, height: (area.height - GAP_PX * (rows - 1)) / rows };
    if (cell.width < 1 || cell.height < 1) continue;
    const tile = tileWithin(cell, narrowest);
    const tileArea = tile.width * tile.height;
    if (tileArea > bestArea || (tileArea === bestArea && columns * rows < best.columns * best.rows)) {
      best = { columns, rows, tile };
      bestArea = tileArea;
    }
  }
  return best;
}

/** The best grid for `count` tiles: all on one page if they are not too many or too small, else on as few pages as can be read. */
export function bestGrid(count: number, area: Size): Grid {
  const all = Math.max(1, count);
  for (let perPage = Math.min(all, PAGE_TILES_MAX); ; perPage -= 1) {
    const grid = largest(perPage, area);
    const isReadable = grid.tile.width >= TILE_MIN.width && grid.tile.height >= TILE_MIN.height;
    if (isReadable || perPage === 1) return { ...grid, perPage, pages: Math.ceil(all / perPage) };
  }
}

/** Boxes of `count` tiles of a page of `grid`: centred, a last row that is not full in the middle. */
export function gridBoxes(count: number, grid: Grid, area: Size): Box[] {
  const { columns, tile } = grid;
  const rows = Math.ceil(count / columns);
  const stepX = tile.width + GAP_PX;
  const stepY = tile.height + GAP_PX;
  const top = Math.floor((area.height - rows * stepY + GAP_PX) / 2);
  return Array.from({ length: count }, (_, index) => {
    const row = Math.floor(index / columns);
    const inRow = row === rows - 1 ? count - row * columns : columns;
    const left = Math.floor((area.width - inRow * stepX + GAP_PX) / 2);
    return { x: Math.max(0, left + (index % columns) * stepX), y: Math.max(0, top + row * stepY), ...tile };
  });
}

export interface Spotlight {
  main: Box;
  /** As many as fit, from the first on. */
  strip: Box[];
  pages: number;
  perPage: number;
}

/** Below the large picture there is room for three, on a telephone too. */
function belowTile(across: number, along: number): Size {
  const width = Math.min(across * NARROWEST_LANDSCAPE, (along - 2 * GAP_PX) / 3);
  return { width: Math.floor(width), height: Math.floor(width / NARROWEST_LANDSCAPE) };
}

/** One large picture and `count` small ones beside or below it, of which `page` is shown. */
export function spotlight(count: number, page: number, area: Size): Spotlight {
  if (count === 0) return { main: { x: 0, y: 0, ...area }, strip: [], pages: 1, perPage: 0 };
  const isBeside = area.width >= area.height * STRIP_BESIDE_FROM;
  // Across the strip, and along it.
  const across = isBeside ? clamp(area.width * STRIP_PART, STRIP_SIDE) : clamp(area.height * STRIP_PART, STRIP_BOTTOM);
  const tile: Size = isBeside ? { width: Math.floor(across), height: Math.floor(across / WIDEST) } : belowTile(across, area.width);
  const along = isBeside ? area.height : area.width;
  const step = (isBeside ? tile.height : tile.width) + GAP_PX;
  const perPage = Math.max(1, Math.floor((along + GAP_PX) / step));
  const pages = Math.ceil(count / perPage);
  const shown = Math.max(0, Math.min(perPage, count - Math.min(page, pages - 1) * perPage));
  const start = Math.max(0, Math.floor((along - shown * step + GAP_PX) / 2));
  const strip = Array.from({ length: shown }, (_, index) =>
    isBeside
      ? { x: area.width - tile.width, y: start + index * step, ...tile }
      : { x: start + index * step, y: area.height - tile.height, ...tile },
  );
  const main: Box = isBeside
    ? { x: 0, y: 0, width: Math.max(0, area.width - tile.width - GAP_PX), height: area.height }
    : { x: 0, y: 0, width: area.width, height: Math.max(0, area.height - tile.height - GAP_PX) };
  return { main, strip, pages, perPage };
}

/** One's own picture over the other's, in the lower corner, as telephones do. */
export function floating(area: Size): Box {
  const width = Math.floor(clamp(area.width * FLOAT_PART, FLOAT_WIDTH));
  const height = Math.floor(width / (area.width < area.height ? NARROWEST_PORTRAIT : WIDEST));
  return {
    x: Math.max(0, area.width - width - FLOAT_MARGIN_PX),
    y: Math.max(0, area.height - height - FLOAT_MARGIN_PX),
    width: Math.min(width, area.width),
    height: Math.min(height, area.height),
  };
}
