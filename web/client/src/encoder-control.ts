// What a picture is encoded as: bitrate, size and rate, by what the uplink carries and what the machine manages. In: signs of both, once or
// more a second. Out: a plan, with the reason for what it holds back. Bitrate goes first; then a camera's picture gets smaller and a
// screen's slower, for faces bear blur and text does not. Steps down at once, up after a while. Pure.

import type { PublicationLimiter } from "./stats.ts";
import { UplinkRate, type UplinkSigns } from "./uplink.ts";

/** What a camera's picture may become, of each side, largest first; and the last step, pictures a second. */
const SCALES = [1, 3 / 4, 1 / 2, 1 / 4] as const;
const SMALLEST_RATE = 15;
/** Pixels of the shorter side: a smaller picture shows nobody's face. */
const SIDE_MIN = 120;
/** Pictures a second of a screen. */
const SCREEN_RATES = [30, 24, 15, 10, 7, 5] as const;
/** Below so many bits a pixel a moving picture falls apart into blocks; a smaller one looks better. */
const CAMERA_BITS_MIN = 0.045;
/** From so many on the next larger one does. */
const CAMERA_BITS_ENOUGH = 0.07;
/** More is seen by nobody. */
const CAMERA_BITS_MAX = 0.2;
/** A screen stands still mostly, and its pictures cost little then. */
const SCREEN_BITS_MIN = 0.03;
/** A step up has to hold for so long before it is made. */
const STEP_UP_AFTER_MS = 5000;
/** The machine is judged over so long. */
const LOAD_WINDOW_MS = 3000;
/** Of fewer pictures in that time nothing can be said. */
const PICTURES_MIN = 20;
/** Share of pictures that found the encoder busy, and the encoder's time against the time between pictures. */
const BUSY_HIGH = 0.3;
const TIME_HIGH = 0.9;
const TIME_CALM = 0.4;
/** Between a step down for the machine's sake and a try of the one above; twice as long each time that failed. */
const RELIEF_MS = 15_000;
const RELIEF_MAX_MS = 120_000;

export interface EncoderPlan {
  /** Bits per second. */
  bitrate: number;
  /** Of each side. */
  scale: number;
  /** Pictures a second. */
  frameRate: number;
  limiter: PublicationLimiter;
}

export interface EncoderSigns extends UplinkSigns {
  /** Pictures that came since the last signs, and how many of them found the encoder busy. */
  pictures: number;
  busy: number;
  /** From handing a picture in to having it encoded, on average; 0: not known. */
  encodeMs: number;
}

export interface EncoderLimits {
  kind: "camera" | "screen";
  bitrateMax: number;
  frameRateMax: number;
}

export class EncoderControl {
  plan: EncoderPlan;
  private readonly limits: EncoderLimits;
  private readonly uplink: UplinkRate;
  private ladder: { scale: number; frameRate: number }[] = [];
  private width = 0;
  private height = 0;
  private step = 0;
  private betterSinceMs: number | undefined;
  private cpuSteps = 0;
  private load = { sinceMs: -Infinity, pictures: 0, busy: 0 };
  private changedAtMs = -Infinity;
  private raisedAtMs = -Infinity;
  private reliefMs = RELIEF_MS;

  constructor(limits: EncoderLimits) {
    this.limits = limits;
    this.uplink = new UplinkRate(limits.bitrateMax);
    this.ladder = this.makeLadder();
    this.plan = { bitrate: limits.bitrateMax, scale: 1, frameRate: limits.frameRateMax, limiter: "none" };
  }

  /** The source's pictures have this size. */
  size(width: number, height: number): void {
    this.width = width;
    this.height = height;
    this.ladder = this.makeLadder();
    this.step = Math.min(this.step, this.ladder.length - 1);
    this.cpuSteps = Math.min(this.cpuSteps, this.ladder.length - 1);
    this.plan = this.decide();
  }

  /** A group was given up. */
  givenUp(nowMs: number, sent = 0): void {
    this.uplink.givenUp(nowMs, sent);
    this.adjust(nowMs);
  }

  /** Looks at everything; `plan` is what follows from it. */
  sample(nowMs: number, signs: EncoderSigns): void {
    this.uplink.sample(nowMs, signs);
    this.judgeLoad(nowMs, signs);
    this.adjust(nowMs);
  }

  private judgeLoad(nowMs: number, signs: EncoderSigns): void {
    const { load } = this;
    load.pictures += signs.pictures;
    load.busy += signs.busy;
    if (load.sinceMs === -Infinity) load.sinceMs = nowMs;
    if (nowMs - load.sinceMs < LOAD_WINDOW_MS) return;
    const { pictures, busy } = load;
    const busyShare = pictures === 0 ? 0 : busy / pictures;
    const timeShare = (signs.encodeMs * this.plan.frameRate) / 1000;
    this.load = { sinceMs: nowMs, pictures: 0, busy: 0 };
    if (busyShare > BUSY_HIGH || timeShare > TIME_HIGH) {
      if (pictures < PICTURES_MIN || Math.max(this.cpuSteps, this.step) >= this.ladder.length - 1) return;
      // Too much again soon after a step up: that is tried less often.
      if (nowMs - this.raisedAtMs < this.reliefMs) this.reliefMs = Math.min(RELIEF_MAX_MS, this.reliefMs * 2);
      this.cpuSteps = Math.max(this.cpuSteps, this.step) + 1;
      this.changedAtMs = nowMs;
    } else if (this.cpuSteps > 0 && timeShare < TIME_CALM && busyShare === 0 && nowMs - this.changedAtMs >= this.reliefMs) {
      this.cpuSteps -= 1;
      this.changedAtMs = nowMs;
      this.raisedAtMs = nowMs;
    }
  }

  /** Steps down at once; up, one at a time, when that has been right for a while. */
  private adjust(nowMs: number): void {
    const wanted = this.wantedStep();
    if (wanted >= this.step) {
      this.step = wanted;
      this.betterSinceMs = undefined;
    } else {
      this.betterSinceMs ??= nowMs;
      if (nowMs - this.betterSinceMs >= STEP_UP_AFTER_MS) {
        this.step -= 1;
        this.betterSinceMs = undefined;
      }
    }
    this.plan = this.decide();
  }

  /** By the bitrate alone. */
  private wantedStep(): number {
    const pixels = this.width * this.height;
    if (pixels === 0) return 0;
    const { bitrate } = this.uplink;
    for (let step = 0; step < this.ladder.length - 1; step += 1) {
      const least = this.limits.kind === "screen" ? SCREEN_BITS_MIN : step < this.step ? CAMERA_BITS_ENOUGH : CAMERA_BITS_MIN;
      if (bitrate / this.pixelRate(step) >= least) return step;
    }
    return this.ladder.length - 1;
  }

  /** Pixels a second at that step. */
  private pixelRate(step: number): number {
    const scale = this.scaleAt(step);
    return this.width * this.height * scale * scale * this.frameRateAt(step);
  }

  private scaleAt(step: number): number {
    return this.ladder[step]?.scale ?? 1;
  }

  private frameRateAt(step: number): number {
    return Math.min(this.limits.frameRateMax, this.ladder[step]?.frameRate ?? Infinity);
  }

  /** The steps for a source of this size. */
  private makeLadder(): { scale: number; frameRate: number }[] {
    const { kind, frameRateMax } = this.limits;
    if (kind === "screen")
      return SCREEN_RATES.filter((it, step) => step === 0 || it < frameRateMax).map((frameRate) => ({ scale: 1, frameRate }));
    const shorter = Math.min(this.width, this.height);
    const scales = SCALES.filter((scale) => scale === 1 || shorter * scale >= SIDE_MIN);
    const smallest = scales[scales.length - 1] ?? 1;
    return [...scales.map((scale) => ({ scale, frameRate: Infinity })), { scale: smallest, frameRate: SMALLEST_RATE }];
  }

  private decide(): EncoderPlan {
    const step = Math.max(this.step, this.cpuSteps);
    const scale = this.scaleAt(step);
    const frameRate = this.frameRateAt(step);
    const useful = this.limits.kind === "screen" || this.width === 0 ? Infinity : this.pixelRate(step) * CAMERA_BITS_MAX;
    const bitrate = Math.round(Math.min(this.uplink.bitrate, step === 0 ? Infinity : useful));
    const isMachine = this.cpuSteps > this.step;
    const limiter = isMachine ? "cpu" : this.uplink.isLimited || this.step > 0 ? "uplink" : "none";
    return { bitrate, scale, frameRate, limiter };
  }
}
