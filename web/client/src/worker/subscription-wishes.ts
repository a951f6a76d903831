// Which media streams of others this participant wants, as the controller is told: all, unless one says otherwise for one of them. In: the
// page's requests, changes of the roster. Out: subscriptions that open and close, requests to the controller.

import { DarkTowerError } from "../error.ts";
import type { SubscriptionRequests } from "../messages.ts";
import type { Roster } from "../roster.ts";
import type { MeetingEvent, SubscriptionOptions } from "../types.ts";
import type { ClientBody, ServerBody } from "./signaling.ts";
import type { Subscriptions } from "./subscriptions.ts";

export class SubscriptionWishes {
  /** What is published later is wanted without a word: the controller was told so with the join. */
  isAutomatic = true;
  private readonly roster: Roster;
  private readonly subscriptions: Subscriptions;
  private readonly request: (body: ClientBody) => Promise<ServerBody>;
  /** What was said for one media stream, for as long as it is published. */
  private readonly said = new Map<string, SubscriptionOptions | "unsubscribe">();

  /** What it was last subscribed to with. */
  private readonly options = new Map<string, SubscriptionOptions>();

  constructor(roster: Roster, subscriptions: Subscriptions, request: (body: ClientBody) => Promise<ServerBody>) {
    this.roster = roster;
    this.subscriptions = subscriptions;
    this.request = request;
  }

  async subscribe({ streamId, options }: SubscriptionRequests["subscribe"]["takes"]): Promise<void> {
    const stream = this.roster.streams.find((it) => it.streamId === streamId);
    if (stream === undefined) throw new DarkTowerError("NOT_FOUND", `there is no media stream ${streamId}`);
    const wish = options ?? this.options.get(streamId) ?? {};
    this.options.set(streamId, wish);
    this.said.set(streamId, wish);
    this.subscriptions.add(stream);
    await this.request({ case: "subscribe", value: { streamId, options: wish } });
  }

  async unsubscribe({ streamId }: SubscriptionRequests["unsubscribe"]["takes"]): Promise<void> {
    if (this.roster.streams.some((it) => it.streamId === streamId)) this.said.set(streamId, "unsubscribe");
    this.subscriptions.remove(streamId);
    await this.request({ case: "unsubscribe", value: { streamId } });
  }

  /** The roster is another. */
  follow(event: MeetingEvent): void {
    if (event.type === "stream-published") {
      if (this.isAutomatic) this.subscriptions.add(event.detail);
    } else if (event.type === "stream-unpublished") {
      const { streamId } = event.detail;
      this.said.delete(streamId);
      this.options.delete(streamId);
      this.subscriptions.unpublished(streamId);
    }
  }

  /** The controller knows nothing of it any more: for it this is a new participant. */
  again(): void {
    for (const [streamId, wish] of this.said) {
      const body: ClientBody =
        wish === "unsubscribe" ? { case: "unsubscribe", value: { streamId } } : { case: "subscribe", value: { streamId, options: wish } };
      void this.request(body).catch(() => undefined);
    }
  }
}
