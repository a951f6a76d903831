// Measures how a stay goes, and tells: round trips, quality, loudness, statistics. In: what the parts of the stay know. Out: events. Changes
// nothing.

import { CalmQuality } from "../quality.ts";
import { RecentSum } from "../recent-sum.ts";
import { LevelReporter } from "../sound.ts";
import type { SubscriptionStats } from "../stats.ts";
import type { MeetingEvent } from "../types.ts";
import type { MediaLink, MediaState } from "./media-link.ts";
import type { Publications } from "./publications.ts";
import type { SignalingSession } from "./signaling.ts";
import type { Subscriptions } from "./subscriptions.ts";

/** Unless the controller names another; on a WebSocket it takes three seconds without a message for a loss. */
const PING_INTERVAL_MS = 1000;
/** What a controller may wish for: no storm, and nothing that a timer cannot wait for. */
const PING_INTERVAL_RANGE_MS = { least: 200, most: 60_000 } as const;
const PING_TIMEOUT_MS = 5000;
const LEVEL_INTERVAL_MS = 100;
const STATS_INTERVAL_MS = 1000;
/** At most two a second are allowed (DESIGN section 4). */
const SPEAKING_REPORT_INTERVAL_MS = 500;
/** How long a fault weighs: a group that was given up, a picture that stood still, lost packets. */
const RECENT_MS = 5000;

export interface MonitorContext {
  emit(event: MeetingEvent): void;
  session(): SignalingSession | undefined;
  link(): MediaLink | undefined;
  participantId(): string;
  readonly publications: Publications;
  readonly subscriptions: Subscriptions;
}

export class Monitor {
  private readonly context: MonitorContext;
  private readonly timers: ReturnType<typeof setInterval>[] = [];
  private readonly quality = new CalmQuality();
  private readonly aborted = new RecentSum(RECENT_MS);
  /** Of each received media stream, what of the last seconds it stood still. */
  private frozen = new Map<string, { totalMs: number; recent: RecentSum }>();
  private rttMs: number | undefined;
  private loss = { atMs: -Infinity, share: 0 };
  private media: MediaState = "connecting";
  private signaling: "connected" | "reconnecting" = "connected";
  private readonly levels = new LevelReporter();
  private speaking = false;
  private spokeAtMs = -Infinity;

  constructor(context: MonitorContext) {
    this.context = context;
  }

  /** `pingIntervalMs`: as the controller wishes; 0: it has no wish. */
  start(pingIntervalMs: number): void {
    this.timers.push(setInterval(() => void this.ping(), pingInterval(pingIntervalMs)));
    this.timers.push(setInterval(() => this.reportLevels(), LEVEL_INTERVAL_MS));
    this.timers.push(setInterval(() => this.tellStats(), STATS_INTERVAL_MS));
  }

  stop(): void {
    for (const timer of this.timers) clearInterval(timer);
    this.timers.length = 0;
  }

  groupAborted(): void {
    this.aborted.add(performance.now(), 1);
  }

  packetLoss(share: number): void {
    this.loss = { atMs: performance.now(), share };
  }

  mediaState(state: MediaState): void {
    this.media = state;
    this.tellQuality();
  }

  signalingState(state: "connected" | "reconnecting"): void {
    this.signaling = state;
    this.tellQuality();
  }

  private async ping(): Promise<void> {
    const session = this.context.session();
    if (session === undefined || session.isOver) return;
    const sentAtMs = performance.now();
    try {
      await session.request({ case: "ping", value: { sentAtUs: BigInt(Math.round(sentAtMs * 1000)) } }, PING_TIMEOUT_MS);
    } catch {
      return;
    }
    const rttMs = performance.now() - sentAtMs;
    this.rttMs = this.rttMs === undefined ? rttMs : this.rttMs + (rttMs - this.rttMs) / 4;
  }

  private tellQuality(): void {
    const nowMs = performance.now();
    const { rttMs, signaling, media, loss } = this;
    const packetLoss = nowMs - loss.atMs <= RECENT_MS ? loss.share : 0;
    const groupsAborted = this.aborted.value(nowMs);
    const frozenMs = Math.max(0, ...[...this.frozen.values()].map(({ recent }) => recent.value(nowMs)));
    const frozen = Math.min(1, frozenMs / RECENT_MS);
    this.context.emit({
      type: "quality",
      detail: this.quality.judge(nowMs, { rttMs, packetLoss, signaling, media, groupsAborted, frozen }),
    });
  }

  private noteFreezes(nowMs: number, subscriptions: SubscriptionStats[]): void {
    const before = this.frozen;
    this.frozen = new Map();
    for (const { streamId, freezeMs } of subscriptions) {
      const known = before.get(streamId) ?? { totalMs: freezeMs, recent: new RecentSum(RECENT_MS) };
      known.recent.add(nowMs, Math.max(0, freezeMs - known.totalMs));
      known.totalMs = freezeMs;
      this.frozen.set(streamId, known);
    }
  }

  private tellStats(): void {
    const nowMs = performance.now();
    const { context, rttMs } = this;
    const subscriptions = context.subscriptions.stats(nowMs);
    this.noteFreezes(nowMs, subscriptions);
    this.tellQuality();
    const atMs = Math.round(performance.timeOrigin + nowMs);
    const signaling = context.session()?.kind ?? "webtransport";
    const handlerUrl = context.link()?.session?.url ?? "";
    const publications = context.publications.stats(nowMs);
    context.emit({ type: "stats", detail: { atMs, signaling, rttMs, handlerUrl, publications, subscriptions } });
  }

  private reportLevels(): void {
    const nowMs = performance.now();
    const { context } = this;
    context.subscriptions.reportLevels(nowMs);
    for (const { streamId, level, speaking } of context.publications.levels(nowMs)) {
      const detail = { streamId, participantId: context.participantId(), level, speaking };
      if (this.levels.isNews(streamId, detail)) context.emit({ type: "audio-level", detail });
      if (speaking === this.speaking || nowMs - this.spokeAtMs < SPEAKING_REPORT_INTERVAL_MS) continue;
      this.speaking = speaking;
      this.spokeAtMs = nowMs;
      context.session()?.notify({ case: "state", value: { audioLevel: speaking ? level : 0 } });
    }
  }
}

function pingInterval(wishedMs: number): number {
  const { least, most } = PING_INTERVAL_RANGE_MS;
  return wishedMs === 0 ? PING_INTERVAL_MS : Math.min(most, Math.max(least, wishedMs));
}
