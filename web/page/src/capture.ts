// This person's camera, microphone and screen. In: wishes, and what the machine does meanwhile. Out: tracks, or why there is none. Once it is
// closed for good, whatever is granted later is let go at once.

import { type CaptureFault, faultOf, faultWords, swappedWords } from "./capture-words.ts";
import { isWorthAsking, otherDevice } from "./device-choice.ts";
import { type DeviceMemory, rememberDevices, rememberedDevices } from "./storage.ts";
import type { Words } from "./words.ts";

export type Device = "camera" | "microphone";
export type DeviceKind = Device | "speaker";

/** How the microphone's sound is treated before it is sent. */
export interface SoundTreatment {
  echoCancellation: boolean;
  noiseSuppression: boolean;
  autoGainControl: boolean;
}

/**
 * An open device's track gave way to another one: chosen in the settings, or because the device went away. No track: there is none in its
 * place. Not told for `open` and `close`, whose caller knows.
 */
export interface Replacement {
  device: Device;
  track: MediaStreamTrack | undefined;
  /** The one before ended by itself. */
  wentAway: boolean;
  /** What to tell whoever did not ask for it. */
  words: Words | undefined;
}

const DEVICES = ["camera", "microphone"] as const;
const NAMES: Record<Device, string> = { camera: "Camera", microphone: "Microphone" };
const KINDS: Record<DeviceKind, MediaDeviceKind> = { camera: "videoinput", microphone: "audioinput", speaker: "audiooutput" };
/** A 720p picture is encoded beside what must be decoded; machines with fewer cores send 360p. */
const LARGE_PICTURE_CORES_MIN = 8;
/** Devices pause for a moment when the system hands them around; what lasts longer is told. */
const SILENCED_AFTER_MS = 2000;

/** Which device; meant, not wished: browsers that ask for permission take a wish lightly. */
function exactly(deviceId: string | undefined): Pick<MediaTrackConstraints, "deviceId"> {
  return deviceId === undefined ? {} : { deviceId: { exact: deviceId } };
}

function cameraConstraints(deviceId: string | undefined): MediaTrackConstraints {
  const large = navigator.hardwareConcurrency >= LARGE_PICTURE_CORES_MIN;
  return {
    width: { ideal: large ? 1280 : 640 },
    height: { ideal: large ? 720 : 360 },
    frameRate: { ideal: 30, max: 30 },
    ...exactly(deviceId),
  };
}

function microphoneConstraints(deviceId: string | undefined, treatment: SoundTreatment): MediaTrackConstraints {
  return { ...treatment, channelCount: 1, sampleRate: 48_000, ...exactly(deviceId) };
}

/** Chromium's way to ask whether the page may use a feature at all. */
function isAllowedByPolicy(device: Device): boolean {
  const { featurePolicy } = document as { featurePolicy?: { allowsFeature(name: string): boolean } };
  return featurePolicy?.allowsFeature(device) ?? true;
}

async function permissionOf(device: Device): Promise<PermissionState | undefined> {
  try {
    return (await navigator.permissions.query({ name: device })).state;
  } catch {
    return undefined;
  }
}

export class Capture {
  readonly tracks: Partial<Record<Device, MediaStreamTrack>> = {};
  /** Why there is no track, for each device that was wanted. */
  readonly causes: Partial<Record<Device, CaptureFault>> = {};
  /** Resolves when the person, or the machine, has answered the first question. */
  opening: Promise<void> = Promise.resolve();
  private readonly changeListeners = new Set<() => void>();
  private readonly replacementListeners = new Set<(replacement: Replacement) => void>();
  /** Counts what was asked of a device, so that an answer to an older wish is let go. */
  private readonly wishes: Record<Device, number> = { camera: 0, microphone: 0 };
  private readonly lifetime = new AbortController();

  constructor() {
    // Absent where the page is no secure context.
    (navigator.mediaDevices as MediaDevices | undefined)?.addEventListener("devicechange", () => void this.devicesChanged(), {
      signal: this.lifetime.signal,
    });
  }

  /** Why there is no track, in words. */
  get faults(): Partial<Record<Device, Words>> {
    const faults: Partial<Record<Device, Words>> = {};
    for (const device of DEVICES) {
      const cause = this.causes[device];
      if (cause !== undefined) faults[device] = faultWords(NAMES[device], cause);
    }
    return faults;
  }

  get treatment(): SoundTreatment {
    const { echoCancellation = true, noiseSuppression = true, autoGainControl = true } = rememberedDevices();
    return { echoCancellation, noiseSuppression, autoGainControl };
  }

  /** Calls `listener` when a track, a cause or the list of devices has changed; returns how to stop that. */
  onChange(listener: () => void): () => void {
    this.changeListeners.add(listener);
    return () => void this.changeListeners.delete(listener);
  }

  onReplaced(listener: (replacement: Replacement) => void): () => void {
    this.replacementListeners.add(listener);
    return () => void this.replacementListeners.delete(listener);
  }

  /** Asks for both at once, so that people are asked once; takes what is there. */
  openBoth(): Promise<void> {
    this.opening = this.askForBoth();
    return this.opening;
  }

  private async askForBoth(): Promise<void> {
    const wishes = { camera: this.wish("camera"), microphone: this.wish("microphone") };
    try {
      const stream = await this.remembered(({ camera, microphone }) => ({
        video: cameraConstraints(camera),
        audio: microphoneConstraints(microphone, this.treatment),
      }));
      for (const device of DEVICES) this.keep(device, stream, wishes[device]);
    } catch (thrown) {
      const isRefusal = thrown instanceof DOMException && thrown.name === "NotAllowedError";
      const [camera, microphone] = isRefusal ? await Promise.all(DEVICES.map(permissionOf)) : [];
      const states = { camera, microphone };
      for (const device of DEVICES) {
        if (this.wishes[device] !== wishes[device]) continue;
        const other = device === "camera" ? "microphone" : "camera";
        if (isWorthAsking(states[device], states[other])) await this.open(device);
        else await this.refuse(device, thrown);
      }
    }
    this.changed();
  }

  /** Opens one; `deviceId` is remembered. Why it failed is in `faults`. */
  async open(device: Device, deviceId?: string): Promise<MediaStreamTrack | undefined> {
    if (deviceId !== undefined) rememberDevices({ [device]: deviceId });
    const wish = this.wish(device);
    this.drop(device);
    try {
      const stream =
        deviceId === undefined
          ? await this.remembered((ids) => this.constraints(device, ids[device]))
          : await this.userMedia(this.constraints(device, deviceId));
      this.keep(device, stream, wish);
    } catch (thrown) {
      if (this.wishes[device] === wish) await this.refuse(device, thrown);
    }
    this.changed();
    return this.tracks[device];
  }

  /** Takes another device from now on. If it is open now, the new one is opened before the old one is let go; if that fails the old one stays. */
  async choose(device: Device, deviceId: string): Promise<void> {
    rememberDevices({ [device]: deviceId });
    if (this.tracks[device] !== undefined) await this.swap(device, deviceId, undefined);
    this.changed();
  }

  /** Treats the microphone's sound otherwise from now on. */
  async treat(change: Partial<SoundTreatment>): Promise<void> {
    rememberDevices(change);
    const { microphone } = this.tracks;
    if (microphone !== undefined) await this.swap("microphone", microphone.getSettings().deviceId, undefined);
    this.changed();
  }

  close(device: Device): void {
    this.wish(device);
    this.drop(device);
    this.causes[device] = undefined;
    this.changed();
  }

  /** For good. */
  closeAll(): void {
    this.lifetime.abort();
    this.changeListeners.clear();
    this.replacementListeners.clear();
    for (const device of DEVICES) this.close(device);
  }

  async screen(): Promise<MediaStreamTrack> {
    const stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { ideal: 15, max: 30 } }, audio: false });
    const [track] = stream.getVideoTracks();
    if (track === undefined) throw new DOMException("no screen was chosen", "NotFoundError");
    if (this.lifetime.signal.aborted) {
      track.stop();
      // As if the dialog had been closed: nobody is there to be told.
      throw new DOMException("the meeting is over", "NotAllowedError");
    }
    track.contentHint = "detail";
    return track;
  }

  /** What can be chosen; names are known only after a permission. */
  async choices(kind: DeviceKind): Promise<MediaDeviceInfo[]> {
    const devices = navigator.mediaDevices as MediaDevices | undefined;
    const all = (await devices?.enumerateDevices().catch(() => [])) ?? [];
    return all.filter((info) => info.kind === KINDS[kind] && info.deviceId !== "");
  }

  private constraints(device: Device, deviceId: string | undefined): MediaStreamConstraints {
    return device === "camera" ? { video: cameraConstraints(deviceId) } : { audio: microphoneConstraints(deviceId, this.treatment) };
  }

  /** With the devices of last time; if those are not here now, with any. */
  private async remembered(constraints: (ids: DeviceMemory) => MediaStreamConstraints): Promise<MediaStream> {
    try {
      return await this.userMedia(constraints(rememberedDevices()));
    } catch (thrown) {
      // Not a `DOMException` everywhere, but of that name.
      if ((thrown as { name?: string }).name !== "OverconstrainedError") throw thrown;
      return this.userMedia(constraints({}));
    }
  }

  private async userMedia(constraints: MediaStreamConstraints): Promise<MediaStream> {
    const devices = navigator.mediaDevices as MediaDevices | undefined;
    if (devices === undefined) throw new DOMException("not a secure context", "SecurityError");
    return devices.getUserMedia(constraints);
  }

  private wish(device: Device): number {
    this.wishes[device] += 1;
    return this.wishes[device];
  }

  /** Takes the track of `stream`, unless something else was wished meanwhile. */
  private keep(device: Device, stream: MediaStream, wish: number): void {
    const [track] = device === "camera" ? stream.getVideoTracks() : stream.getAudioTracks();
    if (track === undefined) return;
    if (this.lifetime.signal.aborted || this.wishes[device] !== wish) {
      track.stop();
      return;
    }
    this.tracks[device] = track;
    this.causes[device] = undefined;
    this.watch(device, track);
  }

  private async refuse(device: Device, thrown: unknown): Promise<void> {
    const { name, message } = thrown instanceof Error ? thrown : new Error(String(thrown));
    this.causes[device] = faultOf({
      name,
      message,
      permission: await permissionOf(device),
      isSecure: isSecureContext,
      isAllowedByPolicy: isAllowedByPolicy(device),
    });
  }

  private drop(device: Device): void {
    this.tracks[device]?.stop();
    this.tracks[device] = undefined;
  }

  /** Opens another track for a device; the old one stays if that fails. `words`: for whoever did not ask for it, as the device went away. */
  private async swap(device: Device, deviceId: string | undefined, words: Words | undefined): Promise<boolean> {
    const before = this.tracks[device];
    const wish = this.wish(device);
    try {
      this.keep(device, await this.userMedia(this.constraints(device, deviceId)), wish);
    } catch (thrown) {
      if (this.wishes[device] === wish) await this.refuse(device, thrown);
      return false;
    }
    if (this.wishes[device] !== wish) return true;
    before?.stop();
    this.replaced({ device, track: this.tracks[device], wentAway: words !== undefined, words });
    return true;
  }

  private watch(device: Device, track: MediaStreamTrack): void {
    const { deviceId = "" } = track.getSettings();
    const isCurrent = (): boolean => this.tracks[device] === track;
    track.addEventListener("ended", () => {
      if (isCurrent()) void this.lost(device, deviceId);
    });
    track.addEventListener("mute", () => {
      setTimeout(() => {
        if (!isCurrent() || !track.muted) return;
        this.causes[device] = "silenced";
        this.changed();
      }, SILENCED_AFTER_MS);
    });
    track.addEventListener("unmute", () => {
      if (!isCurrent() || this.causes[device] !== "silenced") return;
      this.causes[device] = undefined;
      this.changed();
    });
  }

  /** A device went away by itself: another one takes its place, or the same one if it is still there, or it is told. */
  private async lost(device: Device, deviceId: string): Promise<void> {
    this.tracks[device] = undefined;
    const wish = this.wish(device);
    const choices = await this.choices(device);
    if (this.wishes[device] !== wish) return;
    const other = otherDevice(choices, deviceId);
    if (other !== undefined && (await this.swap(device, other.deviceId, swappedWords(device, other.label)))) {
      this.changed();
      return;
    }
    if (this.tracks[device] !== undefined || this.lifetime.signal.aborted) return;
    // Still listed and not to be had: `swap` has found out why.
    if (other === undefined) this.causes[device] = "unplugged";
    this.replaced({ device, track: undefined, wentAway: true, words: this.faults[device] });
    this.changed();
  }

  private async devicesChanged(): Promise<void> {
    for (const device of DEVICES) {
      const track = this.tracks[device];
      const choices = await this.choices(device);
      const { deviceId } = track?.getSettings() ?? {};
      // Some systems leave the track of an unplugged device alive and silent.
      const isGone = track !== undefined && deviceId !== undefined && !choices.some((choice) => choice.deviceId === deviceId);
      if (isGone && this.tracks[device] === track && choices.every((choice) => choice.label !== "")) {
        track.stop();
        await this.lost(device, deviceId);
      }
      // What was missing may be there now; the button says it from here on.
      const cause = this.causes[device];
      if (choices.length > 0 && (cause === "not-found" || cause === "unplugged")) this.causes[device] = undefined;
    }
    this.changed();
  }

  private changed(): void {
    for (const listener of [...this.changeListeners]) listener();
  }

  private replaced(replacement: Replacement): void {
    for (const listener of [...this.replacementListeners]) listener(replacement);
  }
}
