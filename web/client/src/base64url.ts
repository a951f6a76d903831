// Bytes as text that stands in URLs: base64url without padding (RFC 4648, section 5). Strict: one text for the same bytes.

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

export function toBase64Url(bytes: Uint8Array): string {
  let out = "";
  let bits = 0;
  let held = 0;
  for (const byte of bytes) {
    held = (held << 8) | byte;
    for (bits += 8; bits >= 6; bits -= 6) out += ALPHABET.charAt((held >> (bits - 6)) & 0x3f);
    held &= (1 << bits) - 1;
  }
  return bits === 0 ? out : out + ALPHABET.charAt(held << (6 - bits));
}

/** `undefined` when the text is not what `toBase64Url` writes. */
export function fromBase64Url(text: string): Uint8Array | undefined {
  const out = new Uint8Array(Math.floor((text.length * 6) / 8));
  let at = 0;
  let bits = 0;
  let held = 0;
  for (const character of text) {
    const value = ALPHABET.indexOf(character);
    if (value < 0) return undefined;
    held = (held << 6) | value;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    out[at] = held >> bits;
    at += 1;
    held &= (1 << bits) - 1;
  }
  // Left-over bits belong to no byte: six of them are a character too many, others must be clear.
  return bits >= 6 || held !== 0 ? undefined : out;
}
