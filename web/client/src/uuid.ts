// Ids: canonical lower-case UUID text in messages, 16 bytes in frame headers.

const PATTERN = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** The 16 bytes of a UUID. Throws a `RangeError` on any other text. */
export function uuidToBytes(text: string): Uint8Array {
  if (!PATTERN.test(text)) throw new RangeError(`not a lower-case UUID: ${text.slice(0, 64)}`);
  const digits = text.replaceAll("-", "");
  return Uint8Array.from({ length: 16 }, (_, index) => parseInt(digits.slice(2 * index, 2 * index + 2), 16));
}

/** The text of the 16 bytes that start at `offset`. */
export function uuidFromBytes(bytes: Uint8Array, offset = 0): string {
  const hex = (from: number, to: number): string => {
    let out = "";
    for (let index = offset + from; index < offset + to; index += 1) out += HEX[bytes[index] ?? 0] ?? "";
    return out;
  };
  return `${hex(0, 4)}-${hex(4, 6)}-${hex(6, 8)}-${hex(8, 10)}-${hex(10, 16)}`;
}
