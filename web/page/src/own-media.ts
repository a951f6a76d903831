// This person's microphone, camera and screen in a meeting: opened, published, told to the others, and given back. In: wishes of the person,
// of the meeting's host, and of the devices themselves. Out: what stands now, and words when it did not work.

import { DarkTowerError, type Meeting, type MuteRequest, type Publication, support } from "@dark-tower/client";
import type { Capture, Device, Replacement } from "./capture.ts";
import { captureWords, errorWords, type Words } from "./words.ts";

const wordsOf = (thrown: unknown): Words => errorWords(DarkTowerError.from(thrown));

export interface OwnMediaEvents {
  /** Something of `OwnMedia` is another now. */
  changed: () => void;
  fault: (words: Words) => void;
  /** What a `fault` told of is over. */
  mended: (words: Words) => void;
  /** Something went well that nobody asked for. */
  news: (words: Words) => void;
}

export class OwnMedia {
  readonly canPublish = support().publish;
  /** What the others are told. */
  isMuted: boolean;
  /** Being opened or closed: its switch waits. */
  readonly isBusy: Record<Device | "screen", boolean> = { camera: false, microphone: false, screen: false };
  private readonly meeting: Meeting;
  private readonly capture: Capture;
  private readonly events: OwnMediaEvents;
  private readonly publications: Partial<Record<Device | "screen", Promise<Publication | undefined>>> = {};
  /** What was said of a device that has not worked since. */
  private readonly told: Partial<Record<Device, Words>> = {};
  /** Devices of which it was told that they give nothing. */
  private readonly silenced = new Set<Device>();
  private readonly wantsVideo: boolean;
  private isCameraPressedAgain = false;
  private screenTrack: MediaStreamTrack | undefined;
  private isOver = false;
  /** Resolves when the devices that were chosen in the lobby are published, or are not there. */
  private starting: Promise<void> = Promise.resolve();

  constructor(meeting: Meeting, capture: Capture, wishes: { isMuted: boolean; isVideoOn: boolean }, events: OwnMediaEvents) {
    this.meeting = meeting;
    this.capture = capture;
    this.events = events;
    this.isMuted = wishes.isMuted;
    this.wantsVideo = wishes.isVideoOn;
    capture.onReplaced((replacement) => void this.replaced(replacement));
    capture.onChange(() => this.lookAtDevices());
    meeting.on("publication-ended", ({ streamId }) => void this.lost(streamId, false));
    meeting.on("publication-failed", ({ streamId }) => void this.lost(streamId, true));
  }

  get camera(): MediaStreamTrack | undefined {
    return this.capture.tracks.camera;
  }

  get isSharing(): boolean {
    return this.screenTrack !== undefined;
  }

  /** Publishes what the lobby opened. */
  start(): void {
    this.starting = this.publishChosen();
  }

  /** Gives the devices back: those that are open, and those that a person allows only now. */
  dispose(): void {
    this.isOver = true;
    this.screenTrack?.stop();
    this.capture.closeAll();
    void this.capture.opening.then(() => this.capture.closeAll());
  }

  async toggleMicrophone(): Promise<void> {
    if (this.isBusy.microphone) return;
    if (this.isMuted && this.capture.tracks.microphone === undefined && !(await this.open("microphone"))) return;
    this.isMuted = !this.isMuted;
    this.events.changed();
    await this.meeting.setMuted(this.isMuted).catch((thrown: unknown) => this.fail(wordsOf(thrown)));
  }

  /** A press while the camera is being opened or closed is done after that: whoever presses "off" is not left on. */
  async toggleCamera(): Promise<void> {
    if (this.isBusy.camera) {
      this.isCameraPressedAgain = !this.isCameraPressedAgain;
      return;
    }
    do {
      this.isCameraPressedAgain = false;
      if (this.camera !== undefined) {
        await this.close("camera");
        await this.tellVideo(false);
      } else if (await this.open("camera")) {
        await this.tellVideo(true);
      } else {
        return;
      }
    } while (this.isCameraPressedAgain && !this.isOver);
  }

  async toggleScreen(): Promise<void> {
    if (this.isBusy.screen) return;
    if (this.isSharing) {
      await this.stopSharing();
      return;
    }
    this.busy("screen", true);
    try {
      const track = await this.capture.screen();
      if (this.isOver) {
        track.stop();
        return;
      }
      this.screenTrack = track;
      const publishing = this.meeting.publish(track, "screen");
      this.publications.screen = publishing.catch(() => undefined);
      await publishing;
    } catch (thrown) {
      await this.stopSharing();
      // A dialog that was closed on purpose needs no comment.
      if (!(thrown instanceof DOMException)) this.fail(wordsOf(thrown));
      else if (thrown.name !== "NotAllowedError") this.fail(captureWords("Screen", thrown.name));
    } finally {
      this.busy("screen", false);
    }
  }

  /** Turns off what is asked, as far as it is on; says what that was. */
  async obey({ microphone, camera }: MuteRequest): Promise<{ microphone: boolean; camera: boolean }> {
    const wasHeard = microphone && !this.isMuted;
    // At once, whether the microphone is open already or not; a camera that is just being opened is waited for.
    if (wasHeard) void this.toggleMicrophone();
    await this.starting;
    const wasSeen = camera && !this.isOver && this.camera !== undefined;
    if (wasSeen) await this.toggleCamera();
    return { microphone: wasHeard, camera: wasSeen };
  }

  private async publishChosen(): Promise<void> {
    if (!this.canPublish) {
      this.fail({
        title: "You can watch and listen here.",
        advice: "To be seen and heard, use a current Chrome, Edge or another Chromium browser.",
      });
      return;
    }
    await this.capture.opening;
    if (this.isOver) return;
    if (!this.wantsVideo) this.capture.close("camera");
    await Promise.all([this.publish("camera"), this.publish("microphone"), this.ownUp()]);
  }

  /** Whoever joined before the devices answered said more than there is. */
  private async ownUp(): Promise<void> {
    const { tracks, faults } = this.capture;
    const device = faults.camera === undefined ? "microphone" : "camera";
    this.deviceFails(device, faults[device]);
    if (tracks.camera === undefined && this.wantsVideo) await this.tellVideo(false);
    if (tracks.microphone === undefined && !this.isMuted) {
      this.isMuted = true;
      this.events.changed();
      await this.meeting.setMuted(true).catch(() => undefined);
    }
  }

  private async open(device: Device): Promise<boolean> {
    this.busy(device, true);
    try {
      const track = await this.capture.open(device);
      if (this.isOver) this.capture.closeAll();
      else if (track === undefined)
        this.deviceFails(device, this.capture.faults[device] ?? captureWords(device === "camera" ? "Camera" : "Microphone", ""));
      else {
        this.deviceWorks(device);
        await this.publish(device);
      }
      return !this.isOver && track !== undefined;
    } finally {
      this.busy(device, false);
    }
  }

  private async close(device: Device): Promise<void> {
    this.busy(device, true);
    this.capture.close(device);
    const publication = this.publications[device];
    this.publications[device] = undefined;
    await (await publication)?.stop().catch(() => undefined);
    this.busy(device, false);
  }

  private async publish(device: Device): Promise<void> {
    const track = this.capture.tracks[device];
    if (track === undefined) return;
    this.events.changed();
    const publishing = this.meeting.publish(track, device === "camera" ? "camera" : "audio").catch((thrown: unknown) => {
      this.fail(wordsOf(thrown));
      return undefined;
    });
    this.publications[device] = publishing;
    await publishing;
  }

  /** Another device was chosen, or took the place of one that went away; or none did. */
  private async replaced({ device, track, wentAway, words }: Replacement): Promise<void> {
    if (track === undefined) this.deviceFails(device, words);
    else if (words !== undefined) this.events.news(words);
    if (track === undefined) {
      await this.off(device);
      return;
    }
    this.events.changed();
    // A publication that is on its way carries the track that it began with.
    const publication = await this.publications[device];
    if (this.isOver || this.capture.tracks[device] !== track) return;
    if (!wentAway && publication !== undefined) {
      await publication.replaceTrack(track).catch((thrown: unknown) => this.fail(wordsOf(thrown)));
      return;
    }
    // The end of a device is its publication's as well: the new one gets its own.
    this.publications[device] = undefined;
    await publication?.stop().catch(() => undefined);
    if (!this.isOver && this.capture.tracks[device] === track) await this.publish(device);
  }

  /** Told why by somebody else. */
  private async off(device: Device): Promise<void> {
    await this.close(device);
    if (device === "camera") {
      await this.tellVideo(false);
    } else if (!this.isMuted) {
      this.isMuted = true;
      this.events.changed();
      await this.meeting.setMuted(true).catch(() => undefined);
    }
  }

  /** A publication of ours is over without our doing. `isFailure`: though its source goes on. */
  private async lost(streamId: string, isFailure: boolean): Promise<void> {
    for (const what of ["camera", "microphone", "screen"] as const) {
      const promise = this.publications[what];
      if ((await promise)?.streamId !== streamId || this.publications[what] !== promise) continue;
      this.publications[what] = undefined;
      if (what === "screen") await this.stopSharing();
      else if (isFailure) await this.off(what);
    }
  }

  /** A device that is open and gives nothing: a lid, a switch, another program. */
  private lookAtDevices(): void {
    for (const device of ["camera", "microphone"] as const) {
      const isSilenced = this.capture.causes[device] === "silenced";
      const words = this.capture.faults[device];
      if (isSilenced && !this.silenced.has(device)) this.deviceFails(device, words);
      if (isSilenced) this.silenced.add(device);
      else if (this.silenced.delete(device) && this.capture.tracks[device] !== undefined) this.deviceWorks(device);
    }
  }

  private async stopSharing(): Promise<void> {
    this.screenTrack?.stop();
    this.screenTrack = undefined;
    const publication = this.publications.screen;
    this.publications.screen = undefined;
    this.events.changed();
    await (await publication)?.stop().catch(() => undefined);
  }

  private async tellVideo(isVideoOn: boolean): Promise<void> {
    this.events.changed();
    await this.meeting.setVideoOn(isVideoOn).catch(() => undefined);
  }

  private busy(what: Device | "screen", isBusy: boolean): void {
    this.isBusy[what] = isBusy;
    if (!this.isOver) this.events.changed();
  }

  private deviceFails(device: Device, words: Words | undefined): void {
    if (words === undefined) return;
    this.told[device] = words;
    this.fail(words);
  }

  private deviceWorks(device: Device): void {
    const words = this.told[device];
    this.told[device] = undefined;
    if (words !== undefined && !this.isOver) this.events.mended(words);
  }

  private fail(words: Words): void {
    if (!this.isOver) this.events.fault(words);
  }
}
