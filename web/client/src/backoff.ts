// How long to wait before the next attempt: at once, then growing, with jitter, so that a crowd does not come back in step.

const FIRST_MS = 200;
/** A factor of a half either way (ANCHORS, resume). */
const JITTER = 0.5;

/** Milliseconds before attempt number `attempt` (0 is the first), before jitter at most `longestMs`; `random` is within 0 and 1. */
export function backoffMs(attempt: number, random: number, longestMs: number): number {
  if (attempt <= 0) return 0;
  const base = Math.min(FIRST_MS * 2 ** (attempt - 1), longestMs);
  return Math.round(base * (1 - JITTER + 2 * JITTER * random));
}
