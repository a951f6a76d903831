// The words that an application sees. Plain data: it passes between worker and page as it is.

import type { ErrorData } from "./error.ts";
import type { Quality } from "./quality.ts";
import type { FrameOrigin, MeetingStats } from "./stats.ts";

/** What a media stream is: a microphone or other sound, a camera, a shared screen. Others lay it out by this. */
export type StreamType = "audio" | "camera" | "screen";

/** A published source of a participant. */
export interface MediaStreamInfo {
  /** Unique in the meeting. */
  streamId: string;
  /** Whose it is. */
  participantId: string;
  /** What it is. */
  type: StreamType;
  /** As its publisher calls it: "VP9", "VP8", "AV1", "H264", "Opus". */
  codec: string;
  /** Pixels; 0 for sound or when the publisher did not say. */
  width: number;
  /** Pixels, as `width`. */
  height: number;
  /** Ids that frames of this media stream carry: its own, or its layers'. */
  frameIds: string[];
}

/** Somebody in the meeting, or oneself. */
export interface Participant {
  /** Unique for each stay: who leaves and joins again is another participant. */
  participantId: string;
  /** A stranger's words: never to be put into a page as markup. */
  name: string;
  /** What they may do. */
  role: "host" | "attendee";
  /** What they say of their microphone. */
  isMuted: boolean;
  /** What they say of their camera. */
  isVideoOn: boolean;
  /** Milliseconds since the epoch. */
  joinedAt: number;
  /** What they publish now. */
  streams: MediaStreamInfo[];
  /** What they say they can decode: "VP9", "AV1", "H264", "VP8". Absent or empty: they did not say. */
  videoCodecs?: readonly string[];
}

/** What a meeting was created with, as its controller tells it. */
export interface MeetingInfo {
  /** Its name; may be empty. */
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
  /** To be turned off. */
  microphone: boolean;
  /** To be turned off. */
  camera: boolean;
  /** For people, and a stranger's words: never to be put into a page as markup. May be empty. */
  reason: string;
}

/** Why somebody else is gone. */
export type LeaveReason = "voluntary" | "kicked" | "connection-lost" | "meeting-ended";

/** What was said in the chat. */
export interface ChatMessage {
  /** The controller's id of it. */
  messageId: string;
  /** Of a participant, who may have left. */
  senderId: string;
  /** As it was when they said it. A stranger's words, as `content`: never to be put into a page as markup. */
  senderName: string;
  /** At most `CHAT_BYTES_MAX` bytes. */
  content: string;
  /** Milliseconds since the epoch. */
  sentAt: number;
  /** 1, 2, 3 … in the meeting. */
  sequence: number;
  /** The sender's own id of it, by which a repeat is known. */
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
  /** UUID of the meeting. */
  meeting_id: string;
  /** Good for one join, some minutes long. A secret. */
  join_token: string;
  /** RFC 3339. */
  expires_at?: string;
  /** `https://…/wt`, for WebTransport. */
  meeting_controller_url: string;
  /** `wss://…/ws`, where UDP does not pass. */
  signaling_fallback_url?: string;
  /** Likely media handlers, best first; the first is dialled while joining. */
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

/** What happens in a meeting, for `Meeting.on`: the name of each event with what its listeners get. */
export interface MeetingEvents {
  /** Somebody is here; told before their media streams. */
  "participant-joined": Participant;
  /** Somebody is gone; told after their media streams are. */
  "participant-left": {
    /** Who it was. */
    participantId: string;
    /** Why they are gone. */
    reason: LeaveReason;
  };
  /** Somebody turned something on or off. */
  "participant-updated": Participant;
  /** Somebody else publishes something more. */
  "stream-published": MediaStreamInfo;
  /** Something that was published is over. */
  "stream-unpublished": MediaStreamInfo;
  /** A publication of ours could not go on; it is over. */
  "publication-failed": {
    /** As in `Publication.streamId`. */
    streamId: string;
    /** Why. */
    error: ErrorData;
  };
  /** The source of a publication of ours ended by itself (device unplugged, sharing stopped from the browser's bar); it is over. */
  "publication-ended": {
    /** As in `Publication.streamId`. */
    streamId: string;
  };
  /** A publication of ours goes on as another media stream: somebody came who cannot decode the codec it had, or one is a new participant. */
  "publication-moved": {
    /** From now on. */
    streamId: string;
    /** Until now. */
    before: string;
  };
  /** The frames of a publication of ours are taken in another way: a track's processor gave none, or another track took its place. */
  "frame-origin-changed": {
    /** As in `Publication.streamId`. */
    streamId: string;
    /** From now on. */
    origin: FrameOrigin;
    /** Why, for a log; empty: as they always are. */
    reason: string;
  };
  /** A receiver needs a key frame of a publication whose frames come encoded. At most twice a second each. */
  "key-frame-requested": {
    /** As in `Publication.streamId`. */
    streamId: string;
  };
  /** One's own microphone hears speech while one is muted. At most every ten seconds; only while the track itself is on. */
  "speaking-while-muted": {
    /** As in `Publication.streamId`. */
    streamId: string;
  };
  /** Somebody said something, oneself included. Each message once. */
  chat: ChatMessage;
  /** One is asked to turn something off. */
  "mute-requested": MuteRequest;
  /** Another participant's application says something to this one's. */
  relay: {
    /** Who says it: the controller sees to that. */
    sourceId: string;
    /** The application's own word for what it is. */
    kind: string;
    /** 48 KiB at most; a stranger's bytes. */
    payload: Uint8Array;
  };
  /** A media stream cannot be shown or heard here; it is no longer subscribed to. */
  "subscription-failed": {
    /** Of the media stream. */
    streamId: string;
    /** Why. */
    error: ErrorData;
  };
  /** About ten a second while something is heard, the last one with level 0; streamId is one's own for the microphone. */
  "audio-level": {
    /** Of the media stream that is heard. */
    streamId: string;
    /** Whose it is. */
    participantId: string;
    /** 0 (silence) to 1 (full scale), as loud as it seems to ears. */
    level: number;
    /** Somebody speaks, as far as loudness tells. */
    speaking: boolean;
  };
  /** Pixels of the pictures that are drawn now. */
  "video-size": {
    /** Of the media stream. */
    streamId: string;
    /** Pixels. */
    width: number;
    /** Pixels. */
    height: number;
  };
  /** Something of this media stream, or a chat message of this sender, could not be opened, and was dropped. At most once a second each. */
  undecryptable: {
    /** Of the media stream; `undefined` for chat. */
    streamId: string | undefined;
    /** Who said it; `undefined` for a media stream. */
    senderId: string | undefined;
  };
  /** About once a second, and at each change. The same as `Meeting.quality`. */
  quality: Quality;
  /** Once a second. The same as `Meeting.stats`. */
  stats: MeetingStats;
  /** Signaling broke, and is being resumed; or stands again. */
  connection: {
    /** The same as `Meeting.state`. */
    state: "connected" | "reconnecting";
  };
  /** Back as a new participant, after the time for resuming had passed: everything else goes on. Needs a `TicketSource`. */
  rejoined: {
    /** One's own id from now on. */
    participantId: string;
    /** One's own id until now; what one said in the chat before bears it. */
    before: string;
  };
  /** It is over, once. Nothing comes after it. */
  ended: {
    /** Why. */
    reason: EndReason;
    /** What was refused, when that is the reason. */
    error: ErrorData | undefined;
  };
}

/** An event with its name. */
export type MeetingEvent = {
  [K in keyof MeetingEvents]: {
    /** Its name. */
    type: K;
    /** What its listeners get. */
    detail: MeetingEvents[K];
  };
}[keyof MeetingEvents];

/** How a source is encoded and shown to others. What is absent is chosen by source, machine and those present. */
export interface PublishOptions {
  /** Bits per second; by the size of the picture or the kind of sound if absent. */
  maxBitrate?: number;
  /** WebCodecs name of the encoder, "vp8" or "vp09…"; kept to. If absent, by what this machine encodes and those present decode. */
  codec?: string;
  /** Pictures a second at most; by the source and its content if absent. */
  frameRate?: number;
  /** What it shows or sounds like, as on a MediaStreamTrack, whose own hint counts if this is absent: text stays sharp, motion smooth. */
  contentHint?: "motion" | "detail" | "text" | "speech" | "music";
  /** Whether `setMuted` silences it: yes if absent. Not for the sound of a shared tab, which nobody says. */
  followsMute?: boolean;
}

/** One encoded picture or packet of sound. */
export interface EncodedFrame {
  /** A picture that needs no other, one that does, or a packet of sound. */
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
