// The package's public face.

export {
  type ApiOptions,
  createMeeting,
  type CreatedMeeting,
  type CreateOptions,
  describeMeeting,
  endMeeting,
  type MeetingDescription,
  requestJoin,
} from "./api.ts";
export type { Code } from "./code.ts";
export { DarkTowerError, type ErrorCode, type ErrorData } from "./error.ts";
export {
  CHAT_BYTES_MAX,
  CHAT_KEPT_MAX,
  join,
  type JoinOptions,
  type Listener,
  type Meeting,
  NAME_CHARACTERS_MAX,
  support,
  type Support,
} from "./meeting.ts";
export type { AudioState } from "./loudspeaker.ts";
export type { AutoSubscribe } from "./playback.ts";
export type { Observable } from "./observable.ts";
export type { EncodedSource, Publication, PublishSource } from "./publishing.ts";
export { comparisonCode, createSecret, type EncryptionInfo, keyId, SECRET_BYTES, secretFromUrl, urlWithSecret } from "./secret.ts";
export { SEALED_CHAT_BYTES_MAX } from "./sealed-chat.ts";
export type { Quality, QualityLevel, QualityReason } from "./quality.ts";
export type { FrameOrigin, MeetingStats, PublicationLimiter, PublicationStats, SubscriptionStats } from "./stats.ts";
export type {
  ChatMessage,
  EncodedFrame,
  EndReason,
  JoinTicket,
  LeaveReason,
  MediaStreamInfo,
  MeetingEvent,
  MeetingEvents,
  MeetingInfo,
  MeetingState,
  MuteRequest,
  Participant,
  PublishOptions,
  StreamType,
  SubscriptionOptions,
  TicketReason,
  TicketSource,
} from "./types.ts";
