// Frames on their way to a reader of the page: one for each that it asks for. In: frames. Out: the newest of them, through a port.
// A slow reader loses the oldest; memory stays bounded.

import { LossyQueue } from "../lossy-queue.ts";

export interface FramePipeParts<T> {
  /** For what nobody takes. */
  letGo: (frame: T) => void;
  transferOf: (frame: T) => Transferable[];
  /** The reader is gone. */
  closed: () => void;
}

export class FramePipe<T> {
  private readonly port: MessagePort;
  private readonly queue: LossyQueue<T>;
  private readonly transferOf: (frame: T) => Transferable[];
  private wanted = 0;

  constructor(port: MessagePort, framesMax: number, parts: FramePipeParts<T>) {
    this.port = port;
    this.queue = new LossyQueue(framesMax, parts.letGo);
    this.transferOf = parts.transferOf;
    port.onmessage = ({ data }: MessageEvent<"pull" | "close">) => {
      if (data === "pull") {
        this.wanted += 1;
        this.pump();
      } else {
        this.queue.clear();
        port.close();
        parts.closed();
      }
    };
  }

  /** The frame is the pipe's from now on. */
  push(frame: T): void {
    this.queue.push(frame);
    this.pump();
  }

  /** Lets go of what nobody took yet. */
  clear(): void {
    this.queue.clear();
  }

  /** No more frames come. */
  end(): void {
    this.queue.clear();
    this.port.postMessage({ ended: true });
    this.port.close();
  }

  private pump(): void {
    while (this.wanted > 0) {
      const frame = this.queue.shift();
      if (frame === undefined) return;
      this.wanted -= 1;
      this.port.postMessage({ frame }, this.transferOf(frame));
    }
  }
}
