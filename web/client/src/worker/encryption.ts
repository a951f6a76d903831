// End-to-end encryption of one stay: a cipher for each media stream id, chat, and what to do about what cannot be opened. In: the meeting's
// secret. Out: ciphers for writers and readers, envelopes, and the rule by which a stay is encrypted or refused. No key leaves it.

import type { RecordCipher } from "../cipher.ts";
import { DarkTowerError } from "../error.ts";
import { type EncryptionInfo, LABELS, MeetingSecret } from "../secret.ts";
import { openChat, sealChat } from "../sealed-chat.ts";
import { SFRAME_TAG_BYTES, sframeHeaderBytes, SFrameError, SFrameKey } from "../sframe.ts";
import type { ChatMessage } from "../types.ts";
import { uuidToBytes } from "../uuid.ts";

const SUITE = "AES_256_GCM_SHA512_128";
const KID = 0n;
const BASE_KEY_BYTES = 32;
/** Ids whose keys are kept: more than anybody watches; beyond, those met longest ago are derived anew. */
const OPENERS_MAX = 1024;
/**
 * How far behind the newest record of its id a record may come: a cached group that is delivered again after a change of subscription, and
 * nothing from long ago. Half a minute of records at 60 frames a second in two pieces each.
 */
const BEHIND_MAX = 4096n;
/** Chat messages whose repetition is noticed. */
const CHAT_SEEN_MAX = 8192;
/** Between two events about one media stream. */
const TELL_INTERVAL_MS = 1000;

/** What a controller says of a meeting's encryption in its `JoinResponse`. */
export interface EncryptionTerms {
  /** Whoever created the meeting asked for it. */
  wantsEncryption: boolean;
  /** Of the secret that the meeting goes by; empty: the controller knows none. */
  keyId: string;
}

/**
 * Whether to stay: `undefined`, or why not. Fails closed: with a secret in hand nothing is ever sent in the clear, and a meeting that asks for
 * encryption is not entered without.
 */
export function refusalOf(terms: EncryptionTerms, mine: EncryptionInfo | undefined): DarkTowerError | undefined {
  if (mine === undefined) {
    return terms.wantsEncryption
      ? new DarkTowerError("SECRET_MISSING", "the meeting is encrypted end to end, and the link has no key")
      : undefined;
  }
  if (!terms.wantsEncryption) {
    return new DarkTowerError("NOT_ENCRYPTED", "the link has a key, but the controller says that the meeting is not encrypted");
  }
  if (terms.keyId !== "" && terms.keyId !== mine.keyId) {
    return new DarkTowerError("WRONG_SECRET", "the key in the link is not the one of this meeting");
  }
  return undefined;
}

/** Media keys of both directions and chat, under one secret. */
export class Encryption {
  readonly info: EncryptionInfo;
  private readonly secret: MeetingSecret;
  private readonly sealers = new Map<string, Sealer>();
  private readonly openers = new Map<string, Opener>();
  private readonly chatSeen = new Set<string>();

  private constructor(secret: MeetingSecret, info: EncryptionInfo) {
    this.secret = secret;
    this.info = info;
  }

  /** Takes the secret over, and wipes `secret`. */
  static async of(secret: Uint8Array, meetingId: string): Promise<Encryption> {
    const meetingSecret = await MeetingSecret.of(secret, meetingId);
    secret.fill(0);
    return new Encryption(meetingSecret, await meetingSecret.info());
  }

  /** To publish under this id. One for each id, for the whole stay: it is what keeps a sequence from being sealed twice. */
  sealer(streamId: string): RecordCipher {
    let sealer = this.sealers.get(streamId);
    if (sealer === undefined) {
      sealer = new Sealer(this.mediaKey(streamId, "seal"));
      this.sealers.set(streamId, sealer);
    }
    return sealer;
  }

  /** To read records of this id. */
  opener(streamId: string): Opener {
    let opener = this.openers.get(streamId);
    if (opener === undefined) {
      const [oldest] = this.openers.keys();
      if (oldest !== undefined && this.openers.size >= OPENERS_MAX) this.openers.delete(oldest);
      opener = new Opener(this.mediaKey(streamId, "open"));
      this.openers.set(streamId, opener);
    }
    return opener;
  }

  sealChat(senderId: string, clientMessageId: string, words: string): Promise<string> {
    return sealChat(this.secret, senderId, clientMessageId, words);
  }

  /** The message in words; without words and marked when it cannot be opened, or says again what was said. */
  async openChat(message: ChatMessage): Promise<ChatMessage> {
    const { senderId, clientMessageId, content } = message;
    try {
      const words = await openChat(this.secret, senderId, clientMessageId, content);
      if (this.isRepeated(message)) throw new SFrameError("said before");
      return { ...message, content: words };
    } catch {
      return { ...message, content: "", isUndecryptable: true };
    }
  }

  /** The controller numbers messages; the same one under another number is a replay. */
  private isRepeated({ senderId, clientMessageId, sequence }: ChatMessage): boolean {
    const id = `${senderId} ${clientMessageId}`;
    const here = `${id} ${sequence}`;
    if (this.chatSeen.has(here)) return false;
    if (this.chatSeen.has(id)) return true;
    for (const added of [id, here]) {
      this.chatSeen.add(added);
      const [oldest] = this.chatSeen;
      if (oldest !== undefined && this.chatSeen.size > 2 * CHAT_SEEN_MAX) this.chatSeen.delete(oldest);
    }
    return false;
  }

  private async mediaKey(streamId: string, use: "seal" | "open"): Promise<SFrameKey> {
    const baseKey = await this.secret.derive(LABELS.media, uuidToBytes(streamId), BASE_KEY_BYTES);
    const key = await SFrameKey.derive(SUITE, KID, baseKey, use);
    baseKey.fill(0);
    return key;
  }
}

function overheadBytes(sequence: bigint): number {
  return sframeHeaderBytes(KID, sequence) + SFRAME_TAG_BYTES;
}

class Sealer implements RecordCipher {
  private readonly key: Promise<SFrameKey>;
  /** The least sequence that may still be sealed. */
  private next = 0n;

  constructor(key: Promise<SFrameKey>) {
    this.key = key;
    key.catch(() => undefined);
  }

  overheadBytes(sequence: bigint): number {
    return overheadBytes(sequence);
  }

  async seal(header: Uint8Array, sequence: bigint, payload: Uint8Array): Promise<Uint8Array> {
    if (sequence < this.next) throw new DarkTowerError("INTERNAL_ERROR", `sequence ${sequence} was sealed before`);
    this.next = sequence + 1n;
    return (await this.key).seal(sequence, header, payload);
  }

  open(): Promise<Uint8Array> {
    // RFC 9605, section 4.4.1: a key seals or opens, never both.
    return Promise.reject(new SFrameError("this cipher seals"));
  }
}

/** Opens records of one id, and keeps account of those that it could not. */
export class Opener implements RecordCipher {
  /** Records that could not be opened. */
  failures = 0;
  private readonly key: Promise<SFrameKey>;
  /** The greatest sequence that was opened. */
  private newest: bigint | undefined;
  private failedBefore = false;
  private toldAtMs = -Infinity;

  constructor(key: Promise<SFrameKey>) {
    this.key = key;
    key.catch(() => undefined);
  }

  overheadBytes(sequence: bigint): number {
    return overheadBytes(sequence);
  }

  seal(): Promise<Uint8Array> {
    return Promise.reject(new SFrameError("this cipher opens"));
  }

  async open(header: Uint8Array, sequence: bigint, payload: Uint8Array): Promise<Uint8Array> {
    if (this.newest !== undefined && sequence + BEHIND_MAX < this.newest) throw new SFrameError("from long ago");
    const plain = await (await this.key).open(sequence, header, payload);
    if (this.newest === undefined || sequence > this.newest) this.newest = sequence;
    this.failedBefore = false;
    return plain;
  }

  /**
   * A record could not be opened: what follows from it. A key frame helps only where records could be opened before; who has another secret
   * would ask for ever.
   */
  failed(nowMs: number): { tell: boolean; wantsKeyFrame: boolean } {
    this.failures += 1;
    const wantsKeyFrame = this.newest !== undefined && !this.failedBefore;
    this.failedBefore = true;
    const tell = nowMs - this.toldAtMs >= TELL_INTERVAL_MS;
    if (tell) this.toldAtMs = nowMs;
    return { tell, wantsKeyFrame };
  }
}
