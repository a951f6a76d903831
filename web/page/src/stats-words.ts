// Numbers of a meeting in words that a curious person understands. Pure.

import type { MeetingStats, PublicationLimiter, PublicationStats, SubscriptionStats } from "@dark-tower/client";

/** A line of the panel: what it is, and how it is. */
export type Fact = readonly [name: string, value: string];

export function bitrateWords(bitsPerSecond: number): string {
  if (bitsPerSecond >= 999_500) return `${(bitsPerSecond / 1_000_000).toFixed(1)} Mb/s`;
  return `${Math.round(bitsPerSecond / 1000)} kb/s`;
}

export function durationWords(milliseconds: number): string {
  return milliseconds >= 10_000
    ? `${Math.round(milliseconds / 1000)} s`
    : milliseconds >= 1000
      ? `${(milliseconds / 1000).toFixed(1)} s`
      : `${Math.round(milliseconds)} ms`;
}

export function sizeWords(width: number, height: number): string {
  return width > 0 && height > 0 ? `${width} × ${height}` : "";
}

const LIMITERS: Record<PublicationLimiter, string> = {
  none: "nothing holds it back",
  uplink: "held back by your upload",
  cpu: "held back by this computer",
  paused: "paused: nobody is watching it",
};

/** The handler's words for what keeps a subscriber from a better layer. */
const LAYER_LIMITERS: Record<string, string> = {
  none: "",
  bandwidth: "your connection does not take more",
  max_bitrate: "held down by the limit that was asked for",
  publisher: "the sender sends no more",
  no_key_frame: "waiting for a whole picture",
  stream_limit: "too many streams at a time",
};

const DROPS: Record<string, string> = {
  late: "too late",
  queue: "too many at a time",
  decoder: "not decodable",
  undecryptable: "not decryptable",
  hidden: "not on the screen",
  "handler:expired": "too old at the server",
  "handler:queue": "too many at the server",
  "handler:bandwidth": "no room on your connection",
};

/** Causes that nobody foresaw are told in their own words. */
function plain(cause: string): string {
  return cause.replace(/^handler:/u, "server: ").replaceAll(/[_-]/gu, " ");
}

export function dropWords(dropped: Readonly<Record<string, number>>): string {
  const causes = Object.entries(dropped).filter(([, count]) => count > 0);
  causes.sort(([a, first], [b, second]) => second - first || a.localeCompare(b));
  return causes.map(([cause, count]) => `${count} ${DROPS[cause] ?? plain(cause)}`).join(", ");
}

/** Without facts that say nothing. */
function facts(...all: (Fact | undefined)[]): Fact[] {
  return all.filter((fact): fact is Fact => fact !== undefined && fact[1] !== "");
}

const dots = (...parts: string[]): string => parts.filter((part) => part !== "").join(" · ");

export function subscriptionFacts(stats: SubscriptionStats): Fact[] {
  const { layer } = stats;
  const isPicture = stats.type !== "audio";
  const limiter = LAYER_LIMITERS[layer.limiter] ?? plain(layer.limiter);
  const better = layer.wanted !== "" && layer.wanted !== layer.forwarded ? `wanted: ${layer.wanted}` : "";
  return facts(
    isPicture
      ? ["Picture", dots(sizeWords(stats.width, stats.height), `${Math.round(stats.framesPerSecond)} a second`, stats.codec)]
      : ["Sound", dots(stats.codec, `${Math.round(stats.framesPerSecond)} packets a second`)],
    ["Received", bitrateWords(stats.bitrate)],
    isPicture ? ["Quality layer", dots(layer.forwarded, better, limiter)] : undefined,
    layer.lastChange === "" ? undefined : ["Last change", layer.lastChange],
    stats.latencyMs === undefined ? undefined : ["Delay", durationWords(stats.latencyMs)],
    ["Buffer", `${durationWords(stats.bufferedMs)} of ${durationWords(stats.jitterTargetMs)}`],
    stats.syncOffsetMs === undefined ? undefined : ["Picture after sound", `${Math.round(stats.syncOffsetMs)} ms`],
    isPicture || stats.freezes > 0
      ? [isPicture ? "Freezes" : "Gaps", stats.freezes === 0 ? "none" : `${stats.freezes}, ${durationWords(stats.freezeMs)} together`]
      : undefined,
    ["Left out", dropWords(stats.dropped)],
    stats.decoderErrors > 0 ? ["Decoder errors", String(stats.decoderErrors)] : undefined,
    stats.keyFramesRequested > 0 ? ["Whole pictures asked for", String(stats.keyFramesRequested)] : undefined,
  );
}

export function publicationFacts(stats: PublicationStats): Fact[] {
  const isPicture = stats.type !== "audio";
  return facts(
    isPicture
      ? ["Picture", dots(sizeWords(stats.width, stats.height), `${Math.round(stats.framesPerSecond)} a second`, stats.codec)]
      : ["Sound", dots(stats.codec, `${Math.round(stats.framesPerSecond)} packets a second`)],
    ["Sent", dots(bitrateWords(stats.bitrate), stats.targetBitrate > 0 ? `aims at ${bitrateWords(stats.targetBitrate)}` : "")],
    ["Limit", LIMITERS[stats.limiter]],
    stats.origin === "element" ? ["Taken", `from a hidden video element: ${stats.originReason}`] : undefined,
    stats.backlogMs >= 1 ? ["Behind", durationWords(stats.backlogMs)] : undefined,
    stats.framesDropped > 0 ? ["Left out", String(stats.framesDropped)] : undefined,
    stats.groupsAborted > 0 ? ["Given up, as it was too late", String(stats.groupsAborted)] : undefined,
  );
}

const PATHS: Record<MeetingStats["signaling"], string> = { webtransport: "WebTransport (QUIC)", websocket: "WebSocket (TCP)" };

export function connectionFacts(stats: MeetingStats): Fact[] {
  const down = stats.subscriptions.reduce((sum, { bitrate }) => sum + bitrate, 0);
  const up = stats.publications.reduce((sum, { bitrate }) => sum + bitrate, 0);
  const estimated = Math.max(0, ...stats.subscriptions.map(({ estimatedBitrate }) => estimatedBitrate));
  return facts(
    ["There and back", stats.rttMs === undefined ? "not measured yet" : durationWords(stats.rttMs)],
    ["Receiving", dots(bitrateWords(down), estimated > 0 ? `the path takes about ${bitrateWords(estimated)}` : "")],
    ["Sending", bitrateWords(up)],
    ["Signaling", PATHS[stats.signaling]],
    ["Media server", stats.handlerUrl === "" ? "none at the moment" : hostOf(stats.handlerUrl)],
  );
}

function hostOf(url: string): string {
  try {
    return new URL(url).host;
  } catch {
    return url;
  }
}
