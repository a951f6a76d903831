// Where tiles stand: by tables, and for every number of people at many sizes of window.
import assert from "node:assert/strict";
import { test } from "node:test";
import { fit } from "../page/src/fit.ts";
import { bestGrid, type Box, floating, GAP_PX, gridBoxes, PAGE_TILES_MAX, type Size, spotlight, TILE_MIN } from "../page/src/layout.ts";
import { planStage, type StageInput, type StageMember } from "../page/src/stage-plan.ts";

/** Telephones upright and sideways, tablets, laptops, large screens; with and without a panel beside. */
const AREAS: Size[] = [
  [320, 460],
  [374, 640],
  [390, 700],
  [740, 280],
  [752, 860],
  [900, 570],
  [1256, 570],
  [1420, 780],
  [1896, 930],
  [3400, 1300],
  [600, 600],
].map(([width = 0, height = 0]) => ({ width, height }));

function inside(box: Box, area: Size, what: string): void {
  assert.ok(box.x >= 0 && box.y >= 0 && box.x + box.width <= area.width && box.y + box.height <= area.height, `${what} leaves the area`);
  assert.ok(box.width > 0 && box.height > 0, `${what} is empty`);
}

function apart(boxes: readonly Box[], what: string): void {
  for (const [index, a] of boxes.entries()) {
    for (const b of boxes.slice(index + 1)) {
      const overlap = a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
      assert.ok(!overlap, `${what} overlap: ${JSON.stringify(a)} ${JSON.stringify(b)}`);
    }
  }
}

test("1 to 49 tiles: none overlap, none leave the area, none are too small to read or too thin to know a face", () => {
  for (const area of AREAS) {
    for (let count = 1; count <= PAGE_TILES_MAX + 20; count += 1) {
      const grid = bestGrid(count, area);
      const what = `${count} tiles in ${area.width}×${area.height}`;
      assert.ok(grid.perPage >= 1 && grid.perPage <= PAGE_TILES_MAX && grid.pages === Math.ceil(count / grid.perPage), what);
      const boxes = gridBoxes(Math.min(count, grid.perPage), grid, area);
      for (const box of boxes) inside(box, area, what);
      apart(boxes, what);
      const shape = grid.tile.width / grid.tile.height;
      assert.ok(shape >= 0.55 && shape <= 1.82, `${what} have the shape ${shape}`);
      if (grid.perPage > 1) assert.ok(grid.tile.width >= TILE_MIN.width && grid.tile.height >= TILE_MIN.height, `${what} are too small`);
    }
  }
});

test("a grid uses the area as well as any grid of such tiles could", () => {
  for (const area of AREAS) {
    for (let count = 1; count <= PAGE_TILES_MAX; count += 1) {
      const grid = bestGrid(count, area);
      const shown = Math.min(count, grid.perPage);
      // The optimum by trying all rows and columns and, in fine steps, all shapes.
      let best = 0;
      for (let columns = 1; columns <= shown; columns += 1) {
        const rows = Math.ceil(shown / columns);
        const wide = (area.width - GAP_PX * (columns - 1)) / columns;
        const high = (area.height - GAP_PX * (rows - 1)) / rows;
        if (wide <= 0 || high <= 0) continue;
        const narrowest = area.width >= area.height ? 4 / 3 : 9 / 16;
        for (let shape = narrowest; shape <= 16 / 9 + 1e-9; shape += (16 / 9 - narrowest) / 50) {
          const width = Math.min(wide, high * shape);
          best = Math.max(best, width * (width / shape));
        }
      }
      const found = grid.tile.width * grid.tile.height;
      // Whole pixels cost a little.
      assert.ok(found >= best * 0.97, `${count} in ${area.width}×${area.height}: ${found} of ${best}`);
    }
  }
});

test("grids that people know", () => {
  const desk = { width: 1256, height: 570 };
  const phone = { width: 374, height: 640 };
  const shape = (count: number, area: Size): string => {
    const { columns, rows, pages } = bestGrid(count, area);
    return `${columns}×${rows}/${pages}`;
  };
  assert.equal(shape(2, desk), "2×1/1");
  assert.equal(shape(4, desk), "2×2/1");
  assert.equal(shape(2, phone), "1×2/1");
  assert.equal(shape(4, phone), "2×2/1");
  assert.equal(bestGrid(49, desk).pages, 1);
  assert.ok(bestGrid(49, phone).pages > 1, "49 faces on a telephone take pages");
});

test("a large picture and its strip share the area", () => {
  for (const area of AREAS) {
    for (const count of [0, 1, 3, 8, 30]) {
      const first = spotlight(count, 0, area);
      const what = `${count} beside in ${area.width}×${area.height}`;
      let shown = 0;
      for (let page = 0; page < first.pages; page += 1) {
        const { main, strip } = spotlight(count, page, area);
        for (const box of [main, ...strip]) inside(box, area, what);
        apart([main, ...strip], what);
        const part = (main.width * main.height) / (area.width * area.height);
        assert.ok(part > 0.45, `${what}: the large one has ${part}`);
        shown += strip.length;
      }
      assert.equal(shown, count, what);
    }
    inside(floating(area), area, "one's own picture");
  }
});

const people = (count: number): StageMember[] =>
  Array.from({ length: count }, (_, index) => ({ id: `p${index}`, kind: "person", isSelf: index === 0 }));
const screen = (id: string): StageMember => ({ id, kind: "screen", isSelf: false });

function plan(change: Partial<StageInput>): ReturnType<typeof planStage> {
  const input: StageInput = {
    members: people(4),
    mode: "grid",
    pinned: undefined,
    activeSpeaker: undefined,
    area: { width: 1256, height: 570 },
    page: 0,
    isCompact: false,
    ...change,
  };
  const made = planStage(input);
  for (const box of made.placements.values()) inside(box, input.area, "a placement");
  const boxes = [...made.placements.values()].filter(({ role }) => role !== "float");
  apart(boxes, "placements");
  return made;
}

test("the large one: chosen by hand, else the newest screen, else by layout the speaker", () => {
  const roles = (made: ReturnType<typeof planStage>): string => [...made.placements].map(([id, { role }]) => `${id}:${role}`).join(" ");
  assert.equal(roles(plan({})), "p0:grid p1:grid p2:grid p3:grid");
  assert.equal(plan({ mode: "speaker" }).main, "p1", "before anybody spoke, somebody else");
  assert.equal(plan({ mode: "speaker", activeSpeaker: "p3" }).main, "p3");
  assert.equal(plan({ mode: "speaker", activeSpeaker: "gone" }).main, "p1");
  assert.equal(plan({ members: [screen("s2"), screen("s1"), ...people(3)] }).main, "s2");
  assert.equal(plan({ members: [screen("s2"), screen("s1"), ...people(3)], pinned: "s1" }).main, "s1");
  assert.equal(
    plan({ members: [screen("s2"), screen("s1"), ...people(3)], pinned: "p2", mode: "speaker", activeSpeaker: "p1" }).main,
    "p2",
  );
  assert.equal(roles(plan({ members: [...people(2), screen("s2"), screen("s1")], pinned: "p1" })), "p1:main s2:strip s1:strip p0:strip");
  assert.equal(roles(plan({ members: people(1), mode: "speaker" })), "p0:grid", "alone there is nothing to choose");
});

test("two on a telephone: the other one fills it, oneself floats above; with a third one a grid", () => {
  const phone = { area: { width: 374, height: 640 }, isCompact: true };
  const two = plan({ ...phone, members: people(2) });
  assert.deepEqual(
    [...two.placements.values()].map(({ role }) => role),
    ["main", "float"],
  );
  assert.deepEqual({ ...two.placements.get("p1") }, { x: 0, y: 0, ...phone.area, role: "main" });
  assert.equal(plan({ ...phone, members: people(3) }).placements.get("p0")?.role, "grid");
  assert.equal(plan({ members: people(2) }).placements.get("p0")?.role, "grid", "with room for both nobody floats");
});

test("everybody is on exactly one page, and a page that is gone is the last one", () => {
  const area = { width: 374, height: 640 };
  const members = people(49);
  const { pages } = plan({ members, area });
  const seen = Array.from({ length: pages }, (_, page) => [...plan({ members, area, page }).placements.keys()]).flat();
  assert.deepEqual(
    seen,
    members.map(({ id }) => id),
  );
  assert.equal(plan({ members, area, page: 99 }).page, pages - 1);
  assert.equal(plan({ members: people(3), area, page: 5 }).page, 0);
});

test("wide pictures are cut at their sides, upright ones are shown whole rather than beheaded", () => {
  const wide = { width: 1280, height: 720 };
  const upright = { width: 720, height: 1280 };
  assert.equal(fit(wide, { width: 400, height: 300 }), "cover");
  assert.equal(fit(wide, { width: 374, height: 640 }), "cover");
  assert.equal(fit(wide, { width: 100, height: 640 }), "contain");
  assert.equal(fit(upright, { width: 400, height: 300 }), "contain");
  assert.equal(fit(upright, { width: 300, height: 400 }), "cover");
  assert.equal(fit({ width: 0, height: 0 }, wide), "cover");
});
