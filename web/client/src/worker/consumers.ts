// Who takes what a media stream brings: outputs on the page, readers of frames. Outlives the subscription, so that a tile which scrolls out
// of sight and back goes on. In: the page's requests; pictures, sounds and encoded frames. Out: each to whom it belongs. Bounded: a slow
// reader loses the oldest.

import type { Frame } from "../frame.ts";
import type { SubscriptionRequests } from "../messages.ts";
import type { EncodedFrame } from "../types.ts";
import { FramePipe } from "./frame-pipe.ts";
import { type PictureOutput, pictureOutput } from "./picture-output.ts";

/** Decoded frames are large, and a decoder's pool small. */
const DECODED_MAX = 4;
/** A group of two seconds, at 60 a second. */
const ENCODED_MAX = 120;

type Decoded = VideoFrame | AudioData;

/** Encoded frames for a reader: after a loss it goes on with a key frame. */
class EncodedTap {
  private readonly pipe: FramePipe<EncodedFrame>;
  private queued = 0;
  private needsKey = true;

  constructor(port: MessagePort, closed: (tap: EncodedTap) => void) {
    const transferOf = ({ data }: EncodedFrame): Transferable[] => {
      this.queued -= 1;
      return [data.buffer as ArrayBuffer];
    };
    this.pipe = new FramePipe(port, ENCODED_MAX, { letGo: () => void (this.queued -= 1), transferOf, closed: () => closed(this) });
  }

  push(frame: EncodedFrame): void {
    if (frame.kind === "key") this.needsKey = false;
    if (frame.kind === "delta" && this.needsKey) return;
    this.queued += 1;
    // What falls out now takes the rest of its group with it.
    if (this.queued > ENCODED_MAX && frame.kind !== "audio") {
      this.needsKey = true;
      this.pipe.clear();
      if (frame.kind === "delta") {
        this.queued -= 1;
        return;
      }
      this.needsKey = false;
    }
    this.pipe.push(frame);
  }

  end(): void {
    this.pipe.end();
  }
}

/** Of one media stream. */
export class StreamConsumers {
  /** Called when somebody came, went, or sees it again. */
  changed: (() => void) | undefined;
  private readonly outputs = new Map<number, { output: PictureOutput; isVisible: boolean }>();
  private readonly decoded = new Set<FramePipe<Decoded>>();
  private readonly encoded = new Set<EncodedTap>();

  /** Whether decoding is of use to anybody. */
  get isWatched(): boolean {
    return this.decoded.size > 0 || [...this.outputs.values()].some(({ isVisible }) => isVisible);
  }

  addOutput(outputId: number, output: PictureOutput): void {
    this.outputs.set(outputId, { output, isVisible: true });
    this.changed?.();
  }

  removeOutput(outputId: number): void {
    if (this.outputs.delete(outputId)) this.changed?.();
  }

  show(outputId: number, isVisible: boolean): void {
    const found = this.outputs.get(outputId);
    if (found === undefined || found.isVisible === isVisible) return;
    found.isVisible = isVisible;
    this.changed?.();
  }

  read(port: MessagePort, isEncoded: boolean): void {
    if (isEncoded) {
      this.encoded.add(new EncodedTap(port, (tap) => this.encoded.delete(tap)));
      return;
    }
    const pipe: FramePipe<Decoded> = new FramePipe<Decoded>(port, DECODED_MAX, {
      letGo: (frame) => frame.close(),
      transferOf: (frame) => [frame],
      closed: () => {
        this.decoded.delete(pipe);
        this.changed?.();
      },
    });
    this.decoded.add(pipe);
    this.changed?.();
  }

  /** Puts a picture, which stays the caller's, where somebody sees it. */
  put(picture: VideoFrame): void {
    for (const { output, isVisible } of this.outputs.values()) if (isVisible) output.put(picture);
  }

  /** Gives a copy of the frame to who reads decoded frames. */
  give(frame: Decoded): void {
    for (const pipe of this.decoded) pipe.push(frame.clone());
  }

  giveEncoded({ kind, timestampUs, payload }: Frame): void {
    if (this.encoded.size === 0) return;
    const kinds = { audio: "audio", video_key: "key", video_delta: "delta" } as const;
    for (const tap of this.encoded) tap.push({ kind: kinds[kind], timestampUs, data: payload.slice() });
  }

  /** The media stream is over: readers come to their end. */
  end(): void {
    for (const pipe of this.decoded) pipe.end();
    for (const tap of this.encoded) tap.end();
    this.decoded.clear();
    this.encoded.clear();
    this.outputs.clear();
  }
}

/** Of all media streams. */
export class Consumers {
  private readonly streams = new Map<string, StreamConsumers>();
  private readonly outputs = new Map<number, { output: PictureOutput; streamId: string | undefined }>();
  private heldUntilMs = -Infinity;

  of(streamId: string): StreamConsumers {
    let found = this.streams.get(streamId);
    if (found === undefined) {
      found = new StreamConsumers();
      this.streams.set(streamId, found);
    }
    return found;
  }

  attach({ streamId, outputId, target }: SubscriptionRequests["attach"]["takes"]): void {
    const known = this.outputs.get(outputId);
    const output = known?.output ?? (target === undefined ? undefined : pictureOutput(target, () => performance.now() < this.heldUntilMs));
    if (output === undefined) return;
    this.detach(outputId);
    this.outputs.set(outputId, { output, streamId });
    this.of(streamId).addOutput(outputId, output);
  }

  detach(outputId: number): void {
    const found = this.outputs.get(outputId);
    if (found?.streamId === undefined) return;
    this.streams.get(found.streamId)?.removeOutput(outputId);
    found.streamId = undefined;
  }

  forget(outputId: number): void {
    this.detach(outputId);
    this.outputs.get(outputId)?.output.close();
    this.outputs.delete(outputId);
  }

  show(outputId: number, isVisible: boolean): void {
    const streamId = this.outputs.get(outputId)?.streamId;
    if (streamId !== undefined) this.streams.get(streamId)?.show(outputId, isVisible);
  }

  /** Nothing is drawn until then. */
  hold(untilMs: number): void {
    this.heldUntilMs = untilMs;
  }

  /** The media stream is over. */
  end(streamId: string): void {
    this.streams.get(streamId)?.end();
    this.streams.delete(streamId);
    for (const found of this.outputs.values()) if (found.streamId === streamId) found.streamId = undefined;
  }

  close(): void {
    for (const streamId of [...this.streams.keys()]) this.end(streamId);
    for (const { output } of this.outputs.values()) output.close();
    this.outputs.clear();
  }
}
