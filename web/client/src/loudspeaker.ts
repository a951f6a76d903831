// Where received sound is heard: the application's AudioContext with our mixer in it. Belongs to the window. In: an AudioContext. Out:
// ports for samples, whether anything can be heard, and which moment of the context's time is heard when. Never decodes.

import { DarkTowerError } from "./error.ts";
import type { AudioClock } from "./messages.ts";
import { type Observable, Source } from "./observable.ts";
import type { ToMixer } from "./sound-messages.ts";

/** Whether received sound is played: there is no AudioContext, or it runs, or the browser waits for a click. */
export type AudioState = "off" | "playing" | "blocked";

/** Samples come at this rate from the decoder; a context at another would play them at another pitch. */
const SAMPLE_RATE = 48_000;
/** The device's clock and ours drift apart by less than a tenth of a millisecond in this time. */
const CLOCK_INTERVAL_MS = 500;

/** Not in TypeScript's library, nor in every browser. */
interface SinkChoice {
  setSinkId?: (sinkId: string) => Promise<void>;
}

export class Loudspeaker {
  private readonly source = new Source<AudioState>("off");
  readonly state: Observable<AudioState> = this.source;
  private readonly context: AudioContext | undefined;
  private readonly workletUrl: string;
  private readonly onClock: (clock: AudioClock) => void;
  private readonly nodes = new Set<AudioWorkletNode>();
  private loaded: Promise<void> | undefined;
  private timer: ReturnType<typeof setInterval> | undefined;
  private readonly stateChanged = (): void => this.tell();

  constructor(context: AudioContext | undefined, workletUrl: string, onClock: (clock: AudioClock) => void) {
    this.context = context;
    this.workletUrl = workletUrl;
    this.onClock = onClock;
  }

  /** Plays into the context's destination what comes through the port; `undefined`: there is no context. */
  async open(): Promise<MessagePort | undefined> {
    const { context } = this;
    if (context === undefined) return undefined;
    const { node, port } = await this.mixer(context);
    node.connect(context.destination);
    context.addEventListener("statechange", this.stateChanged);
    this.timer = setInterval(() => this.tellClock(), CLOCK_INTERVAL_MS);
    this.tell();
    return port;
  }

  /** A track of what comes through the port. */
  async track(): Promise<{ track: MediaStreamTrack; port: MessagePort }> {
    const { context } = this;
    if (context === undefined) throw new DarkTowerError("UNAVAILABLE", "sound needs an AudioContext: hand one to join");
    const { node, port } = await this.mixer(context);
    const destination = context.createMediaStreamDestination();
    node.connect(destination);
    const [track] = destination.stream.getAudioTracks();
    if (track === undefined) throw new DarkTowerError("UNSUPPORTED_BROWSER", "this browser makes no track of sound");
    return { track, port };
  }

  /** To be called in a click, which is what browsers ask for before anything is heard. */
  async resume(): Promise<void> {
    await this.context?.resume();
  }

  /** Plays through this output device; empty: the system's own choice. */
  async setSpeaker(deviceId: string): Promise<void> {
    const context: (AudioContext & SinkChoice) | undefined = this.context;
    if (context?.setSinkId === undefined) {
      throw new DarkTowerError("UNSUPPORTED_BROWSER", "this browser plays through the system's own choice of loudspeaker");
    }
    try {
      await context.setSinkId(deviceId);
    } catch (thrown) {
      throw DarkTowerError.from(thrown, "NOT_FOUND");
    }
  }

  /** The context stays the application's. */
  close(): void {
    clearInterval(this.timer);
    this.context?.removeEventListener("statechange", this.stateChanged);
    for (const node of this.nodes) {
      node.disconnect();
      node.port.postMessage({ over: true } satisfies ToMixer);
    }
    this.nodes.clear();
    this.source.set("off");
  }

  private async mixer(context: AudioContext): Promise<{ node: AudioWorkletNode; port: MessagePort }> {
    if (context.sampleRate !== SAMPLE_RATE) {
      throw new DarkTowerError("INVALID_REQUEST", `the AudioContext runs at ${context.sampleRate} Hz; sound needs { sampleRate: 48000 }`);
    }
    try {
      await (this.loaded ??= context.audioWorklet.addModule(this.workletUrl));
    } catch (thrown) {
      this.loaded = undefined;
      throw DarkTowerError.from(thrown, "UNSUPPORTED_BROWSER");
    }
    const node = new AudioWorkletNode(context, "dark-tower-mixer", { numberOfInputs: 0, outputChannelCount: [2] });
    this.nodes.add(node);
    const { port1, port2 } = new MessageChannel();
    node.port.postMessage({ port: port1 } satisfies ToMixer, [port1]);
    return { node, port: port2 };
  }

  private tell(): void {
    const state = this.context?.state;
    if (state === undefined || state === "closed") this.source.set("off");
    else this.source.set(state === "running" ? "playing" : "blocked");
    this.tellClock();
  }

  private tellClock(): void {
    const { context } = this;
    if (context?.state !== "running") return;
    const { contextTime = 0, performanceTime = 0 } = context.getOutputTimestamp();
    // A device that does not say what it plays is taken at its word about how late it is.
    const isKnown = contextTime > 0 && performanceTime > 0;
    const heard = isKnown ? contextTime : context.currentTime - (context.outputLatency || context.baseLatency || 0);
    const at = isKnown ? performanceTime : performance.now();
    this.onClock({ contextMs: heard * 1000, atMs: performance.timeOrigin + at });
  }
}
