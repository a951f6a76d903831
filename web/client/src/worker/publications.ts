// What this participant publishes: one encoder and writer per media stream. In: sources as the page hands them over, requests of the
// handler (key frame, pause), who is here and what they decode. Out: groups on the media session at hand, the messages that announce
// them. Survives sessions of both kinds.

import { create } from "@bufbuild/protobuf";

import type { RecordCipher } from "../cipher.ts";
import { codecName, decoderCodec } from "../codec.ts";
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
import { chooseCodec, CODEC_STRINGS, type CodecSituation, CodecWatch, fallbackCodec, type VideoCodec } from "../video-codecs.ts";
import { AudioPublication } from "./audio-publication.ts";
import { EncodedPublication } from "./encoded-publication.ts";
import { defaultBitrate, machineCodecs } from "./encoder-choice.ts";
import type { MediaPublication, PublicationEvents } from "./media-publication.ts";
import type { MediaSession } from "./media-session.ts";
import type { ClientBody, ServerBody } from "./signaling.ts";
import { UplinkPath } from "./uplink-path.ts";
import { UplinkTurns } from "./uplink-turns.ts";
import { VideoPublication } from "./video-publication.ts";

/** How often the path is looked at; two looks notice a queue before it is heard. */
const TICK_INTERVAL_MS = 200;
/** Bits per second at which pictures go out while nothing says that the path carries less: a key frame of 30 kB in 8 ms. */
const FREE_PACE = 30_000_000;
/** On a narrow path, against what is encoded: a key frame takes time, and sound passes beside it. */
const NARROW_PACE_FACTOR = 2.5;
/** A hidden page gives an element's pictures when it is nudged: about as many as a camera makes. */
const LOOK_INTERVAL_MS = 33;
/** A screen's pictures a second unless somebody asks for others. */
const SCREEN_RATES = { motion: 30, detail: 15, text: 10 } as const;

export interface PublicationsContext {
  emit(event: MeetingEvent): void;
  /** To publish on now. */
  session(): MediaSession | undefined;
  /** What seals the records of this id; `undefined`: they travel in the clear. */
  cipher(streamId: string): RecordCipher | undefined;
  /** To the controller; waits for a session and is repeated after a break, with what `make` gives then. */
  request(body: ClientBody, make?: () => ClientBody): Promise<ServerBody>;
  /** What each of the others says it decodes. */
  othersDecode(): readonly (readonly string[])[];
  /** What is published is more or less than before. */
  changed(): void;
  /** A group had to be given up, for the uplink was too slow. */
  groupAborted(): void;
  /** A track that should give pictures gives none. */
  framesMissing(publicationId: string): void;
}

interface Open {
  publication: MediaPublication<unknown>;
  message: PublishStream;
  /** The controller has been told; until then the request that tells it is under way. */
  isAnnounced: boolean;
  args: PublishArguments;
  /** Where the codec is ours to choose. */
  watch?: CodecWatch;
  isMoving?: boolean;
}

export class Publications {
  private readonly context: PublicationsContext;
  /** By the page's name for it. */
  private readonly open = new Map<string, Open>();
  private readonly turns = new UplinkTurns(FREE_PACE);
  private readonly path = new UplinkPath();
  /** Codecs whose encoders failed for good here; others go before them. */
  private readonly failing = new Set<VideoCodec>();
  private timer: ReturnType<typeof setInterval> | undefined;
  private isMuted = false;
  /** A track's processor has given no pictures in this stay. */
  private suspectsProcessor = false;

  constructor(context: PublicationsContext) {
    this.context = context;
  }

  async publish(args: PublishArguments): Promise<{ streamId: string }> {
    const { publicationId } = args;
    const opened = await this.make(args).catch((thrown: unknown) => {
      letGo(args.source);
      throw thrown;
    });
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
    this.timer ??= setInterval(() => this.tick(), TICK_INTERVAL_MS);
    this.context.changed();
    void publication.run();
    return { streamId: publication.streamId };
  }

  async unpublish({ publicationId }: PublicationRequests["unpublish"]["takes"]): Promise<void> {
    const found = this.open.get(publicationId);
    if (found === undefined) return;
    this.open.delete(publicationId);
    if (this.open.size === 0) this.stopTimer();
    found.publication.stop();
    this.context.changed();
    await this.context.request({ case: "unpublish", value: { streamId: found.publication.streamId } });
  }

  replaceSource({ publicationId, source, mayStandStill }: PublicationRequests["replaceSource"]["takes"]): void {
    const found = this.open.get(publicationId);
    if (found === undefined) {
      letGo(source);
      throw new DarkTowerError("NOT_FOUND", "the publication is over");
    }
    found.publication.replace(framesOf(source), { origin: "processor", reason: "", mayStandStill });
  }

  relieve({ publicationId, source }: PublicationRequests["relieve"]["takes"]): void {
    const publication = this.open.get(publicationId)?.publication;
    if (publication instanceof VideoPublication) publication.relieve(framesOf(source));
    else letGo(source);
  }

  /** As others see them. */
  streams(participantId: string): MediaStreamInfo[] {
    return [...this.open.values()].map(({ message: { streamId, streamType, metadata } }) =>
      streamFromWire(participantId, create(MediaStreamSchema, { streamId, streamType, metadata, participantId })),
    );
  }

  /** One for each media stream of ours; rates since the last call. */
  stats(nowMs: number): PublicationStats[] {
    return [...this.open.values()].map(({ publication }) => publication.stats(nowMs));
  }

  /** The controller tells what the handler measured on our connection. */
  quality({ streamId, packetLoss, availableBitrate }: StreamQualityUpdate): void {
    if (this.find(streamId) !== undefined) this.path.told(performance.now(), packetLoss, availableBitrate);
  }

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

  /** Another media session stands: everything begins there with a key frame. What the one before said of takers is worth nothing there. */
  restart(): void {
    for (const { publication } of this.open.values()) {
      publication.setPaused(false);
      publication.restart();
    }
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
      if (!(publication instanceof AudioPublication) || !publication.followsMute) continue;
      const { streamId, meter } = publication;
      levels.push({ streamId, level: meter.take(), speaking: !this.isMuted && meter.speaking(nowMs) });
    }
    return levels;
  }

  close(): void {
    this.stopTimer();
    for (const { publication } of this.open.values()) publication.stop();
    this.open.clear();
  }

  private stopTimer(): void {
    clearInterval(this.timer);
    this.timer = undefined;
  }

  private tick(): void {
    const nowMs = performance.now();
    const pictures = [...this.open.values()].map((it) => it.publication).filter((it) => it instanceof VideoPublication);
    if (pictures.length > 0) this.path.probe(nowMs, this.context.session());
    const signs = this.path.signs(nowMs);
    for (const publication of pictures) publication.tick(nowMs, signs);
    const narrow = pictures.filter((it) => it.plan.limiter === "uplink").reduce((sum, it) => sum + it.plan.bitrate, 0);
    this.turns.setRate(narrow === 0 ? FREE_PACE : narrow * NARROW_PACE_FACTOR);
    void this.reviewCodecs();
  }

  private find(streamId: string): MediaPublication<unknown> | undefined {
    for (const { publication } of this.open.values()) if (publication.streamId === streamId) return publication;
    return undefined;
  }

  private async make(args: PublishArguments): Promise<Open> {
    const { type, encodedCodec, options, contentHint } = args;
    const streamId = crypto.randomUUID();
    const isMusic = (options.contentHint ?? contentHint) === "music";
    const bitrate = options.maxBitrate ?? defaultBitrate(type, args.width, args.height, isMusic);
    const events = this.events(args.publicationId, () => opened.publication.streamId);
    const message = (codec: string): PublishStream => announcement(streamId, args, codec, bitrate);
    let opened: Open;
    if (encodedCodec !== undefined) {
      const publication = new EncodedPublication(streamId, encodedCodec, args, framesOf<EncodedFrame>(args.source), events);
      opened = { publication, args, isAnnounced: false, message: message(encodedCodec) };
    } else if (type === "audio") {
      const about = { bitrate, isMusic, muted: this.isMuted };
      const publication = new AudioPublication(streamId, args, framesOf(args.source), about, events);
      opened = { publication, args, isAnnounced: false, message: message("Opus") };
    } else {
      const { codec, watch } = await this.codecFor(args);
      const hint = pictureHint(args);
      const frameRateMax = options.frameRate ?? Math.min(args.frameRate, type === "screen" ? SCREEN_RATES[hint] : Infinity);
      const video = { codec, bitrateMax: bitrate, frameRateMax: frameRateMax || SCREEN_RATES.motion, contentHint: hint };
      const publication = new VideoPublication(streamId, args, framesOf(args.source), video, events);
      opened = { publication, args, isAnnounced: false, message: message(codec), ...(watch === undefined ? {} : { watch }) };
    }
    return opened;
  }

  /** The application's choice, which is kept to, or ours, which follows who is here. */
  private async codecFor(args: PublishArguments): Promise<{ codec: string; watch?: CodecWatch }> {
    const { codec: asked } = args.options;
    if (asked !== undefined) return { codec: decoderCodec(asked) ?? asked };
    const situation = await this.situation(args);
    const chosen = chooseCodec(this.withoutFailing(situation)) ?? chooseCodec(situation);
    if (chosen === undefined) throw new DarkTowerError("UNSUPPORTED_BROWSER", "this browser encodes no codec that others decode");
    return { codec: CODEC_STRINGS[chosen], watch: new CodecWatch(chosen, performance.now()) };
  }

  private async situation({ type }: PublishArguments): Promise<CodecSituation> {
    const cores = navigator.hardwareConcurrency;
    return { ...(await machineCodecs()), type, cores, others: this.context.othersDecode() };
  }

  private withoutFailing(situation: CodecSituation): CodecSituation {
    return { ...situation, encodes: situation.encodes.filter((codec) => !this.failing.has(codec)) };
  }

  private async reviewCodecs(): Promise<void> {
    for (const opened of [...this.open.values()]) {
      const { watch, args, publication } = opened;
      if (opened.isMoving === true || !(publication instanceof VideoPublication)) continue;
      // The application's choice is kept to, also where it does not work.
      if (watch === undefined) {
        if (publication.fault !== undefined) publication.fail(publication.fault);
        continue;
      }
      if (publication.fault !== undefined) this.failing.add(watch.codec);
      const situation = this.withoutFailing(await this.situation(args));
      if (this.open.get(args.publicationId) !== opened || opened.isMoving) continue;
      // The encoder may have failed while we asked.
      const { fault } = publication;
      if (fault !== undefined) await this.leave(opened, watch, situation, fault);
      else await this.follow(opened, watch, situation);
    }
  }

  /** Who is here decides. */
  private async follow(opened: Open, watch: CodecWatch, situation: CodecSituation): Promise<void> {
    const wanted = watch.next(performance.now(), situation);
    if (wanted !== undefined && (await this.move(opened, watch, wanted)) === "refused") watch.refused(performance.now());
  }

  /** The encoder failed for good: another codec, or the end. */
  private async leave(opened: Open, watch: CodecWatch, situation: CodecSituation, fault: DarkTowerError): Promise<void> {
    this.failing.add(watch.codec);
    const wanted = fallbackCodec({ ...situation, encodes: situation.encodes.filter((codec) => codec !== watch.codec) });
    if (wanted === undefined || (await this.move(opened, watch, wanted)) === "refused") opened.publication.fail(fault);
  }

  /** The new media stream is announced, then filled, and only then the old one is withdrawn. "over": nobody needs it any more, or not so. */
  private async move(opened: Open, watch: CodecWatch, wanted: VideoCodec): Promise<"moved" | "over" | "refused"> {
    opened.isMoving = true;
    const { publication, args, message: before } = opened;
    const streamId = crypto.randomUUID();
    const message = announcement(streamId, args, CODEC_STRINGS[wanted], before.metadata?.maxBitrate ?? 0);
    try {
      await this.context.request({ case: "publish", value: message });
      // It may have ended meanwhile, or been announced anew as another participant's.
      const isOver = this.open.get(args.publicationId) !== opened || opened.message !== before;
      if (!isOver && publication instanceof VideoPublication) {
        publication.moveTo(streamId, CODEC_STRINGS[wanted]);
        opened.message = message;
        watch.moved(performance.now(), wanted);
        this.context.changed();
        this.context.emit({ type: "publication-moved", detail: { streamId, before: before.streamId } });
      }
      const withdrawn = isOver ? streamId : before.streamId;
      await this.context.request({ case: "unpublish", value: { streamId: withdrawn } });
      return isOver ? "over" : "moved";
    } catch {
      // Refused withdrawing the old one: that is not seen. Moving went well.
      if (opened.message === message) return "moved";
      // Refused, or the stay is over: the codec stays, and is looked at again. Unanswered, it may have been done all the same.
      this.context.request({ case: "unpublish", value: { streamId } }).catch(() => undefined);
      return "refused";
    } finally {
      opened.isMoving = false;
    }
  }

  private events(publicationId: string, streamId: () => string): PublicationEvents {
    const { context } = this;
    const over = (event: MeetingEvent): void => {
      void this.unpublish({ publicationId }).catch(() => undefined);
      context.emit(event);
    };
    return {
      turns: this.turns,
      session: () => context.session(),
      cipher: (id) => context.cipher(id),
      groupAborted: () => context.groupAborted(),
      framesMissing: () => context.framesMissing(publicationId),
      suspectsProcessor: () => this.suspectsProcessor,
      originChanged: (origin, reason) => {
        this.suspectsProcessor ||= origin === "element";
        context.emit({ type: "frame-origin-changed", detail: { streamId: streamId(), origin, reason } });
      },
      failed: (error) => over({ type: "publication-failed", detail: { streamId: streamId(), error: error.toData() } }),
      ended: () => over({ type: "publication-ended", detail: { streamId: streamId() } }),
      wantsKey: () => context.emit({ type: "key-frame-requested", detail: { streamId: streamId() } }),
      spokeMuted: () => context.emit({ type: "speaking-while-muted", detail: { streamId: streamId() } }),
    };
  }
}

function pictureHint({ type, options, contentHint }: PublishArguments): "motion" | "detail" | "text" {
  const hint = options.contentHint ?? contentHint;
  if (hint === "motion" || hint === "detail" || hint === "text") return hint;
  return type === "screen" ? "detail" : "motion";
}

function announcement(streamId: string, args: PublishArguments, codec: string, maxBitrate: number): PublishStream {
  const { type, width, height, frameRate, channels } = args;
  const about = type === "audio" ? { sampleRate: 48_000, channels } : { video: { width, height, framerate: Math.round(frameRate) } };
  const metadata = { codec: codecName(codec), maxBitrate, ...about };
  return create(PublishStreamSchema, { streamId, streamType: streamTypeToWire(type), metadata });
}

function framesOf<F>(source: SourceArguments): ReadableStream<F> {
  if (source.kind === "readable") return source.readable as ReadableStream<F>;
  return receiveFrames(source.port, source.kind === "element" ? LOOK_INTERVAL_MS : undefined) as ReadableStream<F>;
}

/** A source that nobody reads holds a device's buffers. */
function letGo(source: SourceArguments): void {
  framesOf(source)
    .cancel()
    .catch(() => undefined);
}
