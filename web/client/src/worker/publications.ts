// What this participant publishes: one encoder and writer per media stream. In: sources as the page hands them over, requests of the
// handler (key frame, pause). Out: groups on the media session at hand, the messages that announce them. Survives sessions of both kinds.

import { create } from "@bufbuild/protobuf";

import type { RecordCipher } from "../cipher.ts";
import { codecName } from "../codec.ts";
import { streamFromWire, streamTypeToWire } from "../convert.ts";
import { DarkTowerError } from "../error.ts";
import { receiveFrames } from "../frame-port.ts";
import {
  MediaStreamSchema,
  type PublishStream,
  PublishStreamSchema,
  type StreamQualityUpdate,
} from "../generated/darktower/v1/signaling_pb.ts";
import type { PublicationRequests, PublishArguments, SourceArguments } from "../messages.ts";
import type { PublicationStats } from "../stats.ts";
import type { EncodedFrame, MediaStreamInfo, MeetingEvent } from "../types.ts";
import { AudioPublication } from "./audio-publication.ts";
import { EncodedPublication } from "./encoded-publication.ts";
import { chooseVideoCodec, defaultBitrate } from "./encoder-choice.ts";
import type { MediaPublication, PublicationEvents } from "./media-publication.ts";
import type { MediaSession } from "./media-session.ts";
import type { ClientBody, ServerBody } from "./signaling.ts";
import { VideoPublication } from "./video-publication.ts";

export interface PublicationsContext {
  emit(event: MeetingEvent): void;
  /** To publish on now. */
  session(): MediaSession | undefined;
  /** What seals the records of this id; `undefined`: they travel in the clear. */
  cipher(streamId: string): RecordCipher | undefined;
  /** To the controller; waits for a session and is repeated after a break, with what `make` gives then. */
  request(body: ClientBody, make?: () => ClientBody): Promise<ServerBody>;
  /** What is published is more or less than before. */
  changed(): void;
  /** A group had to be given up, for the uplink was too slow. */
  groupAborted(): void;
}

interface Open {
  publication: MediaPublication<unknown>;
  message: PublishStream;
  /** The controller has been told; until then the request that tells it is under way. */
  isAnnounced: boolean;
}

export class Publications {
  private readonly context: PublicationsContext;
  /** By the page's name for it. */
  private readonly open = new Map<string, Open>();
  private isMuted = false;

  constructor(context: PublicationsContext) {
    this.context = context;
  }

  async publish(args: PublishArguments): Promise<{ streamId: string }> {
    const { publicationId } = args;
    const opened = await this.make(args);
    const { publication } = opened;
    const announce = (): ClientBody => ({ case: "publish", value: opened.message });
    this.open.set(publicationId, opened);
    try {
      await this.context.request(announce(), announce);
      opened.isAnnounced = true;
    } catch (thrown) {
      this.open.delete(publicationId);
      publication.stop();
      throw thrown;
    }
    this.context.changed();
    void publication.run();
    return { streamId: publication.streamId };
  }

  async unpublish({ publicationId }: PublicationRequests["unpublish"]["takes"]): Promise<void> {
    const found = this.open.get(publicationId);
    if (found === undefined) return;
    this.open.delete(publicationId);
    found.publication.stop();
    this.context.changed();
    await this.context.request({ case: "unpublish", value: { streamId: found.publication.streamId } });
  }

  replaceSource({ publicationId, source }: PublicationRequests["replaceSource"]["takes"]): void {
    const found = this.open.get(publicationId);
    if (found === undefined) throw new DarkTowerError("NOT_FOUND", "the publication is over");
    found.publication.replace(framesOf(source));
  }

  /** As others see them. */
  streams(participantId: string): MediaStreamInfo[] {
    return [...this.open.values()].map(({ message: { streamId, streamType, metadata } }) =>
      streamFromWire(participantId, create(MediaStreamSchema, { streamId, streamType, metadata, participantId })),
    );
  }

  /** One for each media stream of ours; nothing is counted yet. */
  readonly stats: (nowMs: number) => PublicationStats[] = () => [];

  /** The controller tells how one of them gets along; what the uplink carries is measured by what is unsent. */
  readonly quality: (update: StreamQualityUpdate) => void = () => undefined;

  /** The handler wants a key frame of this id. */
  requestKey(streamId: string): void {
    this.find(streamId)?.requestKey();
  }

  /** Nobody takes this id, or somebody does again. */
  setPaused(streamId: string, paused: boolean): void {
    this.find(streamId)?.setPaused(paused);
  }

  setMuted(isMuted: boolean): void {
    this.isMuted = isMuted;
    for (const { publication } of this.open.values()) if (publication instanceof AudioPublication) publication.setMuted(isMuted);
  }

  /** Another media session stands: everything begins there with a key frame. */
  restart(): void {
    for (const { publication } of this.open.values()) publication.restart();
  }

  /** As a new participant: everything goes by new ids, for the old ones may still be those of the one that we were. */
  renew(): void {
    for (const opened of this.open.values()) {
      const { publication } = opened;
      const before = publication.streamId;
      const streamId = crypto.randomUUID();
      publication.rename(streamId);
      opened.message = create(PublishStreamSchema, { ...opened.message, streamId });
      this.context.emit({ type: "publication-moved", detail: { before, streamId } });
    }
  }

  /** After a break: announces what the controller does not know of. */
  announceAgain(known: ReadonlySet<string>): void {
    for (const [publicationId, { publication, message, isAnnounced }] of this.open) {
      // Whose announcement was under way is announced by that.
      if (!isAnnounced || known.has(publication.streamId)) continue;
      this.context.request({ case: "publish", value: message }).catch((thrown: unknown) => {
        if (this.open.get(publicationId)?.publication === publication) publication.fail(thrown);
      });
    }
  }

  levels(nowMs: number): { streamId: string; level: number; speaking: boolean }[] {
    const levels = [];
    for (const { publication } of this.open.values()) {
      if (!(publication instanceof AudioPublication)) continue;
      const { streamId, meter } = publication;
      levels.push({ streamId, level: meter.take(), speaking: !this.isMuted && meter.speaking(nowMs) });
    }
    return levels;
  }

  close(): void {
    for (const { publication } of this.open.values()) publication.stop();
    this.open.clear();
  }

  private find(streamId: string): MediaPublication<unknown> | undefined {
    for (const { publication } of this.open.values()) if (publication.streamId === streamId) return publication;
    return undefined;
  }

  private async make(args: PublishArguments): Promise<Open> {
    const { type, width, height, frameRate, channels, options, encodedCodec } = args;
    const streamId = crypto.randomUUID();
    const bitrate = options.maxBitrate ?? defaultBitrate(type, width, height);
    const events = this.events(args.publicationId, () => publication.streamId);
    let publication: MediaPublication<unknown>;
    let codec = encodedCodec ?? "Opus";
    if (encodedCodec !== undefined) {
      const frames = framesOf<EncodedFrame>(args.source);
      publication = new EncodedPublication(streamId, type, frames, args.endsWithSource, events);
    } else if (type === "audio") {
      publication = new AudioPublication(streamId, args, framesOf(args.source), bitrate, this.isMuted, events);
    } else {
      codec = options.codec ?? (await chooseVideoCodec(width, height));
      publication = new VideoPublication(streamId, args, framesOf(args.source), codec, bitrate, events);
    }
    const about = type === "audio" ? { sampleRate: 48_000, channels } : { video: { width, height, framerate: Math.round(frameRate) } };
    const metadata = { codec: codecName(codec), maxBitrate: bitrate, ...about };
    return {
      publication,
      isAnnounced: false,
      message: create(PublishStreamSchema, { streamId, streamType: streamTypeToWire(type), metadata }),
    };
  }

  private events(publicationId: string, streamId: () => string): PublicationEvents {
    const over = (event: MeetingEvent): void => {
      void this.unpublish({ publicationId }).catch(() => undefined);
      this.context.emit(event);
    };
    return {
      session: () => this.context.session(),
      cipher: (id) => this.context.cipher(id),
      groupAborted: () => this.context.groupAborted(),
      failed: (error) => over({ type: "publication-failed", detail: { streamId: streamId(), error: error.toData() } }),
      ended: () => over({ type: "publication-ended", detail: { streamId: streamId() } }),
      wantsKey: () => this.context.emit({ type: "key-frame-requested", detail: { streamId: streamId() } }),
    };
  }
}

function framesOf<F>(source: SourceArguments): ReadableStream<F> {
  return (source.kind === "readable" ? source.readable : receiveFrames(source.port)) as ReadableStream<F>;
}
