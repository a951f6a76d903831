// Microphone of ours: samples in, Opus packets out, a stream for each second of sound. Sends nothing while muted, and says how
// loud it is.

import { DarkTowerError } from "../error.ts";
import type { PublishArguments } from "../messages.ts";
import { BACKLOG_MAX_MS } from "../uplink.ts";
import { SoundMeter } from "../sound.ts";
import { EpochClock } from "./epoch-clock.ts";
import { GroupWriter } from "./group-writer.ts";
import type { PublicationEvents } from "./video-publication.ts";

/** One Opus packet. */
const PACKET_US = 20_000;
/** A group of about a second (DESIGN section 5). */
const GROUP_PACKETS = 50;
/** After so long without a packet the next one begins a group: the handler has closed the one before by then. */
const SILENCE_MS = 60;
const ENCODE_QUEUE_MAX = 10;

export class AudioPublication {
  readonly streamId: string;
  readonly meter = new SoundMeter();
  private readonly bitrate: number;
  private readonly events: PublicationEvents;
  private readonly writer: GroupWriter;
  private readonly clock = new EpochClock();
  private readonly reader: ReadableStreamDefaultReader<AudioData>;
  private encoder: AudioEncoder | undefined;
  private shape = "";
  private samples = new Float32Array(0);
  private groupPackets = 0;
  private packetAtMs = -Infinity;
  private muted: boolean;
  private paused = false;
  private stopped = false;

  constructor(takes: PublishArguments, bitrate: number, muted: boolean, events: PublicationEvents) {
    this.streamId = takes.streamId;
    this.bitrate = bitrate;
    this.muted = muted;
    this.events = events;
    this.writer = new GroupWriter(takes.streamId, () => events.session(), events.cipher(takes.streamId));
    this.reader = (takes.readable as ReadableStream<AudioData>).getReader();
  }

  async run(): Promise<void> {
    try {
      for (;;) {
        const { value, done } = await this.reader.read();
        if (done || this.stopped) {
          value?.close();
          break;
        }
        try {
          this.encode(value);
        } finally {
          value.close();
        }
      }
    } catch (thrown) {
      if (!this.stopped) this.events.failed(this.streamId, DarkTowerError.from(thrown));
    }
    this.stop();
  }

  setMuted(muted: boolean): void {
    this.muted = muted;
    if (muted) this.silence();
  }

  setPaused(paused: boolean): void {
    this.paused = paused;
    if (paused) this.silence();
  }

  restart(): void {
    this.groupPackets = 0;
  }

  requestKey(): void {
    // Every packet of sound decodes by itself.
  }

  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    this.reader.cancel().catch(() => undefined);
    this.closeEncoder();
    this.writer.finish();
  }

  private silence(): void {
    // What the encoder still holds was said before; closing it makes sure that none of it is sent after.
    this.closeEncoder();
    this.writer.finish();
    this.groupPackets = 0;
  }

  private closeEncoder(): void {
    if (this.encoder !== undefined && this.encoder.state !== "closed") this.encoder.close();
    this.encoder = undefined;
  }

  private encode(sound: AudioData): void {
    const nowMs = performance.now();
    if (this.muted) return;
    this.listen(nowMs, sound);
    const session = this.events.session();
    if (this.paused || session === undefined || session.isOver) {
      this.groupPackets = 0;
      return;
    }
    if (this.writer.backlogMs(nowMs) > BACKLOG_MAX_MS) {
      this.writer.abort();
      this.events.groupAborted();
      this.groupPackets = 0;
    }
    const shape = `${sound.sampleRate}/${sound.numberOfChannels}`;
    if (this.encoder === undefined || this.encoder.state === "closed" || shape !== this.shape) {
      this.closeEncoder();
      this.shape = shape;
      this.encoder = this.newEncoder(sound.sampleRate, sound.numberOfChannels);
    }
    if (this.encoder.encodeQueueSize < ENCODE_QUEUE_MAX) this.encoder.encode(sound);
  }

  private newEncoder(sampleRate: number, numberOfChannels: number): AudioEncoder {
    const encoder = new AudioEncoder({
      output: (chunk) => {
        if (encoder === this.encoder) this.send(chunk);
      },
      error: (error) => this.events.failed(this.streamId, DarkTowerError.from(error)),
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
    const startsGroup = this.groupPackets === 0 || this.groupPackets >= GROUP_PACKETS || nowMs - this.packetAtMs > SILENCE_MS;
    const timestampUs = this.clock.toEpochUs(chunk.timestamp);
    const taken = this.writer.push(nowMs, { kind: "audio", startsGroup, timestampUs, payload });
    this.packetAtMs = nowMs;
    if (!taken) this.groupPackets = 0;
    else this.groupPackets = startsGroup ? 1 : this.groupPackets + 1;
  }
}
