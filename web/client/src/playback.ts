// How what others publish reaches the application, on the page's side: which media streams are taken, on which elements they are
// shown, as which streams they are read. In: the application's wishes, what is visible. Out: requests to the worker, which does the rest.

import { DarkTowerError } from "./error.ts";
import { Loudspeaker } from "./loudspeaker.ts";
import type { OutputTarget, Requests, SubscriptionRequests } from "./messages.ts";
import type { EncodedFrame, MediaStreamInfo, SubscriptionOptions } from "./types.ts";
import { VisiblePolicy } from "./visibility.ts";

/** Of whom to receive what: everything; sound of everybody and the pictures that are looked at; nothing but what is subscribed to. */
export type AutoSubscribe = true | "visible" | false;

export interface PlaybackOptions {
  autoSubscribe: AutoSubscribe;
  audioContext: AudioContext | undefined;
  audioWorkletUrl: string;
  request: <K extends keyof SubscriptionRequests>(
    name: K,
    value: Requests[K]["takes"],
    transfer?: Transferable[],
  ) => Promise<Requests[K]["gives"]>;
}

/** Chromium's sink of frames; not in TypeScript's library. */
interface TrackGenerator extends MediaStreamTrack {
  readonly writable: WritableStream<VideoFrame>;
}
type TrackGeneratorConstructor = new (options: { kind: "video" }) => TrackGenerator;

/** Something of the page that shows pictures of one media stream. */
interface Output {
  id: number;
  streamId: string;
  /** `undefined` until the browser has looked, which it does at once. */
  isVisible: boolean | undefined;
}

export class Playback {
  readonly speaker: Loudspeaker;
  private readonly options: PlaybackOptions;
  private readonly policy: VisiblePolicy | undefined;
  private readonly streams = new Map<string, MediaStreamInfo>();
  /** Elements that show something. */
  private readonly outputs = new Map<HTMLCanvasElement | HTMLVideoElement, Output>();
  /** Canvases give their control away once: the worker knows them from then on by these numbers. */
  private readonly canvases = new WeakMap<HTMLCanvasElement, number>();
  private readonly lostCanvases = new FinalizationRegistry<number>((outputId) => this.tell("forget", { outputId }));
  /** Outputs of tracks, by media stream: they end with it. */
  private readonly tracks = new Map<string, number[]>();
  /** How many readers besides elements a media stream has. */
  private readonly readers = new Map<string, number>();
  /** In a Worker there are no elements. */
  private readonly observer = hasWindow() ? new IntersectionObserver((entries) => this.seen(entries)) : undefined;
  private readonly visibilityChanged = (): void => {
    for (const [element, output] of this.outputs) this.show(element, output);
    this.review();
  };
  private timer: ReturnType<typeof setTimeout> | undefined;
  private nextOutputId = 0;
  private isOver = false;

  constructor(options: PlaybackOptions) {
    this.options = options;
    this.policy = options.autoSubscribe === "visible" ? new VisiblePolicy() : undefined;
    this.speaker = new Loudspeaker(options.audioContext, options.audioWorkletUrl, (clock) => this.tell("audioClock", clock));
    if (hasWindow()) document.addEventListener("visibilitychange", this.visibilityChanged);
  }

  published(stream: MediaStreamInfo): void {
    this.streams.set(stream.streamId, stream);
    if (stream.type !== "audio") this.policy?.published(performance.now(), stream.streamId);
    this.review();
  }

  unpublished(streamId: string): void {
    this.streams.delete(streamId);
    this.policy?.unpublished(streamId);
    this.readers.delete(streamId);
    for (const outputId of this.tracks.get(streamId) ?? []) this.tell("forget", { outputId });
    this.tracks.delete(streamId);
    for (const [element, output] of this.outputs) if (output.streamId === streamId) this.release(element, output);
  }

  async subscribe(streamId: string, options: SubscriptionOptions): Promise<void> {
    this.policy?.pin(streamId, true);
    await this.options.request("subscribe", { streamId, options });
  }

  async unsubscribe(streamId: string): Promise<void> {
    this.policy?.pin(streamId, false);
    await this.options.request("unsubscribe", { streamId });
  }

  async attach(streamId: string, element: HTMLCanvasElement | HTMLVideoElement): Promise<void> {
    this.known(streamId);
    const before = this.outputs.get(element);
    if (before?.streamId === streamId) return;
    let output = before;
    let target: OutputTarget | undefined;
    if (output === undefined) {
      const known = element instanceof HTMLCanvasElement ? this.canvases.get(element) : undefined;
      output = { id: known ?? this.newOutputId(), streamId, isVisible: undefined };
      if (known === undefined) target = element instanceof HTMLCanvasElement ? this.takeCanvas(element, output.id) : playOn(element);
      this.outputs.set(element, output);
      this.observer?.observe(element);
    }
    output.streamId = streamId;
    this.review();
    await this.options.request("attach", { streamId, outputId: output.id, target }, target === undefined ? [] : [transferOf(target)]);
  }

  async detach(streamId: string, element?: HTMLCanvasElement | HTMLVideoElement): Promise<void> {
    for (const [shown, output] of this.outputs) {
      if (output.streamId === streamId && (element === undefined || element === shown)) this.release(shown, output);
    }
    this.review();
    return Promise.resolve();
  }

  /** A track of pictures or sound. Sound taken so is no longer in the loudspeaker's mix. */
  async mediaStream(streamId: string): Promise<MediaStream> {
    const stream = this.known(streamId);
    if (stream.type === "audio") {
      const { track, port } = await this.speaker.track();
      await this.options.request("soundTo", { streamId, port }, [port]);
      return new MediaStream([track]);
    }
    const { track, target } = pictureTrack();
    const outputId = this.newOutputId();
    this.tracks.set(streamId, [...(this.tracks.get(streamId) ?? []), outputId]);
    this.read(streamId);
    await this.options.request("attach", { streamId, outputId, target }, [transferOf(target)]);
    return new MediaStream([track]);
  }

  frames(streamId: string): ReadableStream<VideoFrame | AudioData> {
    return this.readable(streamId, false);
  }

  encodedFrames(streamId: string): ReadableStream<EncodedFrame> {
    return this.readable(streamId, true);
  }

  close(): void {
    this.isOver = true;
    clearTimeout(this.timer);
    if (hasWindow()) document.removeEventListener("visibilitychange", this.visibilityChanged);
    this.observer?.disconnect();
    for (const element of this.outputs.keys()) if (element instanceof HTMLVideoElement) element.srcObject = null;
    this.outputs.clear();
    this.speaker.close();
  }

  private newOutputId(): number {
    this.nextOutputId += 1;
    return this.nextOutputId;
  }

  private takeCanvas(element: HTMLCanvasElement, outputId: number): OutputTarget {
    let canvas: OffscreenCanvas;
    try {
      canvas = element.transferControlToOffscreen();
    } catch (thrown) {
      throw DarkTowerError.from(thrown, "INVALID_REQUEST");
    }
    this.canvases.set(element, outputId);
    this.lostCanvases.register(element, outputId);
    return { kind: "canvas", canvas };
  }

  /** Each frame is asked for when the reader has taken the one before, so nothing piles up on this side. */
  private readable<T>(streamId: string, isEncoded: boolean): ReadableStream<T> {
    this.known(streamId);
    const { port1, port2 } = new MessageChannel();
    this.read(streamId);
    let isOpen = true;
    const over = (): void => {
      if (!isOpen) return;
      isOpen = false;
      port1.close();
      this.unread(streamId);
    };
    let next: { resolve: () => void } | undefined;
    const readable = new ReadableStream<T>(
      {
        start: (controller) => {
          port1.onmessage = ({ data }: MessageEvent<{ frame: T } | { ended: true }>) => {
            if ("frame" in data) {
              controller.enqueue(data.frame);
            } else {
              over();
              controller.close();
            }
            next?.resolve();
          };
          this.options.request("frames", { streamId, isEncoded, port: port2 }, [port2]).catch((thrown: unknown) => {
            if (!isOpen) return;
            over();
            controller.error(thrown);
            next?.resolve();
          });
        },
        pull: () => {
          if (!isOpen) return undefined;
          port1.postMessage("pull");
          return new Promise<void>((resolve) => (next = { resolve }));
        },
        cancel: () => {
          if (isOpen) port1.postMessage("close");
          over();
        },
      },
      { highWaterMark: 0 },
    );
    return readable;
  }

  private known(streamId: string): MediaStreamInfo {
    const stream = this.streams.get(streamId);
    if (stream === undefined) throw new DarkTowerError("NOT_FOUND", `there is no media stream ${streamId}`);
    return stream;
  }

  private read(streamId: string): void {
    this.readers.set(streamId, (this.readers.get(streamId) ?? 0) + 1);
    this.review();
  }

  private unread(streamId: string): void {
    this.readers.set(streamId, Math.max(0, (this.readers.get(streamId) ?? 0) - 1));
    this.review();
  }

  private release(element: HTMLCanvasElement | HTMLVideoElement, output: Output): void {
    this.outputs.delete(element);
    this.observer?.unobserve(element);
    if (element instanceof HTMLVideoElement) {
      element.srcObject = null;
      this.tell("forget", { outputId: output.id });
    } else {
      this.tell("detach", { outputId: output.id });
    }
  }

  private seen(entries: IntersectionObserverEntry[]): void {
    for (const { target, isIntersecting } of entries) {
      const output = this.outputs.get(target as HTMLCanvasElement | HTMLVideoElement);
      if (output === undefined || output.isVisible === isIntersecting) continue;
      output.isVisible = isIntersecting;
      this.show(target as HTMLCanvasElement | HTMLVideoElement, output);
    }
    this.review();
  }

  /** Tells the worker whether somebody sees the element. */
  private show(element: HTMLCanvasElement | HTMLVideoElement, output: Output): void {
    this.tell("show", { outputId: output.id, isVisible: isSeen(element, output) });
  }

  /** Tells the policy what is looked at, and does what it says. */
  private review(): void {
    const { policy } = this;
    if (policy === undefined || this.isOver) return;
    const nowMs = performance.now();
    const looked = new Set<string>();
    for (const [element, output] of this.outputs) if (isSeen(element, output)) looked.add(output.streamId);
    for (const streamId of this.streams.keys()) {
      policy.setWanted(nowMs, streamId, looked.has(streamId) || (this.readers.get(streamId) ?? 0) > 0);
    }
    for (const change of policy.due(nowMs)) {
      const { streamId, isSubscribed } = change;
      const done = isSubscribed
        ? this.options.request("subscribe", { streamId, options: undefined })
        : this.options.request("unsubscribe", { streamId });
      done.catch(() => {
        policy.failed(performance.now(), change);
        this.review();
      });
    }
    clearTimeout(this.timer);
    const deadlineMs = policy.deadlineMs();
    if (deadlineMs !== undefined) this.timer = setTimeout(() => this.review(), Math.max(1, deadlineMs - nowMs));
  }

  /** Asks for something that the application does not wait for. */
  private tell<K extends keyof SubscriptionRequests>(name: K, value: Requests[K]["takes"]): void {
    if (!this.isOver) this.options.request(name, value).catch(() => undefined);
  }
}

function hasWindow(): boolean {
  return typeof document !== "undefined";
}

/** A picture in a window of its own is seen whatever becomes of the page. */
function isSeen(element: HTMLCanvasElement | HTMLVideoElement, { isVisible }: Output): boolean {
  return document.pictureInPictureElement === element || (!document.hidden && isVisible !== false);
}

/** A track whose pictures the worker writes. */
function pictureTrack(): { track: MediaStreamTrack; target: OutputTarget } {
  const Generator = (globalThis as { MediaStreamTrackGenerator?: TrackGeneratorConstructor }).MediaStreamTrackGenerator;
  if (Generator !== undefined) {
    const track = new Generator({ kind: "video" });
    return { track, target: { kind: "track", writable: track.writable } };
  }
  // Elsewhere a canvas that nobody sees stands between.
  const canvas = document.createElement("canvas");
  const [track] = canvas.captureStream().getVideoTracks();
  if (track === undefined) throw new DarkTowerError("UNSUPPORTED_BROWSER", "this browser makes no track of pictures");
  return { track, target: { kind: "canvas", canvas: canvas.transferControlToOffscreen() } };
}

function playOn(element: HTMLVideoElement): OutputTarget {
  const { track, target } = pictureTrack();
  element.srcObject = new MediaStream([track]);
  element.muted = true;
  // Without sound it may play by itself; an element that is taken out of the page meanwhile says so here.
  element.play().catch(() => undefined);
  return target;
}

function transferOf(target: OutputTarget): Transferable {
  return target.kind === "canvas" ? target.canvas : target.writable;
}
