// Before the meeting: see oneself, choose devices, say one's name, and know what one is going to enter.

import { DarkTowerError, type MeetingDescription } from "@dark-tower/client";
import { brand } from "./brand.ts";
import type { Capture } from "./capture.ts";
import { faultsWords } from "./capture-words.ts";
import { copyLinkButton } from "./copy-link.ts";
import { DeviceSettings } from "./device-settings.ts";
import { element } from "./dom.ts";
import { icon } from "./icons.ts";
import { NameField } from "./name-field.ts";
import { Notice } from "./notice.ts";
import { Preview } from "./preview.ts";
import { errorWords, presenceWords, type Words } from "./words.ts";

/** Who enters, and with what. */
export interface LobbyChoice {
  name: string;
  isMuted: boolean;
  isVideoOn: boolean;
}

export interface LobbyOptions {
  code: string;
  capture: Capture;
  /** Whether the link has the meeting's secret. */
  hasSecret: boolean;
  /** What may be known of the meeting beforehand; throws what the API refuses with. */
  describe: () => Promise<MeetingDescription>;
  /** Enters; answers what to tell when that did not work. */
  enter: (choice: LobbyChoice) => Promise<Words | undefined>;
}

/** After this long people wonder whether anything happens. */
const SLOW_JOIN_MS = 5000;

export class Lobby {
  readonly view: HTMLElement;
  private readonly options: LobbyOptions;
  private readonly notice = new Notice();
  private readonly deviceNotice = new Notice();
  private readonly preview: Preview;
  private readonly settings: DeviceSettings;
  private readonly title = element("h1", {}, "Ready to join?");
  private readonly presence = element("p", { class: "lead", testid: "meeting-info" });
  private readonly lock = element("p", { class: "lock-line", testid: "wants-encryption" });
  private readonly name: NameField;
  private readonly progress = element("p", { class: "progress", attributes: { role: "status" } });
  private readonly joinButton = element("button", { class: "primary", testid: "join", attributes: { type: "submit" } }, "Join now");
  private readonly stopListening: () => void;
  private isJoining = false;
  /** The causes that the notice is about. */
  private told = "";

  constructor(options: LobbyOptions) {
    this.options = options;
    const { capture, code } = options;
    this.preview = new Preview(capture);
    this.name = new NameField({ isNeeded: true, changed: (name) => this.preview.setName(name) });
    this.preview.setName(this.name.text);
    this.settings = new DeviceSettings({ capture });
    this.lock.hidden = true;
    this.presence.append("Meeting ", element("code", {}, code));
    this.view = element(
      "div",
      { class: "page" },
      element("header", { class: "page-head" }, brand()),
      element(
        "main",
        { class: "lobby" },
        this.preview.view,
        element(
          "form",
          { class: "lobby-form", attributes: { novalidate: "" }, on: { submit: (event) => void this.submit(event) } },
          this.title,
          this.presence,
          this.lock,
          this.notice.view,
          this.deviceNotice.view,
          this.name.view,
          this.joinButton,
          this.progress,
          copyLinkButton(),
        ),
        this.settings.view,
      ),
    );
    this.stopListening = capture.onChange(() => this.refresh());
    void this.preview.start().then(() => this.refresh());
    void this.describe();
  }

  fail(words: Words): void {
    this.notice.show(words);
  }

  private refresh(): void {
    if (this.isJoining) return;
    this.preview.refresh();
    const { causes } = this.options.capture;
    const told = `${causes.camera ?? ""} ${causes.microphone ?? ""}`;
    // Told once: what was put away does not come back before there is something else to say.
    if (told === this.told) return;
    this.told = told;
    this.deviceNotice.show(...faultsWords(causes.camera, causes.microphone));
  }

  /** What there is to know before joining; where the API tells strangers nothing, joining will tell. */
  private async describe(): Promise<void> {
    try {
      this.tell(await this.options.describe());
    } catch (thrown) {
      const error = DarkTowerError.from(thrown);
      if (error.code === "MEETING_NOT_FOUND") this.notice.show(errorWords(error));
    }
  }

  private tell(meeting: MeetingDescription): void {
    const { hasSecret } = this.options;
    this.title.textContent = meeting.display_name;
    this.presence.textContent = presenceWords(meeting.participant_count);
    const refuse = (code: "MEETING_ENDED" | "CAPACITY_EXCEEDED" | "SECRET_MISSING" | "NOT_ENCRYPTED"): void =>
      this.notice.show(errorWords({ code, message: "", details: {} }));
    const isEncrypted = meeting.settings.enable_e2e_encryption;
    this.lock.hidden = !isEncrypted;
    this.lock.replaceChildren(icon("lock"), "This meeting is end-to-end encrypted. The servers cannot see, hear or read it.");
    if (meeting.ended_at !== undefined) refuse("MEETING_ENDED");
    else if (isEncrypted && !hasSecret) refuse("SECRET_MISSING");
    else if (!isEncrypted && hasSecret) refuse("NOT_ENCRYPTED");
    else if (meeting.participant_count >= meeting.max_participants) refuse("CAPACITY_EXCEEDED");
  }

  private async submit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    if (this.isJoining) return;
    const name = this.name.take();
    if (name === undefined) return;
    this.notice.clear();
    this.showJoining(true);
    const { wanted } = this.preview;
    const words = await this.options.enter({ name, isMuted: !wanted.microphone, isVideoOn: wanted.camera });
    if (words === undefined) {
      this.dispose();
      return;
    }
    this.showJoining(false);
    this.notice.show(words);
    this.refresh();
  }

  private showJoining(isJoining: boolean): void {
    this.isJoining = isJoining;
    this.joinButton.disabled = isJoining;
    this.joinButton.setAttribute("aria-busy", String(isJoining));
    this.joinButton.replaceChildren(...(isJoining ? [element("span", { class: "spinner" }), "Joining…"] : ["Try again"]));
    this.progress.textContent = "";
    if (!isJoining) return;
    setTimeout(() => {
      if (this.isJoining) this.progress.textContent = "This takes longer than usual. Still trying…";
    }, SLOW_JOIN_MS);
  }

  /** The devices go on with the meeting; what showed them here lets go. */
  dispose(): void {
    this.stopListening();
    this.settings.dispose();
  }
}
