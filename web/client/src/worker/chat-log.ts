// Chat of one stay, in its order: what comes, once each, in words; what goes, as it travels. In: messages of the controller and of the page.
// Out: chat events. Opening an envelope takes a moment, so what comes meanwhile waits for its turn.

import { chatFromWire } from "../convert.ts";
import { DarkTowerError } from "../error.ts";
import type { ChatMessage as WireChatMessage } from "../generated/darktower/v1/signaling_pb.ts";
import { NewestNumbers } from "../newest-numbers.ts";
import type { ChatMessage, MeetingEvent } from "../types.ts";
import type { Encryption } from "./encryption.ts";

/** Sequences that are known. A message is told twice within a resume's snapshot and what came just before it: a history is 100. */
export const SEQUENCES_KEPT_MAX = 8192;
/** Messages that wait to be opened. A controller of ours lets nobody say so much in the moment that this takes. */
export const OPENING_MAX = 1024;

export interface ChatLogContext {
  emit(event: MeetingEvent): void;
  /** `undefined`: the meeting is not encrypted. */
  encryption(): Encryption | undefined;
}

export class ChatLog {
  /** The greatest sequence that came; what is newer is asked for after a break. */
  newest = 0;
  private readonly context: ChatLogContext;
  private readonly seen = new NewestNumbers(SEQUENCES_KEPT_MAX);
  private opening = 0;
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

  /** A message came, as an event or as an answer: the first time it is told. Rejects when too many wait already: it is passed over. */
  heard(wire: WireChatMessage): Promise<ChatMessage> {
    if (this.opening >= OPENING_MAX) {
      return Promise.reject(new DarkTowerError("CAPACITY_EXCEEDED", `over ${OPENING_MAX} chat messages wait to be opened`));
    }
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
    this.opening += 1;
    const turn = this.last.then(work).finally(() => (this.opening -= 1));
    this.last = turn.catch(() => undefined);
    return turn;
  }

  /** False when it was seen before: the answer and the event may both tell of it, and a resume tells again. */
  private isNew({ sequence }: ChatMessage): boolean {
    if (!this.seen.isNew(sequence)) return false;
    this.newest = Math.max(this.newest, sequence);
    return true;
  }
}
