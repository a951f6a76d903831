// Requests of this participant that outlive sessions: they wait while none stands, and what a break left unanswered is said again on the next
// session where that does no harm. In: requests, sessions as they come to stand. Out: answers. Bounded.

import { DarkTowerError, type ErrorCode } from "../error.ts";
import type { ServerMessage } from "../generated/darktower/v1/signaling_pb.ts";
import type { ClientBody, ServerBody, SignalingSession } from "./signaling.ts";

/** Tiles that come and go while the network is away ask most: two requests for each picture of a large page, and some more. */
const PENDING_MAX = 256;

/** What is known when another session stands. */
export interface Standpoint {
  /** The same participant as before, or a new one, of whom the controller knows nothing yet. */
  isSame: boolean;
  /** Own media streams that the controller knows of. */
  published: ReadonlySet<string>;
  /** Own chat messages that came with the snapshot, by their client message id. */
  chat: ReadonlyMap<string, ServerBody>;
}

type What = NonNullable<ClientBody["case"]>;

/**
 * What becomes of a request that was said on a session which broke before the answer: said again, or refused, because nobody knows whether
 * it was done and a second time would be heard twice. Chat is said again because the controller knows a repeat by its id.
 */
const AGAIN: Readonly<Record<What, boolean>> = {
  join: false,
  publish: true,
  unpublish: true,
  subscribe: true,
  unsubscribe: true,
  quality: true,
  chat: true,
  state: true,
  leave: false,
  ping: false,
  kick: true,
  relay: false,
  mediaServer: true,
};

/** Refusals of what is said again that mean: it was done the first time. */
const DONE_BEFORE: Partial<Record<What, ErrorCode>> = {
  publish: "CONFLICT",
  unpublish: "NOT_FOUND",
  unsubscribe: "NOT_FOUND",
  kick: "NOT_FOUND",
};

/** As if the controller had said it. */
const ACK: ServerBody = { case: "ack", value: { $typeName: "darktower.v1.Ack" } } satisfies ServerMessage["body"];

interface Pending {
  /** In the order in which they were asked. */
  number: number;
  what: What;
  make: () => ClientBody | Promise<ClientBody>;
  /** What the snapshot knows it by: of a media stream to be published or not any more, or of a chat message. */
  id: string;
  wasSaid: boolean;
  resolve: (body: ServerBody) => void;
  reject: (error: DarkTowerError) => void;
}

export class PendingRequests {
  private session: SignalingSession | undefined;
  private standpoint: Standpoint = { isSame: true, published: new Set(), chat: new Map() };
  private readonly waiting = new Set<Pending>();
  /** Ids whose publication is not answered yet. */
  private readonly publishing = new Set<string>();
  private count = 0;
  private asked = 0;
  private isOver = false;

  /** Says it now, or when a session stands. `make` is asked each time that it is said. Rejects with the refusal, or `CONNECTION_LOST`. */
  request(body: ClientBody, make: () => ClientBody | Promise<ClientBody> = () => body): Promise<ServerBody> {
    if (this.isOver) return Promise.reject(over());
    if (this.count >= PENDING_MAX) {
      return Promise.reject(new DarkTowerError("UNAVAILABLE", `over ${PENDING_MAX} requests wait for an answer already`));
    }
    const what = body.case;
    if (what === undefined) return Promise.reject(new DarkTowerError("INTERNAL_ERROR", "an empty request"));
    const id = idOf(body);
    this.count += 1;
    this.asked += 1;
    const number = this.asked;
    if (what === "publish") this.publishing.add(id);
    return new Promise<ServerBody>((resolve, reject) => {
      this.say({ number, what, make, id, wasSaid: false, resolve, reject });
    }).finally(() => {
      this.count -= 1;
      if (what === "publish") this.publishing.delete(id);
    });
  }

  /** Another session stands: what waits is said there, in its order. */
  stands(session: SignalingSession, standpoint: Standpoint): void {
    this.session = session;
    this.standpoint = standpoint;
    const waiting = [...this.waiting].sort((a, b) => a.number - b.number);
    this.waiting.clear();
    for (const pending of waiting) this.goOn(pending);
  }

  /** The session in use speaks again: what was not heard on it is said again. */
  spoke(): void {
    const waiting = [...this.waiting].sort((a, b) => a.number - b.number);
    this.waiting.clear();
    for (const pending of waiting) this.say(pending);
  }

  /** Nothing is answered any more. */
  close(): void {
    this.isOver = true;
    for (const { reject } of this.waiting) reject(over());
    this.waiting.clear();
  }

  private say(pending: Pending): void {
    const { session } = this;
    if (this.isOver) pending.reject(over());
    else if (session === undefined || session.isOver) this.waiting.add(pending);
    else void this.sayOn(session, pending);
  }

  private async sayOn(session: SignalingSession, pending: Pending): Promise<void> {
    const wasSaid = pending.wasSaid;
    let saidAtMs = Infinity;
    try {
      const body = await pending.make();
      saidAtMs = performance.now();
      if (!session.isOver) pending.wasSaid = true;
      pending.resolve(await session.request(body));
    } catch (thrown) {
      const error = DarkTowerError.from(thrown);
      // Nothing at all came since: that is the session's silence, not the controller's.
      const isUnheard = error.code === "TIMED_OUT" && session.heardAtMs < saidAtMs;
      if (session.isOver || isUnheard) this.broken(session, pending, error);
      else if (wasSaid && this.standpoint.isSame && DONE_BEFORE[pending.what] === error.code) pending.resolve(ACK);
      else pending.reject(error);
    }
  }

  private broken(session: SignalingSession, pending: Pending, error: DarkTowerError): void {
    if (this.isOver) {
      pending.reject(over());
    } else if (pending.wasSaid && !AGAIN[pending.what]) {
      pending.reject(new DarkTowerError("CONNECTION_LOST", `the connection broke before the answer: ${error.message}`));
    } else if (this.session === session) {
      this.waiting.add(pending);
    } else {
      // The next session stands already.
      this.goOn(pending);
    }
  }

  /** What the new session's snapshot answers is not said again. */
  private goOn(pending: Pending): void {
    const { what, id, wasSaid } = pending;
    const { published, chat } = this.standpoint;
    const told = chat.get(id);
    if (what === "chat" && wasSaid && told !== undefined) pending.resolve(told);
    else if (what === "publish" && wasSaid && published.has(id)) pending.resolve(ACK);
    else if (what === "unpublish" && !published.has(id) && !this.publishing.has(id)) pending.resolve(ACK);
    else this.say(pending);
  }
}

function idOf(body: ClientBody): string {
  if (body.case === "chat") return body.value.clientMessageId ?? "";
  return body.case === "publish" || body.case === "unpublish" ? (body.value.streamId ?? "") : "";
}

function over(): DarkTowerError {
  return new DarkTowerError("ENDED", "the meeting is over");
}
