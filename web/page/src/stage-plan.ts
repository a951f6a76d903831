// Who is shown where on the stage. In: who is there, what people chose, who speaks, the area. Out: a box for each that is shown.
// Whoever has no box is not shown, and so costs nothing. Never touches the page.

import { bestGrid, type Box, floating, gridBoxes, type Size, spotlight } from "./layout.ts";

export type StageMode = "grid" | "speaker";

export interface StageMember {
  id: string;
  kind: "person" | "screen";
  isSelf: boolean;
}

export interface StageInput {
  /** In the order of the page, see `PageOrder`; of screens the newest first. */
  members: readonly StageMember[];
  mode: StageMode;
  /** Chosen by hand. */
  pinned: string | undefined;
  activeSpeaker: string | undefined;
  area: Size;
  page: number;
  /** A small screen: with two people one's own picture lies over the other's. */
  isCompact: boolean;
}

export type Role = "grid" | "main" | "strip" | "float";

export interface Placement extends Box {
  role: Role;
}

export interface StagePlan {
  placements: Map<string, Placement>;
  /** The one shown large. */
  main: string | undefined;
  /** From 0. */
  page: number;
  pages: number;
  perPage: number;
}

/** What is shown large: what was chosen, else the screen shared last, else with the speaker's layout who speaks. */
export function mainOf({ members, mode, pinned, activeSpeaker }: StageInput): StageMember | undefined {
  const find = (id: string | undefined): StageMember | undefined => members.find((member) => member.id === id);
  const chosen = find(pinned) ?? members.find((member) => member.kind === "screen");
  if (chosen !== undefined || mode === "grid") return chosen;
  return find(activeSpeaker) ?? members.find((member) => !member.isSelf) ?? members[0];
}

export function planStage(input: StageInput): StagePlan {
  const { members, area } = input;
  const main = mainOf(input);
  const placements = new Map<string, Placement>();
  if (main !== undefined && members.length > 1) {
    // Other screens first: nobody shares in order to be overlooked.
    const others = members.filter((member) => member !== main).sort((a, b) => Number(b.kind === "screen") - Number(a.kind === "screen"));
    const page = Math.max(0, Math.min(input.page, spotlight(others.length, 0, area).pages - 1));
    const { main: box, strip, pages, perPage } = spotlight(others.length, page, area);
    placements.set(main.id, { ...box, role: "main" });
    for (const [index, small] of strip.entries()) {
      const member = others[page * perPage + index];
      if (member !== undefined) placements.set(member.id, { ...small, role: "strip" });
    }
    return { placements, main: main.id, page, pages, perPage };
  }
  const self = members.find((member) => member.isSelf);
  const [other] = members.filter((member) => member !== self);
  if (input.isCompact && members.length === 2 && self !== undefined && other !== undefined) {
    placements.set(other.id, { x: 0, y: 0, ...area, role: "main" });
    placements.set(self.id, { ...floating(area), role: "float" });
    return { placements, main: other.id, page: 0, pages: 1, perPage: 2 };
  }
  const grid = bestGrid(members.length, area);
  const page = Math.max(0, Math.min(input.page, grid.pages - 1));
  const shown = members.slice(page * grid.perPage, (page + 1) * grid.perPage);
  for (const [index, box] of gridBoxes(shown.length, grid, area).entries()) {
    const member = shown[index];
    if (member !== undefined) placements.set(member.id, { ...box, role: "grid" });
  }
  return { placements, main: main?.id, page, pages: grid.pages, perPage: grid.perPage };
}
