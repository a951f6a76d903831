//! A steady rate with a burst: what a participant may send, receive or ask for in a time (the generic cell rate algorithm).
//!
//! In: how many units, and when. Out: whether they are within the rate, or from when on they are. Never reads a clock; two numbers of
//! state, whatever the rate.

use std::time::Duration;

use common_core::Moment;

/// Nanoseconds in a second: units are counted in these, since a byte at 100 Mb/s takes 80 of them.
const NANOS: u64 = 1_000_000_000;

/// See the module's head.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// What one unit takes at the highest rate.
    unit_nanos: u64,
    /// How far ahead of the rate a burst may be.
    burst_nanos: u64,
    /// When what was counted would have come at the highest rate, in nanoseconds since the origin.
    paid_until: u64,
}

impl Pace {
    /// `per_second` units in the long run, and `burst` of them at once. Rates over a unit a nanosecond count as no limit.
    pub const fn new(per_second: u64, burst: u64) -> Self {
        let per_second = if per_second == 0 { 1 } else { per_second };
        let unit_nanos = NANOS / per_second;
        Self { unit_nanos, burst_nanos: unit_nanos.saturating_mul(burst), paid_until: 0 }
    }

    /// A rate in bits per second, with a burst of one second, counted in bytes.
    pub const fn of_bitrate(bits_per_second: u64) -> Self {
        let bytes = bits_per_second / 8;
        Self::new(bytes, bytes)
    }

    /// Counts `units` that came already; how long the next ones have to wait.
    pub fn count(&mut self, now: Moment, units: u64) -> Duration {
        let now = nanos(now);
        self.paid_until = self.paid_until.max(now).saturating_add(self.unit_nanos.saturating_mul(units));
        Duration::from_nanos(self.paid_until.saturating_sub(now.saturating_add(self.burst_nanos)))
    }

    /// Counts one more unit if it is within the rate; else nothing changes.
    pub fn admits(&mut self, now: Moment) -> bool {
        let before = self.paid_until;
        let is_within = self.count(now, 1).is_zero();
        if !is_within {
            self.paid_until = before;
        }
        is_within
    }

    /// How many units may come at once now, when the burst is `more` longer.
    pub fn room(&self, now: Moment, more: Duration) -> u64 {
        let more = u64::try_from(more.as_nanos()).unwrap_or(u64::MAX);
        let ahead = nanos(now).saturating_add(self.burst_nanos).saturating_add(more).saturating_sub(self.paid_until.max(nanos(now)));
        ahead.checked_div(self.unit_nanos).unwrap_or(u64::MAX)
    }

    /// How long the next unit has to wait.
    pub fn wait(&self, now: Moment) -> Duration {
        Duration::from_nanos(self.paid_until.saturating_sub(nanos(now).saturating_add(self.burst_nanos)))
    }
}

fn nanos(at: Moment) -> u64 {
    at.as_micros().saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_micros(millis * 1000)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let mut pace = Pace::new(10, 5);
        let admitted = (0..10_000u64).step_by(10).filter(|millis| pace.admits(at(*millis))).count();
        assert!((100..=106).contains(&admitted), "{admitted} in ten seconds of ten a second");
        assert!(!pace.admits(at(9_999)) && pace.admits(at(20_000)), "rest restores the burst");
    }

    /// What came is counted whole, and the wait makes up for it.
    #[test]
    fn the_wait_is_what_the_excess_takes() {
        let mut pace = Pace::of_bitrate(8_000_000);
        assert_eq!(pace.count(at(0), 1_000_000), Duration::ZERO, "a second's worth is a burst");
        assert_eq!(pace.count(at(0), 500_000), Duration::from_millis(500));
        assert_eq!(pace.wait(at(400)), Duration::from_millis(100));
        assert_eq!(pace.wait(at(500)), Duration::ZERO);
        assert_eq!((pace.room(at(400), Duration::ZERO), pace.room(at(400), Duration::from_millis(200))), (0, 100_000));
        assert_eq!((pace.room(at(600), Duration::ZERO), pace.room(at(9_999), Duration::ZERO)), (100_000, 1_000_000));
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut pace = Pace::new(0, u64::MAX);
        pace.count(Moment::from_micros(u64::MAX), u64::MAX);
        assert_eq!(pace.wait(at(0)), Duration::ZERO, "a burst without end");
        assert_eq!(Pace::new(u64::MAX, 0).count(at(1), u64::MAX), Duration::ZERO);
    }
}
