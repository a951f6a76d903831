// What this participant publishes: one encoder and writer per media stream. In: sources as the page hands them over, requests of the
// handler (key frame, pause). Out: groups on the media session at hand, the messages that announce them. Survives sessions of both kinds.

import { create } from "@bufbuild/protobuf";

import type { RecordCipher } from "../cipher.ts";
import { codecName } from "../codec.ts";
import { streamFromWire, streamTypeToWire } from "../convert.ts";
import type { DarkTowerError } from "../error.ts";
import {
  MediaStreamSchema,
  type PublishStream,
  PublishStreamSchema,
  type StreamQualityUpdate,
} from "../generated/darktower/v1/signaling_pb.ts";
import type { PublishArguments } from "../messages.ts";
import type { PublicationStats } from "../stats.ts";
import type { MediaStreamInfo, MeetingEvent } from "../types.ts";
import { AudioPublication } from "./audio-publication.ts";
import { chooseVideoCodec, defaultBitrate } from "./encoder-choice.ts";
import type { MediaSession } from "./media-session.ts";
import type { ClientBody, ServerBody } from "./signaling.ts";
import { VideoPublication } from "./video-publication.ts";

type Publication = VideoPublication | AudioPublication;

export interface PublicationsContext {
  emit(event: MeetingEvent): void;
  /** To publish on now. */
  session(): MediaSession | undefined;
  /** What seals the records of this id; `undefined`: they travel in the clear. */
  cipher(streamId: string): RecordCipher | undefined;
  /** To the controller; waits for a session and is repeated over a resume. */
  request(body: ClientBody): Promise<ServerBody>;
  /** What is published is more or less than before. */
  changed(): void;
  /** A group had to be given up, for the uplink was too slow. */
  groupAborted(): void;
}

export class Publications {
  private readonly context: PublicationsContext;
  private readonly open = new Map<string, { publication: Publication; message: PublishStream }>();
  private isMuted = false;

  constructor(context: PublicationsContext) {
    this.context = context;
  }

  async publish(args: PublishArguments): Promise<void> {
    const bitrate = args.options.maxBitrate ?? defaultBitrate(args.type, args.width, args.height);
    const events = {
      session: () => this.context.session(),
      cipher: (streamId: string) => this.context.cipher(streamId),
      groupAborted: () => this.context.groupAborted(),
      failed: (streamId: string, error: DarkTowerError) => {
        this.context.emit({ type: "publication-failed", detail: { streamId, error: error.toData() } });
        void this.unpublish({ streamId }).catch(() => undefined);
      },
    };
    let publication: Publication;
    let codec = "Opus";
    if (args.type === "audio") {
      publication = new AudioPublication(args, bitrate, this.isMuted, events);
    } else {
      const chosen = args.options.codec ?? (await chooseVideoCodec(args.width, args.height));
      codec = codecName(chosen);
      publication = new VideoPublication(args, chosen, bitrate, events);
    }
    const { streamId, width, height, frameRate } = args;
    const isAudio = args.type === "audio";
    const message = create(PublishStreamSchema, {
      streamId,
      streamType: streamTypeToWire(args.type),
      metadata: {
        codec,
        maxBitrate: bitrate,
        ...(isAudio ? { sampleRate: 48_000, channels: 1 } : { video: { width, height, framerate: Math.round(frameRate) } }),
      },
    });
    this.open.set(streamId, { publication, message });
    try {
      await this.context.request({ case: "publish", value: message });
    } catch (thrown) {
      this.open.delete(streamId);
      publication.stop();
      throw thrown;
    }
    this.context.changed();
    void publication.run();
  }

  async unpublish({ streamId }: { streamId: string }): Promise<void> {
    const found = this.open.get(streamId);
    if (found === undefined) return;
    this.open.delete(streamId);
    found.publication.stop();
    this.context.changed();
    await this.context.request({ case: "unpublish", value: { streamId } });
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
    this.open.get(streamId)?.publication.requestKey();
  }

  /** Nobody takes this id, or somebody does again. */
  setPaused(streamId: string, paused: boolean): void {
    this.open.get(streamId)?.publication.setPaused(paused);
  }

  setMuted(isMuted: boolean): void {
    this.isMuted = isMuted;
    for (const { publication } of this.open.values()) if (publication instanceof AudioPublication) publication.setMuted(isMuted);
  }

  /** Another media session stands: everything begins there with a key frame. */
  restart(): void {
    for (const { publication } of this.open.values()) publication.restart();
  }

  /** After a resume: announces what the controller does not know of. */
  announceAgain(known: ReadonlySet<string>): void {
    for (const [streamId, { message }] of this.open) {
      if (!known.has(streamId)) void this.context.request({ case: "publish", value: message }).catch(() => undefined);
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
}
