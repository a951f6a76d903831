// The numbers with which sessions and streams end: `ErrorCode` of signaling.proto, one list for signaling and media.

/** Why a session is closed, a stream reset or a request refused. The numbers are the contract's; 0 is a normal end. */
export const CODES = [
  "NORMAL",
  "INVALID_REQUEST",
  "UNAUTHORIZED",
  "FORBIDDEN",
  "NOT_FOUND",
  "CONFLICT",
  "INTERNAL_ERROR",
  "CAPACITY_EXCEEDED",
  "STREAM_ERROR",
  "RATE_LIMITED",
  "EXPIRED",
  "UNAVAILABLE",
  "MOVED",
] as const;

/** One of the contract's codes. */
export type Code = (typeof CODES)[number];

/** A normal end of a WebSocket (RFC 6455, section 7.4.1). */
const WEBSOCKET_NORMAL = 1000;
/** Codes on a WebSocket stand at 4000 + number (RFC 6455, section 7.4.2: private use). */
const WEBSOCKET_BASE = 4000;

/** The code with that number; `undefined` if there is none. */
export function codeFromNumber(number: number): Code | undefined {
  return CODES[number];
}

/** The number on QUIC streams and WebTransport sessions. */
export function codeNumber(code: Code): number {
  return CODES.indexOf(code);
}

/** The code behind a WebSocket's close code; `undefined` when the socket just broke (1006 and its like). */
export function codeFromWebSocket(closeCode: number): Code | undefined {
  if (closeCode === WEBSOCKET_NORMAL) return "NORMAL";
  return codeFromNumber(closeCode - WEBSOCKET_BASE);
}

/** Whether to try again, with backoff, after being refused with this code (DESIGN section 4). */
export function worthRetrying(code: Code): boolean {
  return code === "INTERNAL_ERROR" || code === "CAPACITY_EXCEEDED" || code === "RATE_LIMITED" || code === "UNAVAILABLE";
}
