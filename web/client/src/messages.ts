// What passes between the page and the worker. Everything is plain data or transferable.

import type { ErrorData } from "./error.ts";
import type { ChatMessage, JoinTicket, MeetingEvent, MeetingInfo, Participant, PublishOptions, StreamType } from "./types.ts";

export interface JoinArguments {
  ticket: JoinTicket;
  displayName: string;
  autoSubscribe: boolean;
  /** Of the page, for `ws:` beside a page on plain `http:`; empty in any other case. */
  plainOrigin: string;
  isMuted: boolean;
  isVideoOn: boolean;
  /** Whether the page can get another ticket. */
  canRejoin: boolean;
  /** To the audio worklet; absent when the application plays no sound. */
  audioPort: MessagePort | undefined;
}

export interface PublishArguments {
  streamId: string;
  type: StreamType;
  /** Of VideoFrame or AudioData, from a MediaStreamTrackProcessor. */
  readable: ReadableStream;
  width: number;
  height: number;
  frameRate: number;
  options: PublishOptions;
}

/** To the engine: the stay itself. With what each request takes and what it answers. */
export interface StayRequests {
  join: { takes: JoinArguments; gives: { me: Participant; info: MeetingInfo; participants: Participant[]; chat: ChatMessage[] } };
  chat: { takes: { clientMessageId: string; content: string }; gives: ChatMessage };
  state: { takes: { isMuted?: boolean; isVideoOn?: boolean }; gives: void };
  kick: { takes: { participantId: string }; gives: void };
  /** Answers a wish for a ticket. */
  ticket: { takes: { wish: number; outcome: { ticket: JoinTicket } | { error: ErrorData } }; gives: void };
  relay: { takes: { targetId: string; kind: string; payload: Uint8Array }; gives: void };
  leave: { takes: Record<string, never>; gives: void };
}

/** To what is published. */
export interface PublicationRequests {
  publish: { takes: PublishArguments; gives: void };
  unpublish: { takes: { streamId: string }; gives: void };
}

/** To what is received. */
export interface SubscriptionRequests {
  subscribe: { takes: { streamId: string }; gives: void };
  unsubscribe: { takes: { streamId: string }; gives: void };
  /** Pictures of the media stream are drawn here; absent: nowhere any more. */
  attach: { takes: { streamId: string; canvas: OffscreenCanvas | undefined }; gives: void };
}

/** Every request of the page. */
export interface Requests extends StayRequests, PublicationRequests, SubscriptionRequests {}

export type RequestName = keyof Requests;

export type ToWorker = { [K in RequestName]: { id: number; name: K; value: Requests[K]["takes"] } }[RequestName];

export type ToPage =
  | { kind: "answer"; id: number; value: unknown }
  | { kind: "refusal"; id: number; error: ErrorData }
  | { kind: "event"; event: MeetingEvent }
  /** Oneself, as it is now. */
  | { kind: "me"; me: Participant }
  /** A ticket to come back with is wanted; answered by the request `ticket` with the same number. */
  | { kind: "ticket-wanted"; wish: number };
