//! When something that failed is tried again. In: how often and since when it failed, a seed. Out: how long to wait, or that it is given up.

use core::time::Duration;

/// Waits double from the first to the longest, and everything ends some day.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// At most.
    pub longest: Duration,
    /// What failed for this long is given up.
    pub give_up: Duration,
}

impl Backoff {
    /// How long to wait after `failures` (at least one) of something that is `age` old; `None`: give it up. Who failed together does not come
    /// again together: waits are up to a fifth longer or shorter, by `seed`. `wished`: the other side asked for at least this, which is heard
    /// up to the longest wait.
    pub fn wait(&self, failures: u32, age: Duration, wished: Option<Duration>, seed: u64) -> Option<Duration> {
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).map_or(self.longest, |times| self.first.saturating_mul(times));
        // 0.8 to 1.2, in 4096 steps.
        let jitter = 0.8 + 0.4 * f64::from(u32::try_from(seed % 4096).unwrap_or(0)) / 4096.0;
        let wait = doubled.min(self.longest).mul_f64(jitter).max(wished.unwrap_or_default().min(self.longest));
        (age.saturating_add(wait) <= self.give_up).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff =
        Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(600), give_up: Duration::from_secs(86_400) };
    /// Neither longer nor shorter.
    const EVEN: u64 = 2048;

    #[test]
    fn waits_double_up_to_the_longest() {
        let check = |failures: u32, seconds: u64| {
            let wait = BACKOFF.wait(failures, Duration::ZERO, None, EVEN).expect("it is young");
            assert_eq!(wait.as_secs_f64().round() as u64, seconds, "{failures}");
        };
        check(1, 1);
        check(2, 2);
        check(5, 16);
        check(10, 512);
        check(11, 600);
        check(32, 600);
        check(33, 600);
        check(u32::MAX, 600);
    }

    #[test]
    fn waits_differ_by_a_fifth() {
        for seed in 0..10_000 {
            let wait = BACKOFF.wait(4, Duration::ZERO, None, seed).expect("it is young");
            assert!((Duration::from_millis(6400)..=Duration::from_millis(9600)).contains(&wait), "{seed}: {wait:?}");
        }
        assert_ne!(BACKOFF.wait(4, Duration::ZERO, None, 0), BACKOFF.wait(4, Duration::ZERO, None, 4095));
    }

    #[test]
    fn wishes_are_heard_within_bounds() {
        let wait = |wished: u64| BACKOFF.wait(1, Duration::ZERO, Some(Duration::from_secs(wished)), EVEN);
        assert_eq!(wait(30), Some(Duration::from_secs(30)));
        assert_eq!(wait(1_000_000), Some(Duration::from_secs(600)));
        assert_eq!(wait(0), BACKOFF.wait(1, Duration::ZERO, None, EVEN));
    }

    #[test]
    fn what_is_too_old_is_given_up() {
        let day = Duration::from_secs(86_400);
        assert_eq!(BACKOFF.wait(1, day, None, EVEN), None);
        assert_eq!(BACKOFF.wait(20, day - Duration::from_secs(599), None, EVEN), None);
        assert!(BACKOFF.wait(20, day - Duration::from_secs(600), None, EVEN).is_some());
        assert_eq!(BACKOFF.wait(1, Duration::MAX, None, EVEN), None);
    }
}
