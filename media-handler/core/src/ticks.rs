//! Decides whether a worker reads its socket on ticks: visiting a subscriber once for several records costs less than once for each, and
//! costs up to a tick of time.
//!
//! In: what a worker delivered in a while, how many of these visits ticks would spare, how busy it was. Out: the tick, and why. Never
//! reads a clock.

use std::time::Duration;

/// Between two reads of the socket: how long a record waits for others at most. The runtime's timers may add a millisecond.
pub const TICK: Duration = Duration::from_millis(5);
/// A worker that is less busy has nothing to gain: latency comes first.
const BUSY_MIN: f64 = 0.04;
/// Fewer visits spared than this share are not worth the wait.
const SPARED_MIN: f64 = 0.1;
/// Below this share of either bound ticks end again, so that a load at the bound does not toggle them.
const HYSTERESIS: f64 = 0.6;

/// What a worker did in a while.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Records handed over to QUIC.
    pub records: u64,
    /// Of these, the ones that would have come in a visit with another, if there had been one visit a tick.
    pub spared: u64,
    /// The share of its core that the worker used, 0 to 1.
    pub busy: f64,
}

/// Why there are ticks or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The operator wants none.
    Never,
    /// The operator wants them always.
    Always,
    /// The core has little to do.
    Idle,
    /// Subscribers get too little for two records to come together.
    Sparse,
    /// Several records come together, and the core is busy.
    Busy,
}

impl Reason {
    /// All of them, for metrics.
    pub const ALL: [Self; 5] = [Self::Never, Self::Always, Self::Idle, Self::Sparse, Self::Busy];

    /// The metric's label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Always => "always",
            Self::Idle => "idle",
            Self::Sparse => "sparse",
            Self::Busy => "busy",
        }
    }
}

/// A worker's decision, which is taken anew for each while.
#[derive(Clone, Copy, Debug)]
pub struct Ticks {
    reason: Reason,
}

impl Ticks {
    /// By load; none yet.
    pub const fn automatic() -> Self {
        Self { reason: Reason::Idle }
    }

    /// As the operator wants it, whatever the load.
    pub const fn fixed(are_wanted: bool) -> Self {
        Self { reason: if are_wanted { Reason::Always } else { Reason::Never } }
    }

    /// Takes the decision for the next while from the last.
    pub fn decide(&mut self, load: &Load) -> Reason {
        if matches!(self.reason, Reason::Never | Reason::Always) {
            return self.reason;
        }
        let ease = if self.reason == Reason::Busy { HYSTERESIS } else { 1.0 };
        // Counts of a second are far below 2^52.
        let spared = load.spared as f64 / load.records.max(1) as f64;
        self.reason = if load.busy < BUSY_MIN * ease {
            Reason::Idle
        } else if spared < SPARED_MIN * ease {
            Reason::Sparse
        } else {
            Reason::Busy
        };
        self.reason
    }

    /// The tick; zero: the socket is read at once.
    pub fn tick(&self) -> Duration {
        if matches!(self.reason, Reason::Busy | Reason::Always) { TICK } else { Duration::ZERO }
    }
}

/// Of `records` handed over to one subscriber in `span`, those that one visit a tick would have spared.
pub fn spared(records: u64, span: Duration) -> u64 {
    let ticks = u64::try_from(span.as_micros() / TICK.as_micros()).unwrap_or(u64::MAX);
    records.saturating_sub(ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A load of subscribers that each get `records` a second.
    fn load(subscribers: u64, records: u64, busy: f64) -> Load {
        Load { records: subscribers * records, spared: subscribers * spared(records, SECOND), busy }
    }

    #[track_caller]
    fn check(load: Load, expected: Reason) {
        assert_eq!(Ticks::automatic().decide(&load), expected, "{load:?}");
    }

    #[test]
    fn a_busy_worker_with_full_visits_ticks() {
        check(load(10, 720, 0.1), Reason::Busy);
        check(load(100, 330, 0.3), Reason::Busy);
        check(load(100, 30, 0.9), Reason::Sparse);
        check(load(2, 80, 0.5), Reason::Sparse);
        check(load(10, 720, 0.01), Reason::Idle);
        check(Load::default(), Reason::Idle);
    }

    #[test]
    fn at_a_bound_it_does_not_toggle() {
        let mut ticks = Ticks::automatic();
        assert_eq!(ticks.decide(&load(10, 720, 0.05)), Reason::Busy);
        assert_eq!(ticks.decide(&load(10, 720, 0.03)), Reason::Busy);
        assert_eq!(ticks.tick(), TICK);
        assert_eq!(ticks.decide(&load(10, 720, 0.02)), Reason::Idle);
        assert_eq!(ticks.decide(&load(10, 720, 0.03)), Reason::Idle);
        assert_eq!(ticks.tick(), Duration::ZERO);
    }

    #[test]
    fn an_operator_has_the_last_word() {
        let mut ticks = Ticks::fixed(false);
        assert_eq!((ticks.decide(&load(10, 720, 0.9)), ticks.tick()), (Reason::Never, Duration::ZERO));
        let mut ticks = Ticks::fixed(true);
        assert_eq!((ticks.decide(&Load::default()), ticks.tick()), (Reason::Always, TICK));
    }
}
