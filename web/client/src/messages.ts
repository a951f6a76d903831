// What passes between the page and the worker. Everything is plain data or transferable.

import type { ErrorData } from "./error.ts";
import type { EncryptionInfo } from "./secret.ts";
import type {
  ChatMessage,
  JoinTicket,
  MeetingEvent,
  MeetingInfo,
  Participant,
  PublishOptions,
  StreamType,
  SubscriptionOptions,
} from "./types.ts";

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
  /** Of the meeting, if it is encrypted. Wiped by the worker once it has been taken over. */
  secret: Uint8Array | undefined;
}

/**
 * Where frames come from: a MediaStreamTrackProcessor's stream, which is made to be transferred, or the other end of `sendFrames`, which
 * for a video element is to be nudged.
 */
export type SourceArguments = { kind: "readable"; readable: ReadableStream } | { kind: "port" | "element"; port: MessagePort };

export interface PublishArguments {
  /** Names it between page and worker for as long as it lasts, whatever media stream it is at the time. */
  publicationId: string;
  type: StreamType;
  source: SourceArguments;
  /** Whether the end of the frames is the publication's; a track's is not, for another may take its place. */
  endsWithSource: boolean;
  /** Pixels; 0: not known before the first picture. */
  width: number;
  height: number;
  frameRate: number;
  channels: number;
  /** Whether pictures may stay away because nothing moves: of a screen or a canvas, not of a camera. */
  mayStandStill: boolean;
  /** Of the track: "", "motion", "detail", "text", "speech", "music" … */
  contentHint: string;
  /** The frames are encoded already, with this. */
  encodedCodec?: string;
  options: PublishOptions;
}

/** To the engine: the stay itself. With what each request takes and what it answers. */
export interface StayRequests {
  join: {
    takes: JoinArguments;
    gives: {
      me: Participant;
      info: MeetingInfo;
      participants: Participant[];
      chat: ChatMessage[];
      encryption: EncryptionInfo | undefined;
    };
  };
  chat: { takes: { clientMessageId: string; content: string }; gives: ChatMessage };
  state: { takes: { isMuted?: boolean; isVideoOn?: boolean }; gives: void };
  kick: { takes: { participantId: string }; gives: void };
  /** Answers a wish for a ticket. */
  ticket: { takes: { wish: number; outcome: { ticket: JoinTicket } | { error: ErrorData } }; gives: void };
  relay: { takes: { targetId: string; kind: string; payload: Uint8Array }; gives: void };
  leave: { takes: Record<string, never>; gives: void };
  /** Lets go of everything and ends the worker; not answered. */
  close: { takes: Record<string, never>; gives: void };
}

/** To what is published. */
export interface PublicationRequests {
  publish: { takes: PublishArguments; gives: { streamId: string } };
  unpublish: { takes: { publicationId: string }; gives: void };
  /** Goes on with frames of another source. */
  replaceSource: { takes: { publicationId: string; source: SourceArguments; mayStandStill: boolean }; gives: void };
  /** Another way to the pictures of the source that it has: taken when it shows some and the source still gives none. */
  relieve: { takes: { publicationId: string; source: SourceArguments }; gives: void };
}

/** Which moment of an AudioContext is heard when. */
export interface AudioClock {
  contextMs: number;
  /** Milliseconds since the epoch, by the clock of `performance`. */
  atMs: number;
}

/** Where pictures are put. */
export type OutputTarget = { kind: "canvas"; canvas: OffscreenCanvas } | { kind: "track"; writable: WritableStream<VideoFrame> };

/** To what is received. */
export interface SubscriptionRequests {
  /** Without options those of the last time stand. */
  subscribe: { takes: { streamId: string; options: SubscriptionOptions | undefined }; gives: void };
  unsubscribe: { takes: { streamId: string }; gives: void };
  /** The output shows this media stream from now on, and no other; `target` comes along the first time. */
  attach: { takes: { streamId: string; outputId: number; target: OutputTarget | undefined }; gives: void };
  /** The output shows nothing; it may be attached again. */
  detach: { takes: { outputId: number }; gives: void };
  /** The output is gone for good. */
  forget: { takes: { outputId: number }; gives: void };
  /** Nobody sees the output, or somebody does again. */
  show: { takes: { outputId: number; isVisible: boolean }; gives: void };
  /** Frames for the port: one for each "pull", until "close". */
  frames: { takes: { streamId: string; isEncoded: boolean; port: MessagePort }; gives: void };
  /** Sound of the media stream goes there, and no longer to the mix. */
  soundTo: { takes: { streamId: string; port: MessagePort }; gives: void };
  audioClock: { takes: AudioClock; gives: void };
  /** Nothing is drawn on canvases for so long. */
  holdPictures: { takes: { forMs: number }; gives: void };
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
  | { kind: "ticket-wanted"; wish: number }
  /** A track that should give pictures gives none, as far as the worker knows; said again while it lasts. Answered by `relieve`, or not. */
  | { kind: "frames-missing"; publicationId: string };
