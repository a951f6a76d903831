// Between messages and words.

import type * as wire from "./generated/darktower/v1/signaling_pb.ts";
import { LeaveReason as WireLeaveReason, StreamType as WireStreamType } from "./generated/darktower/v1/signaling_pb.ts";
import type { ChatMessage, LeaveReason, MediaStreamInfo, MeetingInfo, MuteRequest, Participant, StreamType } from "./types.ts";

const STREAM_TYPES: Record<StreamType, WireStreamType> = {
  audio: WireStreamType.AUDIO,
  camera: WireStreamType.VIDEO_CAMERA,
  screen: WireStreamType.VIDEO_SCREEN,
};

export function streamTypeToWire(type: StreamType): WireStreamType {
  return STREAM_TYPES[type];
}

function streamTypeFromWire(type: WireStreamType): StreamType {
  if (type === WireStreamType.VIDEO_CAMERA) return "camera";
  if (type === WireStreamType.VIDEO_SCREEN) return "screen";
  return "audio";
}

export function streamFromWire(participantId: string, stream: wire.MediaStream): MediaStreamInfo {
  const video = stream.metadata?.video;
  const layers = video?.simulcastLayers ?? [];
  return {
    streamId: stream.streamId,
    participantId,
    type: streamTypeFromWire(stream.streamType),
    codec: stream.metadata?.codec ?? "",
    width: video?.width ?? 0,
    height: video?.height ?? 0,
    frameIds: layers.length > 0 ? layers.map((layer) => layer.streamId) : [stream.streamId],
  };
}

export function participantFromWire(participant: wire.Participant): Participant {
  return {
    participantId: participant.participantId,
    name: participant.name,
    role: participant.role === "host" ? "host" : "attendee",
    isMuted: participant.isMuted,
    isVideoOn: participant.isVideoOn,
    joinedAt: Number(participant.joinedAt),
    streams: participant.streams.map((stream) => streamFromWire(participant.participantId, stream)),
    videoCodecs: participant.capabilities?.videoCodecs ?? [],
  };
}

/** A controller of an earlier version says nothing of it. */
export function meetingInfoFromWire(info: wire.MeetingInfo | undefined): MeetingInfo {
  return {
    displayName: info?.displayName ?? "",
    maxParticipants: info?.maxParticipants ?? 0,
    wantsEndToEndEncryption: info?.enableE2eEncryption ?? false,
    mayBeRecorded: info?.recordingEnabled ?? false,
  };
}

export function muteRequestFromWire({ microphone, camera, reason }: wire.MuteRequest): MuteRequest {
  return { microphone, camera, reason };
}

export function leaveReasonFromWire(reason: WireLeaveReason): LeaveReason {
  if (reason === WireLeaveReason.KICKED) return "kicked";
  if (reason === WireLeaveReason.CONNECTION_LOST) return "connection-lost";
  if (reason === WireLeaveReason.MEETING_ENDED) return "meeting-ended";
  return "voluntary";
}

export function chatFromWire(message: wire.ChatMessage): ChatMessage {
  return {
    messageId: message.messageId,
    senderId: message.senderId,
    senderName: message.senderName,
    content: message.content,
    sentAt: Number(message.sentAtMs),
    sequence: Number(message.sequence),
    clientMessageId: message.clientMessageId,
  };
}
