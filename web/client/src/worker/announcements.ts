// What a controller says unasked, one message after the other. In: messages. Out: the roster as it is after each, the events that the page hears,
// and what concerns other parts of the stay.

import { leaveReasonFromWire, muteRequestFromWire, participantFromWire, streamFromWire } from "../convert.ts";
import type { ChatMessage, MediaServerInfo, Reconnect, StreamQualityUpdate } from "../generated/darktower/v1/signaling_pb.ts";
import type { Roster } from "../roster.ts";
import type { MeetingEvent } from "../types.ts";
import type { ServerBody } from "./signaling.ts";

export interface AnnouncementsContext {
  emit(event: MeetingEvent): void;
  /** Before the page hears of it. */
  follow(event: MeetingEvent): void;
  chat(message: ChatMessage): void;
  quality(update: StreamQualityUpdate): void;
  mediaServer(info: MediaServerInfo): void;
  reconnect(message: Reconnect): void;
  /** Oneself, for good. */
  removed(reason: "kicked" | "meeting-ended"): void;
}

export class Announcements {
  private readonly roster: Roster;
  private readonly context: AnnouncementsContext;

  constructor(roster: Roster, context: AnnouncementsContext) {
    this.roster = roster;
    this.context = context;
  }

  /** `ownId`: of this participant, who is not in the roster. */
  hear(body: ServerBody, ownId: string): void {
    const { roster, context } = this;
    switch (body.case) {
      case "participantJoined":
        if (body.value.participant !== undefined) this.apply(roster.joined(participantFromWire(body.value.participant)));
        break;
      case "participantLeft": {
        const reason = leaveReasonFromWire(body.value.reason);
        if (body.value.participantId !== ownId) this.apply(roster.left(body.value.participantId, reason));
        else if (reason === "kicked" || reason === "meeting-ended") context.removed(reason);
        break;
      }
      case "streamPublished":
        if (body.value.stream !== undefined) this.apply(roster.published(streamFromWire(body.value.participantId, body.value.stream)));
        break;
      case "streamUnpublished":
        this.apply(roster.unpublished(body.value.participantId, body.value.streamId));
        break;
      case "state":
        this.apply(roster.changed(body.value.participantId, body.value));
        break;
      case "chat":
        context.chat(body.value);
        break;
      case "muteRequest":
        context.emit({ type: "mute-requested", detail: muteRequestFromWire(body.value) });
        break;
      case "relay":
        context.emit({ type: "relay", detail: body.value });
        break;
      case "quality":
        context.quality(body.value);
        break;
      case "mediaServer":
        context.mediaServer(body.value);
        break;
      case "reconnect":
        context.reconnect(body.value);
        break;
      default:
        // An unasked Pong tells by coming that the controller lives; the rest belongs to requests.
        break;
    }
  }

  /** Changes of the roster, told. */
  apply(events: MeetingEvent[]): void {
    for (const event of events) {
      this.context.follow(event);
      this.context.emit(event);
    }
  }
}
