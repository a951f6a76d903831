// The meeting itself: everybody's tiles, one's own switches, chat, and how the connection is.

import {
  type ChatMessage,
  DarkTowerError,
  type EndReason,
  type ErrorData,
  type MediaStreamInfo,
  type Meeting,
  type MuteRequest,
  type Participant,
  type Publication,
  support,
} from "@dark-tower/client";
import type { Capture } from "./capture.ts";
import { ChatPanel } from "./chat-panel.ts";
import { Toggle } from "./control.ts";
import { element } from "./dom.ts";
import { icon } from "./icons.ts";
import type { LobbyChoice } from "./lobby.ts";
import { Notice } from "./notice.ts";
import { Stage } from "./stage.ts";
import { Tile } from "./tile.ts";
import { captureWords, errorWords, muteWords, qualityWords, type Words } from "./words.ts";

export interface RoomOptions extends LobbyChoice {
  code: string;
  isHost: boolean;
  ended: (reason: EndReason, error: ErrorData | undefined, state: LobbyChoice) => void;
}

const wordsOf = (thrown: unknown): Words => errorWords(DarkTowerError.from(thrown));

export class Room {
  readonly view: HTMLElement;
  private readonly meeting: Meeting;
  private readonly capture: Capture;
  private readonly options: RoomOptions;
  private readonly stage = new Stage();
  private readonly notice = new Notice();
  private readonly news = new Notice("news");
  private readonly tiles = new Map<string, Tile>();
  private readonly chat: ChatPanel;
  private readonly count = element("span", {});
  private readonly quality = element("span", { class: "pill quality", testid: "quality", attributes: { role: "status" } }, "Connecting…");
  private readonly toggles: Record<"mute" | "camera" | "share" | "chat", Toggle>;
  private readonly own: Tile;
  private publications: Partial<Record<"microphone" | "camera" | "screen", Publication>> = {};
  private screenTrack: MediaStreamTrack | undefined;
  private isMuted: boolean;
  /** Resolves when the devices that were chosen in the lobby are published, or are not there. */
  private readonly starting: Promise<void>;
  private isFinished = false;

  constructor(meeting: Meeting, capture: Capture, options: RoomOptions) {
    this.meeting = meeting;
    this.capture = capture;
    this.options = options;
    this.isMuted = options.isMuted;
    this.chat = new ChatPanel({ send: (content) => this.send(content) });
    this.toggles = this.makeToggles();
    this.view = this.frame();
    this.own = new Tile({ participantId: meeting.participantId, name: options.name, isSelf: true });
    this.own.setMuted(options.isMuted);
    this.tiles.set(meeting.participantId, this.own);
    this.stage.add(this.own);
    for (const participant of meeting.participants.value.values()) this.joined(participant);
    for (const message of meeting.chat.value) this.said(message);
    this.listen();
    this.starting = this.publishDevices();
  }

  private frame(): HTMLElement {
    const copy = element(
      "button",
      {
        class: "pill",
        attributes: { type: "button", "aria-label": "Copy the meeting's link", title: "Copy link" },
        on: { click: () => void this.copyLink(copy) },
      },
      icon("link"),
      element("span", {}, this.options.code),
    );
    const leave = element(
      "button",
      {
        class: "round danger",
        testid: "leave",
        attributes: { type: "button", "aria-label": "Leave the meeting", title: "Leave" },
        on: { click: () => void this.leave() },
      },
      icon("leave"),
    );
    const people = element("span", { class: "pill", testid: "people" }, icon("people"), this.count);
    const { mute, camera, share, chat } = this.toggles;
    return element(
      "main",
      { class: "room chat-open", on: { keydown: (event) => this.key(event) } },
      element(
        "header",
        { class: "room-head" },
        element("h1", { class: "brand" }, icon("tower"), "Dark Tower"),
        copy,
        ...this.marks(),
        element("span", { class: "spacer" }),
        people,
        this.quality,
      ),
      element("div", { class: "room-notices" }, this.notice.view, this.news.view),
      element("div", { class: "room-body" }, this.stage.view, this.chat.view),
      element(
        "nav",
        { class: "toolbar", attributes: { "aria-label": "Meeting controls" } },
        mute.view,
        camera.view,
        share.view,
        chat.view,
        leave,
      ),
    );
  }

  /** What everyone should know of this meeting. */
  private marks(): HTMLElement[] {
    const { mayBeRecorded, wantsEndToEndEncryption } = this.meeting.info;
    const mark = (testid: string, text: string, title: string): HTMLElement =>
      element("span", { class: "pill mark", testid, attributes: { title } }, text);
    return [
      ...(mayBeRecorded ? [mark("may-be-recorded", "May be recorded", "What is said, shown and written here may be recorded.")] : []),
      ...(wantsEndToEndEncryption
        ? [
            mark(
              "wants-encryption",
              "End-to-end encryption asked for",
              "Whoever made this meeting asked for end-to-end encryption. This page does not do that yet: the servers can see and hear this meeting.",
            ),
          ]
        : []),
    ];
  }

  private makeToggles(): Record<"mute" | "camera" | "share" | "chat", Toggle> {
    return {
      mute: new Toggle(
        {
          testid: "mute",
          on: { icon: "microphone", label: "Mute (M)" },
          off: { icon: "microphoneOff", label: "Unmute (M)" },
          alertOff: true,
          press: () => void this.toggleMute(),
        },
        !this.isMuted,
      ),
      camera: new Toggle(
        {
          testid: "camera",
          on: { icon: "camera", label: "Turn camera off (V)" },
          off: { icon: "cameraOff", label: "Turn camera on (V)" },
          alertOff: true,
          press: () => void this.toggleCamera(),
        },
        this.options.isVideoOn,
      ),
      share: new Toggle(
        {
          testid: "share",
          on: { icon: "share", label: "Stop sharing" },
          off: { icon: "share", label: "Share your screen" },
          alertOff: false,
          press: () => void this.toggleShare(),
        },
        false,
      ),
      chat: new Toggle(
        {
          testid: "chat",
          on: { icon: "chat", label: "Hide chat" },
          off: { icon: "chat", label: "Show chat" },
          alertOff: false,
          press: () => this.toggleChat(),
        },
        true,
      ),
    };
  }

  private listen(): void {
    const { meeting } = this;
    meeting.on("participant-joined", (participant) => this.joined(participant));
    meeting.on("participant-left", ({ participantId }) => this.left(participantId));
    meeting.on("participant-updated", ({ participantId, isMuted }) => this.tiles.get(participantId)?.setMuted(isMuted));
    meeting.on("stream-published", (stream) => this.published(stream));
    meeting.on("stream-unpublished", (stream) => this.unpublished(stream));
    meeting.on("video-size", ({ streamId }) => {
      const owner = [...meeting.participants.value.values()].find((it) =>
        it.streams.some((stream) => stream.streamId === streamId && stream.type === "camera"),
      );
      if (owner !== undefined) this.tiles.get(owner.participantId)?.setVideo(true);
    });
    meeting.on("audio-level", ({ participantId, level, speaking }) => this.tiles.get(participantId)?.setSound(level, speaking));
    meeting.on("chat", (message) => this.said(message));
    meeting.on("quality", (quality) => {
      this.quality.textContent = qualityWords(quality);
      this.quality.dataset.level = quality.level;
      this.quality.title = quality.rttMs === undefined ? "" : `${Math.round(quality.rttMs)} ms to the meeting and back`;
    });
    meeting.on("mute-requested", (request) => void this.muteRequested(request));
    meeting.on("publication-failed", ({ error }) => this.notice.show(errorWords(DarkTowerError.fromData(error))));
    meeting.on("ended", ({ reason, error }) => this.finish(reason, error));
    this.countPeople();
  }

  private joined(participant: Participant): void {
    const { participantId, name } = participant;
    if (this.tiles.has(participantId)) return;
    const person = { participantId, name, isSelf: false };
    const remove = (): void => void this.meeting.kick(participantId).catch((thrown: unknown) => this.notice.show(wordsOf(thrown)));
    const tile = new Tile(this.options.isHost ? { ...person, remove } : person);
    tile.setMuted(participant.isMuted);
    this.tiles.set(participantId, tile);
    this.stage.add(tile);
    for (const stream of participant.streams) this.published(stream);
    this.countPeople();
  }

  private left(participantId: string): void {
    const tile = this.tiles.get(participantId);
    if (tile === undefined) return;
    this.tiles.delete(participantId);
    this.stage.remove(tile);
    this.countPeople();
  }

  private published(stream: MediaStreamInfo): void {
    if (stream.type === "audio") return;
    const canvas = element("canvas");
    if (stream.type === "camera") {
      this.tiles.get(stream.participantId)?.setPicture(canvas);
    } else {
      const name = this.meeting.participants.value.get(stream.participantId)?.name ?? "Somebody";
      this.stage.addScreen(stream.streamId, name, canvas);
    }
    void this.meeting.attach(stream.streamId, canvas).catch(() => undefined);
  }

  private unpublished(stream: MediaStreamInfo): void {
    if (stream.type === "camera") this.tiles.get(stream.participantId)?.setPicture(undefined);
    else if (stream.type === "screen") this.stage.removeScreen(stream.streamId);
    else this.tiles.get(stream.participantId)?.setSound(0, false);
  }

  private said(message: ChatMessage): void {
    this.chat.add(message, message.senderId === this.meeting.participantId);
    if (!this.view.classList.contains("chat-open")) this.toggles.chat.view.classList.add("unread");
  }

  private countPeople(): void {
    this.count.textContent = this.tiles.size === 1 ? "Only you" : `${this.tiles.size} people`;
  }

  private async publishDevices(): Promise<void> {
    if (!support().publish) {
      for (const toggle of [this.toggles.mute, this.toggles.camera, this.toggles.share]) toggle.enable(false);
      this.notice.show({
        title: "You can watch and listen here.",
        advice: "To be seen and heard, use a current Chrome, Edge or another Chromium browser.",
      });
      return;
    }
    await this.capture.opening;
    if (this.isFinished) return;
    if (!this.options.isVideoOn) this.capture.close("camera");
    const { camera, microphone } = this.capture.tracks;
    await Promise.all([
      camera === undefined ? undefined : this.publishCamera(camera),
      microphone === undefined ? undefined : this.publishMicrophone(microphone),
      this.ownUp(),
    ]);
  }

  /** Whoever joined before the devices answered said more than there is. */
  private async ownUp(): Promise<void> {
    const { tracks, faults } = this.capture;
    const fault = faults.camera ?? faults.microphone;
    if (tracks.camera === undefined && this.options.isVideoOn) {
      this.toggles.camera.set(false);
      await this.meeting.setVideoOn(false).catch(() => undefined);
    }
    if (tracks.microphone === undefined && !this.isMuted) {
      this.isMuted = true;
      this.toggles.mute.set(false);
      this.own.setMuted(true);
      await this.meeting.setMuted(true).catch(() => undefined);
    }
    if (fault !== undefined) this.notice.show(fault);
  }

  private async publishCamera(track: MediaStreamTrack): Promise<void> {
    const video = element("video", { class: "mirrored", attributes: { playsinline: "" } });
    video.muted = true;
    video.autoplay = true;
    video.srcObject = new MediaStream([track]);
    this.own.setPicture(video);
    this.own.setVideo(true);
    try {
      this.publications.camera = await this.meeting.publish(track, "camera");
    } catch (thrown) {
      this.notice.show(wordsOf(thrown));
    }
  }

  private async publishMicrophone(track: MediaStreamTrack): Promise<void> {
    try {
      this.publications.microphone = await this.meeting.publish(track, "audio");
    } catch (thrown) {
      this.notice.show(wordsOf(thrown));
    }
  }

  private async toggleMute(): Promise<void> {
    if (this.isMuted) this.news.clear();
    if (this.isMuted && this.capture.tracks.microphone === undefined) {
      const track = await this.capture.open("microphone");
      if (track === undefined) {
        this.notice.show(this.capture.faults.microphone ?? captureWords("Microphone", ""));
        return;
      }
      await this.publishMicrophone(track);
    }
    this.isMuted = !this.isMuted;
    this.toggles.mute.set(!this.isMuted);
    this.own.setMuted(this.isMuted);
    if (this.isMuted) this.own.setSound(0, false);
    await this.meeting.setMuted(this.isMuted).catch((thrown: unknown) => this.notice.show(wordsOf(thrown)));
  }

  private async toggleCamera(): Promise<void> {
    this.toggles.camera.enable(false);
    const isOn = this.capture.tracks.camera !== undefined;
    if (!isOn) this.news.clear();
    if (isOn) {
      this.capture.close("camera");
      this.own.setPicture(undefined);
      const publication = this.publications.camera;
      delete this.publications.camera;
      await publication?.stop().catch(() => undefined);
    } else {
      const track = await this.capture.open("camera");
      if (track === undefined) this.notice.show(this.capture.faults.camera ?? captureWords("Camera", ""));
      else await this.publishCamera(track);
    }
    const isNowOn = this.capture.tracks.camera !== undefined;
    this.toggles.camera.set(isNowOn);
    this.toggles.camera.enable(true);
    if (isNowOn !== isOn) await this.meeting.setVideoOn(isNowOn).catch(() => undefined);
  }

  /** Does what is asked, as far as there is something to turn off, and says so once. */
  private async muteRequested({ microphone, camera, reason }: MuteRequest): Promise<void> {
    const wasHeard = microphone && !this.isMuted;
    // At once, whether the microphone is open already or not; a camera that is just being opened is waited for.
    if (wasHeard) void this.toggleMute();
    await this.starting;
    const off = { microphone: wasHeard, camera: camera && this.capture.tracks.camera !== undefined };
    if (this.isFinished || !(off.microphone || off.camera)) return;
    this.news.show(muteWords(off, reason));
    if (off.camera) await this.toggleCamera();
  }

  private async toggleShare(): Promise<void> {
    if (this.screenTrack !== undefined) {
      await this.stopSharing();
      return;
    }
    try {
      const track = await this.capture.screen();
      this.screenTrack = track;
      track.addEventListener("ended", () => void this.stopSharing());
      this.publications.screen = await this.meeting.publish(track, "screen");
      this.toggles.share.set(true);
    } catch (thrown) {
      const isRefusal = thrown instanceof DOMException;
      await this.stopSharing();
      // A dialog that was closed on purpose needs no comment.
      if (isRefusal && thrown.name !== "NotAllowedError") this.notice.show(captureWords("Screen", thrown.name));
      else if (!isRefusal) this.notice.show(wordsOf(thrown));
    }
  }

  private async stopSharing(): Promise<void> {
    this.screenTrack?.stop();
    this.screenTrack = undefined;
    this.toggles.share.set(false);
    const publication = this.publications.screen;
    delete this.publications.screen;
    await publication?.stop().catch(() => undefined);
  }

  private toggleChat(): void {
    const isOpen = this.view.classList.toggle("chat-open");
    this.toggles.chat.set(isOpen);
    this.toggles.chat.view.classList.remove("unread");
    if (isOpen) this.chat.focus();
  }

  private async send(content: string): Promise<void> {
    try {
      await this.meeting.sendChat(content);
    } catch (thrown) {
      this.notice.show(wordsOf(thrown));
      throw thrown;
    }
  }

  private key(event: KeyboardEvent): void {
    const isTyping = event.target instanceof HTMLInputElement;
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.key === "m") void this.toggleMute();
    else if (event.key === "v") void this.toggleCamera();
  }

  private async copyLink(button: HTMLElement): Promise<void> {
    const label = button.querySelector("span");
    try {
      await navigator.clipboard.writeText(location.href);
      if (label !== null) label.textContent = "Link copied";
    } catch {
      if (label !== null) label.textContent = location.href;
    }
    setTimeout(() => {
      if (label !== null) label.textContent = this.options.code;
    }, 2000);
  }

  private async leave(): Promise<void> {
    await this.meeting.leave();
    this.finish("left", undefined);
  }

  private finish(reason: EndReason, error: ErrorData | undefined): void {
    if (this.isFinished) return;
    this.isFinished = true;
    const state = { name: this.options.name, isMuted: this.isMuted, isVideoOn: this.capture.tracks.camera !== undefined };
    this.screenTrack?.stop();
    this.capture.closeAll();
    this.meeting.close();
    this.options.ended(reason, error, state);
  }
}
