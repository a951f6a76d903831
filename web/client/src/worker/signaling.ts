// One signaling session: requests with exactly one reply each, and what comes unasked. In: a channel. Out: replies, messages,
// one end. Knows nothing of meetings.

import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";

import { codeFromNumber } from "../code.ts";
import { DarkTowerError } from "../error.ts";
import { ClientMessageSchema, type ErrorMessage, type ServerMessage, ServerMessageSchema } from "../generated/darktower/v1/signaling_pb.ts";
import type { Channel, End } from "./channel.ts";

const PROTOCOL_VERSION = 1;
/** A controller that is alive answers in a round trip and a call to a handler. */
const REQUEST_TIMEOUT_MS = 10_000;
/** Messages kept until somebody listens, which takes a turn of the event loop. */
const UNHEARD_MAX = 4096;

export type ClientBody = NonNullable<MessageInitShape<typeof ClientMessageSchema>["body"]>;
export type ServerBody = ServerMessage["body"];

interface Waiting {
  resolve: (body: ServerBody) => void;
  reject: (error: DarkTowerError) => void;
  timer: ReturnType<typeof setTimeout>;
}

export function errorFromWire(error: ErrorMessage): DarkTowerError {
  const code = codeFromNumber(error.code) ?? "INTERNAL_ERROR";
  return new DarkTowerError(code === "NORMAL" ? "INTERNAL_ERROR" : code, error.message, error.details);
}

export class SignalingSession {
  onEnd: (end: End) => void = () => undefined;
  /** When the last bytes came, by `performance.now()`. */
  heardAtMs = performance.now();
  private readonly channel: Channel;
  private readonly waiting = new Map<bigint, Waiting>();
  private nextRequestId = 1n;
  private ended: End | undefined;
  private onMessage: ((body: ServerBody) => void) | undefined;
  /** Came unasked before anybody listened: events right behind a join response, which belong to its roster. */
  private unheard: ServerBody[] = [];

  constructor(channel: Channel) {
    this.channel = channel;
    channel.onMessage = (bytes) => this.receive(bytes);
    channel.onEnd = (end) => this.finish(end);
  }

  /** From now on `onMessage` hears what no request of ours asked for, first what came until now. */
  start(onMessage: (body: ServerBody) => void): void {
    this.onMessage = onMessage;
    const unheard = this.unheard;
    this.unheard = [];
    for (const body of unheard) onMessage(body);
  }

  get kind(): Channel["kind"] {
    return this.channel.kind;
  }

  /** How it ended; `undefined` while it stands. */
  get end(): End | undefined {
    return this.ended;
  }

  get isOver(): boolean {
    return this.ended !== undefined;
  }

  /** Sends a request; resolves with its answer, rejects with the controller's refusal. */
  request(body: ClientBody, timeoutMs = REQUEST_TIMEOUT_MS): Promise<ServerBody> {
    if (this.ended !== undefined) return Promise.reject(lost(this.ended));
    const requestId = this.nextRequestId;
    this.nextRequestId += 1n;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(requestId);
        reject(new DarkTowerError("TIMED_OUT", `the controller did not answer ${body.case ?? "a request"} in time`));
      }, timeoutMs);
      this.waiting.set(requestId, { resolve, reject, timer });
      this.send(requestId, body);
    });
  }

  /** Sends what needs no reply. */
  notify(body: ClientBody): void {
    if (this.ended === undefined) this.send(0n, body);
  }

  close(reason: string): void {
    this.channel.close("NORMAL", reason);
    this.finish({ code: "NORMAL", message: reason });
  }

  private send(requestId: bigint, body: ClientBody): void {
    const message = create(ClientMessageSchema, { version: PROTOCOL_VERSION, requestId, body });
    this.channel.send(toBinary(ClientMessageSchema, message));
  }

  private receive(bytes: Uint8Array): void {
    if (this.ended !== undefined) return;
    this.heardAtMs = performance.now();
    let message: ServerMessage;
    try {
      message = fromBinary(ServerMessageSchema, bytes);
    } catch {
      this.channel.close("INVALID_REQUEST", "a message that cannot be read");
      return;
    }
    const waiting = message.requestId === 0n ? undefined : this.waiting.get(message.requestId);
    if (waiting === undefined) {
      if (this.onMessage !== undefined) this.onMessage(message.body);
      else if (this.unheard.length < UNHEARD_MAX) this.unheard.push(message.body);
      else this.channel.close("INTERNAL_ERROR", "too many messages before the session was taken up");
      return;
    }
    this.waiting.delete(message.requestId);
    clearTimeout(waiting.timer);
    if (message.body.case === "error") waiting.reject(errorFromWire(message.body.value));
    else waiting.resolve(message.body);
  }

  private finish(end: End): void {
    if (this.ended !== undefined) return;
    this.ended = end;
    for (const { reject, timer } of this.waiting.values()) {
      clearTimeout(timer);
      reject(lost(end));
    }
    this.waiting.clear();
    this.onEnd(end);
  }
}

function lost(end: End): DarkTowerError {
  if (end.code !== undefined && end.code !== "NORMAL") return new DarkTowerError(end.code, end.message || end.code);
  return new DarkTowerError("CONNECTION_LOST", end.message || "the session ended");
}
