// Keeps a session with a controller standing: does what `stay.ts` decides. In: the first session, orders of the controller, tickets. Out: the
// session in use, told each time it is another, and the end. Never reads what passes on it.

import { DarkTowerError } from "../error.ts";
import type { JoinResponse } from "../generated/darktower/v1/signaling_pb.ts";
import { Silence, SILENCE_CHECK_INTERVAL_MS } from "../silence.ts";
import { Stay, type StayInput, type StayOutput, type Way } from "../stay.ts";
import type { EndReason, JoinTicket } from "../types.ts";
import type { End } from "./channel.ts";
import type { Addresses } from "./dialler.ts";
import { SignalingSession } from "./signaling.ts";

/** Who comes back, or in. */
export type Credential = { joinToken: string; resumeToken: "" } | { joinToken: ""; resumeToken: string };

export interface StandingContext {
  /** A ticket for a new participant; `undefined`: there is no source of tickets. */
  ticket: (() => Promise<JoinTicket>) | undefined;
  /** Says the join on a session; resolves with its answer once it is sure that one may stay. */
  join(session: SignalingSession, credential: Credential): Promise<JoinResponse>;
  /** Another session is the one in use; `ticket` is there when it is another participant's. The one before is closed already. */
  stood(session: SignalingSession, answer: JoinResponse, ticket: JoinTicket | undefined): void;
  state(state: "connected" | "reconnecting"): void;
  end(reason: EndReason, error: DarkTowerError | undefined): void;
}

interface Attempt {
  number: number;
  ticket: JoinTicket | undefined;
  session: SignalingSession | undefined;
}

export class Standing {
  session: SignalingSession;
  private readonly context: StandingContext;
  private readonly addresses: Addresses;
  private readonly stay: Stay;
  private readonly silence = new Silence(performance.now());
  private readonly watch: ReturnType<typeof setInterval>;
  private readonly online = (): void => this.feed({ type: "online" });
  private attempt: Attempt | undefined;
  private deadline: ReturnType<typeof setTimeout> | undefined;
  private resumeToken = "";
  private isSilent = false;
  private isClosed = false;

  /** Begins with the session on which the join was answered. */
  constructor(session: SignalingSession, answer: JoinResponse, addresses: Addresses, context: StandingContext) {
    this.session = session;
    this.context = context;
    this.addresses = addresses;
    this.stay = new Stay(context.ticket !== undefined, Math.random);
    this.watch = setInterval(() => this.look(), SILENCE_CHECK_INTERVAL_MS);
    addEventListener("online", this.online);
    this.take(session, answer);
  }

  /** The controller asks to go where `addresses` say now. */
  ordered(): void {
    this.feed({ type: "ordered" });
  }

  /** Lets everything go, without a word about it. */
  close(reason: string): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.stay.close();
    clearInterval(this.watch);
    clearTimeout(this.deadline);
    removeEventListener("online", this.online);
    this.drop(this.attempt?.number);
    this.session.onEnd = () => undefined;
    this.session.close(reason);
  }

  private take(session: SignalingSession, answer: JoinResponse): void {
    this.session = session;
    this.isSilent = false;
    this.resumeToken = answer.resumeToken;
    this.addresses.alternates = answer.alternateControllerUrls;
    if (answer.mediaServer !== undefined) this.addresses.learnHashes(answer.mediaServer.certificateHashes);
    session.onEnd = (end) => this.closed(session, end);
    // It may be over before anybody listened.
    const { end } = session;
    if (end !== undefined) setTimeout(() => this.closed(session, end), 0);
  }

  /** A goodbye is about to be said on the session in use. */
  leaving(): void {
    this.feed({ type: "leaving" });
  }

  private closed(session: SignalingSession, end: End): void {
    if (session === this.session) this.feed({ type: "closed", code: end.code });
  }

  private look(): void {
    const isSilent = this.silence.check(this.session.heardAtMs, performance.now());
    if (isSilent === this.isSilent || this.session.isOver) return;
    this.isSilent = isSilent;
    this.feed({ type: isSilent ? "silent" : "spoke" });
  }

  private feed(input: StayInput): void {
    if (this.isClosed) return;
    for (const output of this.stay.handle(performance.now(), input)) this.perform(output);
    clearTimeout(this.deadline);
    const { deadlineMs } = this.stay;
    if (deadlineMs === undefined || this.isClosed) return;
    this.deadline = setTimeout(() => this.feed({ type: "tick" }), Math.max(0, deadlineMs - performance.now()));
  }

  private perform(output: StayOutput): void {
    switch (output.type) {
      case "dial":
        void this.dial(output.attempt, output.way);
        break;
      case "join":
        void this.join(output.attempt);
        break;
      case "drop":
        this.drop(output.attempt);
        break;
      case "state":
        this.context.state(output.state);
        break;
      case "end":
        this.context.end(output.reason, output.error === undefined ? undefined : DarkTowerError.fromData(output.error));
        break;
    }
  }

  private drop(number: number | undefined): void {
    if (this.attempt === undefined || this.attempt.number !== number) return;
    this.attempt.session?.close("not needed");
    this.attempt = undefined;
  }

  private async dial(number: number, way: Way): Promise<void> {
    const attempt: Attempt = { number, ticket: undefined, session: undefined };
    this.attempt = attempt;
    try {
      if (way === "rejoin") {
        attempt.ticket = await this.context.ticket?.();
        if (attempt !== this.attempt) return;
        if (attempt.ticket !== undefined) this.addresses.follow(attempt.ticket);
      }
      const session = new SignalingSession(await this.addresses.dial());
      attempt.session = session;
      if (attempt === this.attempt) this.feed({ type: "dialled", attempt: number });
      else session.close("not needed");
    } catch (thrown) {
      this.failed(number, thrown);
    }
  }

  private async join(number: number): Promise<void> {
    const { attempt } = this;
    if (attempt?.session === undefined) return;
    const { session, ticket } = attempt;
    const credential: Credential =
      ticket === undefined ? { joinToken: "", resumeToken: this.resumeToken } : { joinToken: ticket.join_token, resumeToken: "" };
    let answer: JoinResponse;
    try {
      answer = await this.context.join(session, credential);
    } catch (thrown) {
      session.close("the join was refused");
      this.failed(number, thrown);
      return;
    }
    if (attempt !== this.attempt) {
      session.close("not needed");
      return;
    }
    this.attempt = undefined;
    const before = this.session;
    this.take(session, answer);
    before.close("a newer session stands");
    // What belongs to the session is told before the state, so that whoever hears "connected" finds everybody there.
    this.context.stood(session, answer, ticket);
    this.feed({ type: "stood", attempt: number });
  }

  private failed(number: number, thrown: unknown): void {
    if (this.attempt?.number === number) this.attempt = undefined;
    this.feed({ type: "failed", attempt: number, error: DarkTowerError.from(thrown, "CONNECTION_FAILED").toData() });
  }
}
