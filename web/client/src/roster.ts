// Who is here and what they publish, as the controller says. In: a snapshot or events in order. Out: what changed.
// The snapshot is authoritative, absences included (DESIGN section 4). Oneself is never in it.

import type { LeaveReason, MediaStreamInfo, MeetingEvent, Participant } from "./types.ts";

export class Roster {
  private people = new Map<string, Participant>();

  get participants(): Participant[] {
    return [...this.people.values()];
  }

  get streams(): MediaStreamInfo[] {
    return this.participants.flatMap((participant) => participant.streams);
  }

  participant(participantId: string): Participant | undefined {
    return this.people.get(participantId);
  }

  /** Replaces everything; returns the difference as events. */
  replace(snapshot: Participant[]): MeetingEvent[] {
    const events: MeetingEvent[] = [];
    const present = new Set(snapshot.map((participant) => participant.participantId));
    for (const { participantId } of this.participants) {
      if (!present.has(participantId)) events.push(...this.left(participantId, "connection-lost"));
    }
    for (const after of snapshot) {
      const before = this.people.get(after.participantId);
      if (before === undefined) {
        events.push(...this.joined(after));
        continue;
      }
      const kept = new Set(after.streams.map((stream) => stream.streamId));
      for (const stream of before.streams) {
        if (!kept.has(stream.streamId)) events.push(...this.unpublished(after.participantId, stream.streamId));
      }
      for (const stream of after.streams) events.push(...this.published(stream));
      events.push(...this.changed(after.participantId, after));
    }
    return events;
  }

  joined(participant: Participant): MeetingEvent[] {
    if (this.people.has(participant.participantId)) return [];
    const added = { ...participant, streams: [] };
    this.people.set(participant.participantId, added);
    const events: MeetingEvent[] = [{ type: "participant-joined", detail: { ...added, streams: [] } }];
    for (const stream of participant.streams) events.push(...this.published(stream));
    return events;
  }

  left(participantId: string, reason: LeaveReason): MeetingEvent[] {
    const participant = this.people.get(participantId);
    if (participant === undefined) return [];
    const events = participant.streams.flatMap((stream) => this.unpublished(participantId, stream.streamId));
    this.people.delete(participantId);
    return [...events, { type: "participant-left", detail: { participantId, reason } }];
  }

  published(stream: MediaStreamInfo): MeetingEvent[] {
    const participant = this.people.get(stream.participantId);
    if (participant === undefined || participant.streams.some((it) => it.streamId === stream.streamId)) return [];
    participant.streams = [...participant.streams, stream];
    return [{ type: "stream-published", detail: stream }];
  }

  unpublished(participantId: string, streamId: string): MeetingEvent[] {
    const participant = this.people.get(participantId);
    const stream = participant?.streams.find((it) => it.streamId === streamId);
    if (participant === undefined || stream === undefined) return [];
    participant.streams = participant.streams.filter((it) => it !== stream);
    return [{ type: "stream-unpublished", detail: stream }];
  }

  /** What is absent stays. */
  changed(participantId: string, state: { isMuted?: boolean | undefined; isVideoOn?: boolean | undefined }): MeetingEvent[] {
    const participant = this.people.get(participantId);
    if (participant === undefined) return [];
    const isMuted = state.isMuted ?? participant.isMuted;
    const isVideoOn = state.isVideoOn ?? participant.isVideoOn;
    if (isMuted === participant.isMuted && isVideoOn === participant.isVideoOn) return [];
    participant.isMuted = isMuted;
    participant.isVideoOn = isVideoOn;
    return [{ type: "participant-updated", detail: { ...participant } }];
  }
}
