// Choosing camera, microphone and speaker, in the lobby and in the room. In: this person's capture, and where the speaker's choice goes. It
// follows devices that come and go.

import type { Capture, Device, DeviceKind, SoundTreatment } from "./capture.ts";
import { choiceLabels } from "./device-choice.ts";
import { openDialog } from "./dialog.ts";
import { element } from "./dom.ts";
import { icon, type IconName } from "./icons.ts";
import { LevelMeter } from "./meter.ts";
import { canChooseSpeaker, playTestSound } from "./speaker.ts";
import { rememberDevices, rememberedDevices } from "./storage.ts";
import { switchRow } from "./switch.ts";

export interface DeviceSettingsOptions {
  capture: Capture;
  /** Sends the meeting's sound to this speaker; in the lobby there is none yet, and the choice is remembered alone. */
  setSpeaker?: (deviceId: string) => Promise<void>;
}

const KINDS: readonly { kind: DeviceKind; label: string; icon: IconName }[] = [
  { kind: "microphone", label: "Microphone", icon: "microphone" },
  { kind: "speaker", label: "Speaker", icon: "loudspeaker" },
  { kind: "camera", label: "Camera", icon: "camera" },
];

const TREATMENTS: readonly { key: keyof SoundTreatment; label: string; about: string }[] = [
  { key: "noiseSuppression", label: "Noise suppression", about: "Keeps fans and keyboards out of what others hear." },
  { key: "echoCancellation", label: "Echo cancellation", about: "Leave it on unless you wear headphones and play music." },
  { key: "autoGainControl", label: "Even volume", about: "Makes quiet voices louder and loud ones quieter." },
];

let instances = 0;

export class DeviceSettings {
  readonly view: HTMLElement;
  private readonly capture: Capture;
  private readonly setSpeaker: DeviceSettingsOptions["setSpeaker"];
  private readonly selects: Record<DeviceKind, HTMLSelectElement>;
  private readonly meter = new LevelMeter();
  private readonly stopListening: () => void;

  constructor({ capture, setSpeaker }: DeviceSettingsOptions) {
    this.capture = capture;
    this.setSpeaker = setSpeaker;
    instances += 1;
    const id = `device-${instances}`;
    const select = (kind: DeviceKind): HTMLSelectElement =>
      element("select", {
        testid: `select-${kind}`,
        attributes: { id: `${id}-${kind}` },
        on: { change: () => void this.chosen(kind) },
      });
    this.selects = { camera: select("camera"), microphone: select("microphone"), speaker: select("speaker") };
    const rows = KINDS.map(({ kind, label, icon: name }) =>
      element(
        "div",
        { class: "device" },
        element("label", { attributes: { for: `${id}-${kind}` } }, icon(name), label),
        element("div", { class: "device-row" }, this.selects[kind], kind === "speaker" ? this.testButton() : undefined),
        kind === "microphone" ? this.meter.view : undefined,
      ),
    );
    const { treatment } = capture;
    const switches = TREATMENTS.map(({ key, label, about }) =>
      switchRow({ label, about, testid: `switch-${key}`, isOn: treatment[key], change: (isOn) => void capture.treat({ [key]: isOn }) }),
    );
    this.view = element(
      "div",
      { class: "devices" },
      ...rows,
      element("details", { class: "treatments" }, element("summary", {}, "Sound options"), ...switches),
    );
    this.stopListening = capture.onChange(() => void this.refresh());
    void this.refresh();
  }

  /** Lets go of the microphone's copy and the listeners. */
  dispose(): void {
    this.stopListening();
    this.meter.stop();
  }

  private async chosen(kind: DeviceKind): Promise<void> {
    const { value } = this.selects[kind];
    if (kind !== "speaker") {
      await this.capture.choose(kind, value);
      return;
    }
    rememberDevices({ speaker: value });
    await this.setSpeaker?.(value).catch(() => undefined);
  }

  private async refresh(): Promise<void> {
    this.meter.follow(this.capture.tracks.microphone);
    for (const { kind, label } of KINDS) {
      const choices = choiceLabels(await this.capture.choices(kind), label);
      const select = this.selects[kind];
      // A list that is open is not taken away from under the pointer.
      const isSame =
        choices.length === select.options.length && choices.every(({ value }, index) => select.options[index]?.value === value);
      if (!isSame || choices.length === 0) {
        const none = kind === "speaker" ? "The system's speaker" : `No ${label.toLowerCase()} found`;
        const shown = choices.length === 0 ? [{ value: "", label: none }] : choices;
        select.replaceChildren(...shown.map((choice) => element("option", { attributes: { value: choice.value } }, choice.label)));
      }
      select.disabled = choices.length === 0 || (kind === "speaker" && !canChooseSpeaker());
      const current = this.current(kind);
      if (current !== undefined && choices.some(({ value }) => value === current)) select.value = current;
    }
  }

  private current(kind: DeviceKind): string | undefined {
    const remembered = rememberedDevices()[kind];
    if (kind === "speaker") return remembered;
    const track: MediaStreamTrack | undefined = this.capture.tracks[kind satisfies Device];
    return track?.getSettings().deviceId ?? remembered;
  }

  private testButton(): HTMLElement {
    const test = async (): Promise<void> => {
      button.disabled = true;
      button.textContent = "Playing…";
      await playTestSound(this.selects.speaker.value).catch(() => undefined);
      button.disabled = false;
      button.textContent = "Test";
    };
    const button = element(
      "button",
      { testid: "speaker-test", attributes: { type: "button", "aria-label": "Play a test sound" }, on: { click: () => void test() } },
      "Test",
    );
    return button;
  }
}

/** The same in a dialog, for the room. */
export function openDeviceSettings(options: DeviceSettingsOptions): HTMLDialogElement {
  const settings = new DeviceSettings(options);
  const dialog = openDialog("Devices", "devices-dialog", settings.view);
  dialog.addEventListener("close", () => settings.dispose());
  return dialog;
}
