// The words that an application sees. Plain data: it passes between worker and page as it is.

import type { ErrorData } from "./error.ts";
import type { Quality } from "./quality.ts";
import type { MeetingStats } from "./stats.ts";

export type StreamType = "audio" | "camera" | "screen";

/** A published source of a participant. */
export interface MediaStreamInfo {
  streamId: string;
  participantId: string;
  type: StreamType;
  codec: string;
  /** Pixels; 0 for sound or when the publisher did not say. */
  width: number;
  height: number;
  /** Ids that frames of this media stream carry: its own, or its layers'. */
  frameIds: string[];
}

export interface Participant {
  participantId: string;
  name: string;
  role: "host" | "attendee";
  isMuted: boolean;
  isVideoOn: boolean;
  /** Milliseconds since the epoch. */
  joinedAt: number;
  streams: MediaStreamInfo[];
}

/** What a meeting was created with, as its controller tells it. */
export interface MeetingInfo {
  displayName: string;
  /** Participants at a time; 0: the controller did not say. */
  maxParticipants: number;
  /** Whoever created it asked for end-to-end encryption. It says nothing about whether anything is encrypted. */
  wantsEndToEndEncryption: boolean;
  /** What is said and shown may be recorded. */
  mayBeRecorded: boolean;
}

/** Somebody who may asks this participant to turn things off. The application decides, and says what it did by its state. */
export interface MuteRequest {
  microphone: boolean;
  camera: boolean;
  /** For people, and a stranger's words: never to be put into a page as markup. May be empty. */
  reason: string;
}

export type LeaveReason = "voluntary" | "kicked" | "connection-lost" | "meeting-ended";

export interface ChatMessage {
  messageId: string;
  senderId: string;
  senderName: string;
  content: string;
  /** Milliseconds since the epoch. */
  sentAt: number;
  /** 1, 2, 3 … in the meeting. */
  sequence: number;
  clientMessageId: string;
  /** In an encrypted meeting: it could not be opened, or somebody without the secret said it. `content` is empty then. */
  isUndecryptable?: boolean;
}

/** How a stay stands: signaling broke and is being resumed, or all is well, or it is over. */
export type MeetingState = "connected" | "reconnecting" | "ended";

/** Why a meeting is over for this participant. */
export type EndReason = "left" | "kicked" | "meeting-ended" | "moved" | "connection-lost" | "refused";

/** What the API's join answers. */
export interface JoinTicket {
  meeting_id: string;
  join_token: string;
  expires_at?: string;
  meeting_controller_url: string;
  signaling_fallback_url?: string;
  media_handler_urls?: string[];
  /** Base64 SHA-256; empty under a public CA. */
  certificate_hashes?: string[];
}

/** Why a ticket is wanted: to come in, or to come back after the time for resuming has passed. */
export type TicketReason = "join" | "rejoin";

/**
 * Gets a ticket: usually `() => requestJoin(code, name)`, or a call to the application's own server. Whatever it throws is tried again
 * with growing waits when coming back, unless it is a `DarkTowerError` whose code says that it will not get better.
 */
export type TicketSource = (why: TicketReason) => Promise<JoinTicket>;

export interface MeetingEvents {
  "participant-joined": Participant;
  "participant-left": { participantId: string; reason: LeaveReason };
  "participant-updated": Participant;
  "stream-published": MediaStreamInfo;
  "stream-unpublished": MediaStreamInfo;
  /** A publication of ours could not go on; it is over. */
  "publication-failed": { streamId: string; error: ErrorData };
  /** The source of a publication of ours ended by itself (device unplugged, sharing stopped from the browser's bar); it is over. */
  "publication-ended": { streamId: string };
  /** A publication of ours goes on as another media stream, because somebody came who cannot decode the codec it had. */
  "publication-moved": { streamId: string; before: string };
  /** A receiver needs a key frame of a publication whose frames come encoded. At most twice a second each. */
  "key-frame-requested": { streamId: string };
  chat: ChatMessage;
  "mute-requested": MuteRequest;
  relay: { sourceId: string; kind: string; payload: Uint8Array };
  /** A media stream cannot be shown or heard here; it is no longer subscribed to. */
  "subscription-failed": { streamId: string; error: ErrorData };
  /** About ten a second while something is heard, the last one with level 0; streamId is one's own for the microphone. */
  "audio-level": { streamId: string; participantId: string; level: number; speaking: boolean };
  /** Pixels of the pictures that are drawn now. */
  "video-size": { streamId: string; width: number; height: number };
  /** Something of this media stream, or a chat message of this sender, could not be opened, and was dropped. At most once a second each. */
  undecryptable: { streamId: string | undefined; senderId: string | undefined };
  quality: Quality;
  /** Once a second. */
  stats: MeetingStats;
  /** Signaling broke, and is being resumed; or stands again. */
  connection: { state: "connected" | "reconnecting" };
  /** Back as a new participant, after the time for resuming had passed: everything else goes on. Needs a `TicketSource`. */
  rejoined: { participantId: string; before: string };
  ended: { reason: EndReason; error: ErrorData | undefined };
}

export type MeetingEvent = { [K in keyof MeetingEvents]: { type: K; detail: MeetingEvents[K] } }[keyof MeetingEvents];

export interface PublishOptions {
  /** Bits per second; by the size of the picture or the kind of sound if absent. */
  maxBitrate?: number;
  /** WebCodecs name of the encoder, "vp8" or "vp09…"; kept to. If absent, by what this machine encodes and those present decode. */
  codec?: string;
  /** Pictures a second at most; by the source and its content if absent. */
  frameRate?: number;
  /** What it shows or sounds like, as on a MediaStreamTrack, whose own hint counts if this is absent: text stays sharp, motion smooth. */
  contentHint?: "motion" | "detail" | "text" | "speech" | "music";
}

/** One encoded picture or packet of sound. */
export interface EncodedFrame {
  kind: "key" | "delta" | "audio";
  /** Microseconds since the epoch, by the publisher's clock. */
  timestampUs: number | bigint;
  /** VP8 and VP9: a frame; AV1: a temporal unit; H.264: Annex B with parameter sets in each key frame; Opus: a packet at 48 kHz. */
  data: Uint8Array;
  /** No other frame needs this one: the first to be left out on a slow path. */
  isDiscardable?: boolean;
}

/** What a subscriber asks of the handler; the handler goes below all of it when the path asks for that. */
export interface SubscriptionOptions {
  /** Higher first, 0 without it; sound goes before pictures whatever this says. */
  priority?: number;
  /** Bits per second; 0: no limit. */
  maxBitrate?: number;
  /** Frames older than this are dropped on the way, in milliseconds; 500 without it. */
  maxLatencyMs?: number;
  /** Id of the best layer wanted; empty: the best the path carries. */
  preferredLayer?: string;
}
