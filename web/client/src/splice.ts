// Where sound can be cut so that nobody hears it: two places of a wave that look alike. In: samples. Out: a distance. Pure.

/** 5 ms: enough of a wave to compare, and the length of the crossfade at the cut. */
export const OVERLAP = 240;
/** 2.5 to 15 ms: a period of any voice, or a few. */
export const LAG_MIN = 120;
export const LAG_MAX = 720;
/** Lags are tried at this step, then around the best one by one. */
const COARSE = 4;

/**
 * How far behind `at` the samples look most like those from `at` on, for `OVERLAP` samples: at least `LAG_MIN`, at most `LAG_MAX`.
 * `samples` holds `LAG_MAX + OVERLAP` from `at` on.
 */
export function bestLag(samples: Float32Array, at = 0): number {
  let best = LAG_MIN;
  let least = Infinity;
  const consider = (lag: number): void => {
    const difference = unlikeness(samples, at, at + lag);
    if (difference >= least) return;
    least = difference;
    best = lag;
  };
  for (let lag = LAG_MIN; lag <= LAG_MAX; lag += COARSE) consider(lag);
  const around = best;
  for (let lag = Math.max(LAG_MIN, around - COARSE + 1); lag < Math.min(LAG_MAX, around + COARSE); lag += 1) consider(lag);
  return best;
}

function unlikeness(samples: Float32Array, a: number, b: number): number {
  let sum = 0;
  for (let index = 0; index < OVERLAP; index += 1) {
    const difference = (samples[a + index] ?? 0) - (samples[b + index] ?? 0);
    sum += difference * difference;
  }
  return sum;
}

/** Loudest sample. */
export function peak(samples: Float32Array): number {
  let most = 0;
  for (const sample of samples) most = Math.max(most, Math.abs(sample));
  return most;
}
