// Before the meeting: see oneself, choose devices, say one's name.

import { NAME_CHARACTERS_MAX } from "@dark-tower/client";
import type { Capture, Device } from "./capture.ts";
import { Toggle } from "./control.ts";
import { element } from "./dom.ts";
import { brand } from "./home.ts";
import { Notice } from "./notice.ts";
import { rememberedName, rememberName } from "./storage.ts";
import type { Words } from "./words.ts";

export interface LobbyChoice {
  name: string;
  isMuted: boolean;
  isVideoOn: boolean;
}

export class Lobby {
  readonly view: HTMLElement;
  private readonly capture: Capture;
  private readonly enter: (choice: LobbyChoice) => Promise<Words | undefined>;
  private readonly notice = new Notice();
  private readonly preview = element("video", { class: "mirrored", attributes: { playsinline: "", "aria-label": "Your camera" } });
  private readonly previewText = element("p", { class: "preview-text" }, "Starting your camera…");
  private readonly name = element("input", {
    testid: "name",
    attributes: {
      id: "name",
      type: "text",
      placeholder: "How others see you",
      maxlength: String(NAME_CHARACTERS_MAX),
      autocomplete: "name",
      required: "",
      "data-autofocus": "",
    },
  });
  private readonly joinButton = element("button", { class: "primary", testid: "join", attributes: { type: "submit" } }, "Join now");
  private readonly selects: Record<Device, HTMLSelectElement>;
  private readonly toggles: Record<Device, Toggle>;
  private readonly wanted: Record<Device, boolean> = { camera: true, microphone: true };
  private gone = false;

  /** `enter` returns what to tell when the meeting could not be entered. */
  constructor(code: string, capture: Capture, enter: (choice: LobbyChoice) => Promise<Words | undefined>) {
    this.capture = capture;
    this.enter = enter;
    this.name.value = rememberedName();
    this.preview.muted = true;
    this.preview.autoplay = true;
    this.selects = { camera: this.select("camera", "Camera"), microphone: this.select("microphone", "Microphone") };
    this.toggles = {
      microphone: new Toggle(
        {
          testid: "mute",
          on: { icon: "microphone", label: "Turn microphone off" },
          off: { icon: "microphoneOff", label: "Turn microphone on" },
          alertOff: true,
          press: () => void this.toggle("microphone"),
        },
        true,
      ),
      camera: new Toggle(
        {
          testid: "camera",
          on: { icon: "camera", label: "Turn camera off" },
          off: { icon: "cameraOff", label: "Turn camera on" },
          alertOff: true,
          press: () => void this.toggle("camera"),
        },
        true,
      ),
    };
    this.view = element(
      "main",
      { class: "welcome wide" },
      brand(),
      element(
        "section",
        { class: "card lobby" },
        element(
          "div",
          { class: "preview" },
          this.preview,
          this.previewText,
          element("div", { class: "preview-controls" }, this.toggles.microphone.view, this.toggles.camera.view),
        ),
        element(
          "form",
          { class: "stack", on: { submit: (event) => void this.submit(event) } },
          element("h1", {}, "Ready to join?"),
          element("p", { class: "lead" }, "Meeting ", element("code", {}, code)),
          this.notice.view,
          element("label", { attributes: { for: "name" } }, "Your name"),
          this.name,
          element("label", { attributes: { for: "select-microphone" } }, "Microphone"),
          this.selects.microphone,
          element("label", { attributes: { for: "select-camera" } }, "Camera"),
          this.selects.camera,
          this.joinButton,
        ),
      ),
    );
    void this.start();
  }

  fail(words: Words): void {
    this.notice.show(words);
  }

  private async start(): Promise<void> {
    await this.capture.openBoth();
    if (this.gone) return;
    this.wanted.camera = this.capture.tracks.camera !== undefined;
    this.wanted.microphone = this.capture.tracks.microphone !== undefined;
    const fault = this.capture.faults.camera ?? this.capture.faults.microphone;
    if (fault !== undefined) this.notice.show(fault);
    await this.refresh();
  }

  private async toggle(device: Device): Promise<void> {
    if (this.wanted[device]) {
      this.capture.close(device);
      this.wanted[device] = false;
    } else {
      await this.open(device);
    }
    await this.refresh();
  }

  private async open(device: Device, deviceId?: string): Promise<void> {
    const track = await this.capture.open(device, deviceId);
    this.wanted[device] = track !== undefined;
    const fault = this.capture.faults[device];
    if (fault === undefined) this.notice.clear();
    else this.notice.show(fault);
  }

  private async refresh(): Promise<void> {
    const { camera } = this.capture.tracks;
    this.preview.srcObject = camera === undefined ? null : new MediaStream([camera]);
    this.preview.hidden = camera === undefined;
    this.previewText.textContent = "Your camera is off";
    this.previewText.hidden = camera !== undefined;
    for (const device of ["camera", "microphone"] as const) {
      this.toggles[device].set(this.wanted[device]);
      await this.fill(device);
    }
  }

  private select(device: Device, label: string): HTMLSelectElement {
    const change = async (): Promise<void> => {
      await this.open(device, this.selects[device].value);
      await this.refresh();
    };
    return element("select", { attributes: { id: `select-${device}`, "aria-label": label }, on: { change: () => void change() } });
  }

  private async fill(device: Device): Promise<void> {
    const choices = await this.capture.choices(device);
    const select = this.selects[device];
    const current = this.capture.tracks[device]?.getSettings().deviceId;
    select.replaceChildren(
      ...choices.map((info, index) => element("option", { attributes: { value: info.deviceId } }, info.label || `${device} ${index + 1}`)),
    );
    if (choices.length === 0) select.append(element("option", { attributes: { value: "" } }, `No ${device}`));
    if (current !== undefined) select.value = current;
    select.disabled = choices.length === 0;
  }

  private async submit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    const name = this.name.value.trim();
    if (name === "") {
      this.name.focus();
      return;
    }
    rememberName(name);
    this.notice.clear();
    this.joinButton.disabled = true;
    this.joinButton.textContent = "Joining…";
    this.gone = true;
    const words = await this.enter({ name, isMuted: !this.wanted.microphone, isVideoOn: this.wanted.camera });
    if (words === undefined) return;
    this.gone = false;
    this.notice.show(words);
    this.joinButton.disabled = false;
    this.joinButton.textContent = "Try again";
  }
}
