//! Latencies of many records in a fixed number of counters. In: one length at a time, from any thread. Out: quantiles, to a hundredth of a millisecond.

use std::sync::atomic::{AtomicU64, Ordering};

/// Width of a counter, nanoseconds.
const STEP: u64 = 10_000;
/// Counters: up to half a second; what is longer is in the last.
const STEPS: usize = 50_000;

/// See the module.
#[derive(Debug)]
pub struct Latencies {
    counts: Vec<AtomicU64>,
    longest: AtomicU64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: (0..STEPS).map(|_| AtomicU64::new(0)).collect(), longest: AtomicU64::new(0) }
    }
}

impl Latencies {
    /// Counts one of so many nanoseconds.
    pub fn add(&self, nanoseconds: u64) {
        let step = usize::try_from(nanoseconds / STEP).unwrap_or(usize::MAX).min(STEPS - 1);
        self.counts[step].fetch_add(1, Ordering::Relaxed);
        self.longest.fetch_max(nanoseconds, Ordering::Relaxed);
    }

    /// Forgets all.
    pub fn clear(&self) {
        for count in &self.counts {
            count.store(0, Ordering::Relaxed);
        }
        self.longest.store(0, Ordering::Relaxed);
    }

    /// How many milliseconds `share` (0 to 1) of all stayed below; 0 of none.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let counts: Vec<u64> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        let mut seen = 0;
        for (step, count) in counts.iter().enumerate() {
            seen += count;
            if seen > 0 && seen as f64 >= share * all as f64 {
                return (step as u64 + 1) as f64 * STEP as f64 / 1e6;
            }
        }
        0.0
    }

    /// The longest, milliseconds.
    pub fn longest_ms(&self) -> f64 {
        self.longest.load(Ordering::Relaxed) as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_step() {
        let latencies = Latencies::default();
        assert_eq!(latencies.quantile_ms(0.99), 0.0);
        for hundredths in 1..=1000 {
            latencies.add(hundredths * 10_000 - 1);
        }
        latencies.add(9_000_000_000);
        assert_eq!((latencies.quantile_ms(0.5), latencies.quantile_ms(0.99), latencies.longest_ms()), (5.01, 9.91, 9000.0));
        latencies.clear();
        assert_eq!((latencies.quantile_ms(0.5), latencies.longest_ms()), (0.0, 0.0));
    }
}
