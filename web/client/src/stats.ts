// What a meeting costs and how well it goes, in numbers: one snapshot each second. What is sent is counted from the start of the
// publication, what comes from the start of the subscription: a tile that was hidden, unsubscribed and seen again counts from zero, so
// take differences only while they do not go back. Rates are of the second that ended with the snapshot. Plain data.

import type { StreamType } from "./types.ts";

/** A meeting in figures. */
export interface MeetingStats {
  /** Milliseconds since the epoch. */
  atMs: number;
  /** How the controller is spoken to. */
  signaling: "webtransport" | "websocket";
  /** Of signaling, smoothed; `undefined` before the first answer. */
  rttMs: number | undefined;
  /** Of the media handler in use; empty while there is none. */
  handlerUrl: string;
  /** What is sent: one for each media stream of ours. */
  publications: PublicationStats[];
  /** What comes: one for each media stream that is taken. */
  subscriptions: SubscriptionStats[];
}

/**
 * Where frames of ours come from: out of a track by its `MediaStreamTrackProcessor`; out of a track by a video element that nobody sees, for the
 * processor gave none; or from the application, which has them without a track.
 */
export type FrameOrigin = "processor" | "element" | "application";

/** What keeps a publication from its full bitrate. */
export type PublicationLimiter = "none" | "uplink" | "cpu" | "paused";

/** What is sent of one media stream of ours, in figures. */
export interface PublicationStats {
  /** Of the media stream. */
  streamId: string;
  /** What it is. */
  type: StreamType;
  /** Where its frames come from. */
  origin: FrameOrigin;
  /** Why they come from there, for a log; empty: as they always do. */
  originReason: string;
  /** As others are told. */
  codec: string;
  /** Pixels; 0 for sound. */
  width: number;
  /** Pixels; 0 for sound. */
  height: number;
  /** Bits per second that the encoder aims at. */
  targetBitrate: number;
  /** Bits per second that were sent in the last second. */
  bitrate: number;
  /** Encoded a second. */
  framesPerSecond: number;
  /** By our encoder; of frames that come encoded, those that came. */
  framesEncoded: number;
  /** Handed to the transport whole. */
  framesSent: number;
  /** Left out before or after encoding, because encoder or uplink could not take them. */
  framesDropped: number;
  /** Of those sent. */
  keyFrames: number;
  /** Groups given up because the uplink was over 300 ms behind. */
  groupsAborted: number;
  /** For how long the oldest frame is unsent. */
  backlogMs: number;
  /** What keeps it from its full bitrate. */
  limiter: PublicationLimiter;
}

/** What comes of one media stream of somebody else, in figures. Counts begin anew each time that it is subscribed to. */
export interface SubscriptionStats {
  /** Of the media stream. */
  streamId: string;
  /** Whose it is. */
  participantId: string;
  /** What it is. */
  type: StreamType;
  /** As its publisher calls it. */
  codec: string;
  /** Pixels as decoded; 0 for sound. */
  width: number;
  /** Pixels as decoded; 0 for sound. */
  height: number;
  /** Bits per second received in the last second. */
  bitrate: number;
  /** Pictures shown (packets played) a second. */
  framesPerSecond: number;
  /** Whole, before anything is left out. */
  framesReceived: number;
  /** By our decoder. */
  framesDecoded: number;
  /** Pictures put on the screen or given out; packets played. */
  framesShown: number;
  /**
   * Of pictures: gaps that a person notices, by the rule of WebRTC's `freezeCount` (longer than three mean intervals, or than the mean
   * and 150 ms, whichever is more). Of sound: gaps, that is interruptions of sound that was sent, lost or too late.
   */
  freezes: number;
  /** How long they were together. */
  freezeMs: number;
  /** What was not shown, by cause: "late", "queue", "decoder", "undecryptable", "hidden", and the handler's own causes as "handler:expired" … */
  dropped: Record<string, number>;
  /** Times that the decoder failed and was made anew. */
  decoderErrors: number;
  /** Of the publisher, by us. */
  keyFramesRequested: number;
  /** What the jitter buffer aims at, and what it holds. */
  jitterTargetMs: number;
  /** What it holds now. */
  bufferedMs: number;
  /** From the publisher's clock to the screen, as far as clocks agree; `undefined` before it is known. */
  latencyMs: number | undefined;
  /** Picture against sound of the same participant: positive when the picture is late; `undefined` without both. */
  syncOffsetMs: number | undefined;
  /** Why the handler sends what it sends, in its own words; empty before it told. */
  layer: {
    /** What was asked for. */
    wanted: string;
    /** What the path and the limits allow. */
    allowed: string;
    /** What is sent. */
    forwarded: string;
    /** What keeps it from more: "none", "bandwidth", "max_bitrate", "publisher", "no_key_frame", "stream_limit". */
    limiter: string;
    /** The last change, in words. */
    lastChange: string;
  };
  /** Bits per second that the handler thinks the path takes; 0: not known. */
  estimatedBitrate: number;
}
