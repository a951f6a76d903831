// Decides how a stay in a meeting goes on: when to dial anew, when to come back as a new participant, when it is over. In: what happens to
// sessions and attempts, with the time. Out: what to do about it. Never dials, never reads a clock; there is at most one attempt at a time.
//
// A session breaks or falls silent: *resume*, the same participant by its resume token, beside the silent session; the first to stand wins.
// The controller's window is over, or its token is refused: *rejoin*, a new participant by a new ticket, if there is a source of tickets.

import { backoffMs } from "./backoff.ts";
import type { Code } from "./code.ts";
import type { ErrorCode, ErrorData } from "./error.ts";
import type { EndReason } from "./types.ts";

/** The window is five seconds from when the controller notices, which takes it three; later only a new join helps. */
export const RESUME_FOR_MS = 12_000;
/** After so long without a meeting people have gone elsewhere. */
export const REJOIN_FOR_MS = 120_000;
/** Between two attempts to resume: beyond this a person thinks that nothing happens any more. */
const RESUME_WAIT_MAX_MS = 2000;
/** Between two attempts to rejoin: the API allows a hundred requests a minute to all who share an address. */
const REJOIN_WAIT_MAX_MS = 5000;
/** A fresh token is refused because the meeting is just moving, now and then; not three times. */
const REFUSALS_MAX = 3;
/** Ten seconds and more of trying to follow an order, while the session in use stands. */
const ORDER_ATTEMPTS_MAX = 10;
/** What a server may ask us to wait at most. */
const RETRY_AFTER_MAX_MS = 30_000;

/** As the same participant, or as a new one. */
export type Way = "resume" | "rejoin";

export type StayInput =
  /** Nothing was heard on the session in use for too long; something was heard again. */
  | { type: "silent" }
  | { type: "spoke" }
  /** The session in use is over; without a code it broke. */
  | { type: "closed"; code: Code | undefined }
  /** The controller asks to go elsewhere; the session in use stands until then. */
  | { type: "ordered" }
  /** The attempt has a way to a controller, and has said nothing on it yet. */
  | { type: "dialled"; attempt: number }
  /** Its join was answered: this is the session in use from now on. */
  | { type: "stood"; attempt: number }
  | { type: "failed"; attempt: number; error: ErrorData }
  /** The machine has a network again. */
  | { type: "online" }
  /** The participant says goodbye: however the session ends now, it was its own wish. */
  | { type: "leaving" }
  /** The deadline has come. */
  | { type: "tick" };

export type StayOutput =
  /** Get a ticket if the way is to rejoin, and dial. */
  | { type: "dial"; attempt: number; way: Way }
  /** Say on the way that was found who comes back. */
  | { type: "join"; attempt: number; way: Way }
  /** Nobody needs it any more. */
  | { type: "drop"; attempt: number }
  | { type: "state"; state: "connected" | "reconnecting" }
  | { type: "end"; reason: EndReason; error: ErrorData | undefined };

/** Refusals of a resume token that will not get better: the place is gone. */
const PLACE_IS_GONE: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["UNAUTHORIZED", "NOT_FOUND", "INVALID_REQUEST"]);
/** What may be over soon, however often a new ticket or join is refused for it. */
const PASSING: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "INTERNAL_ERROR",
  "CAPACITY_EXCEEDED",
  "STREAM_ERROR",
  "RATE_LIMITED",
  "EXPIRED",
  "UNAVAILABLE",
  "MOVED",
  "NORMAL",
  "CONNECTION_FAILED",
  "CONNECTION_LOST",
  "TIMED_OUT",
]);
/** Refusals of a new ticket that are worth another one. */
const WORTH_ANOTHER_TICKET: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["UNAUTHORIZED", "NOT_FOUND", "CONFLICT"]);

interface Attempt {
  number: number;
  way: Way;
  /** The join is said: what it does at the controller cannot be taken back. */
  joining: boolean;
}

/** What a server asked to wait, in milliseconds; 0: nothing. */
function askedToWaitMs({ details }: ErrorData): number {
  const seconds = Number(details.retry_after ?? details.retry_after_s ?? 0);
  return Number.isFinite(seconds) ? Math.min(Math.max(0, seconds * 1000), RETRY_AFTER_MAX_MS) : 0;
}

export class Stay {
  private readonly canRejoin: boolean;
  private readonly random: () => number;
  private session: "alive" | "silent" | "gone" = "alive";
  private attempt: Attempt | undefined;
  private attempts = 0;
  /** Since when there is no session that is heard. */
  private awaySinceMs: number | undefined;
  /** Attempts that failed since, or since the order. */
  private failures = 0;
  private refusals = 0;
  private nextAtMs = 0;
  private ordered = false;
  /** A join with our resume token went out since the session in use stands: "a newer session took over" is then our own. */
  private claimed = false;
  private placeIsGone = false;
  private isLeaving = false;
  private lastError: ErrorData | undefined;
  private isOver = false;
  private outputs: StayOutput[] = [];

  /** Begins with a session that stands. `random` gives numbers within 0 and 1. */
  constructor(canRejoin: boolean, random: () => number) {
    this.canRejoin = canRejoin;
    this.random = random;
  }

  /** When to hand in a tick; `undefined`: there is nothing to wait for. */
  get deadlineMs(): number | undefined {
    return this.attempt === undefined && this.isWanting && !this.isOver ? this.nextAtMs : undefined;
  }

  handle(nowMs: number, input: StayInput): StayOutput[] {
    this.outputs = [];
    if (this.isOver) {
      // Whatever still comes to stand is of no use.
      if (input.type === "dialled" || input.type === "stood") this.say({ type: "drop", attempt: input.attempt });
      return this.outputs;
    }
    switch (input.type) {
      case "silent":
        if (this.session === "alive") this.away(nowMs, "silent");
        break;
      case "spoke":
        this.spoke();
        break;
      case "closed":
        this.closed(nowMs, input.code);
        break;
      case "ordered":
        if (!this.ordered) this.begin(nowMs);
        this.ordered = true;
        break;
      case "dialled":
        this.dialled(input.attempt);
        break;
      case "stood":
        this.stood(input.attempt);
        break;
      case "failed":
        this.failed(nowMs, input.attempt, input.error);
        break;
      case "online":
        this.online(nowMs);
        break;
      case "leaving":
        this.isLeaving = true;
        break;
      case "tick":
        break;
    }
    this.go(nowMs);
    return this.outputs;
  }

  /** Nothing is decided any more. */
  close(): void {
    this.isOver = true;
  }

  private get isWanting(): boolean {
    return this.session !== "alive" || this.ordered;
  }

  private say(output: StayOutput): void {
    this.outputs.push(output);
  }

  private begin(nowMs: number): void {
    this.failures = 0;
    this.nextAtMs = nowMs;
  }

  private away(nowMs: number, session: "silent" | "gone"): void {
    this.session = session;
    if (this.awaySinceMs !== undefined) return;
    this.awaySinceMs = nowMs;
    this.refusals = 0;
    this.begin(nowMs);
    this.say({ type: "state", state: "reconnecting" });
  }

  private back(): void {
    this.session = "alive";
    this.placeIsGone = false;
    if (this.awaySinceMs === undefined) return;
    this.awaySinceMs = undefined;
    this.say({ type: "state", state: "connected" });
  }

  private spoke(): void {
    if (this.session !== "silent") return;
    this.back();
    if (!this.ordered) this.dropDialling();
  }

  /** A join that is said runs to its end: dropping it would leave a session at the controller that nobody holds. */
  private dropDialling(): void {
    if (this.attempt === undefined || this.attempt.joining) return;
    this.say({ type: "drop", attempt: this.attempt.number });
    this.attempt = undefined;
  }

  private closed(nowMs: number, code: Code | undefined): void {
    if (this.isLeaving) this.end("left");
    else if (code === "NORMAL") this.end("meeting-ended");
    else if (code === "FORBIDDEN") this.end("kicked");
    else if (code === "MOVED" && !this.claimed) this.end("moved");
    else this.away(nowMs, "gone");
  }

  private dialled(number: number): void {
    const { attempt } = this;
    if (attempt?.number !== number) {
      this.say({ type: "drop", attempt: number });
      return;
    }
    attempt.joining = true;
    if (attempt.way === "resume") this.claimed = true;
    this.say({ type: "join", attempt: number, way: attempt.way });
  }

  private stood(number: number): void {
    if (this.attempt?.number !== number) {
      this.say({ type: "drop", attempt: number });
      return;
    }
    this.attempt = undefined;
    this.ordered = false;
    this.claimed = false;
    this.back();
  }

  private failed(nowMs: number, number: number, error: ErrorData): void {
    const { attempt } = this;
    if (attempt?.number !== number) return;
    this.attempt = undefined;
    this.failures += 1;
    const waitMs = backoffMs(this.failures, this.random(), attempt.way === "resume" ? RESUME_WAIT_MAX_MS : REJOIN_WAIT_MAX_MS);
    this.nextAtMs = nowMs + Math.max(waitMs, askedToWaitMs(error));
    if (this.awaySinceMs === undefined) {
      // An order that cannot be followed: the session in use stands meanwhile, and resuming tries the same address when it does not.
      if (this.failures >= ORDER_ATTEMPTS_MAX) this.ordered = false;
      return;
    }
    this.lastError = error;
    if (attempt.way === "resume") this.notResumed(nowMs, attempt, error);
    else this.notRejoined(nowMs, this.awaySinceMs, error);
  }

  private notResumed(nowMs: number, { joining }: Attempt, error: ErrorData): void {
    if (joining && error.code === "FORBIDDEN") {
      this.end("kicked", error);
    } else if (joining && PLACE_IS_GONE.has(error.code)) {
      this.placeIsGone = true;
      this.begin(nowMs);
    } else if (!PASSING.has(error.code) && error.code !== "FORBIDDEN" && !PLACE_IS_GONE.has(error.code)) {
      this.end("refused", error);
    }
  }

  private notRejoined(nowMs: number, sinceMs: number, error: ErrorData): void {
    if (error.code === "MEETING_ENDED") {
      this.end("meeting-ended", error);
    } else if (WORTH_ANOTHER_TICKET.has(error.code)) {
      this.refusals += 1;
      if (this.refusals >= REFUSALS_MAX) this.end("refused", error);
    } else if (!PASSING.has(error.code)) {
      this.end("refused", error);
    }
    if (!this.isOver && nowMs - sinceMs >= REJOIN_FOR_MS) this.end("connection-lost", error);
  }

  private online(nowMs: number): void {
    if (this.awaySinceMs === undefined) return;
    // What was dialled into nothing waits for its repeats; a new attempt does not.
    this.dropDialling();
    if (this.attempt === undefined) this.begin(nowMs);
  }

  private go(nowMs: number): void {
    if (this.isOver || this.attempt !== undefined || !this.isWanting) return;
    const way = this.way(nowMs);
    if (way === undefined) {
      this.end("connection-lost", this.lastError);
      return;
    }
    if (nowMs < this.nextAtMs) return;
    this.attempts += 1;
    this.attempt = { number: this.attempts, way, joining: false };
    this.say({ type: "dial", attempt: this.attempts, way });
  }

  private way(nowMs: number): Way | undefined {
    if (this.awaySinceMs === undefined) return "resume";
    if (!this.placeIsGone && nowMs - this.awaySinceMs >= RESUME_FOR_MS) {
      this.placeIsGone = true;
      this.begin(nowMs);
    }
    if (!this.placeIsGone) return "resume";
    return this.canRejoin ? "rejoin" : undefined;
  }

  private end(reason: EndReason, error?: ErrorData): void {
    if (this.isOver) return;
    if (this.attempt !== undefined) this.say({ type: "drop", attempt: this.attempt.number });
    this.attempt = undefined;
    this.isOver = true;
    this.say({ type: "end", reason, error });
  }
}
