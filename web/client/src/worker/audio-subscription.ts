// Sound of one media stream of somebody else: frames in, samples to the audio worklet and their loudness out.

import { decoderCodec } from "../codec.ts";
import type { Frame } from "../frame.ts";
import { GroupOrder } from "../group-order.ts";
import { SoundMeter } from "../sound.ts";
import type { FrameSink } from "./media-session.ts";

/** Sound that waits longer is later than the loudspeaker's own buffer allows. */
const HOLD_MS = 60;
const SAMPLE_RATE = 48_000;

/** What the worklet gets through its port. */
export type ToWorklet = { streamId: string; channels: Float32Array[] } | { streamId: string; ended: true };

export class AudioSubscription implements FrameSink {
  readonly streamId: string;
  readonly meter = new SoundMeter();
  private readonly codec: string | undefined;
  private readonly port: MessagePort | undefined;
  private readonly order = new GroupOrder<Frame>(HOLD_MS);
  private decoder: AudioDecoder | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(streamId: string, codec: string, port: MessagePort | undefined) {
    this.streamId = streamId;
    this.codec = decoderCodec(codec);
    this.port = port;
  }

  push(group: bigint, frame: Frame): void {
    this.decodeAll(this.order.push(performance.now(), group, frame));
  }

  end(group: bigint): void {
    this.decodeAll(this.order.end(performance.now(), group));
  }

  close(): void {
    clearTimeout(this.timer);
    if (this.decoder !== undefined && this.decoder.state !== "closed") this.decoder.close();
    this.decoder = undefined;
    this.port?.postMessage({ streamId: this.streamId, ended: true } satisfies ToWorklet);
  }

  private decodeAll(frames: Frame[]): void {
    for (const frame of frames) this.decode(frame);
    clearTimeout(this.timer);
    const deadlineMs = this.order.deadlineMs();
    if (deadlineMs !== undefined) {
      this.timer = setTimeout(() => this.decodeAll(this.order.expire(performance.now())), Math.max(1, deadlineMs - performance.now()));
    }
  }

  private decode(frame: Frame): void {
    if (this.codec === undefined || frame.kind !== "audio") return;
    try {
      this.decoder ??= this.newDecoder(this.codec);
      this.decoder.decode(new EncodedAudioChunk({ type: "key", timestamp: Number(frame.timestampUs), data: frame.payload }));
    } catch {
      this.fail();
    }
  }

  private newDecoder(codec: string): AudioDecoder {
    const decoder = new AudioDecoder({ output: (sound) => this.play(sound), error: () => this.fail() });
    // Chromium decodes Opus to as many channels as it is told; a mono packet is heard on both.
    decoder.configure({ codec, sampleRate: SAMPLE_RATE, numberOfChannels: 2 });
    return decoder;
  }

  private fail(): void {
    if (this.decoder !== undefined && this.decoder.state !== "closed") this.decoder.close();
    this.decoder = undefined;
  }

  private play(sound: AudioData): void {
    const channels: Float32Array<ArrayBuffer>[] = [];
    for (let plane = 0; plane < Math.min(2, sound.numberOfChannels); plane += 1) {
      const samples = new Float32Array(sound.numberOfFrames);
      sound.copyTo(samples, { planeIndex: plane, format: "f32-planar" });
      channels.push(samples);
    }
    sound.close();
    const [first] = channels;
    if (first !== undefined) this.meter.hear(performance.now(), first);
    const buffers = channels.map((samples) => samples.buffer);
    this.port?.postMessage({ streamId: this.streamId, channels } satisfies ToWorklet, buffers);
  }
}
