//! When to try again. In: attempts and random bits. Out: lengths to wait. Never reads a clock.

use std::time::Duration;

/// The first attempt is at once; this is the wait before the second.
const FIRST: Duration = Duration::from_millis(200);
/// No wait is longer, jitter apart: half of the reconnection window (DESIGN section 7), so that one more try fits into it.
const LONGEST: Duration = Duration::from_millis(2_500);

/// A session that stood for so long was worth having: the next attempt is at once again. One that ended sooner counts as a failed attempt, so
/// that a server that lets clients in and drops them is not dialled in a loop.
const STEADY_AFTER: Duration = Duration::from_secs(10);

/// Waits between attempts: none, then doubling, each between half and one and a half of its nominal length, so that the
/// clients of a node that died do not come back in step.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// A session ended that had stood for `stood`.
    pub(crate) fn ended_after(&mut self, stood: Duration) {
        if stood >= STEADY_AFTER {
            self.attempts = 0;
        }
    }

    /// How long to wait before the next attempt; `random` are any 32 random bits.
    pub(crate) fn next_wait(&mut self, random: u32) -> Duration {
        let attempt = self.attempts;
        self.attempts = self.attempts.saturating_add(1);
        if attempt == 0 {
            return Duration::ZERO;
        }
        let nominal = FIRST.saturating_mul(1 << (attempt - 1).min(16)).min(LONGEST);
        nominal / 2 + nominal.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

/// 32 random bits for jitter and ids of requests; from the operating system by way of a random UUID.
pub(crate) fn random() -> u32 {
    let [a, b, c, d, ..] = *uuid::Uuid::new_v4().as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_within_their_jitter() {
        let mut low = Backoff::default();
        let mut high = Backoff::default();
        assert_eq!((low.next_wait(0), high.next_wait(u32::MAX)), (Duration::ZERO, Duration::ZERO));
        for nominal in [200, 400, 800, 1_600, 2_500, 2_500] {
            assert_eq!(low.next_wait(0).as_millis(), nominal / 2);
            assert_eq!(high.next_wait(u32::MAX).as_millis(), nominal * 3 / 2);
        }
    }

    #[test]
    fn only_a_session_that_stood_makes_the_next_attempt_immediate() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next_wait(0), Duration::ZERO);
        backoff.ended_after(STEADY_AFTER - Duration::from_millis(1));
        assert_eq!(backoff.next_wait(0), FIRST / 2);
        backoff.ended_after(STEADY_AFTER);
        assert_eq!(backoff.next_wait(0), Duration::ZERO);
    }
}
