// Chat of one stay, in its order: what comes, once each, in words; what goes, as it travels. In: messages of the controller and of the page.
// Out: chat events. Opening an envelope takes a moment, so what comes meanwhile waits for its turn.

import { chatFromWire } from "../convert.ts";
import type { ChatMessage as WireChatMessage } from "../generated/darktower/v1/signaling_pb.ts";
import type { ChatMessage, MeetingEvent } from "../types.ts";
import type { Encryption } from "./encryption.ts";

export interface ChatLogContext {
  emit(event: MeetingEvent): void;
  /** `undefined`: the meeting is not encrypted. */
  encryption(): Encryption | undefined;
}

export class ChatLog {
  /** The greatest sequence that came; what is newer is asked for after a break. */
  newest = 0;
  private readonly context: ChatLogContext;
  private readonly seen = new Set<number>();
  private last: Promise<unknown> = Promise.resolve();
  private lastSealed: Promise<unknown> = Promise.resolve();

  constructor(context: ChatLogContext) {
    this.context = context;
  }

  /** What the answer to a join brought, in words and without an event. */
  history(wires: readonly WireChatMessage[]): Promise<ChatMessage[]> {
    const messages = wires.map(chatFromWire);
    for (const message of messages) this.isNew(message);
    return this.inTurn(() => Promise.all(messages.map((message) => this.inWords(message))));
  }

  /** A message came, as an event or as an answer: the first time it is told. */
  heard(wire: WireChatMessage): Promise<ChatMessage> {
    const message = chatFromWire(wire);
    const isNew = this.isNew(message);
    return this.inTurn(async () => {
      const plain = await this.inWords(message);
      if (isNew) this.context.emit({ type: "chat", detail: plain });
      if (isNew && plain.isUndecryptable === true) {
        this.context.emit({ type: "undecryptable", detail: { streamId: undefined, senderId: plain.senderId } });
      }
      return plain;
    });
  }

  /** What to send for these words. Sealed one after the other: what was said first is sent first, however long it takes. */
  contentOf(senderId: string, clientMessageId: string, words: string): Promise<string> {
    const encryption = this.context.encryption();
    if (encryption === undefined) return Promise.resolve(words);
    const turn = this.lastSealed.then(() => encryption.sealChat(senderId, clientMessageId, words));
    this.lastSealed = turn.catch(() => undefined);
    return turn;
  }

  private async inWords(message: ChatMessage): Promise<ChatMessage> {
    return (await this.context.encryption()?.openChat(message)) ?? message;
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.last.then(work);
    this.last = turn.catch(() => undefined);
    return turn;
  }

  /** False when it was seen before: the answer and the event may both tell of it, and a resume tells again. */
  private isNew({ sequence }: ChatMessage): boolean {
    if (this.seen.has(sequence)) return false;
    this.seen.add(sequence);
    this.newest = Math.max(this.newest, sequence);
    return true;
  }
}
