// In which order people stand. Calm: nobody moves, but for somebody who speaks where one does not look, who changes places with whoever of
// the first page has been silent longest. Pure; never reads a clock.

export class PageOrder {
  private ids: string[] = [];
  /** When each spoke last, as a count that goes up. */
  private readonly spoke = new Map<string, number>();
  private turn = 0;
  /** Places that are nobody else's: one's own. */
  private readonly fixed = new Set<string>();

  /** `isFixed`: never gives up a place on the first page. */
  add(id: string, isFixed = false): void {
    if (this.ids.includes(id)) return;
    if (isFixed) {
      this.fixed.add(id);
      this.ids.unshift(id);
    } else {
      this.ids.push(id);
    }
  }

  remove(id: string): void {
    this.ids = this.ids.filter((other) => other !== id);
    this.spoke.delete(id);
    this.fixed.delete(id);
  }

  /** Somebody speaks, and `firstPage` people are seen without turning a page. True when somebody moved. */
  speaks(id: string, firstPage: number): boolean {
    this.turn += 1;
    this.spoke.set(id, this.turn);
    const from = this.ids.indexOf(id);
    if (from < firstPage) return false;
    let to = -1;
    for (let index = 0; index < Math.min(firstPage, this.ids.length); index += 1) {
      const candidate = this.ids[index] ?? "";
      if (this.fixed.has(candidate)) continue;
      if (to < 0 || this.lastTurn(candidate) <= this.lastTurn(this.ids[to] ?? "")) to = index;
    }
    const silent = this.ids[to];
    if (silent === undefined) return false;
    this.ids[to] = id;
    this.ids[from] = silent;
    return true;
  }

  get order(): readonly string[] {
    return this.ids;
  }

  private lastTurn(id: string): number {
    return this.spoke.get(id) ?? 0;
  }
}
