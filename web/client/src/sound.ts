// Loudness of sound, and who speaks. Pure; used on captured and on received sound alike.

/** Quieter than this, in decibels below full scale, is silence to people. */
const FLOOR_DB = -60;
/** Speech in a room lies around -40 dB and above. */
const SPEAKING_FROM = 0.3;
/** Pauses between words are shorter than this. */
const SPEAKING_HOLD_MS = 400;
/** What is left of a level from one report to the next. */
const FALL = 0.7;
/** Below this nothing is heard. */
const LEVEL_MIN = 0.02;

/** Loudness of samples within -1 and 1, from 0 (silence) to 1 (full scale), even to the ear. */
export function soundLevel(samples: Float32Array): number {
  if (samples.length === 0) return 0;
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  const rms = Math.sqrt(sum / samples.length);
  if (rms === 0) return 0;
  return Math.min(1, Math.max(0, 1 - (20 * Math.log10(rms)) / FLOOR_DB));
}

/** Collects levels between two reports, and tells speaking from silence. */
export class SoundMeter {
  private peak = 0;
  private heardAtMs = -Infinity;
  private speakingUntilMs = -Infinity;

  hear(nowMs: number, samples: Float32Array): void {
    const level = soundLevel(samples);
    this.peak = Math.max(this.peak, level);
    this.heardAtMs = nowMs;
    if (level >= SPEAKING_FROM) this.speakingUntilMs = nowMs + SPEAKING_HOLD_MS;
  }

  /** The loudest since the last call; falls softly to 0 when nothing comes, as a needle does. */
  take(): number {
    const { peak } = this;
    const fallen = peak * FALL;
    this.peak = fallen < LEVEL_MIN ? 0 : fallen;
    return peak;
  }

  speaking(nowMs: number): boolean {
    return nowMs < this.speakingUntilMs && nowMs - this.heardAtMs <= SPEAKING_HOLD_MS;
  }
}

/** What is told of loudness: everything while something is heard, then once that it is silent. Nothing in silence. */
export class LevelReporter {
  private readonly loud = new Set<string>();

  /** Whether this is to be told. */
  isNews(streamId: string, { level, speaking }: { level: number; speaking: boolean }): boolean {
    if (level > 0 || speaking) {
      this.loud.add(streamId);
      return true;
    }
    return this.loud.delete(streamId);
  }

  forget(streamId: string): void {
    this.loud.delete(streamId);
  }
}
