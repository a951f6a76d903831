// Chat: what was said, oldest first, and a line to say something.

import { CHAT_BYTES_MAX, type ChatMessage } from "@dark-tower/client";
import { element } from "./dom.ts";
import { icon } from "./icons.ts";

const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

export interface ChatEvents {
  send(content: string): Promise<void>;
}

export class ChatPanel {
  readonly view: HTMLElement;
  private readonly list = element("ol", { class: "chat-list", attributes: { "aria-live": "polite", "aria-label": "Messages" } });
  private readonly empty = element(
    "p",
    { class: "chat-empty" },
    "No messages yet. What you write here is seen by everybody in the meeting, and by those who join later.",
  );
  private readonly input: HTMLInputElement;
  private readonly events: ChatEvents;

  constructor(events: ChatEvents) {
    this.events = events;
    const attributes = {
      type: "text",
      placeholder: "Message to everyone",
      "aria-label": "Message to everyone",
      maxlength: String(CHAT_BYTES_MAX),
      autocomplete: "off",
    };
    this.input = element("input", { testid: "chat-input", attributes });
    const send = element(
      "button",
      { class: "chat-send", testid: "chat-send", attributes: { type: "submit", "aria-label": "Send" } },
      icon("send"),
    );
    const form = element("form", { class: "chat-form", on: { submit: (event) => void this.submit(event) } }, this.input, send);
    this.view = element(
      "aside",
      { class: "chat", attributes: { "aria-label": "Chat" } },
      element("h2", {}, "Chat"),
      this.empty,
      this.list,
      form,
    );
  }

  /** Adds a message where its sequence belongs; once, however often it is told. */
  add(message: ChatMessage, isOwn: boolean): void {
    const items = [...this.list.children] as HTMLElement[];
    if (items.some((item) => Number(item.dataset.sequence) === message.sequence)) return;
    const head = element(
      "span",
      { class: "chat-head" },
      element("strong", {}, isOwn ? "You" : message.senderName),
      " ",
      element("time", {}, TIME.format(message.sentAt)),
    );
    const item = element(
      "li",
      { class: isOwn ? "chat-item own" : "chat-item", testid: "chat-message" },
      head,
      element("span", { class: "chat-text" }, message.content),
    );
    item.dataset.sequence = String(message.sequence);
    item.dataset.senderId = message.senderId;
    const atBottom = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 40;
    this.list.insertBefore(item, items.find((other) => Number(other.dataset.sequence) > message.sequence) ?? null);
    this.empty.hidden = true;
    if (atBottom || isOwn) this.list.scrollTop = this.list.scrollHeight;
  }

  focus(): void {
    this.input.focus();
  }

  private async submit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    const content = this.input.value.trim();
    if (content === "") return;
    this.input.value = "";
    try {
      await this.events.send(content);
    } catch {
      // Told by the room; what was written is not lost.
      if (this.input.value === "") this.input.value = content;
    }
  }
}
