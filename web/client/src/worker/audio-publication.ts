// Microphone or other sound of ours: samples in, Opus packets out, a stream for each second of sound. Sends nothing while muted, and says
// how loud it is.

import { AudioGroups } from "../audio-groups.ts";
import { EpochClock, epochNowUs } from "../epoch-clock.ts";
import type { PublishArguments } from "../messages.ts";
import { SampleClock } from "../sample-clock.ts";
import { SoundMeter } from "../sound.ts";
import { StaleSound } from "../stale-sound.ts";
import type { PublicationStats } from "../stats.ts";
import { BACKLOG_MAX_MS } from "../uplink.ts";
import { withHeaderRoom } from "./group-writer.ts";
import { MediaPublication, type PublicationEvents } from "./media-publication.ts";

/** One Opus packet. */
const PACKET_US = 20_000;
const ENCODE_QUEUE_MAX = 10;
/** Somebody who speaks while muted is told so after this, and not again for a while. */
const MUTED_SPEECH_MS = 500;
const MUTED_SPEECH_INTERVAL_MS = 10_000;

export class AudioPublication extends MediaPublication<AudioData> {
  readonly meter = new SoundMeter();
  /** Whether it is what somebody says. */
  readonly followsMute: boolean;
  /** Hears what nobody else does. */
  private readonly mutedMeter = new SoundMeter();
  private mutedSpeechSinceMs: number | undefined;
  private mutedSpeechToldAtMs = -Infinity;
  private readonly bitrate: number;
  private readonly isMusic: boolean;
  private readonly groups = new AudioGroups();
  private clock = new EpochClock();
  private samplesAt = new SampleClock();
  /** Of a track; an application's own frames may have any times. */
  private readonly stale: StaleSound | undefined;
  private encoder: AudioEncoder | undefined;
  private shape = "";
  private samples = new Float32Array(0);
  private muted: boolean;

  constructor(
    streamId: string,
    args: PublishArguments,
    frames: ReadableStream<AudioData>,
    { bitrate, isMusic, muted }: { bitrate: number; isMusic: boolean; muted: boolean },
    events: PublicationEvents,
  ) {
    super(streamId, "Opus", args, frames, events);
    this.bitrate = bitrate;
    this.isMusic = isMusic;
    this.stale = args.endsWithSource ? undefined : new StaleSound();
    this.followsMute = args.options.followsMute ?? true;
    this.muted = muted && this.followsMute;
  }

  setMuted(muted: boolean): void {
    if (!this.followsMute) return;
    this.muted = muted;
    this.mutedSpeechSinceMs = undefined;
    if (muted) this.silence();
  }

  override setPaused(paused: boolean): void {
    super.setPaused(paused);
    if (paused) this.silence();
  }

  override restart(): void {
    this.groups.restart();
  }

  override requestKey(): void {
    // Every packet of sound decodes by itself.
  }

  protected override sourceChanged(): void {
    this.clock = new EpochClock();
  }

  protected override release(): void {
    this.closeEncoder();
  }

  protected override aims(): Pick<PublicationStats, "width" | "height" | "targetBitrate" | "limiter"> {
    return { width: 0, height: 0, targetBitrate: this.bitrate, limiter: this.paused ? "paused" : "none" };
  }

  protected override take(sound: AudioData): void {
    const nowMs = performance.now();
    if (this.muted) {
      this.listenMuted(nowMs, sound);
      return;
    }
    this.meter.hear(nowMs, this.firstChannel(sound));
    // The timestamp is of its first sample, and the last one is just there.
    const nowUs = epochNowUs();
    const endUs = sound.timestamp + sound.duration;
    this.clock.observe(endUs, nowUs);
    if (this.stale?.skips(nowMs, this.clock.ageUs(endUs, nowUs)) === true) {
      this.counts.dropped += 1;
      return;
    }
    const session = this.events.session();
    if (this.paused || session === undefined || session.isOver) {
      this.groups.restart();
      return;
    }
    if (this.writer.backlogMs(nowMs) > BACKLOG_MAX_MS) {
      this.giveUp();
      this.groups.restart();
    }
    const shape = `${sound.sampleRate}/${sound.numberOfChannels}`;
    if (this.encoder === undefined || this.encoder.state === "closed" || shape !== this.shape) {
      this.closeEncoder();
      this.shape = shape;
      this.encoder = this.newEncoder(sound.sampleRate, sound.numberOfChannels);
    }
    if (this.encoder.encodeQueueSize >= ENCODE_QUEUE_MAX) {
      this.counts.dropped += 1;
      return;
    }
    this.samplesAt.feed(this.clock.toEpochUs(sound.timestamp), sound.numberOfFrames, sound.sampleRate);
    this.encoder.encode(sound);
  }

  private silence(): void {
    // What the encoder still holds was said before; closing it makes sure that none of it is sent after.
    this.closeEncoder();
    this.writer.finish();
    this.groups.restart();
  }

  private closeEncoder(): void {
    if (this.encoder !== undefined && this.encoder.state !== "closed") this.encoder.close();
    this.encoder = undefined;
  }

  private newEncoder(sampleRate: number, numberOfChannels: number): AudioEncoder {
    this.samplesAt = new SampleClock();
    const encoder = new AudioEncoder({
      output: (chunk) => {
        if (encoder === this.encoder) this.send(chunk);
      },
      error: (error) => this.fail(error),
    });
    // Silence costs next to nothing, and a packet that is lost is heard from the next one where a decoder knows how.
    const speech = { application: "voip", signal: "voice", usedtx: true, useinbandfec: true };
    const opus = { frameDuration: PACKET_US, ...(this.isMusic ? { application: "audio", signal: "music" } : speech) };
    // `opus` is not yet in TypeScript's library; an encoder that does not know a member passes it over.
    const config = { codec: "opus", sampleRate, numberOfChannels, bitrate: this.bitrate, opus };
    encoder.configure(config);
    return encoder;
  }

  private firstChannel(sound: AudioData): Float32Array {
    if (this.samples.length !== sound.numberOfFrames) this.samples = new Float32Array(sound.numberOfFrames);
    sound.copyTo(this.samples, { planeIndex: 0, format: "f32-planar" });
    return this.samples;
  }

  private listenMuted(nowMs: number, sound: AudioData): void {
    const { mutedMeter } = this;
    mutedMeter.hear(nowMs, this.firstChannel(sound));
    if (!mutedMeter.speaking(nowMs)) {
      this.mutedSpeechSinceMs = undefined;
      return;
    }
    this.mutedSpeechSinceMs ??= nowMs;
    if (nowMs - this.mutedSpeechSinceMs < MUTED_SPEECH_MS || nowMs - this.mutedSpeechToldAtMs < MUTED_SPEECH_INTERVAL_MS) return;
    this.mutedSpeechToldAtMs = nowMs;
    this.events.spokeMuted();
  }

  private send(chunk: EncodedAudioChunk): void {
    if (this.stopped || this.muted) return;
    const nowMs = performance.now();
    const payload = withHeaderRoom(chunk.byteLength);
    chunk.copyTo(payload);
    this.counts.encoded += 1;
    const startsGroup = this.groups.starts(nowMs);
    const timestampUs = this.samplesAt.at(chunk.timestamp);
    if (this.writer.push(nowMs, { kind: "audio", startsGroup, timestampUs, payload })) return;
    this.counts.dropped += 1;
    this.groups.restart();
  }
}
