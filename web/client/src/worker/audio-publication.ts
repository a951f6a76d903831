// Microphone of ours: samples in, Opus packets out, a stream for each second of sound. Sends nothing while muted, and says how
// loud it is.

import { AudioGroups } from "../audio-groups.ts";
import type { PublishArguments } from "../messages.ts";
import { BACKLOG_MAX_MS } from "../uplink.ts";
import { SoundMeter } from "../sound.ts";
import { EpochClock } from "./epoch-clock.ts";
import { MediaPublication, type PublicationEvents } from "./media-publication.ts";

/** One Opus packet. */
const PACKET_US = 20_000;
const ENCODE_QUEUE_MAX = 10;

export class AudioPublication extends MediaPublication<AudioData> {
  readonly meter = new SoundMeter();
  private readonly bitrate: number;
  private readonly groups = new AudioGroups();
  private clock = new EpochClock();
  private encoder: AudioEncoder | undefined;
  private shape = "";
  private samples = new Float32Array(0);
  private muted: boolean;

  constructor(
    streamId: string,
    args: PublishArguments,
    frames: ReadableStream<AudioData>,
    bitrate: number,
    muted: boolean,
    events: PublicationEvents,
  ) {
    super(streamId, args.type, frames, args.endsWithSource, events);
    this.bitrate = bitrate;
    this.muted = muted;
  }

  setMuted(muted: boolean): void {
    this.muted = muted;
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

  protected override take(sound: AudioData): void {
    const nowMs = performance.now();
    this.clock.arrived(sound.timestamp);
    if (this.muted) return;
    this.listen(nowMs, sound);
    const session = this.events.session();
    if (this.paused || session === undefined || session.isOver) {
      this.groups.restart();
      return;
    }
    if (this.writer.backlogMs(nowMs) > BACKLOG_MAX_MS) {
      this.writer.abort();
      this.events.groupAborted();
      this.groups.restart();
    }
    const shape = `${sound.sampleRate}/${sound.numberOfChannels}`;
    if (this.encoder === undefined || this.encoder.state === "closed" || shape !== this.shape) {
      this.closeEncoder();
      this.shape = shape;
      this.encoder = this.newEncoder(sound.sampleRate, sound.numberOfChannels);
    }
    if (this.encoder.encodeQueueSize < ENCODE_QUEUE_MAX) this.encoder.encode(sound);
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
    const encoder = new AudioEncoder({
      output: (chunk) => {
        if (encoder === this.encoder) this.send(chunk);
      },
      error: (error) => this.fail(error),
    });
    const opus = { frameDuration: PACKET_US, application: "voip", signal: "voice" };
    encoder.configure({ codec: "opus", sampleRate, numberOfChannels, bitrate: this.bitrate, opus });
    return encoder;
  }

  private listen(nowMs: number, sound: AudioData): void {
    if (this.samples.length !== sound.numberOfFrames) this.samples = new Float32Array(sound.numberOfFrames);
    sound.copyTo(this.samples, { planeIndex: 0, format: "f32-planar" });
    this.meter.hear(nowMs, this.samples);
  }

  private send(chunk: EncodedAudioChunk): void {
    if (this.stopped || this.muted) return;
    const nowMs = performance.now();
    const payload = new Uint8Array(chunk.byteLength);
    chunk.copyTo(payload);
    const startsGroup = this.groups.starts(nowMs);
    const timestampUs = this.clock.toEpochUs(chunk.timestamp);
    if (!this.writer.push(nowMs, { kind: "audio", startsGroup, timestampUs, payload })) this.groups.restart();
  }
}
