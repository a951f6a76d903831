// The one error type of this package. Its `code` is what a program decides by; its message is for a log.

import type { Code } from "./code.ts";

/** Codes of signaling and media, the API's own, and what only a client can notice. */
export type ErrorCode =
  | Code
  | "MEETING_NOT_FOUND"
  | "MEETING_ENDED"
  | "UNSUPPORTED_BROWSER"
  | "UNSUPPORTED_CODEC"
  | "CONNECTION_FAILED"
  | "CONNECTION_LOST"
  | "TIMED_OUT"
  | "ENDED"
  /** The secret in hand is none, or not the meeting's. */
  | "WRONG_SECRET"
  /** The meeting is encrypted end to end, and no secret is in hand. */
  | "SECRET_MISSING"
  /** A secret is in hand, but the controller says that the meeting is not encrypted: nothing is sent. */
  | "NOT_ENCRYPTED";

/** Shape of an error on its way between worker and page, where classes are lost. */
export interface ErrorData {
  /** What a program decides by. */
  code: ErrorCode;
  /** For a log. */
  message: string;
  /** By name: the field that is wrong, `retry_after` in seconds, `status` of HTTP. */
  details: Record<string, string>;
}

/** What every call of this package rejects with. */
export class DarkTowerError extends Error {
  /** Always the same: to tell it from other errors in a log. */
  override readonly name = "DarkTowerError";
  /** What a program decides by. */
  readonly code: ErrorCode;
  /** By name: the field that is wrong, `retry_after` in seconds, `status` of HTTP. */
  readonly details: Record<string, string>;

  constructor(code: ErrorCode, message: string, details: Record<string, string> = {}) {
    super(message);
    this.code = code;
    this.details = details;
  }

  /** Whatever was thrown, as one of ours. */
  static from(thrown: unknown, fallback: ErrorCode = "INTERNAL_ERROR"): DarkTowerError {
    if (thrown instanceof DarkTowerError) return thrown;
    return new DarkTowerError(fallback, thrown instanceof Error ? thrown.message : String(thrown));
  }

  /** Of plain data, which passes between workers and pages. */
  static fromData(data: ErrorData): DarkTowerError {
    return new DarkTowerError(data.code, data.message, data.details);
  }

  /** As plain data. */
  toData(): ErrorData {
    return { code: this.code, message: this.message, details: this.details };
  }
}
