// The loudspeaker's side: mixes the sound buffers of all media streams. In: samples through a port of its own, straight from the worker.
// Out: the mix, and reports of what is heard when. Never waits.

import { Limiter } from "./limiter.ts";
import { SoundBuffer } from "./sound-buffer.ts";
import type { FromWorklet, SoundReport, ToMixer, ToWorklet } from "./sound-messages.ts";

const PER_MS = 48;
/** Often enough for pictures to follow. */
const REPORT_INTERVAL_MS = 100;

declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare function registerProcessor(name: string, processor: unknown): void;
/** Seconds; the first sample of the block that is asked for next, or now. */
declare const currentTime: number;

class Mixer extends AudioWorkletProcessor {
  private readonly buffers = new Map<string, SoundBuffer>();
  private readonly ended = new Set<string>();
  private readonly limiter = new Limiter();
  private worker: MessagePort | undefined;
  private isOver = false;
  private reportedAtMs = -Infinity;

  constructor() {
    super();
    this.port.onmessage = ({ data }: MessageEvent<ToMixer>) => {
      if ("over" in data) {
        this.isOver = true;
        this.worker?.close();
        return;
      }
      this.worker = data.port;
      data.port.onmessage = (event: MessageEvent<ToWorklet>) => this.receive(event.data);
    };
  }

  process(_inputs: Float32Array[][], [output]: Float32Array[][]): boolean {
    // False lets the browser let go of it: the context is the application's and outlives the meeting.
    if (this.isOver) return false;
    const nowMs = currentTime * 1000;
    if (nowMs - this.reportedAtMs >= REPORT_INTERVAL_MS) this.report(nowMs);
    if (output === undefined) return true;
    for (const [streamId, buffer] of this.buffers) {
      buffer.mixInto(nowMs, output);
      if (this.ended.has(streamId) && buffer.isIdle) this.forget(streamId);
    }
    this.limiter.process(output);
    return true;
  }

  private receive(message: ToWorklet): void {
    const { streamId } = message;
    if ("ended" in message) {
      const ending = this.buffers.get(streamId);
      ending?.end();
      if (ending !== undefined) this.ended.add(streamId);
      return;
    }
    let buffer = this.buffers.get(streamId);
    if (buffer === undefined) {
      buffer = new SoundBuffer();
      this.buffers.set(streamId, buffer);
    }
    this.ended.delete(streamId);
    if ("waitsMs" in message) buffer.setWaits(message.waitsMs);
    else buffer.push(currentTime * 1000, message.captureMs, message.channels, message.afterLoss);
  }

  private forget(streamId: string): void {
    this.buffers.delete(streamId);
    this.ended.delete(streamId);
  }

  private report(nowMs: number): void {
    this.reportedAtMs = nowMs;
    if (this.buffers.size === 0 || this.worker === undefined) return;
    const reports: SoundReport[] = [];
    for (const [streamId, buffer] of this.buffers) {
      const { gaps, gapSamples, droppedSamples } = buffer.counts;
      reports.push({
        streamId,
        captureMs: buffer.heardMs,
        targetMs: buffer.targetMs,
        heldMs: buffer.heldMs,
        gaps,
        gapMs: gapSamples / PER_MS,
        droppedMs: droppedSamples / PER_MS,
      });
    }
    this.worker.postMessage({ contextMs: nowMs, reports } satisfies FromWorklet);
  }
}

registerProcessor("dark-tower-mixer", Mixer);
