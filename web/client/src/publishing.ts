// The page's side of what is published: turns a track, a stream of frames or encoded frames into what the worker takes, and keeps the
// `Publication` that an application holds. In: sources, events of the worker. Out: requests to the worker. Never touches a frame itself.

import { ElementFrames } from "./element-frames.ts";
import { DarkTowerError } from "./error.ts";
import { type PortFrame, sendFrames } from "./frame-port.ts";
import { shouldGivePictures } from "./frame-watch.ts";
import type { PublicationRequests, SourceArguments } from "./messages.ts";
import type { EncodedFrame, MeetingEvent, PublishOptions, StreamType } from "./types.ts";

/** Frames that are encoded already: from an encoder of the application's, a file, another meeting. */
export interface EncodedSource {
  /** In decoding order; a picture's group begins with a "key". Read at the pace of the uplink. */
  frames: ReadableStream<EncodedFrame>;
  /** WebCodecs string or the contract's name: "vp8", "vp09.00.40.08", "VP9", "H264" (Annex B, parameter sets in each key frame), "Opus" … */
  codec: string;
  /** Pixels. */
  width?: number;
  /** Pixels. */
  height?: number;
  /** Pictures a second. */
  frameRate?: number;
  /** Of sound. */
  channels?: number;
}

/** What can be published: a track, pictures or samples from anywhere (a Worker has no tracks), or encoded frames. */
export type PublishSource = MediaStreamTrack | ReadableStream<VideoFrame> | ReadableStream<AudioData> | EncodedSource;

/** A media stream of ours that others receive. Made by `Meeting.publish`. */
export interface Publication {
  /** Under which others receive it now: another one after "publication-moved". */
  readonly streamId: string;
  /** What others take it for. */
  readonly type: StreamType;
  /** Ends it for everybody. The track stays the caller's. */
  stop(): Promise<void>;
  /** Goes on with another track of the same kind, under the same media stream: another camera or microphone. The old one stays the caller's. */
  replaceTrack(track: MediaStreamTrack): Promise<void>;
  /** Called when a receiver needs a key frame, at most twice a second. For encoded sources; where we encode it happens by itself. */
  onKeyFrameRequest: (() => void) | undefined;
}

/** What the page's side needs of the meeting. */
export interface PublishingContext {
  request<K extends keyof PublicationRequests>(
    name: K,
    value: PublicationRequests[K]["takes"],
    transfer: Transferable[],
  ): Promise<PublicationRequests[K]["gives"]>;
  emit(event: MeetingEvent): void;
}

/** Chromium's source of frames; not yet in TypeScript's library for the window. */
type TrackProcessorConstructor = new (options: { track: MediaStreamTrack }) => { readonly readable: ReadableStream };

function trackProcessor(): TrackProcessorConstructor | undefined {
  return (globalThis as { MediaStreamTrackProcessor?: TrackProcessorConstructor }).MediaStreamTrackProcessor;
}

/** Whether frames can be taken out of tracks here. */
export function canReadTracks(): boolean {
  return trackProcessor() !== undefined;
}

interface Described {
  source: SourceArguments;
  transfer: Transferable[];
  track?: MediaStreamTrack;
  encodedCodec?: string;
  width: number;
  height: number;
  frameRate: number;
  channels: number;
  contentHint: string;
  mayStandStill: boolean;
}

/** When a source does not say. */
const FRAME_RATE_DEFAULT = 30;

function isTrack(source: PublishSource): source is MediaStreamTrack {
  return typeof MediaStreamTrack !== "undefined" && source instanceof MediaStreamTrack;
}

/** A screen and a canvas give pictures when they change. */
function mayStandStill(track: MediaStreamTrack): boolean {
  const isCanvas = typeof CanvasCaptureMediaStreamTrack !== "undefined" && track instanceof CanvasCaptureMediaStreamTrack;
  return isCanvas || track.getSettings().displaySurface !== undefined;
}

function fromTrack(track: MediaStreamTrack): Described {
  const Processor = trackProcessor();
  if (Processor === undefined) throw new DarkTowerError("UNSUPPORTED_BROWSER", "this browser has no MediaStreamTrackProcessor");
  if (track.readyState === "ended") throw new DarkTowerError("INVALID_REQUEST", "the track has ended");
  const { readable } = new Processor({ track });
  const { width = 0, height = 0, frameRate = FRAME_RATE_DEFAULT, channelCount = 1 } = track.getSettings();
  const source: SourceArguments = { kind: "readable", readable };
  const { contentHint } = track;
  const about = { width, height, frameRate, channels: channelCount, contentHint, mayStandStill: mayStandStill(track) };
  return { source, transfer: [readable], track, ...about };
}

function fromFrames(frames: ReadableStream<PortFrame>, described: Partial<Described>): Described {
  const { port1, port2 } = new MessageChannel();
  sendFrames(frames, port1);
  const unknown = { width: 0, height: 0, frameRate: FRAME_RATE_DEFAULT, channels: 1, contentHint: "", mayStandStill: true };
  return { ...unknown, ...described, source: { kind: "port", port: port2 }, transfer: [port2] };
}

function describe(source: PublishSource): Described {
  if (isTrack(source)) return fromTrack(source);
  if (source instanceof ReadableStream) return fromFrames(source, {});
  const { frames, codec: encodedCodec, width = 0, height = 0, frameRate = FRAME_RATE_DEFAULT, channels = 1 } = source;
  return fromFrames(frames, { encodedCodec, width, height, frameRate, channels });
}

/** Everything that this page publishes. */
export class Publishing {
  private readonly context: PublishingContext;
  private readonly open = new Map<string, OpenPublication>();

  constructor(context: PublishingContext) {
    this.context = context;
  }

  /** Resolves once the others can receive it. */
  async publish(from: PublishSource, type: StreamType, options: PublishOptions): Promise<Publication> {
    const { track, transfer, source, ...about } = describe(from);
    const publicationId = crypto.randomUUID();
    // A track's place can be taken by another; frames that end have ended.
    const endsWithSource = track === undefined;
    const args = { publicationId, type, source, endsWithSource, ...about, options };
    const publication = new OpenPublication(publicationId, type, this.context, () => this.open.delete(publicationId));
    this.open.set(publicationId, publication);
    try {
      const { streamId } = await this.context.request("publish", args, transfer);
      publication.streamId = streamId;
    } catch (thrown) {
      publication.forget();
      throw thrown;
    }
    if (track !== undefined) publication.follow(track);
    return publication;
  }

  /** What the worker tells changes what applications hold; call it before they are told. */
  apply({ type, detail }: MeetingEvent): void {
    if (type === "publication-moved") this.find(detail.before)?.move(detail.streamId);
    else if (type === "publication-ended" || type === "publication-failed") this.find(detail.streamId)?.forget();
    else if (type === "key-frame-requested") this.find(detail.streamId)?.onKeyFrameRequest?.();
  }

  /** The worker gets no picture of this publication's track. */
  framesMissing(publicationId: string): void {
    this.open.get(publicationId)?.relieve();
  }

  /** The meeting is over. */
  close(): void {
    for (const publication of [...this.open.values()]) publication.forget();
  }

  private find(streamId: string): OpenPublication | undefined {
    for (const publication of this.open.values()) if (publication.streamId === streamId) return publication;
    return undefined;
  }
}

class OpenPublication implements Publication {
  streamId = "";
  readonly type: StreamType;
  onKeyFrameRequest: (() => void) | undefined;
  private readonly publicationId: string;
  private readonly context: PublishingContext;
  private readonly forgotten: () => void;
  private track: MediaStreamTrack | undefined;
  /** The other way to the track's pictures, where it is needed or being tried. */
  private relief: ElementFrames | undefined;
  private isOver = false;
  private readonly trackEnded = (): void => void this.endWithTrack();

  constructor(publicationId: string, type: StreamType, context: PublishingContext, forgotten: () => void) {
    this.publicationId = publicationId;
    this.type = type;
    this.context = context;
    this.forgotten = forgotten;
  }

  async stop(): Promise<void> {
    this.forget();
    await this.context.request("unpublish", { publicationId: this.publicationId }, []);
  }

  async replaceTrack(track: MediaStreamTrack): Promise<void> {
    const { source, transfer, mayStandStill } = fromTrack(track);
    await this.context.request("replaceSource", { publicationId: this.publicationId, source, mayStandStill }, transfer);
    this.follow(track);
  }

  /** Offers the track's pictures by another way; the worker takes it when it shows what the first one does not. */
  relieve(): void {
    const { track, publicationId } = this;
    if (track === undefined || this.relief?.isOpen === true || !shouldGivePictures(track)) return;
    const relief = new ElementFrames(track);
    this.relief = relief;
    const { port1, port2 } = new MessageChannel();
    sendFrames(relief.frames, port1, () => relief.look());
    const source: SourceArguments = { kind: "element", port: port2 };
    this.context.request("relieve", { publicationId, source }, [port2]).catch(() => relief.close());
  }

  move(streamId: string): void {
    this.streamId = streamId;
  }

  /** From now on this track's end is the publication's. */
  follow(track: MediaStreamTrack): void {
    this.track?.removeEventListener("ended", this.trackEnded);
    if (this.isOver) return;
    this.track = track;
    track.addEventListener("ended", this.trackEnded);
    // It may have ended while the controller was asked.
    if (track.readyState === "ended") this.trackEnded();
  }

  forget(): void {
    this.relief?.close();
    this.track?.removeEventListener("ended", this.trackEnded);
    this.track = undefined;
    this.isOver = true;
    this.forgotten();
  }

  /** The device was unplugged, or sharing was stopped from the browser's own bar; `track.stop()` does not come here. */
  private async endWithTrack(): Promise<void> {
    if (this.track === undefined) return;
    const { streamId } = this;
    await this.stop().catch(() => undefined);
    this.context.emit({ type: "publication-ended", detail: { streamId } });
  }
}
