// Sound of one media stream of somebody else: frames in, samples to the audio worklet and their loudness out. Every packet is decoded,
// heard or not, for its loudness is shown.

import { decoderCodec } from "../codec.ts";
import { DecoderHealth } from "../decoder-health.ts";
import { DarkTowerError } from "../error.ts";
import type { Frame } from "../frame.ts";
import { GroupOrder } from "../group-order.ts";
import { PacketTimes } from "../packet-times.ts";
import { SoundMeter } from "../sound.ts";
import type { SoundReport, ToWorklet } from "../sound-messages.ts";
import type { SubscriptionStats } from "../stats.ts";
import { SubscriptionMeter } from "../subscription-meter.ts";
import type { MediaStreamInfo } from "../types.ts";
import type { StreamConsumers } from "./consumers.ts";
import type { FrameSink } from "./media-session.ts";

/** Sound that waits longer is later than the loudspeaker's own buffer allows. */
const HOLD_MS = 60;
const SAMPLE_RATE = 48_000;
/** Packets in the decoder: a second. What comes beyond would be heard too late. */
const DECODE_QUEUE_MAX = 50;
/** Waiting changes by less are not told. */
const WAITS_STEP_MS = 5;

export class AudioSubscription implements FrameSink {
  readonly stream: MediaStreamInfo;
  readonly loudness = new SoundMeter();
  readonly meter = new SubscriptionMeter();
  private readonly consumers: StreamConsumers;
  private readonly failed: (error: DarkTowerError) => void;
  private readonly codec: string | undefined;
  private readonly order = new GroupOrder<Frame>(HOLD_MS);
  private readonly health = new DecoderHealth();
  private port: MessagePort | undefined;
  private decoder: AudioDecoder | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private next: bigint | undefined;
  private readonly times = new PacketTimes(2 * DECODE_QUEUE_MAX);
  private waitsMs = 0;
  private buffer = { targetMs: 0, bufferedMs: 0 };
  private isClosed = false;

  constructor(stream: MediaStreamInfo, consumers: StreamConsumers, port: MessagePort | undefined, failed: (error: DarkTowerError) => void) {
    this.stream = stream;
    this.codec = decoderCodec(stream.codec);
    this.consumers = consumers;
    this.port = port;
    this.failed = failed;
  }

  push(group: bigint, frame: Frame): void {
    if (this.isClosed) return;
    this.meter.received.add(1);
    this.meter.bits.add(frame.payload.length * 8);
    this.take(this.order.push(performance.now(), group, frame));
  }

  end(group: bigint): void {
    if (!this.isClosed) this.take(this.order.end(performance.now(), group));
  }

  /** A packet could not be opened. */
  lost(): void {
    this.meter.dropped("undecryptable");
  }

  /** Samples go there from now on. */
  playTo(port: MessagePort | undefined): void {
    this.send({ streamId: this.stream.streamId, ended: true });
    this.port = port;
    if (this.waitsMs > 0) this.send({ streamId: this.stream.streamId, waitsMs: this.waitsMs });
  }

  /** How much longer the sound has to wait for pictures. */
  setWaits(waitsMs: number): void {
    if (Math.abs(waitsMs - this.waitsMs) < WAITS_STEP_MS) return;
    this.waitsMs = waitsMs;
    this.send({ streamId: this.stream.streamId, waitsMs });
  }

  /** How it stands in the loudspeaker's buffer. */
  played(report: SoundReport, heardMs: number | undefined): void {
    this.buffer = { targetMs: report.targetMs, bufferedMs: report.heldMs };
    this.meter.gaps = { count: report.gaps, ms: report.gapMs };
    this.meter.setDropped("late", this.order.droppedFrames + Math.round(report.droppedMs / 20));
    if (heardMs !== undefined && report.captureMs !== undefined) {
      this.meter.measureLatency(performance.timeOrigin + heardMs - report.captureMs);
    }
  }

  stats(nowMs: number): SubscriptionStats {
    this.meter.decoderErrors = this.health.errors;
    return this.meter.snapshot(nowMs, this.stream, this.buffer);
  }

  close(): void {
    this.isClosed = true;
    clearTimeout(this.timer);
    this.closeDecoder();
    this.send({ streamId: this.stream.streamId, ended: true });
  }

  private send(message: ToWorklet, transfer: Transferable[] = []): void {
    this.port?.postMessage(message, transfer);
  }

  private take(frames: Frame[]): void {
    for (const frame of frames) {
      this.consumers.giveEncoded(frame);
      this.decode(frame);
    }
    clearTimeout(this.timer);
    const deadlineMs = this.order.deadlineMs();
    if (deadlineMs === undefined) return;
    this.timer = setTimeout(() => this.take(this.order.expire(performance.now())), Math.max(1, deadlineMs - performance.now()));
  }

  private decode(frame: Frame): void {
    const isBehindLoss = this.next !== undefined && frame.sequence !== this.next;
    this.next = frame.lastSequence + 1n;
    const nowMs = performance.now();
    if (frame.kind !== "audio" || this.health.isHopeless || !this.health.mayTry(nowMs)) return;
    if (this.codec === undefined) {
      this.giveUp(`no browser decodes ${this.stream.codec}`);
      return;
    }
    if ((this.decoder?.decodeQueueSize ?? 0) >= DECODE_QUEUE_MAX) {
      this.meter.dropped("queue");
      return;
    }
    const timestamp = Number(frame.timestampUs);
    try {
      this.decoder ??= this.newDecoder(this.codec);
      this.times.fed(nowMs, { captureUs: timestamp, afterLoss: isBehindLoss });
      this.decoder.decode(new EncodedAudioChunk({ type: "key", timestamp, data: frame.payload }));
    } catch (thrown) {
      this.fail(thrown);
    }
  }

  private newDecoder(codec: string): AudioDecoder {
    const decoder = new AudioDecoder({
      output: (sound) => {
        if (decoder === this.decoder) this.play(sound);
        sound.close();
      },
      error: (error) => {
        if (decoder === this.decoder) this.fail(error);
      },
    });
    // Chromium decodes Opus to as many channels as it is told; a mono packet is heard on both.
    decoder.configure({ codec, sampleRate: SAMPLE_RATE, numberOfChannels: 2 });
    return decoder;
  }

  private fail(error: unknown): void {
    this.closeDecoder();
    this.health.failed(performance.now());
    this.meter.dropped("decoder");
    const isUnsupported = error instanceof DOMException && error.name === "NotSupportedError";
    if (isUnsupported) this.giveUp(`this browser does not decode ${this.stream.codec}`);
    else if (this.health.isHopeless) this.giveUp(`sound cannot be decoded: ${DarkTowerError.from(error).message}`);
  }

  private giveUp(why: string): void {
    this.health.giveUp();
    this.failed(new DarkTowerError("UNSUPPORTED_CODEC", why, { codec: this.stream.codec }));
  }

  private closeDecoder(): void {
    if (this.decoder !== undefined && this.decoder.state !== "closed") this.decoder.close();
    this.decoder = undefined;
    this.times.clear();
  }

  private play(sound: AudioData): void {
    const nowMs = performance.now();
    this.health.decoded(nowMs);
    this.meter.framesDecoded += 1;
    this.meter.shown.add(1);
    const channels: Float32Array<ArrayBuffer>[] = [];
    for (let plane = 0; plane < Math.min(2, sound.numberOfChannels); plane += 1) {
      const samples = new Float32Array(sound.numberOfFrames);
      sound.copyTo(samples, { planeIndex: plane, format: "f32-planar" });
      channels.push(samples);
    }
    const [first] = channels;
    if (first !== undefined) this.loudness.hear(nowMs, first);
    const { captureUs, afterLoss } = this.times.given() ?? { captureUs: sound.timestamp, afterLoss: false };
    this.give(sound, channels, captureUs);
    const { streamId } = this.stream;
    this.send(
      { streamId, captureMs: captureUs / 1000, afterLoss, channels },
      channels.map((samples) => samples.buffer),
    );
  }

  /** To who reads samples, with the time of their capture. */
  private give(sound: AudioData, channels: Float32Array<ArrayBuffer>[], captureUs: number): void {
    if (!this.consumers.isWatched) return;
    const { numberOfFrames, sampleRate } = sound;
    const data = new Float32Array(numberOfFrames * channels.length);
    for (const [index, samples] of channels.entries()) data.set(samples, index * numberOfFrames);
    const numberOfChannels = channels.length;
    const stamped = new AudioData({ format: "f32-planar", sampleRate, numberOfFrames, numberOfChannels, timestamp: captureUs, data });
    this.consumers.give(stamped);
    stamped.close();
  }
}
