// Oneself, as others will see: the camera's picture like in a mirror, one's name, and the two switches. In: this person's capture.

import type { Capture, Device } from "./capture.ts";
import { faultsWords } from "./capture-words.ts";
import { Toggle } from "./control.ts";
import { element } from "./dom.ts";
import { initials } from "./words.ts";

export class Preview {
  readonly view: HTMLElement;
  /** What the person wants, whether it is there or not: a device that is refused counts as off. */
  readonly wanted: Record<Device, boolean> = { camera: true, microphone: true };
  private readonly capture: Capture;
  private readonly video = element("video", { class: "mirrored", attributes: { playsinline: "", "aria-label": "Your camera" } });
  private readonly avatar = element("span", { class: "preview-avatar", attributes: { "aria-hidden": "true" } });
  private readonly text = element("p", { class: "preview-text", testid: "preview-text", attributes: { role: "status" } });
  private readonly name = element("span", { class: "preview-name", attributes: { "aria-hidden": "true" } });
  private readonly toggles: Record<Device, Toggle>;
  private isAsking = true;

  constructor(capture: Capture) {
    this.capture = capture;
    this.video.muted = true;
    this.video.autoplay = true;
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
    const { microphone, camera } = this.toggles;
    this.view = element(
      "div",
      { class: "preview" },
      this.video,
      this.avatar,
      this.name,
      this.text,
      element(
        "div",
        { class: "preview-controls", attributes: { role: "group", "aria-label": "Your devices" } },
        microphone.view,
        camera.view,
      ),
    );
    this.setName("");
    this.refresh();
  }

  setName(name: string): void {
    this.name.textContent = name;
    this.avatar.textContent = name === "" ? "" : initials(name);
    this.view.classList.toggle("nameless", name === "");
  }

  /** Asks for the devices. */
  async start(): Promise<void> {
    await this.capture.openBoth();
    this.isAsking = false;
    for (const device of ["camera", "microphone"] as const) {
      // Whoever pressed a switch meanwhile has decided.
      if (this.wanted[device]) this.wanted[device] = this.capture.tracks[device] !== undefined;
      else this.capture.close(device);
    }
    this.refresh();
  }

  refresh(): void {
    const { camera, microphone } = this.capture.tracks;
    const shown = this.video.srcObject instanceof MediaStream ? this.video.srcObject.getVideoTracks().at(0) : undefined;
    if (shown !== camera) this.video.srcObject = camera === undefined ? null : new MediaStream([camera]);
    if (!this.isAsking) {
      this.wanted.camera = camera !== undefined;
      this.wanted.microphone = microphone !== undefined;
    }
    this.video.hidden = camera === undefined;
    this.avatar.hidden = camera !== undefined;
    this.text.textContent = this.words();
    this.text.hidden = this.text.textContent === "";
    for (const device of ["camera", "microphone"] as const) this.toggles[device].set(this.wanted[device]);
  }

  private words(): string {
    const { tracks, causes } = this.capture;
    if (this.isAsking && tracks.camera === undefined) return "Your browser may ask whether this page can use your camera and microphone.";
    const [first] = faultsWords(causes.camera, causes.microphone);
    if (causes.camera !== undefined) return first?.title ?? "";
    return tracks.camera === undefined ? "Your camera is off" : "";
  }

  private async toggle(device: Device): Promise<void> {
    this.wanted[device] = !this.wanted[device];
    this.toggles[device].set(this.wanted[device]);
    if (this.isAsking) return;
    if (this.wanted[device]) await this.capture.open(device);
    else this.capture.close(device);
  }
}
