// SFrame (RFC 9605): one sender key, with its cipher suite. In: a base key, counters, metadata, plain bytes. Out: SFrame ciphertexts, or the
// bytes back, or a refusal. Never chooses a key or a counter, and never remembers one: whoever calls sees to it that a counter is sealed once.

/** The suites of RFC 9605, section 4.5, that have a full-length tag. Those with short tags (1 to 3) save bytes that nobody here is short of. */
export const SFRAME_SUITES = {
  AES_128_GCM_SHA256_128: { id: 4, hash: "SHA-256", keyBits: 128 },
  AES_256_GCM_SHA512_128: { id: 5, hash: "SHA-512", keyBits: 256 },
} as const;
/** A suite's name in the RFC. */
export type SFrameSuite = keyof typeof SFRAME_SUITES;

/** Length of the tag of both suites, in bytes (`AEAD.Nt`). */
export const SFRAME_TAG_BYTES = 16;
const NONCE_BYTES = 12;
const TEXT = new TextEncoder();

/** An SFrame header, and where the ciphertext proper begins. */
export interface SFrameHeader {
  kid: bigint;
  ctr: bigint;
  /** Length of the header, in bytes: 1 to 17. */
  length: number;
}

/** Thrown for bytes that are no SFrame ciphertext of this key with this metadata. Says nothing more: neither does the tag. */
export class SFrameError extends Error {
  override readonly name = "SFrameError";
}

/** A view on memory that nobody shares, as Web Crypto asks for; a plain `Uint8Array` does not say so in its type. */
export function own(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes as Uint8Array<ArrayBuffer>;
}

/** Bytes of a number behind the config byte: none for 0 to 7, which stand in it (RFC 9605, section 4.3). */
function numberBytes(value: bigint): number {
  let length = 0;
  for (let rest = value < 8n ? 0n : value; rest > 0n; rest >>= 8n) length += 1;
  return length;
}

/** Length of the header for these numbers, in bytes. */
export function sframeHeaderBytes(kid: bigint, ctr: bigint): number {
  return 1 + numberBytes(kid) + numberBytes(ctr);
}

/** The header for a key id and a counter, both below 2^64. */
export function encodeSFrameHeader(kid: bigint, ctr: bigint): Uint8Array {
  const out = new Uint8Array(sframeHeaderBytes(kid, ctr));
  let at = 1;
  const field = (value: bigint): number => {
    const length = numberBytes(value);
    if (length === 0) return Number(value);
    for (let index = 0; index < length; index += 1) out[at + index] = Number((value >> BigInt(8 * (length - 1 - index))) & 0xffn);
    at += length;
    return 0x8 | (length - 1);
  };
  const high = field(kid);
  out[0] = (high << 4) | field(ctr);
  return out;
}

/** Reads the header that `bytes` begin with. Throws an `SFrameError` when it is cut off or not in its shortest form. */
export function decodeSFrameHeader(bytes: Uint8Array): SFrameHeader {
  const config = bytes[0];
  if (config === undefined) throw new SFrameError("an SFrame header is at least one byte");
  let at = 1;
  const field = (bits: number): bigint => {
    if ((bits & 0x8) === 0) return BigInt(bits);
    const length = (bits & 0x7) + 1;
    let value = 0n;
    for (const byte of bytes.subarray(at, at + length)) value = (value << 8n) | BigInt(byte);
    at += length;
    if (at > bytes.length) throw new SFrameError("the SFrame header is cut off");
    if (numberBytes(value) !== length) throw new SFrameError("a number of the SFrame header is not in its shortest form");
    return value;
  };
  const kid = field(config >> 4);
  const ctr = field(config & 0xf);
  return { kid, ctr, length: at };
}

/** The key and salt of one key id, derived from a base key (RFC 9605, section 4.4.2). */
export class SFrameKey {
  private readonly kid: bigint;
  private readonly key: CryptoKey;
  private readonly salt: Uint8Array;

  private constructor(kid: bigint, key: CryptoKey, salt: Uint8Array) {
    this.kid = kid;
    this.key = key;
    this.salt = salt;
  }

  /** Derives; the key cannot be read out again. The caller's `baseKey` stays its own, and may be wiped afterwards. */
  static async derive(suite: SFrameSuite, kid: bigint, baseKey: Uint8Array, use: "seal" | "open"): Promise<SFrameKey> {
    const { id, hash, keyBits } = SFRAME_SUITES[suite];
    const { subtle } = crypto;
    const secret = await subtle.importKey("raw", own(baseKey), "HKDF", false, ["deriveKey", "deriveBits"]);
    const hkdf = (label: string): HkdfParams => {
      const text = TEXT.encode(label);
      const info = new Uint8Array(text.length + 10);
      info.set(text);
      const view = new DataView(info.buffer, text.length);
      view.setBigUint64(0, kid);
      view.setUint16(8, id);
      return { name: "HKDF", hash, salt: new Uint8Array(0), info };
    };
    const aes = { name: "AES-GCM", length: keyBits };
    const usage: KeyUsage[] = use === "seal" ? ["encrypt"] : ["decrypt"];
    const key = await subtle.deriveKey(hkdf("SFrame 1.0 Secret key "), secret, aes, false, usage);
    const salt = new Uint8Array(await subtle.deriveBits(hkdf("SFrame 1.0 Secret salt "), secret, 8 * NONCE_BYTES));
    return new SFrameKey(kid, key, salt);
  }

  /** Seals `plain` under the counter. A counter must never be sealed twice with one key. */
  async seal(ctr: bigint, metadata: Uint8Array, plain: Uint8Array): Promise<Uint8Array> {
    const header = encodeSFrameHeader(this.kid, ctr);
    const sealed = new Uint8Array(await crypto.subtle.encrypt(this.parameters(header, ctr, metadata), this.key, own(plain)));
    const out = new Uint8Array(header.length + sealed.length);
    out.set(header);
    out.set(sealed, header.length);
    return out;
  }

  /** Opens a ciphertext that carries this counter. Rejects with an `SFrameError`. */
  async open(ctr: bigint, metadata: Uint8Array, ciphertext: Uint8Array): Promise<Uint8Array> {
    const header = decodeSFrameHeader(ciphertext);
    if (header.kid !== this.kid || header.ctr !== ctr) throw new SFrameError("another key id or counter");
    const parameters = this.parameters(ciphertext.subarray(0, header.length), ctr, metadata);
    try {
      return new Uint8Array(await crypto.subtle.decrypt(parameters, this.key, own(ciphertext.subarray(header.length))));
    } catch {
      throw new SFrameError("not sealed with this key and metadata, or changed since");
    }
  }

  private parameters(header: Uint8Array, ctr: bigint, metadata: Uint8Array): AesGcmParams {
    const iv = this.salt.slice();
    const view = new DataView(iv.buffer, NONCE_BYTES - 8);
    view.setBigUint64(0, view.getBigUint64(0) ^ ctr);
    const additionalData = new Uint8Array(header.length + metadata.length);
    additionalData.set(header);
    additionalData.set(metadata, header.length);
    return { name: "AES-GCM", iv: own(iv), additionalData, tagLength: 8 * SFRAME_TAG_BYTES };
  }
}
