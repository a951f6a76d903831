// Frames that come encoded: from an encoder of the application's, a file, another meeting. In: encoded frames in order. Out: groups.
// What the uplink cannot take is given up by the group, and asked for again as a key frame.

import { AudioGroups } from "../audio-groups.ts";
import type { PublishArguments } from "../messages.ts";
import type { PublicationStats } from "../stats.ts";
import type { EncodedFrame } from "../types.ts";
import { BACKLOG_MAX_MS } from "../uplink.ts";
import { KEY_REQUEST_INTERVAL_MS, MediaPublication, type PublicationEvents } from "./media-publication.ts";

export class EncodedPublication extends MediaPublication<EncodedFrame> {
  private readonly args: PublishArguments;
  private needsKey = true;
  private keyRequestedAtMs = -Infinity;
  private readonly groups = new AudioGroups();

  constructor(streamId: string, codec: string, args: PublishArguments, frames: ReadableStream<EncodedFrame>, events: PublicationEvents) {
    super(streamId, codec, args, frames, events);
    this.args = args;
  }

  override requestKey(): void {
    const nowMs = performance.now();
    if (this.type === "audio" || nowMs - this.keyRequestedAtMs < KEY_REQUEST_INTERVAL_MS) return;
    this.keyRequestedAtMs = nowMs;
    this.events.wantsKey();
  }

  override restart(): void {
    this.startOver();
  }

  override setPaused(paused: boolean): void {
    if (paused === this.paused) return;
    super.setPaused(paused);
    if (paused) this.writer.finish();
    this.startOver();
    if (!paused) this.requestKey();
  }

  protected override sourceChanged(): void {
    this.startOver();
  }

  protected override release(): void {
    // Nothing is held.
  }

  protected override aims(): Pick<PublicationStats, "width" | "height" | "targetBitrate" | "limiter"> {
    const { width, height, options } = this.args;
    return { width, height, targetBitrate: options.maxBitrate ?? 0, limiter: this.paused ? "paused" : "none" };
  }

  protected override take({ kind, timestampUs, data: payload, isDiscardable = false }: EncodedFrame): void {
    const nowMs = performance.now();
    this.counts.encoded += 1;
    if (this.paused) return;
    if (this.writer.backlogMs(nowMs) > BACKLOG_MAX_MS) {
      this.giveUp();
      this.startOver();
    }
    const isKey = kind === "key";
    if (isKey) {
      this.needsKey = false;
      this.counts.keys += 1;
    } else if (kind === "delta" && this.needsKey) {
      this.counts.dropped += 1;
      this.requestKey();
      return;
    }
    const taken = this.writer.push(nowMs, {
      kind: kind === "audio" ? "audio" : isKey ? "video_key" : "video_delta",
      startsGroup: kind === "audio" ? this.groups.starts(nowMs) : isKey,
      timestampUs: BigInt(timestampUs),
      payload,
      isDiscardable,
    });
    if (taken) return;
    this.counts.dropped += 1;
    this.startOver();
  }

  private startOver(): void {
    this.needsKey = true;
    this.groups.restart();
  }
}
