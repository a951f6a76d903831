// How well the meeting goes, for the curious: the connection, what one sends, what one receives. Drawn anew each second while it is open.

import type { Meeting, MeetingStats, Quality, StreamType } from "@dark-tower/client";
import { element } from "./dom.ts";
import { panelFrame, type SidePanel } from "./side-panel.ts";
import { connectionFacts, type Fact, publicationFacts, subscriptionFacts } from "./stats-words.ts";
import { qualityWords } from "./words.ts";

const WHAT: Record<StreamType, string> = { audio: "microphone", camera: "camera", screen: "screen" };

/** One block of facts; its lines stay, so that a reader is not thrown out each second. */
class Block {
  readonly view: HTMLElement;
  private readonly list = element("dl", { class: "facts" });
  private readonly values = new Map<string, HTMLElement>();

  constructor(title: string) {
    this.view = element("section", { class: "facts-block" }, element("h3", {}, title), this.list);
  }

  show(facts: readonly Fact[]): void {
    const names = facts.map(([name]) => name);
    if (names.join() !== [...this.values.keys()].join()) {
      this.values.clear();
      this.list.replaceChildren();
      for (const name of names) {
        const value = element("dd", {});
        this.values.set(name, value);
        this.list.append(element("dt", {}, name), value);
      }
    }
    for (const [name, text] of facts) {
      const value = this.values.get(name);
      if (value !== undefined && value.textContent !== text) value.textContent = text;
    }
  }
}

export interface ConnectionEvents {
  close: () => void;
  /** Of a participant, as the room calls them. */
  nameOf: (participantId: string) => string;
}

export class ConnectionPanel implements SidePanel {
  readonly view: HTMLElement;
  private readonly meeting: Meeting;
  private readonly events: ConnectionEvents;
  private readonly summary = element("p", { class: "facts-summary" });
  private readonly waiting = element("p", { class: "panel-note" }, "The first numbers come in a second.");
  private readonly body = element("div", {
    class: "panel-scroll",
    testid: "connection-facts",
    attributes: { tabindex: "0", role: "region", "aria-label": "Numbers" },
  });
  private readonly blocks = new Map<string, Block>();
  private isOpen = false;

  constructor(meeting: Meeting, events: ConnectionEvents) {
    this.meeting = meeting;
    this.events = events;
    this.view = panelFrame("Connection", "connection-panel", events.close, this.summary, this.body);
    this.body.append(this.waiting);
    meeting.stats.subscribe((stats) => this.show(stats));
    meeting.quality.subscribe((quality) => this.summarise(quality));
  }

  opened(isOpen: boolean): void {
    this.isOpen = isOpen;
    this.summarise(this.meeting.quality.value);
    this.show(this.meeting.stats.value);
  }

  focus(): void {
    this.view.querySelector<HTMLElement>("h2")?.focus();
  }

  private summarise(quality: Quality): void {
    this.summary.textContent = `${qualityWords(quality)}.`;
    this.summary.dataset.level = quality.level;
  }

  private show(stats: MeetingStats | undefined): void {
    if (!this.isOpen || stats === undefined) return;
    this.waiting.hidden = true;
    const wanted: [id: string, title: string, facts: Fact[]][] = [["connection", "This meeting", connectionFacts(stats)]];
    for (const own of stats.publications) wanted.push([own.streamId, `Your ${WHAT[own.type]}`, publicationFacts(own)]);
    for (const other of stats.subscriptions) {
      wanted.push([other.streamId, `${this.events.nameOf(other.participantId)}: ${WHAT[other.type]}`, subscriptionFacts(other)]);
    }
    const kept = new Set(wanted.map(([id]) => id));
    for (const [id, block] of this.blocks) {
      if (kept.has(id)) continue;
      block.view.remove();
      this.blocks.delete(id);
    }
    for (const [id, title, facts] of wanted) {
      let block = this.blocks.get(id);
      if (block === undefined) {
        block = new Block(title);
        this.blocks.set(id, block);
        this.body.append(block.view);
      }
      block.show(facts);
    }
  }
}
