//! Notices that this process was frozen, and holds back what it would say until somebody has found out whether it may still say it.
//!
//! In: ticks, four a second. Out: a passage that is shut from the very moment of waking: whoever wants to pass looks at the clock himself, and
//! need not wait until the task that ticks has its turn. The clock is the monotonic one, which goes on while a process is stopped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common_core::Moment;
use tokio::sync::watch;

/// Between two ticks: how late a freeze is noticed where nobody wants to pass.
pub const TICK: Duration = Duration::from_millis(250);
/// A tick that comes so late means that this process was frozen (DESIGN section 6): a lease of three seconds may have run out.
pub const FREEZE: Duration = Duration::from_secs(2);
/// Not watched yet, or no more: nobody is held back.
const UNWATCHED: u64 = u64::MAX;
/// The lag is smoothed over so many ticks, two seconds: one hiccup is no trouble, a run of them is.
const LAG_TICKS: u64 = 8;

/// Whether what this process says may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Shut,
    Yielded,
}

/// This process has to yield to a later one: nothing more may be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a later process of this node has taken over")]
pub struct Yielded;

/// What a tick has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// It came in time.
    InTime,
    /// It came so much too late; the gate is shut until [`Gate::open`].
    Late(Duration),
}

/// See the module.
#[derive(Debug)]
pub struct Gate {
    clock: crate::clock::Clock,
    /// When the next tick is due, microseconds.
    due: AtomicU64,
    state: watch::Sender<State>,
    /// How late ticks come, smoothed, microseconds.
    lag: AtomicU64,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            clock: crate::clock::Clock::start(),
            due: AtomicU64::new(UNWATCHED),
            state: watch::Sender::new(State::Open),
            lag: AtomicU64::new(0),
        }
    }
}

impl Gate {
    /// Whether one may pass now.
    pub fn is_open(&self) -> bool {
        self.is_open_at(self.clock.now())
    }

    fn is_open_at(&self, now: Moment) -> bool {
        *self.state.borrow() == State::Open && self.lateness(now).is_none_or(|late| late <= FREEZE)
    }

    /// Waits until one may pass. Cancel-safe.
    pub async fn passage(&self) -> Result<(), Yielded> {
        if self.is_open() {
            return Ok(());
        }
        let mut states = self.state.subscribe();
        loop {
            // Marked as seen before the look, so that no change after it is missed.
            if *states.borrow_and_update() == State::Yielded {
                return Err(Yielded);
            }
            if self.is_open() {
                return Ok(());
            }
            // Lateness passes without a change of state, where a tick or its end comes just after the look. The gate itself keeps the sender.
            let _ = tokio::time::timeout(TICK, states.changed()).await;
        }
    }

    /// To be called every [`TICK`]; the first call begins to watch.
    pub fn tick(&self) -> Tick {
        self.tick_at(self.clock.now())
    }

    fn tick_at(&self, now: Moment) -> Tick {
        let late = self.lateness(now);
        if let Some(late) = late.filter(|late| *late > FREEZE) {
            // Shut before the clock is set right: nobody slips through between the two.
            self.state.send_if_modified(|state| {
                let shuts = *state == State::Open;
                if shuts {
                    *state = State::Shut;
                }
                shuts
            });
            self.expect_next(now);
            return Tick::Late(late);
        }
        self.note_lag(late.unwrap_or_default());
        self.expect_next(now);
        Tick::InTime
    }

    fn lateness(&self, now: Moment) -> Option<Duration> {
        match self.due.load(Ordering::Acquire) {
            UNWATCHED => None,
            due => Some(now.since(Moment::from_micros(due))),
        }
    }

    fn expect_next(&self, now: Moment) {
        self.due.store((now + TICK).as_micros(), Ordering::Release);
    }

    fn note_lag(&self, late: Duration) {
        let late = u64::try_from(late.as_micros()).unwrap_or(u64::MAX / LAG_TICKS).min(u64::MAX / LAG_TICKS);
        let before = self.lag.load(Ordering::Relaxed);
        self.lag.store((before * (LAG_TICKS - 1) + late) / LAG_TICKS, Ordering::Relaxed);
    }

    /// How late ticks come lately: how long a task waits for its turn here.
    pub fn lag(&self) -> Duration {
        Duration::from_micros(self.lag.load(Ordering::Relaxed))
    }

    /// Whoever asked has found that this process may go on.
    pub fn open(&self) {
        self.open_at(self.clock.now());
    }

    fn open_at(&self, now: Moment) {
        if self.due.load(Ordering::Acquire) != UNWATCHED {
            self.expect_next(now);
        }
        self.state.send_if_modified(|state| {
            let opens = *state == State::Shut;
            if opens {
                *state = State::Open;
            }
            opens
        });
    }

    /// Nothing more passes, for good.
    pub fn close_for_good(&self) {
        self.state.send_replace(State::Yielded);
    }

    /// Nobody ticks any more, because this process ends in order: nobody is held back by that.
    pub fn unwatch(&self) {
        self.due.store(UNWATCHED, Ordering::Release);
        self.open();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_micros(millis * 1000)
    }

    #[test]
    fn nobody_slips_through_between_waking_and_the_first_tick() {
        let gate = Gate::default();
        assert!(gate.is_open_at(at(1_000_000)), "nobody watches yet");
        assert_eq!(gate.tick_at(at(1000)), Tick::InTime);
        assert!(gate.is_open_at(at(3250)) && !gate.is_open_at(at(3251)), "the tick of 1250 is over two seconds late");
        assert_eq!(gate.tick_at(at(16_250)), Tick::Late(Duration::from_secs(15)));
        assert!(!gate.is_open_at(at(16_250)));
        assert_eq!(gate.tick_at(at(16_500)), Tick::InTime);
        assert!(!gate.is_open_at(at(16_500)), "it is shut until somebody opens it");
        gate.open_at(at(17_000));
        assert!(gate.is_open_at(at(17_000)));
        // A second freeze is a new one.
        assert_eq!(gate.tick_at(at(20_000)), Tick::Late(Duration::from_millis(2750)));
        gate.close_for_good();
        gate.open();
        assert!(!gate.is_open_at(at(20_000)));
    }

    /// One hiccup does not make a node the last choice; being late all the time does.
    #[test]
    fn lag_is_what_lasts() {
        let gate = Gate::default();
        let mut now = at(1000);
        let mut tick_late = |millis| {
            now = now + TICK + Duration::from_millis(millis);
            gate.tick_at(now);
            gate.lag()
        };
        tick_late(0);
        assert!(tick_late(1900) < Duration::from_millis(300));
        for _ in 0..40 {
            tick_late(0);
        }
        assert!(tick_late(0) < Duration::from_millis(2));
        for _ in 0..20 {
            tick_late(900);
        }
        assert!(tick_late(900) > Duration::from_millis(800));
    }

    /// A look just before a tick that still is in time, and an orderly end, change what passes without a change of state.
    #[tokio::test]
    async fn who_waits_for_a_late_tick_passes_when_it_comes_or_need_not_come() {
        for ends in [false, true] {
            let gate = Gate { clock: crate::clock::Clock::started(Duration::from_secs(9)), ..Gate::default() };
            gate.tick_at(at(1000));
            let mut waiting = Box::pin(gate.passage());
            assert!(waiting.as_mut().now_or_never().is_none());
            if ends {
                gate.unwatch()
            } else {
                gate.expect_next(gate.clock.now())
            }
            tokio::time::timeout(2 * TICK, waiting).await.expect("nothing holds it back").expect("nobody took over");
        }
    }

    #[tokio::test]
    async fn who_waits_passes_when_it_opens_and_hears_when_it_never_will() {
        let gate = Gate::default();
        gate.passage().await.expect("it is open");
        gate.tick();
        gate.tick_at(gate.clock.now() + Duration::from_secs(9));
        let mut waiting = Box::pin(gate.passage());
        assert!(waiting.as_mut().now_or_never().is_none());
        gate.open();
        waiting.await.expect("it was opened");
        gate.close_for_good();
        assert_eq!(gate.passage().await, Err(Yielded));
    }
}
