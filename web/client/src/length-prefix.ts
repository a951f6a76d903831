// Messages behind a 4-byte big-endian length: signaling and media control streams (DESIGN sections 4 and 5).

/** Largest message of a client. */
export const CLIENT_MESSAGE_BYTES_MAX = 64 * 1024;
/** Largest message of a server. */
export const SERVER_MESSAGE_BYTES_MAX = 4 * 1024 * 1024;
const LENGTH_BYTES = 4;

/** `message` with its length before it. Throws a `RangeError` when it is over the limit. */
export function withLength(message: Uint8Array): Uint8Array {
  if (message.length > CLIENT_MESSAGE_BYTES_MAX) {
    throw new RangeError(`a message of ${message.length} bytes is over the limit of ${CLIENT_MESSAGE_BYTES_MAX}`);
  }
  const out = new Uint8Array(LENGTH_BYTES + message.length);
  new DataView(out.buffer).setUint32(0, message.length);
  out.set(message, LENGTH_BYTES);
  return out;
}

/** Splits what a stream brings into messages; holds one part message at most. */
export class MessageReader {
  private buffer = new Uint8Array(0);

  /** Hands in what was read; returns the messages that it completes. Throws a `RangeError` on a length of 0 or over the limit. */
  push(bytes: Uint8Array): Uint8Array[] {
    const joined = new Uint8Array(this.buffer.length + bytes.length);
    joined.set(this.buffer);
    joined.set(bytes, this.buffer.length);
    const view = new DataView(joined.buffer);
    const messages: Uint8Array[] = [];
    let at = 0;
    while (joined.length - at >= LENGTH_BYTES) {
      const length = view.getUint32(at);
      if (length === 0 || length > SERVER_MESSAGE_BYTES_MAX) {
        throw new RangeError(`a message length of ${length} is not within 1 and ${SERVER_MESSAGE_BYTES_MAX}`);
      }
      if (joined.length - at < LENGTH_BYTES + length) break;
      messages.push(joined.slice(at + LENGTH_BYTES, at + LENGTH_BYTES + length));
      at += LENGTH_BYTES + length;
    }
    this.buffer = joined.slice(at);
    return messages;
  }
}
