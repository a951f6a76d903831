// The meeting itself: puts the stage, the panels and the controls together, and passes on what the meeting tells and the person does.

import {
  type ChatMessage,
  DarkTowerError,
  endMeeting,
  type EndReason,
  type ErrorData,
  type Meeting,
  type MuteRequest,
} from "@dark-tower/client";
import { Banner } from "./banner.ts";
import type { Capture } from "./capture.ts";
import { ChatPanel } from "./chat-panel.ts";
import { confirm } from "./dialog.ts";
import { ConnectionPanel } from "./connection-panel.ts";
import { element } from "./dom.ts";
import { openDeviceSettings } from "./device-settings.ts";
import { showHelp } from "./help.ts";
import { icon } from "./icons.ts";
import type { LobbyChoice } from "./lobby.ts";
import { meetingMarks } from "./marks.ts";
import type { MenuItem } from "./menu.ts";
import { Notice } from "./notice.ts";
import { OwnMedia } from "./own-media.ts";
import { People } from "./people.ts";
import { PeoplePanel } from "./people-panel.ts";
import { type Action, actionOf, isTyping } from "./shortcuts.ts";
import { SidePanels } from "./side-panel.ts";
import { soundGate } from "./sound-gate.ts";
import { Stage } from "./stage.ts";
import { type PanelName, Toolbar } from "./toolbar.ts";
import { errorWords, muteWords, qualityWords, type Words } from "./words.ts";

/** From this width on the chat stands beside the stage without taking it away; narrower, it waits to be opened. */
const CHAT_OPEN_FROM_PX = 900;
/** Long enough to read a short line. */
const NEWS_SHOWN_MS = 4000;

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
  private readonly own: OwnMedia;
  private readonly stage: Stage;
  private readonly people: People;
  private readonly chat: ChatPanel;
  private readonly panels: SidePanels<PanelName>;
  private readonly toolbar: Toolbar;
  private readonly banner = new Banner();
  private readonly notice = new Notice();
  private readonly news = new Notice("news");
  private readonly sharing = element("div", { class: "sharing", testid: "sharing" });
  private readonly quality = element(
    "button",
    { class: "pill quality", testid: "quality", attributes: { type: "button" }, on: { click: () => this.act("connection") } },
    element("span", {}, "Connecting…"),
  );
  private readonly key = (event: KeyboardEvent): void => this.pressed(event);
  private readonly ownIds: Set<string>;
  /** Shown while nobody else is here. */
  private readonly invitation = element("div", { class: "invitation", testid: "invitation" });
  private newsTimer: ReturnType<typeof setTimeout> | undefined;
  private isFinished = false;

  constructor(meeting: Meeting, capture: Capture, options: RoomOptions) {
    this.meeting = meeting;
    this.capture = capture;
    this.options = options;
    this.ownIds = new Set([meeting.participantId]);
    this.own = new OwnMedia(meeting, capture, options, {
      changed: () => this.ownChanged(),
      fault: (words) => this.notice.show(words),
      mended: (words) => this.notice.withdraw(words),
      news: (words) => this.tell(words),
    });
    const close = (): void => this.panels.show(undefined);
    this.stage = new Stage({
      changed: (mode, pinned) => this.toolbar.showLayout(mode === "speaker" && pinned === undefined),
    });
    const remove = this.isHost ? (id: string, name: string): void => void this.remove(id, name) : undefined;
    const peoplePanel = new PeoplePanel({
      close,
      copyLink: () => void this.copyLink(),
      pin: (id) => this.stage.pin(id),
      ...(remove === undefined ? {} : { remove }),
    });
    this.chat = new ChatPanel({
      send: (content) => this.send(content),
      isOwn: (message) => this.ownIds.has(message.senderId),
      unread: (count) => this.toolbar.unread(count),
      close,
    });
    const connection = new ConnectionPanel(meeting, { close, nameOf: (id) => this.people.nameOf(id) });
    this.toolbar = new Toolbar({ act: (action) => this.act(action), leave: () => void this.leave(), menu: () => this.menu() });
    this.panels = new SidePanels<PanelName>({ chat: this.chat, people: peoplePanel, connection }, (open) => {
      this.toolbar.showPanel(open);
      this.quality.setAttribute("aria-expanded", String(open === "connection"));
      this.view.classList.toggle("with-panel", open !== undefined);
    });
    this.view = this.frame();
    this.people = new People(meeting, this.stage, peoplePanel, {
      name: options.name,
      isMuted: options.isMuted,
      ...(remove === undefined ? {} : { remove }),
      counted: (count) => this.counted(count),
    });
    for (const message of meeting.chat.value) this.chat.add(message, true);
    this.listen();
    this.ownChanged();
    if (innerWidth >= CHAT_OPEN_FROM_PX) this.panels.show("chat", true);
    this.own.start();
  }

  private get isHost(): boolean {
    return this.options.isHost || this.meeting.me.value.role === "host";
  }

  private frame(): HTMLElement {
    const title = this.meeting.info.displayName || "Meeting";
    const copy = element(
      "button",
      {
        class: "pill code",
        testid: "copy-link",
        attributes: { type: "button", "aria-label": `Copy the meeting's link, ${this.options.code}`, title: "Copy link" },
        on: { click: () => void this.copyLink() },
      },
      icon("link"),
      element("span", {}, this.options.code),
    );
    return element(
      "main",
      { class: "room" },
      element(
        "header",
        { class: "room-head" },
        element("h1", { class: "room-title" }, icon("tower"), element("span", {}, title)),
        copy,
        ...meetingMarks(this.meeting),
        element("span", { class: "spacer" }),
        this.quality,
      ),
      element("div", { class: "room-notices" }, this.banner.view, soundGate(this.meeting), this.sharing, this.notice.view, this.news.view),
      element("div", { class: "room-body" }, this.stage.view, this.invitation, ...this.panels.views),
      this.toolbar.view,
    );
  }

  private listen(): void {
    const { meeting } = this;
    meeting.on("chat", (message) => this.chat.add(message));
    meeting.on("mute-requested", (request) => void this.muteRequested(request));
    meeting.on("publication-failed", ({ error }) => this.notice.show(errorWords(DarkTowerError.fromData(error))));
    meeting.on("connection", ({ state }) => (state === "reconnecting" ? this.banner.breaking() : this.banner.back()));
    meeting.on("rejoined", ({ participantId }) => {
      this.ownIds.add(participantId);
      this.banner.rejoined();
    });
    meeting.on("ended", ({ reason, error }) => this.finish(reason, error));
    const showQuality = (): void => {
      const { value } = meeting.quality;
      this.quality.replaceChildren(element("span", {}, qualityWords(value)));
      this.quality.dataset.level = value.level;
      const rtt = value.rttMs === undefined ? "" : `${Math.round(value.rttMs)} ms to the meeting and back. `;
      this.quality.title = `${rtt}Press for details (Q)`;
    };
    meeting.quality.subscribe(showQuality);
    document.addEventListener("keydown", this.key);
  }

  private counted(count: number): void {
    this.toolbar.people(count);
    const isAlone = count === 1;
    if (isAlone === this.invitation.childElementCount > 0) return;
    const copy = element(
      "button",
      { class: "primary", attributes: { type: "button" }, on: { click: () => void this.copyLink() } },
      icon("link"),
      "Copy link",
    );
    const text = element("p", {}, element("strong", {}, "Nobody else is here yet."), " Send them the link to this meeting.");
    this.invitation.replaceChildren(...(isAlone ? [text, copy] : []));
  }

  private ownChanged(): void {
    this.toolbar.show(this.own);
    this.people.showOwn(this.own);
    const isShown = this.sharing.childElementCount > 0;
    if (this.own.isSharing === isShown) return;
    const stop = element("button", { attributes: { type: "button" }, on: { click: () => this.act("share") } }, "Stop sharing");
    this.sharing.replaceChildren(...(this.own.isSharing ? [icon("share"), "You are sharing your screen.", stop] : []));
  }

  private act(action: Action): void {
    switch (action) {
      case "mute":
      case "camera":
        // What somebody asked for is over once one decides anew.
        this.news.clear();
        void (action === "mute" ? this.own.toggleMicrophone() : this.own.toggleCamera());
        break;
      case "share":
        void this.own.toggleScreen();
        break;
      case "chat":
      case "people":
      case "connection":
        this.panels.toggle(action);
        break;
      case "layout":
        this.stage.setMode(this.stage.currentMode === "grid" ? "speaker" : "grid");
        break;
      case "settings":
        openDeviceSettings({ capture: this.capture, setSpeaker: (deviceId) => this.meeting.setSpeaker(deviceId) });
        break;
      case "help":
        showHelp();
        break;
      case "close":
        this.panels.show(undefined);
    }
  }

  private pressed(event: KeyboardEvent): void {
    const action = actionOf(event);
    // A dialog keeps its keys to itself; Escape ends writing as well.
    if (action === undefined || document.querySelector("dialog[open]") !== null) return;
    if ((isTyping(event.target) && action !== "close") || !this.toolbar.isEnabled(action)) return;
    event.preventDefault();
    this.act(action);
  }

  private menu(): MenuItem[] {
    const isGrid = this.stage.currentMode === "grid";
    const end: MenuItem = {
      testid: "end",
      icon: "end",
      label: "End the meeting for everybody",
      isRisky: true,
      press: () => void this.end(),
    };
    return [
      {
        testid: "menu-layout",
        icon: isGrid ? "spotlight" : "grid",
        label: isGrid ? "Speaker large" : "Everybody alike",
        press: () => this.act("layout"),
      },
      { testid: "menu-settings", icon: "settings", label: "Camera, microphone, speaker", press: () => this.act("settings") },
      { testid: "menu-connection", icon: "signal", label: "Connection details", press: () => this.act("connection") },
      { testid: "menu-copy", icon: "link", label: "Copy the meeting's link", press: () => void this.copyLink() },
      { testid: "menu-fullscreen", icon: "expand", label: "Full screen", press: () => void this.fullScreen() },
      { testid: "menu-help", icon: "help", label: "Keyboard shortcuts", press: showHelp },
      ...(this.isHost ? [end] : []),
    ];
  }

  /** Does what is asked, as far as there is something to turn off, and says so once. */
  private async muteRequested(request: MuteRequest): Promise<void> {
    const off = await this.own.obey(request);
    if (!this.isFinished && (off.microphone || off.camera)) this.news.show(muteWords(off, request.reason));
  }

  private async send(content: string): Promise<ChatMessage> {
    try {
      return await this.meeting.sendChat(content);
    } catch (thrown) {
      this.notice.show(wordsOf(thrown));
      throw thrown;
    }
  }

  private async remove(participantId: string, name: string): Promise<void> {
    const isSure = await confirm({
      title: `Remove ${name}?`,
      text: "They are sent out of the meeting at once.",
      yes: "Remove",
    });
    if (isSure) await this.meeting.kick(participantId).catch((thrown: unknown) => this.notice.show(wordsOf(thrown)));
  }

  private async copyLink(): Promise<void> {
    const copied = await navigator.clipboard.writeText(location.href).then(
      () => true,
      () => false,
    );
    if (copied) this.tell({ title: "Link copied.", advice: "Whoever has it can join." });
    else this.tell({ title: "The link could not be copied.", advice: "It is in the address bar." });
  }

  private async fullScreen(): Promise<void> {
    const change = document.fullscreenElement === null ? document.documentElement.requestFullscreen() : document.exitFullscreen();
    await change.catch(() => undefined);
  }

  /** Calm news that goes away by itself. */
  private tell(words: Words): void {
    clearTimeout(this.newsTimer);
    this.news.show(words);
    this.newsTimer = setTimeout(() => this.news.clear(), NEWS_SHOWN_MS);
  }

  private async leave(): Promise<void> {
    await this.meeting.leave();
    this.finish("left", undefined);
  }

  private async end(): Promise<void> {
    const isSure = await confirm({
      title: "End the meeting for everybody?",
      text: "Everybody is sent out, and nobody can join it any more.",
      yes: "End meeting",
    });
    if (isSure) await endMeeting(this.options.code).catch((thrown: unknown) => this.notice.show(wordsOf(thrown)));
  }

  private finish(reason: EndReason, error: ErrorData | undefined): void {
    if (this.isFinished) return;
    this.isFinished = true;
    const state = { name: this.options.name, isMuted: this.own.isMuted, isVideoOn: this.own.camera !== undefined };
    document.removeEventListener("keydown", this.key);
    document.querySelector<HTMLDialogElement>("dialog[open]")?.close();
    clearTimeout(this.newsTimer);
    this.banner.stop();
    this.stage.dispose();
    this.own.dispose();
    this.meeting.close();
    this.options.ended(reason, error, state);
  }
}
