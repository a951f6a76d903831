// What a meeting costs and how well it goes, in numbers: one snapshot each second. Counts go up from the start of the media stream;
// rates are of the second that ended with the snapshot. Plain data.

import type { StreamType } from "./types.ts";

export interface MeetingStats {
  /** Milliseconds since the epoch. */
  atMs: number;
  signaling: "webtransport" | "websocket";
  /** Of signaling, smoothed; `undefined` before the first answer. */
  rttMs: number | undefined;
  /** Of the media handler in use; empty while there is none. */
  handlerUrl: string;
  publications: PublicationStats[];
  subscriptions: SubscriptionStats[];
}

/** What keeps a publication from its full bitrate. */
export type PublicationLimiter = "none" | "uplink" | "cpu" | "paused";

export interface PublicationStats {
  streamId: string;
  type: StreamType;
  codec: string;
  /** Pixels; 0 for sound. */
  width: number;
  height: number;
  /** Bits per second that the encoder aims at, and that were sent in the last second. */
  targetBitrate: number;
  bitrate: number;
  /** Encoded a second. */
  framesPerSecond: number;
  framesEncoded: number;
  framesSent: number;
  /** Left out before or after encoding, because encoder or uplink could not take them. */
  framesDropped: number;
  keyFrames: number;
  /** Groups given up because the uplink was over 300 ms behind. */
  groupsAborted: number;
  /** For how long the oldest frame is unsent. */
  backlogMs: number;
  limiter: PublicationLimiter;
}

export interface SubscriptionStats {
  /** Of the media stream. */
  streamId: string;
  participantId: string;
  type: StreamType;
  codec: string;
  /** Pixels as decoded; 0 for sound. */
  width: number;
  height: number;
  /** Bits per second received in the last second. */
  bitrate: number;
  /** Pictures shown (packets played) a second. */
  framesPerSecond: number;
  framesReceived: number;
  framesDecoded: number;
  /** Pictures put on the screen or given out; packets played. */
  framesShown: number;
  /** Gaps of picture that a person notices (docs of `FREEZE_MS`), and how long they were together. */
  freezes: number;
  freezeMs: number;
  /** What was not shown, by cause: "late", "queue", "decoder", "undecryptable", "hidden", and the handler's own causes as "handler:expired" … */
  dropped: Record<string, number>;
  decoderErrors: number;
  keyFramesRequested: number;
  /** What the jitter buffer aims at, and what it holds. */
  jitterTargetMs: number;
  bufferedMs: number;
  /** From the publisher's clock to the screen, as far as clocks agree; `undefined` before it is known. */
  latencyMs: number | undefined;
  /** Picture against sound of the same participant: positive when the picture is late; `undefined` without both. */
  syncOffsetMs: number | undefined;
  /** Why the handler sends what it sends, in its own words; empty before it told. */
  layer: { wanted: string; allowed: string; forwarded: string; limiter: string; lastChange: string };
  /** Bits per second that the handler thinks the path takes; 0: not known. */
  estimatedBitrate: number;
}
