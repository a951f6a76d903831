// Connection quality in four steps, from what a client can measure. Pure.

export type QualityLevel = "good" | "fair" | "poor" | "lost";

export interface QualityInput {
  /** Of signaling, smoothed; `undefined` before the first answer. */
  rttMs: number | undefined;
  /** 0 to 1, as the handler reports it. */
  packetLoss: number;
  signaling: "connected" | "reconnecting";
  media: "connected" | "connecting" | "lost";
  /** Groups of ours that had to be given up lately. */
  groupsAborted: number;
}

export interface Quality {
  level: QualityLevel;
  /** Milliseconds to the controller and back; `undefined` before the first answer. */
  rttMs: number | undefined;
  /** The reason, when the level is not good. */
  reason: "" | "signaling" | "media" | "latency" | "loss" | "uplink";
}

export function judgeQuality(input: QualityInput): Quality {
  const { rttMs } = input;
  const say = (level: QualityLevel, reason: Quality["reason"]): Quality => ({ level, rttMs, reason });
  if (input.signaling === "reconnecting") return say("lost", "signaling");
  if (input.media === "lost") return say("lost", "media");
  if (input.packetLoss > 0.08) return say("poor", "loss");
  if (input.groupsAborted > 1) return say("poor", "uplink");
  if (rttMs !== undefined && rttMs > 500) return say("poor", "latency");
  if (input.packetLoss > 0.02) return say("fair", "loss");
  if (input.groupsAborted > 0) return say("fair", "uplink");
  if (rttMs !== undefined && rttMs > 250) return say("fair", "latency");
  return say("good", "");
}
