// What is written in a chat, made readable: links, groups of messages, and how much room there is. Pure: text in, data out, never markup.

import { CHAT_BYTES_MAX, type ChatMessage } from "@dark-tower/client";

export interface TextPart {
  text: string;
  /** A link to this address; else plain text. */
  href?: string;
}

/** Runs of what may stand in an address. Characters that turn the direction of writing end it: they could show another address than there is. */
const CANDIDATE = /\bhttps?:\/\/[^\s<>"'`\u200e\u200f\u202a-\u202e\u2066-\u2069]+/giu;
/** At the end of an address these belong to the sentence. */
const TRAILING = /^[.,;:!?…*_~]$/u;
const CLOSING: Record<string, string> = { ")": "(", "]": "[", "}": "{", "»": "«", "”": "“" };

/** Without what belongs to the sentence around it: "(see https://example.org/a_(b))." */
function trimmed(candidate: string): string {
  const counts = new Map<string, number>();
  const count = (character: string): number => counts.get(character) ?? 0;
  for (const character of candidate) counts.set(character, count(character) + 1);
  let end = candidate.length;
  for (; end > 0; end -= 1) {
    const last = candidate.charAt(end - 1);
    const opening = CLOSING[last];
    const isUnopened = opening !== undefined && count(last) > count(opening);
    if (!isUnopened && !TRAILING.test(last)) break;
    counts.set(last, count(last) - 1);
  }
  return candidate.slice(0, end);
}

function addressOf(text: string): string | undefined {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return undefined;
  }
  const isWeb = url.protocol === "https:" || url.protocol === "http:";
  // A name before "@" is there to be mistaken for the host.
  return isWeb && url.hostname !== "" && url.username === "" && url.password === "" ? url.href : undefined;
}

/** `text` in parts, together the same text; http and https addresses carry a link, shown as they were written. */
export function linkify(text: string): TextPart[] {
  const parts: TextPart[] = [];
  let from = 0;
  const plain = (until: number): void => {
    if (until > from) parts.push({ text: text.slice(from, until) });
    from = until;
  };
  for (const match of text.matchAll(CANDIDATE)) {
    const link = trimmed(match[0]);
    const href = addressOf(link);
    if (href === undefined) continue;
    plain(match.index);
    parts.push({ text: link, href });
    from = match.index + link.length;
  }
  plain(text.length);
  return parts;
}

/** Messages of one person within this time stand under one head. */
const GROUP_MS = 5 * 60_000;

type Head = Pick<ChatMessage, "senderId" | "senderName" | "sentAt">;

/** Whether a message needs name and time above it. */
export function startsGroup(message: Head, before: Head | undefined): boolean {
  if (before === undefined) return true;
  const isSame = before.senderId === message.senderId && before.senderName === message.senderName;
  return !isSame || Math.abs(message.sentAt - before.sentAt) > GROUP_MS;
}

/** Bytes that are left when this few are worth a word; told in steps, for a screen reader would read every one. */
const FEW_LEFT = 400;
const STEP = 100;

const rounded = (bytes: number): number => Math.max(1, Math.ceil(bytes / STEP)) * STEP;

export interface Room {
  /** What to tell, empty while there is plenty of room. */
  words: string;
  isTooLong: boolean;
}

/** How much of a message's room is used. Characters are what people count; most take one byte. */
export function roomLeft(text: string): Room {
  const left = CHAT_BYTES_MAX - new TextEncoder().encode(text.trim()).length;
  if (left < 0)
    return { words: `This message is too long, by up to ${rounded(-left)} characters. Shorten it, or send it in parts.`, isTooLong: true };
  return { words: left <= FEW_LEFT ? `At most ${rounded(left)} characters left.` : "", isTooLong: false };
}
