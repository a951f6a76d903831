// Everybody in the meeting, as the stage and the list show them. In: what the meeting tells of others, and what one's own devices do. Out:
// tiles, screens, rows.

import type { MediaStreamInfo, Meeting, MeetingStats, Participant } from "@dark-tower/client";
import { element } from "./dom.ts";
import type { OwnMedia } from "./own-media.ts";
import type { PeoplePanel, Person } from "./people-panel.ts";
import { PictureHealth } from "./picture-health.ts";
import type { Stage } from "./stage.ts";
import { ScreenTile, Tile } from "./tile.ts";

/** One's own tile, whatever id one has at the moment. */
const SELF = "self";

export interface PeopleOptions {
  /** One's own. */
  name: string;
  isMuted: boolean;
  /** Present for hosts. */
  remove?: (participantId: string, name: string) => void;
  counted: (count: number) => void;
}

export class People {
  private readonly meeting: Meeting;
  private readonly stage: Stage;
  private readonly panel: PeoplePanel;
  private readonly options: PeopleOptions;
  private readonly own: Tile;
  private readonly tiles = new Map<string, Tile>();
  /** Whose camera a media stream is. */
  private readonly cameras = new Map<string, Tile>();
  private readonly screens = new Map<string, string>();
  private readonly health = new PictureHealth();
  private ownCamera: MediaStreamTrack | undefined;
  private isOwnMuted: boolean;
  private isOwnSharing = false;
  private isListScheduled = false;

  constructor(meeting: Meeting, stage: Stage, panel: PeoplePanel, options: PeopleOptions) {
    this.meeting = meeting;
    this.stage = stage;
    this.panel = panel;
    this.options = options;
    this.isOwnMuted = options.isMuted;
    this.own = new Tile({
      id: SELF,
      participantId: meeting.participantId,
      name: options.name,
      isSelf: true,
      pin: () => stage.pin(SELF),
    });
    stage.add(this.own);
    for (const participant of meeting.participants.value.values()) this.joined(participant);
    this.listen();
    this.list();
  }

  nameOf(participantId: string): string {
    if (participantId === this.meeting.participantId) return "You";
    return this.meeting.participants.value.get(participantId)?.name ?? "Somebody";
  }

  /** One's own devices are otherwise now. */
  showOwn({ camera, isMuted, isSharing }: OwnMedia): void {
    this.own.setMuted(isMuted);
    if (isMuted) this.own.setSound(0, false);
    this.isOwnMuted = isMuted;
    this.isOwnSharing = isSharing;
    if (camera !== this.ownCamera) {
      this.ownCamera = camera;
      this.own.setPicture(camera === undefined ? undefined : this.mirror(camera));
    }
    this.list();
  }

  private listen(): void {
    const { meeting } = this;
    meeting.on("participant-joined", (participant) => this.joined(participant));
    meeting.on("participant-left", ({ participantId }) => this.left(participantId));
    meeting.on("participant-updated", ({ participantId, isMuted }) => {
      this.tiles.get(participantId)?.setMuted(isMuted);
      this.list();
    });
    meeting.on("stream-published", (stream) => this.published(stream));
    meeting.on("stream-unpublished", (stream) => this.unpublished(stream));
    meeting.on("video-size", ({ streamId, width, height }) => this.cameras.get(streamId)?.setVideo({ width, height }));
    meeting.on("audio-level", ({ participantId, level, speaking }) => this.heard(participantId, level, speaking));
    meeting.on("rejoined", ({ participantId }) => {
      this.own.setParticipant(participantId);
      this.list();
    });
    meeting.on("stats", (stats) => this.lookAtPictures(stats));
  }

  private joined(participant: Participant): void {
    const { participantId, name } = participant;
    if (this.tiles.has(participantId)) return;
    const { remove } = this.options;
    const tile = new Tile({
      id: participantId,
      participantId,
      name,
      isSelf: false,
      pin: () => this.stage.pin(participantId),
      ...(remove === undefined ? {} : { remove: () => remove(participantId, name) }),
    });
    tile.setMuted(participant.isMuted);
    this.tiles.set(participantId, tile);
    this.stage.add(tile);
    for (const stream of participant.streams) this.published(stream);
    this.list();
  }

  private left(participantId: string): void {
    if (!this.tiles.delete(participantId)) return;
    this.stage.remove(participantId);
    this.panel.heard(participantId, false);
    this.list();
  }

  private published(stream: MediaStreamInfo): void {
    const { streamId, participantId, type } = stream;
    if (type !== "audio") {
      const canvas = element("canvas");
      if (type === "camera") {
        const tile = this.tiles.get(participantId);
        tile?.setPicture(canvas);
        tile?.setHint("Picture on its way…");
        if (tile !== undefined) this.cameras.set(streamId, tile);
      } else if (!this.screens.has(streamId)) {
        this.screens.set(streamId, participantId);
        this.stage.add(new ScreenTile(streamId, this.nameOf(participantId), canvas, { pin: () => this.stage.pin(streamId) }));
      }
      void this.meeting.attach(streamId, canvas).catch(() => undefined);
    }
    this.list();
  }

  private unpublished({ streamId, participantId, type }: MediaStreamInfo): void {
    if (type === "camera") {
      // A new camera may have come before the old one is told gone.
      const tile = this.cameras.get(streamId);
      this.cameras.delete(streamId);
      if (tile !== undefined && ![...this.cameras.values()].includes(tile)) tile.setPicture(undefined);
    } else if (type === "screen") {
      this.screens.delete(streamId);
      this.stage.remove(streamId);
    } else {
      this.heard(participantId, 0, false);
    }
    this.list();
  }

  private heard(participantId: string, level: number, isSpeaking: boolean): void {
    const isSelf = participantId === this.meeting.participantId;
    const id = isSelf ? SELF : participantId;
    const tile = isSelf ? this.own : this.tiles.get(participantId);
    tile?.setSound(level, isSpeaking);
    if (!isSelf && tile !== undefined) this.stage.heard(id, isSpeaking);
    this.panel.heard(id, isSpeaking);
  }

  private lookAtPictures(stats: MeetingStats): void {
    const isWatched = (streamId: string): boolean => this.cameras.get(streamId)?.view.hidden === false && !document.hidden;
    const frozen = this.health.look(stats.subscriptions, isWatched);
    for (const [streamId, tile] of this.cameras) {
      if (!tile.hasVideo) continue;
      tile.setHint(frozen.has(streamId) ? "Picture stands still" : "");
    }
  }

  private mirror(camera: MediaStreamTrack): HTMLVideoElement {
    const video = element("video", { class: "mirrored", attributes: { playsinline: "" } });
    video.muted = true;
    video.autoplay = true;
    video.srcObject = new MediaStream([camera]);
    const seen = (): void => {
      if (this.ownCamera === camera) this.own.setVideo({ width: video.videoWidth, height: video.videoHeight });
    };
    video.addEventListener("resize", seen);
    video.addEventListener("loadeddata", seen);
    return video;
  }

  /** The list, once, however much changes at a time. */
  private list(): void {
    if (this.isListScheduled) return;
    this.isListScheduled = true;
    queueMicrotask(() => {
      this.isListScheduled = false;
      const people = [this.self(), ...[...this.meeting.participants.value.values()].map((it) => this.person(it))];
      this.panel.show(people);
      this.options.counted(people.length);
    });
  }

  private self(): Person {
    const { participantId, role } = this.meeting.me.value;
    return {
      id: SELF,
      participantId,
      name: this.options.name,
      isSelf: true,
      isHost: role === "host",
      isMuted: this.isOwnMuted,
      hasVideo: this.ownCamera !== undefined,
      isSharing: this.isOwnSharing,
    };
  }

  private person({ participantId, name, role, isMuted, streams }: Participant): Person {
    const has = (type: MediaStreamInfo["type"]): boolean => streams.some((stream) => stream.type === type);
    return {
      id: participantId,
      participantId,
      name,
      isSelf: false,
      isHost: role === "host",
      isMuted,
      hasVideo: has("camera"),
      isSharing: has("screen"),
    };
  }
}
