// The loudspeaker's side: mixes the jitter buffers of all media streams. In: samples through a port of its own, straight from
// the worker. Out: the mix. Never waits.

import { JitterBuffer } from "./jitter-buffer.ts";

type FromWorker = { streamId: string; channels: Float32Array[] } | { streamId: string; ended: true };

declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare function registerProcessor(name: string, processor: unknown): void;

class Mixer extends AudioWorkletProcessor {
  private readonly buffers = new Map<string, JitterBuffer>();

  constructor() {
    super();
    this.port.onmessage = ({ data }: MessageEvent<{ port: MessagePort }>) => {
      data.port.onmessage = (event: MessageEvent<FromWorker>) => this.receive(event.data);
    };
  }

  process(_inputs: Float32Array[][], [output]: Float32Array[][]): boolean {
    if (output !== undefined) for (const buffer of this.buffers.values()) buffer.mixInto(output);
    return true;
  }

  private receive(message: FromWorker): void {
    if ("ended" in message) {
      this.buffers.delete(message.streamId);
      return;
    }
    let buffer = this.buffers.get(message.streamId);
    if (buffer === undefined) {
      buffer = new JitterBuffer();
      this.buffers.set(message.streamId, buffer);
    }
    buffer.push(message.channels);
  }
}

registerProcessor("dark-tower-mixer", Mixer);
