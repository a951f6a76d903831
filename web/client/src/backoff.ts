// How long to wait before the next attempt: at once, then growing, with jitter, so that a crowd does not come back in step.

const FIRST_MS = 200;
/** Beyond this a person thinks that nothing happens any more. */
const LONGEST_MS = 2000;
const JITTER = 0.5;

/** Milliseconds before attempt number `attempt` (0 is the first); `random` is within 0 and 1. */
export function backoffMs(attempt: number, random: number): number {
  if (attempt <= 0) return 0;
  const base = Math.min(FIRST_MS * 2 ** (attempt - 1), LONGEST_MS);
  return Math.round(base * (1 - JITTER + 2 * JITTER * random));
}
