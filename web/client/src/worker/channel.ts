// A way for signaling messages to the controller and back: WebTransport, or a WebSocket where that does not pass.
// In: a URL. Out: whole messages as bytes, and one end. Never reads a message.

import { type Code, codeFromNumber, codeFromWebSocket, codeNumber } from "../code.ts";
import { DarkTowerError } from "../error.ts";
import { MessageReader, withLength } from "../length-prefix.ts";
import { within } from "./deadline.ts";

/** A controller that is there answers within a few round trips; people wait no longer for the next way. */
const DIAL_TIMEOUT_MS = 4000;
/** The controller gives whoever knows that its session is over a quarter of a second to close it, and then tells the code: a round trip later, or two. */
const CODE_TIMEOUT_MS = 1000;
const WEBSOCKET_PROTOCOL = "darktower.v1";

/** How a channel or session ended: with a code of the other side, or without (it broke). */
export interface End {
  code: Code | undefined;
  message: string;
}

export interface Channel {
  readonly kind: "webtransport" | "websocket";
  /** Set before the first message can arrive, that is: before anything is awaited. */
  onMessage: (bytes: Uint8Array) => void;
  /** Called once. */
  onEnd: (end: End) => void;
  send(bytes: Uint8Array): void;
  close(code: Code, reason: string): void;
}

export function certificateHashes(hashes: Uint8Array[]): WebTransportHash[] {
  return hashes.map((value) => ({ algorithm: "sha-256", value: value as BufferSource }));
}

/** A WebTransport session that stands. */
export async function dialWebTransport(url: string, hashes: Uint8Array[]): Promise<WebTransport> {
  if (typeof WebTransport === "undefined") throw new DarkTowerError("UNSUPPORTED_BROWSER", "this browser has no WebTransport");
  let transport: WebTransport;
  try {
    const options: WebTransportOptions = { congestionControl: "low-latency" };
    if (hashes.length > 0) options.serverCertificateHashes = certificateHashes(hashes);
    transport = new WebTransport(url, options);
  } catch (thrown) {
    throw new DarkTowerError("CONNECTION_FAILED", `${url}: ${String(thrown)}`);
  }
  // A session that fails is told by `ready`; `closed` must not be an unhandled rejection besides.
  transport.closed.catch(() => undefined);
  try {
    await within(DIAL_TIMEOUT_MS, `dialling ${url}`, transport.ready);
  } catch (thrown) {
    transport.close();
    throw new DarkTowerError("CONNECTION_FAILED", `${url}: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
  }
  return transport;
}

/** How a WebTransport session ends, once it does. */
export async function endOf(transport: WebTransport): Promise<End> {
  try {
    const { closeCode, reason } = await transport.closed;
    return { code: codeFromNumber(closeCode ?? 0), message: reason ?? "" };
  } catch (thrown) {
    return { code: undefined, message: thrown instanceof Error ? thrown.message : String(thrown) };
  }
}

/** Opens the signaling stream of a standing session. */
export async function webTransportChannel(transport: WebTransport): Promise<Channel> {
  const stream = await transport.createBidirectionalStream();
  const writer = stream.writable.getWriter();
  let ended = false;
  const end = (how: End): void => {
    if (ended) return;
    ended = true;
    channel.onEnd(how);
  };
  const channel: Channel = {
    kind: "webtransport",
    onMessage: () => undefined,
    onEnd: () => undefined,
    send(bytes) {
      // A failed write is an end of the session, and told as that.
      writer.write(withLength(bytes)).catch(() => undefined);
    },
    close(code, reason) {
      try {
        transport.close({ closeCode: codeNumber(code), reason });
      } catch {
        // Over already.
      }
      end({ code, message: reason });
    },
  };
  void (async () => {
    const reader = stream.readable.getReader();
    const messages = new MessageReader();
    try {
      for (;;) {
        const { value, done } = (await reader.read()) as ReadableStreamReadResult<Uint8Array>;
        if (done) break;
        for (const message of messages.push(value)) if (!ended) channel.onMessage(message);
      }
    } catch (thrown) {
      if (thrown instanceof RangeError) channel.close("INVALID_REQUEST", thrown.message);
    }
    // The stream may end a moment before the session does, which knows the code.
    const how = await within(CODE_TIMEOUT_MS, "the end of the session", endOf(transport)).catch((): End => ({
      code: undefined,
      message: "the signaling stream ended",
    }));
    end(how);
    try {
      transport.close();
    } catch {
      // Over already.
    }
  })();
  void endOf(transport).then(end);
  return channel;
}

/** A WebSocket to the controller that stands. */
export async function dialWebSocket(url: string): Promise<Channel> {
  const socket = new WebSocket(url, WEBSOCKET_PROTOCOL);
  socket.binaryType = "arraybuffer";
  const opened = new Promise<void>((resolve, reject) => {
    socket.onopen = () => resolve();
    socket.onerror = () => reject(new DarkTowerError("CONNECTION_FAILED", `${url}: the WebSocket did not open`));
  });
  try {
    await within(DIAL_TIMEOUT_MS, `dialling ${url}`, opened);
  } catch (thrown) {
    socket.close();
    throw DarkTowerError.from(thrown, "CONNECTION_FAILED");
  }
  const channel: Channel = {
    kind: "websocket",
    onMessage: () => undefined,
    onEnd: () => undefined,
    send(bytes) {
      if (socket.readyState === WebSocket.OPEN) socket.send(bytes as Uint8Array<ArrayBuffer>);
    },
    close(code, reason) {
      socket.close(code === "NORMAL" ? 1000 : 4000 + codeNumber(code), reason);
    },
  };
  let ended = false;
  socket.onmessage = ({ data }) => {
    if (data instanceof ArrayBuffer) channel.onMessage(new Uint8Array(data));
  };
  socket.onclose = ({ code, reason }) => {
    if (ended) return;
    ended = true;
    channel.onEnd({ code: codeFromWebSocket(code), message: reason });
  };
  return channel;
}
