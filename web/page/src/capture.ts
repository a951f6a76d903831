// This person's camera, microphone and screen. In: wishes. Out: tracks, or why there is none.

import { captureWords, type Words } from "./words.ts";

export type Device = "camera" | "microphone";

const NAMES: Record<Device, string> = { camera: "Camera", microphone: "Microphone" };
/** A 720p picture is encoded beside what must be decoded; machines with fewer cores send 360p. */
const LARGE_PICTURE_CORES_MIN = 8;

function cameraConstraints(deviceId: string | undefined): MediaTrackConstraints {
  const large = navigator.hardwareConcurrency >= LARGE_PICTURE_CORES_MIN;
  return {
    width: { ideal: large ? 1280 : 640 },
    height: { ideal: large ? 720 : 360 },
    frameRate: { ideal: 30, max: 30 },
    ...(deviceId === undefined ? {} : { deviceId: { exact: deviceId } }),
  };
}

function microphoneConstraints(deviceId: string | undefined): MediaTrackConstraints {
  return {
    echoCancellation: true,
    noiseSuppression: true,
    autoGainControl: true,
    channelCount: 1,
    sampleRate: 48_000,
    ...(deviceId === undefined ? {} : { deviceId: { exact: deviceId } }),
  };
}

export class Capture {
  readonly tracks: Partial<Record<Device, MediaStreamTrack>> = {};
  readonly faults: Partial<Record<Device, Words>> = {};
  /** Resolves when the person, or the machine, has answered the first question. */
  opening: Promise<void> = Promise.resolve();
  private readonly chosen: Partial<Record<Device, string>> = {};

  /** Asks for both at once, so that people are asked once; takes what is there. */
  openBoth(): Promise<void> {
    this.opening = this.askForBoth();
    return this.opening;
  }

  private async askForBoth(): Promise<void> {
    try {
      const video = cameraConstraints(this.chosen.camera);
      this.keep(await this.userMedia({ video, audio: microphoneConstraints(this.chosen.microphone) }));
    } catch {
      await Promise.all([this.open("camera"), this.open("microphone")]);
    }
  }

  /** Opens one; `deviceId` is remembered. Failure is in `faults`. */
  async open(device: Device, deviceId?: string): Promise<MediaStreamTrack | undefined> {
    if (deviceId !== undefined) this.chosen[device] = deviceId;
    const id = this.chosen[device];
    this.close(device);
    try {
      const constraints = device === "camera" ? { video: cameraConstraints(id) } : { audio: microphoneConstraints(id) };
      this.keep(await this.userMedia(constraints));
    } catch (thrown) {
      this.faults[device] = captureWords(NAMES[device], thrown instanceof Error ? thrown.name : "");
    }
    return this.tracks[device];
  }

  close(device: Device): void {
    this.tracks[device]?.stop();
    this.tracks[device] = undefined;
  }

  closeAll(): void {
    this.close("camera");
    this.close("microphone");
  }

  async screen(): Promise<MediaStreamTrack> {
    const stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { ideal: 15, max: 30 } }, audio: false });
    const [track] = stream.getVideoTracks();
    if (track === undefined) throw new DOMException("no screen was chosen", "NotFoundError");
    track.contentHint = "detail";
    return track;
  }

  /** What can be chosen; names are known only after a permission. */
  async choices(device: Device): Promise<MediaDeviceInfo[]> {
    const kind = device === "camera" ? "videoinput" : "audioinput";
    const all = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
    return all.filter((info) => info.kind === kind && info.deviceId !== "");
  }

  private async userMedia(constraints: MediaStreamConstraints): Promise<MediaStream> {
    // Absent where the page is no secure context.
    if (navigator.mediaDevices === undefined) throw new DOMException("not a secure context", "SecurityError");
    return navigator.mediaDevices.getUserMedia(constraints);
  }

  private keep(stream: MediaStream): void {
    for (const track of stream.getTracks()) {
      const device: Device = track.kind === "video" ? "camera" : "microphone";
      this.tracks[device] = track;
      this.faults[device] = undefined;
    }
  }
}
