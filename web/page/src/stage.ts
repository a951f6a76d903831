// The stage: puts people and screens where the plan says, and moves them there calmly. Whoever has no place is out of the layout, so that
// the client takes no pictures for nobody.

import { ActiveSpeaker } from "./active-speaker.ts";
import { element } from "./dom.ts";
import { icon } from "./icons.ts";
import type { Size } from "./layout.ts";
import { PageOrder } from "./page-order.ts";
import { type Placement, planStage, type StageMode, type StagePlan } from "./stage-plan.ts";
import type { StageItem } from "./tile.ts";

const MOVE_MS = 220;
/** A stage narrower or lower than this is a telephone's. */
const COMPACT: Size = { width: 520, height: 320 };
const FEEL = "cubic-bezier(0.2, 0, 0, 1)";
/** How often the turn to speak is looked at. */
const SPEAKER_INTERVAL_MS = 250;

export interface StageEvents {
  /** After every change of what is chosen. */
  changed: (mode: StageMode, pinned: string | undefined) => void;
}

export class Stage {
  readonly view: HTMLElement;
  private readonly floor = element("div", { class: "stage-floor" });
  private readonly pager: { view: HTMLElement; text: HTMLElement; back: HTMLButtonElement; on: HTMLButtonElement };
  private readonly items = new Map<string, StageItem>();
  private readonly order = new PageOrder();
  private readonly speaker = new ActiveSpeaker();
  private readonly events: StageEvents;
  private readonly stillness = matchMedia("(prefers-reduced-motion: reduce)");
  private readonly timer: ReturnType<typeof setInterval>;
  private readonly observer: ResizeObserver;
  private plan: StagePlan | undefined;
  private mode: StageMode = "grid";
  private pinned: string | undefined;
  private active: string | undefined;
  private page = 0;
  private isScheduled = false;

  constructor(events: StageEvents) {
    this.events = events;
    this.pager = this.makePager();
    this.view = element("section", { class: "stage", attributes: { "aria-label": "Participants" } }, this.floor, this.pager.view);
    this.observer = new ResizeObserver(() => this.arrange(false));
    this.observer.observe(this.floor);
    this.timer = setInterval(() => this.lookWhoSpeaks(), SPEAKER_INTERVAL_MS);
  }

  /** Ends its timers. */
  dispose(): void {
    clearInterval(this.timer);
    this.observer.disconnect();
  }

  add(item: StageItem): void {
    this.items.set(item.id, item);
    this.order.add(item.id, item.isSelf || item.kind === "screen");
    this.floor.append(item.view);
    this.schedule();
  }

  remove(id: string): void {
    const item = this.items.get(id);
    if (item === undefined) return;
    this.items.delete(id);
    this.order.remove(id);
    this.speaker.forget(id);
    item.view.remove();
    if (this.pinned === id) this.choose(this.mode, undefined);
    this.schedule();
  }

  /** Somebody else is heard. */
  heard(id: string, isSpeaking: boolean): void {
    this.speaker.hear(id, isSpeaking, performance.now());
    if (!isSpeaking || this.plan === undefined || this.plan.pages < 2) return;
    if (this.order.speaks(id, this.plan.perPage)) this.schedule();
  }

  /** Shows it large until told otherwise; the same again: no more. */
  pin(id: string): void {
    this.choose(this.mode, this.pinned === id ? undefined : id);
  }

  setMode(mode: StageMode): void {
    this.choose(mode, undefined);
  }

  get currentMode(): StageMode {
    return this.mode;
  }

  private choose(mode: StageMode, pinned: string | undefined): void {
    this.mode = mode;
    this.pinned = pinned;
    this.page = 0;
    for (const item of this.items.values()) item.setPinned(item.id === pinned);
    this.events.changed(mode, pinned);
    this.schedule();
  }

  private lookWhoSpeaks(): void {
    const active = this.speaker.at(performance.now());
    if (active === this.active) return;
    this.active = active;
    if (this.mode === "speaker") this.schedule();
  }

  /** Once, however much changes at a time. */
  private schedule(): void {
    if (this.isScheduled) return;
    this.isScheduled = true;
    queueMicrotask(() => {
      this.isScheduled = false;
      this.arrange(true);
    });
  }

  private arrange(isMoving: boolean): void {
    const area: Size = { width: this.floor.clientWidth, height: this.floor.clientHeight };
    // Not in the page yet; the observer will tell.
    if (area.width === 0 || area.height === 0) return;
    const plan = planStage({
      members: this.order.order.flatMap((id) => this.items.get(id) ?? []),
      mode: this.mode,
      pinned: this.pinned,
      activeSpeaker: this.active,
      area,
      page: this.page,
      isCompact: area.width < COMPACT.width || area.height < COMPACT.height,
    });
    const before = this.plan?.placements;
    this.plan = plan;
    this.page = plan.page;
    for (const [id, item] of this.items) {
      const placement = plan.placements.get(id);
      item.place(placement);
      if (isMoving && !this.stillness.matches && placement !== undefined) move(item.view, before?.get(id), placement);
    }
    this.view.dataset.main = plan.main ?? "";
    this.showPager(plan);
  }

  private makePager(): typeof this.pager {
    const text = element("span", {});
    const turn = (by: number) => (): void => {
      this.page += by;
      this.schedule();
    };
    const button = (name: "back" | "forward", label: string, by: number): HTMLButtonElement =>
      element("button", { class: "pager-turn", attributes: { type: "button", "aria-label": label }, on: { click: turn(by) } }, icon(name));
    const back = button("back", "People before", -1);
    const on = button("forward", "More people", 1);
    const view = element("nav", { class: "pager", testid: "pager", attributes: { "aria-label": "Pages of people" } }, back, text, on);
    view.hidden = true;
    return { view, text, back, on };
  }

  private showPager({ page, pages }: StagePlan): void {
    const { view, text, back, on } = this.pager;
    view.hidden = pages < 2;
    text.textContent = `${page + 1} of ${pages}`;
    back.disabled = page === 0;
    on.disabled = page >= pages - 1;
  }
}

/** From where it stood to where it stands; what is new appears. */
function move(view: HTMLElement, from: Placement | undefined, to: Placement): void {
  if (from === undefined) {
    view.animate([{ opacity: 0, transform: "scale(0.96)" }, {}], { duration: MOVE_MS, easing: FEEL });
    return;
  }
  if (from.x === to.x && from.y === to.y && from.width === to.width && from.height === to.height) return;
  const transform = `translate(${from.x - to.x}px, ${from.y - to.y}px) scale(${from.width / to.width}, ${from.height / to.height})`;
  view.animate(
    [
      { transform, transformOrigin: "0 0" },
      { transform: "none", transformOrigin: "0 0" },
    ],
    { duration: MOVE_MS, easing: FEEL },
  );
}
