// Chat of an encrypted meeting: the text that travels in place of what was written. In: who says it, its id, the words. Out: an envelope
// `dte1.…` that the controller stores unread, or the words again. Each message has a key of its own, by a random salt.

import { fromBase64Url, toBase64Url } from "./base64url.ts";
import { DarkTowerError } from "./error.ts";
import { LABELS, type MeetingSecret } from "./secret.ts";
import { SFRAME_TAG_BYTES, SFrameError, SFrameKey } from "./sframe.ts";
import { uuidToBytes } from "./uuid.ts";

/** What every envelope begins with: version 1 of it. */
export const ENVELOPE_PREFIX = "dte1.";
/** Longest content that a controller takes, in bytes of UTF-8 (DESIGN section 4). */
export const CONTENT_BYTES_MAX = 4096;
const SALT_BYTES = 16;
/** Of key id 0 and counter 0. */
const SFRAME_HEADER_BYTES = 1;
const OVERHEAD_BYTES = SALT_BYTES + SFRAME_HEADER_BYTES + SFRAME_TAG_BYTES;
/** Longest message of an encrypted meeting, in bytes of UTF-8: what an envelope of 4096 has room for. */
export const SEALED_CHAT_BYTES_MAX = Math.floor(((CONTENT_BYTES_MAX - ENVELOPE_PREFIX.length) * 6) / 8) - OVERHEAD_BYTES;

const BASE_KEY_BYTES = 32;

async function keyOf(secret: MeetingSecret, salt: Uint8Array, use: "seal" | "open"): Promise<SFrameKey> {
  const baseKey = await secret.derive(LABELS.chat, salt, BASE_KEY_BYTES);
  const key = await SFrameKey.derive("AES_256_GCM_SHA512_128", 0n, baseKey, use);
  baseKey.fill(0);
  return key;
}

/** What ties an envelope to its sender and message: 16 bytes of sender id, then the client's message id. */
function metadataOf(senderId: string, clientMessageId: string): Uint8Array {
  const id = new TextEncoder().encode(clientMessageId);
  const out = new Uint8Array(16 + id.length);
  out.set(uuidToBytes(senderId));
  out.set(id, 16);
  return out;
}

/** The envelope to send as content. `salt` is for tests alone. Rejects words that are too long with `INVALID_REQUEST`. */
export async function sealChat(
  secret: MeetingSecret,
  senderId: string,
  clientMessageId: string,
  words: string,
  salt: Uint8Array = crypto.getRandomValues(new Uint8Array(SALT_BYTES)),
): Promise<string> {
  const plain = new TextEncoder().encode(words);
  if (plain.length > SEALED_CHAT_BYTES_MAX) {
    const message = `a chat message of ${plain.length} bytes is over the limit of ${SEALED_CHAT_BYTES_MAX} in an encrypted meeting`;
    throw new DarkTowerError("INVALID_REQUEST", message);
  }
  const sealed = await (await keyOf(secret, salt, "seal")).seal(0n, metadataOf(senderId, clientMessageId), plain);
  const bytes = new Uint8Array(SALT_BYTES + sealed.length);
  bytes.set(salt);
  bytes.set(sealed, SALT_BYTES);
  return ENVELOPE_PREFIX + toBase64Url(bytes);
}

/** The words in an envelope. Rejects with an `SFrameError` what is none, or another sender's, another message's, another secret's. */
export async function openChat(secret: MeetingSecret, senderId: string, clientMessageId: string, content: string): Promise<string> {
  if (!content.startsWith(ENVELOPE_PREFIX) || content.length > CONTENT_BYTES_MAX) throw new SFrameError("no envelope");
  const bytes = fromBase64Url(content.slice(ENVELOPE_PREFIX.length));
  if (bytes === undefined || bytes.length < OVERHEAD_BYTES) throw new SFrameError("no envelope");
  const key = await keyOf(secret, bytes.subarray(0, SALT_BYTES), "open");
  const plain = await key.open(0n, metadataOf(senderId, clientMessageId), bytes.subarray(SALT_BYTES));
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(plain);
  } catch {
    throw new SFrameError("the words are not UTF-8");
  }
}
