// The secret of an encrypted meeting: how it is made, carried in a link, and what is derived from it for people and servers to compare
// (docs/end-to-end-encryption.md). It travels behind the `#` of a URL, which browsers never send. Never logs, never stores.

import { fromBase64Url, toBase64Url } from "./base64url.ts";
import { DarkTowerError } from "./error.ts";
import { own } from "./sframe.ts";
import { uuidToBytes } from "./uuid.ts";

/** Length of a meeting's secret, in bytes. */
export const SECRET_BYTES = 32;
/** Name of the secret in the fragment: `#k=…`. */
const FRAGMENT_KEY = "k";

/** What derivations are told apart by; each is followed by what it is for. */
export const LABELS = {
  media: "dark-tower e2ee 1 media",
  chat: "dark-tower e2ee 1 chat",
  keyId: "dark-tower e2ee 1 key id",
  comparisonCode: "dark-tower e2ee 1 comparison code",
} as const;

const KEY_ID_BYTES = 16;
/** As many digits as two people read to each other without losing patience. */
const CODE_DIGITS = 12;
const CODE_GROUP_DIGITS = 4;
const CODE_BYTES = 8;

/** What people and servers may see of a meeting's secret. */
export interface EncryptionInfo {
  /** Equal for everybody who holds the secret; the controller compares it. Hexadecimal. */
  readonly keyId: string;
  /** Twelve digits in groups of four, for people to read to each other: equal codes, equal secrets. */
  readonly comparisonCode: string;
}

/** A fresh secret, from the machine's source of randomness. */
export function createSecret(): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(SECRET_BYTES));
}

/**
 * The secret in a link's fragment (`#k=…`); `undefined` when there is none. Throws `WRONG_SECRET` when what stands there is none: the link was
 * cut off or changed on its way.
 */
export function secretFromUrl(url: string | URL): Uint8Array | undefined {
  const { hash } = typeof url === "string" ? new URL(url, "https://relative.invalid/") : url;
  const prefix = `${FRAGMENT_KEY}=`;
  const field = hash
    .slice(1)
    .split("&")
    .find((it) => it.startsWith(prefix));
  if (field === undefined) return undefined;
  const secret = fromBase64Url(field.slice(prefix.length));
  if (secret?.length !== SECRET_BYTES) throw new DarkTowerError("WRONG_SECRET", "the key in the link is incomplete or was changed");
  return secret;
}

/** `url` with the secret in its fragment, in place of one that was there. */
export function urlWithSecret(url: string | URL, secret: Uint8Array): string {
  checkSecret(secret);
  const out = new URL(url);
  out.hash = `${FRAGMENT_KEY}=${toBase64Url(secret)}`;
  return out.href;
}

/** Derives keys and codes of one meeting from its secret, which cannot be read out of it again. */
export class MeetingSecret {
  private readonly key: CryptoKey;
  private readonly salt: Uint8Array;

  private constructor(key: CryptoKey, salt: Uint8Array) {
    this.key = key;
    this.salt = salt;
  }

  /** `meetingId`: the UUID, not the short code. The caller's `secret` stays its own, and may be wiped afterwards. */
  static async of(secret: Uint8Array, meetingId: string): Promise<MeetingSecret> {
    checkSecret(secret);
    const key = await crypto.subtle.importKey("raw", own(secret), "HKDF", false, ["deriveBits"]);
    return new MeetingSecret(key, uuidToBytes(meetingId.toLowerCase()));
  }

  /** HKDF-SHA512 of the secret, with the meeting's id as salt, and label and context as info. */
  async derive(label: string, context: Uint8Array, bytes: number): Promise<Uint8Array> {
    const text = new TextEncoder().encode(label);
    const info = new Uint8Array(text.length + context.length);
    info.set(text);
    info.set(context, text.length);
    const parameters = { name: "HKDF", hash: "SHA-512", salt: own(this.salt), info };
    return new Uint8Array(await crypto.subtle.deriveBits(parameters, this.key, 8 * bytes));
  }

  /** What may be seen of it. */
  async info(): Promise<EncryptionInfo> {
    const none = new Uint8Array(0);
    const id = await this.derive(LABELS.keyId, none, KEY_ID_BYTES);
    const code = await this.derive(LABELS.comparisonCode, none, CODE_BYTES);
    return { keyId: [...id].map((byte) => byte.toString(16).padStart(2, "0")).join(""), comparisonCode: digits(code) };
  }
}

/** Which secret it is, without a hint at what it is: what `JoinRequest.e2ee_key_id` carries. */
export async function keyId(secret: Uint8Array, meetingId: string): Promise<string> {
  return (await (await MeetingSecret.of(secret, meetingId)).info()).keyId;
}

/** For people to compare, by voice or side by side. */
export async function comparisonCode(secret: Uint8Array, meetingId: string): Promise<string> {
  return (await (await MeetingSecret.of(secret, meetingId)).info()).comparisonCode;
}

function digits(bytes: Uint8Array): string {
  const number = new DataView(bytes.buffer, bytes.byteOffset, CODE_BYTES).getBigUint64(0) % 10n ** BigInt(CODE_DIGITS);
  const text = number.toString().padStart(CODE_DIGITS, "0");
  const groups = [];
  for (let at = 0; at < CODE_DIGITS; at += CODE_GROUP_DIGITS) groups.push(text.slice(at, at + CODE_GROUP_DIGITS));
  return groups.join(" ");
}

function checkSecret(secret: Uint8Array): void {
  if (secret.length !== SECRET_BYTES) {
    throw new DarkTowerError("WRONG_SECRET", `a meeting's secret is ${SECRET_BYTES} bytes, not ${secret.length}`);
  }
}
