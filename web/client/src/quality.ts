// Connection quality in four steps, from what a client can measure, with the reason. In: measurements of now. Out: a level that does not
// flicker. Pure.

/** From what nobody notices to what is not there. */
export type QualityLevel = "good" | "fair" | "poor" | "lost";

/** What keeps the level from being good. */
export type QualityReason = "" | "signaling" | "media" | "latency" | "loss" | "uplink" | "freezes";

export interface QualityInput {
  /** Of signaling, smoothed; `undefined` before the first answer. */
  rttMs: number | undefined;
  /** 0 to 1, as the handler reports it. */
  packetLoss: number;
  signaling: "connected" | "reconnecting";
  media: "connected" | "connecting" | "lost";
  /** Groups of ours that had to be given up in the last seconds. */
  groupsAborted: number;
  /** For how much of the last seconds the worst received picture stood still, 0 to 1. */
  frozen: number;
}

/** How the connection is, for people. */
export interface Quality {
  /** Does not flicker: worse after a moment, better after a while, lost and back at once. */
  level: QualityLevel;
  /** Milliseconds to the controller and back; `undefined` before the first answer. */
  rttMs: number | undefined;
  /** The reason, when the level is not good. */
  reason: QualityReason;
}

/** Each with the step from which it is fair, and poor. What a person notices most comes first: the first that is worst is the reason. */
const STEPS: readonly { reason: QualityReason; of: (input: QualityInput) => number; fair: number; poor: number }[] = [
  // A twentieth of the time: a hitch every few seconds. A fifth: hardly a picture to follow.
  { reason: "freezes", of: (input) => input.frozen, fair: 0.05, poor: 0.2 },
  { reason: "loss", of: (input) => input.packetLoss, fair: 0.02, poor: 0.08 },
  { reason: "uplink", of: (input) => input.groupsAborted, fair: 0.5, poor: 1.5 },
  // ITU-T G.114: 150 ms one way is felt, 400 ms hinders; the way to the other and back is two of ours.
  { reason: "latency", of: (input) => input.rttMs ?? 0, fair: 250, poor: 500 },
];

export function judgeQuality(input: QualityInput): Quality {
  const { rttMs } = input;
  if (input.signaling === "reconnecting") return { level: "lost", rttMs, reason: "signaling" };
  if (input.media === "lost") return { level: "lost", rttMs, reason: "media" };
  const poor = STEPS.find((step) => step.of(input) > step.poor);
  if (poor !== undefined) return { level: "poor", rttMs, reason: poor.reason };
  const fair = STEPS.find((step) => step.of(input) > step.fair);
  if (fair !== undefined) return { level: "fair", rttMs, reason: fair.reason };
  return { level: "good", rttMs, reason: "" };
}

/** One hitch is not yet a bad connection. */
const WORSE_AFTER_MS = 1500;
/** Words that come and go are worse than words that stay a little. */
const BETTER_AFTER_MS = 4000;
const RANK: Readonly<Record<QualityLevel, number>> = { good: 0, fair: 1, poor: 2, lost: 3 };

/** Holds a level until another one has lasted. What is lost, and what is back, is told at once. */
export class CalmQuality {
  private told: Quality | undefined;
  private changingSinceMs: number | undefined;

  /** What to tell now; to be asked about once a second. */
  judge(nowMs: number, input: QualityInput): Quality {
    const next = judgeQuality(input);
    const { told } = this;
    if (told === undefined || next.level === "lost" || told.level === "lost" || this.hasLasted(nowMs, told, next)) {
      this.changingSinceMs = undefined;
      this.told = next;
      return next;
    }
    return { ...told, rttMs: next.rttMs };
  }

  private hasLasted(nowMs: number, told: Quality, next: Quality): boolean {
    if (next.level === told.level) return true;
    this.changingSinceMs ??= nowMs;
    return nowMs - this.changingSinceMs >= (RANK[next.level] > RANK[told.level] ? WORSE_AFTER_MS : BETTER_AFTER_MS);
  }
}
