// Which pictures stand still. In: a snapshot of the numbers each second. Out: streams whose picture has not changed for a while though it
// should. Pure; counts snapshots, reads no clock.

import type { SubscriptionStats } from "@dark-tower/client";

/** Snapshots without a new picture, one a second: shorter ones one sees as a stutter, and they are over before one has read a word. */
const STILL_SNAPSHOTS = 3;

type Look = Pick<SubscriptionStats, "streamId" | "type" | "framesShown">;

export class PictureHealth {
  private seen = new Map<string, { shown: number; still: number }>();

  /** `isWatched`: whether the picture is on the screen; what is not stands still on purpose. Screens change only when something on them does. */
  look(subscriptions: readonly Look[], isWatched: (streamId: string) => boolean): Set<string> {
    const next = new Map<string, { shown: number; still: number }>();
    const frozen = new Set<string>();
    for (const { streamId, type, framesShown } of subscriptions) {
      if (type !== "camera" || !isWatched(streamId)) continue;
      const before = this.seen.get(streamId);
      const still = before !== undefined && before.shown === framesShown && framesShown > 0 ? before.still + 1 : 0;
      next.set(streamId, { shown: framesShown, still });
      if (still >= STILL_SNAPSHOTS) frozen.add(streamId);
    }
    this.seen = next;
    return frozen;
  }
}
