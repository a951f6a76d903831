// Joins a meeting and shows everybody: a picture for each camera and screen, sound of all, and who is there.

import { join, type MediaStreamInfo, requestJoin } from "@dark-tower/client";
import { ask } from "../form.ts";

ask("Watcher", async ({ api, meeting: code, name }) => {
  // Made by a click, which is what allows sound.
  const audioContext = new AudioContext({ sampleRate: 48_000 });
  // With a function instead of a ticket the client comes back by itself, however long the network was away.
  const ticket = () => requestJoin(code, name, { origin: api });
  const meeting = await join({ ticket, displayName: name, audioContext, isMuted: true });

  const people = document.body.appendChild(document.createElement("div"));
  people.id = "people";
  const pictures = new Map<string, HTMLElement>();

  const show = (stream: MediaStreamInfo): void => {
    if (stream.type === "audio" || pictures.has(stream.streamId)) return;
    const canvas = document.createElement("canvas");
    const caption = document.createElement("figcaption");
    caption.textContent = meeting.participants.value.get(stream.participantId)?.name ?? "";
    const figure = document.createElement("figure");
    figure.append(canvas, caption);
    people.append(figure);
    pictures.set(stream.streamId, figure);
    void meeting.attach(stream.streamId, canvas);
  };
  const hide = ({ streamId }: MediaStreamInfo): void => {
    pictures.get(streamId)?.remove();
    pictures.delete(streamId);
  };

  meeting.on("stream-published", show);
  meeting.on("stream-unpublished", hide);
  for (const participant of meeting.participants.value.values()) participant.streams.forEach(show);

  const state = document.body.appendChild(document.createElement("p"));
  const tell = (): void => {
    const names = [...meeting.participants.value.values()].map((participant) => participant.name);
    state.textContent = `${meeting.state.value}; here: ${names.join(", ") || "nobody else"}`;
  };
  meeting.participants.subscribe(tell);
  meeting.state.subscribe(tell);
  meeting.on("ended", ({ reason }) => (state.textContent = `ended: ${reason}`));
  tell();
  addEventListener("pagehide", () => void meeting.leave());
});
