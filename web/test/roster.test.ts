// The snapshot is authoritative, absences included.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Roster } from "../client/src/roster.ts";
import type { MediaStreamInfo, Participant } from "../client/src/types.ts";

const stream = (participantId: string, streamId: string): MediaStreamInfo => ({
  streamId,
  participantId,
  type: "camera",
  codec: "VP8",
  width: 0,
  height: 0,
  frameIds: [streamId],
});
const person = (participantId: string, ...streams: string[]): Participant => ({
  participantId,
  name: participantId,
  role: "attendee",
  isMuted: false,
  isVideoOn: true,
  joinedAt: 0,
  streams: streams.map((streamId) => stream(participantId, streamId)),
});
const story = (events: { type: string }[]): string[] => events.map((event) => event.type);

test("people and their media streams come and go", () => {
  const roster = new Roster();
  assert.deepEqual(story(roster.joined(person("ana", "a1"))), ["participant-joined", "stream-published"]);
  assert.deepEqual(story(roster.joined(person("ana"))), []);
  assert.deepEqual(story(roster.published(stream("ana", "a2"))), ["stream-published"]);
  assert.deepEqual(story(roster.published(stream("nobody", "x"))), []);
  assert.deepEqual(story(roster.changed("ana", { isMuted: true })), ["participant-updated"]);
  assert.deepEqual(story(roster.changed("ana", { isMuted: true })), []);
  assert.deepEqual(story(roster.left("ana", "voluntary")), ["stream-unpublished", "stream-unpublished", "participant-left"]);
  assert.deepEqual(story(roster.left("ana", "voluntary")), []);
});

test("a snapshot tells only of what changed while away", () => {
  const roster = new Roster();
  roster.replace([person("ana", "a1"), person("bo", "b1")]);
  const events = roster.replace([{ ...person("ana", "a2"), isMuted: true }, person("cy")]);
  assert.deepEqual(story(events), [
    "stream-unpublished",
    "participant-left",
    "stream-unpublished",
    "stream-published",
    "participant-updated",
    "participant-joined",
  ]);
  assert.deepEqual(
    roster.streams.map((it) => it.streamId),
    ["a2"],
  );
  assert.deepEqual(roster.replace([{ ...person("ana", "a2"), isMuted: true }, person("cy")]), []);
});
