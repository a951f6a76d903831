// Chat: what was said, oldest first, and a place to say something. In: messages, once or more often. Out: text as text, never as markup.

import type { ChatMessage } from "@dark-tower/client";
import { linkify, roomLeft, startsGroup } from "./chat-text.ts";
import { element } from "./dom.ts";
import { icon } from "./icons.ts";
import { panelFrame, type SidePanel } from "./side-panel.ts";

const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DAY_AND_TIME = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
/** Who is this near the end reads along. */
const NEAR_END_PX = 48;
/** Sending that is quicker needs no word. */
const SENDING_SHOWN_AFTER_MS = 600;
/** Lines the field grows to. */
const FIELD_PX_MAX = 132;

export interface ChatEvents {
  /** Resolves with what is stored; rejects when it is not. */
  send: (content: string) => Promise<ChatMessage>;
  isOwn: (message: ChatMessage) => boolean;
  unread: (count: number) => void;
  close: () => void;
}

interface Line {
  message: ChatMessage;
  view: HTMLElement;
  head: HTMLElement;
}

function timeOf(sentAt: number): string {
  const isToday = new Date(sentAt).toDateString() === new Date().toDateString();
  return (isToday ? TIME : DAY_AND_TIME).format(sentAt);
}

function textOf(content: string): HTMLElement {
  const text = element("span", { class: "chat-text" });
  for (const part of linkify(content)) {
    if (part.href === undefined) text.append(part.text);
    else text.append(element("a", { attributes: { href: part.href, target: "_blank", rel: "noopener noreferrer" } }, part.text));
  }
  return text;
}

export class ChatPanel implements SidePanel {
  readonly view: HTMLElement;
  private readonly events: ChatEvents;
  private readonly list = element("ol", { class: "chat-list", attributes: { "aria-live": "polite", "aria-label": "Messages" } });
  private readonly waiting = element("ol", { class: "chat-waiting", attributes: { "aria-label": "Not sent yet" } });
  private readonly empty = element(
    "p",
    { class: "chat-empty" },
    "No messages yet. What you write here is seen by everybody in the meeting, and by those who join later.",
  );
  private readonly scroller: HTMLElement;
  private readonly chip: HTMLButtonElement;
  private readonly field: HTMLTextAreaElement;
  private readonly room = element("p", { class: "chat-room", attributes: { id: "chat-room", "aria-live": "polite" } });
  private readonly sendButton: HTMLButtonElement;
  private readonly lines: Line[] = [];
  private unread = 0;
  private isOpen = false;
  /** Whether new messages are followed. */
  private isAtEnd = true;

  constructor(events: ChatEvents) {
    this.events = events;
    this.field = element("textarea", {
      testid: "chat-input",
      attributes: { rows: "1", placeholder: "Message to everyone", "aria-label": "Message to everyone", "aria-describedby": "chat-room" },
      on: { input: () => this.measure(), keydown: (event) => this.key(event) },
    });
    this.sendButton = element(
      "button",
      { class: "chat-send", testid: "chat-send", attributes: { type: "submit", "aria-label": "Send", title: "Send (Enter)" } },
      icon("send"),
    );
    this.chip = element(
      "button",
      { class: "chat-chip", testid: "chat-new", attributes: { type: "button" }, on: { click: () => this.toEnd() } },
      icon("down"),
      "New messages",
    );
    this.chip.hidden = true;
    this.scroller = element(
      "div",
      {
        class: "chat-scroll",
        attributes: { tabindex: "0", role: "region", "aria-label": "Chat history" },
        on: { scroll: () => this.scrolled() },
      },
      this.empty,
      this.list,
      this.waiting,
    );
    this.view = panelFrame(
      "Chat",
      "chat-panel",
      events.close,
      element("div", { class: "chat-body" }, this.scroller, this.chip),
      element(
        "form",
        {
          class: "chat-form",
          on: {
            submit: (event) => {
              event.preventDefault();
              this.submit();
            },
          },
        },
        this.field,
        this.sendButton,
        this.room,
      ),
    );
    this.view.classList.add("chat");
    // Whoever reads along does so when the panel opens, the field grows or the window shrinks, too.
    new ResizeObserver(() => {
      if (this.isAtEnd) this.toEnd();
    }).observe(this.scroller);
    this.measure();
  }

  /** Adds a message where its sequence belongs; once, however often it is told. `isOld`: from before one joined. */
  add(message: ChatMessage, isOld = false): void {
    const at = this.placeOf(message.sequence);
    if (at === undefined) return;
    const isOwn = this.events.isOwn(message);
    const head = element(
      "span",
      { class: "chat-head" },
      element("strong", {}, isOwn ? "You" : message.senderName),
      " ",
      element("time", { attributes: { datetime: new Date(message.sentAt).toISOString() } }, timeOf(message.sentAt)),
    );
    const attributes = isOwn ? { class: "chat-item own" } : { class: "chat-item" };
    const view = element("li", { ...attributes, testid: "chat-message" }, head, textOf(message.content));
    view.dataset.sequence = String(message.sequence);
    view.dataset.senderId = message.senderId;
    this.list.insertBefore(view, this.lines[at]?.view ?? null);
    this.lines.splice(at, 0, { message, view, head });
    for (const index of [at, at + 1]) this.showHead(index);
    this.empty.hidden = true;
    if (isOwn || this.isAtEnd) this.toEnd();
    else this.chip.hidden = false;
    if (!isOwn && !isOld && !this.isOpen) this.setUnread(this.unread + 1);
  }

  opened(isOpen: boolean): void {
    this.isOpen = isOpen;
    if (!isOpen) return;
    this.setUnread(0);
    if (this.isAtEnd) this.toEnd();
  }

  focus(): void {
    // A field that has the focus covers half of a telephone with keys.
    const isTouch = matchMedia("(pointer: coarse)").matches;
    (isTouch ? this.view.querySelector<HTMLElement>("h2") : this.field)?.focus();
  }

  /** Where a message of this sequence stands; `undefined` when it stands already. */
  private placeOf(sequence: number): number | undefined {
    let at = this.lines.length;
    while (at > 0) {
      const before = this.lines[at - 1]?.message.sequence ?? 0;
      if (before === sequence) return undefined;
      if (before < sequence) break;
      at -= 1;
    }
    return at;
  }

  private showHead(index: number): void {
    const line = this.lines[index];
    if (line !== undefined) line.head.hidden = !startsGroup(line.message, this.lines[index - 1]?.message);
  }

  private setUnread(count: number): void {
    if (count === this.unread) return;
    this.unread = count;
    this.events.unread(count);
  }

  private toEnd(): void {
    this.isAtEnd = true;
    this.chip.hidden = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  private scrolled(): void {
    // While hidden there is nothing to scroll.
    if (this.scroller.clientHeight === 0) return;
    this.isAtEnd = this.scroller.scrollHeight - this.scroller.scrollTop - this.scroller.clientHeight < NEAR_END_PX;
    if (this.isAtEnd) this.chip.hidden = true;
  }

  private key(event: KeyboardEvent): void {
    // Enter that ends a composition chooses a character.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.submit();
  }

  /** The field is as high as its text; the limit is told before it is met. */
  private measure(): void {
    const { words, isTooLong } = roomLeft(this.field.value);
    if (this.room.textContent !== words) this.room.textContent = words;
    this.room.classList.toggle("too-long", isTooLong);
    this.sendButton.disabled = isTooLong || this.field.value.trim() === "";
    this.field.style.height = "auto";
    this.field.style.height = `${Math.min(FIELD_PX_MAX, this.field.scrollHeight + 2)}px`;
  }

  private submit(): void {
    const content = this.field.value.trim();
    if (content === "" || roomLeft(content).isTooLong) return;
    this.field.value = "";
    this.measure();
    void this.deliver(content, this.wait(content));
  }

  /** A line of its own until the meeting has it. */
  private wait(content: string): HTMLElement {
    const state = element("span", { class: "chat-state", attributes: { role: "status" } });
    const view = element("li", { class: "chat-item own pending", testid: "chat-pending" }, textOf(content), state);
    view.hidden = true;
    this.waiting.append(view);
    this.empty.hidden = true;
    return view;
  }

  private async deliver(content: string, view: HTMLElement): Promise<void> {
    const state = view.querySelector(".chat-state");
    const timer = setTimeout(() => {
      view.hidden = false;
      state?.replaceChildren("Sending…");
      this.toEnd();
    }, SENDING_SHOWN_AFTER_MS);
    try {
      const message = await this.events.send(content);
      view.remove();
      this.add(message);
    } catch {
      view.hidden = false;
      const again = (): void => {
        state?.replaceChildren("Sending…");
        void this.deliver(content, view);
      };
      state?.replaceChildren("Not sent. ", element("button", { attributes: { type: "button" }, on: { click: again } }, "Try again"));
      this.toEnd();
    } finally {
      clearTimeout(timer);
    }
  }
}
