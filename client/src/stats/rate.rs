//! How much comes by in a second. In: amounts with their instants. Out: the sum of the last whole second. Never reads a clock.

use common_core::Moment;

/// Length of a bucket: a rate is late by this at most.
const BUCKET_US: u64 = 100_000;
/// A second of buckets, and the one that is being filled.
const BUCKETS: usize = 11;

/// Sums of the last second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rate {
    buckets: [u64; BUCKETS],
    /// Which bucket of all time is being filled.
    newest: u64,
}

impl Rate {
    /// Empties the buckets between the newest and that of `now`.
    fn turn(&mut self, now: Moment) {
        let index = now.as_micros() / BUCKET_US;
        let passed = usize::try_from(index.saturating_sub(self.newest)).unwrap_or(BUCKETS).min(BUCKETS);
        for step in (0..u64::try_from(passed).unwrap_or(0)).map(|back| index - back) {
            self.buckets[place(step)] = 0;
        }
        self.newest = self.newest.max(index);
    }

    /// `amount` came by. An instant before the last one counts as the last one.
    pub(crate) fn add(&mut self, amount: u64, now: Moment) {
        self.turn(now);
        let bucket = &mut self.buckets[place(self.newest)];
        *bucket = bucket.saturating_add(amount);
    }

    /// What came by in the second before the bucket that is being filled.
    pub(crate) fn per_second(&mut self, now: Moment) -> u64 {
        self.turn(now);
        let filling = place(self.newest);
        let whole = self.buckets.iter().enumerate().filter(|(place, _)| *place != filling);
        whole.fold(0, |sum, (_, amount)| sum.saturating_add(*amount))
    }
}

fn place(index: u64) -> usize {
    usize::try_from(index % BUCKETS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_micros(ms * 1_000)
    }

    #[test]
    fn a_steady_flow_is_told_as_it_is() {
        let mut rate = Rate::default();
        for ms in (0..3_000).step_by(20) {
            rate.add(10, at(ms));
        }
        assert_eq!(rate.per_second(at(3_000)), 500);
        assert_eq!(rate.per_second(at(3_500)), 250);
        assert_eq!(rate.per_second(at(9_000)), 0);
    }

    proptest! {
        /// It is the sum of what came in the last ten whole buckets.
        #[test]
        fn is_the_sum_of_a_second(mut came in prop::collection::vec((0_u64..5_000, 0_u64..100), 0..80), look in 0_u64..7_000) {
            came.sort_unstable();
            let mut rate = Rate::default();
            for (ms, amount) in &came {
                rate.add(*amount, at(*ms));
            }
            let look = look.max(came.last().map_or(0, |(ms, _)| *ms));
            let now = look / 100;
            let expected: u64 = came.iter().filter(|(ms, _)| ms / 100 < now && ms / 100 + 10 >= now).map(|(_, amount)| amount).sum();
            prop_assert_eq!(rate.per_second(at(look)), expected);
        }
    }
}
