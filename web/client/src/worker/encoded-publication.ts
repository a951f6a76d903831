// Frames that come encoded: from an encoder of the application's, a file, another meeting. In: encoded frames in order. Out: groups.
// What the uplink cannot take is given up by the group, and asked for again as a key frame.

import type { EncodedFrame } from "../types.ts";
import { BACKLOG_MAX_MS } from "../uplink.ts";
import { KEY_REQUEST_INTERVAL_MS, MediaPublication } from "./media-publication.ts";
import { AudioGroups } from "../audio-groups.ts";

export class EncodedPublication extends MediaPublication<EncodedFrame> {
  private needsKey = true;
  private keyRequestedAtMs = -Infinity;
  private readonly audioGroups = new AudioGroups();

  override requestKey(): void {
    const nowMs = performance.now();
    if (nowMs - this.keyRequestedAtMs < KEY_REQUEST_INTERVAL_MS) return;
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
  }

  protected override sourceChanged(): void {
    this.startOver();
  }

  protected override release(): void {
    // Nothing is held.
  }

  protected override take(frame: EncodedFrame): void {
    const nowMs = performance.now();
    if (this.paused) return;
    if (this.writer.backlogMs(nowMs) > BACKLOG_MAX_MS) {
      this.writer.abort();
      this.events.groupAborted();
      this.startOver();
    }
    const isAudio = frame.kind === "audio";
    if (frame.kind === "key") this.needsKey = false;
    else if (!isAudio && this.needsKey) {
      this.requestKey();
      return;
    }
    const { data: payload, isDiscardable = false } = frame;
    const taken = this.writer.push(nowMs, {
      kind: isAudio ? "audio" : frame.kind === "key" ? "video_key" : "video_delta",
      startsGroup: isAudio ? this.audioGroups.starts(nowMs) : frame.kind === "key",
      timestampUs: BigInt(frame.timestampUs),
      payload,
      isDiscardable,
    });
    if (!taken) this.startOver();
  }

  private startOver(): void {
    this.needsKey = true;
    this.audioGroups.restart();
  }
}
