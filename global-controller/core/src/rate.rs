//! Counts requests in windows of one length; each caller's window starts with its first request in it (DESIGN section 3, "Rate limit").
//!
//! In: who asks, when, how many it may ask in a window. Out: a verdict, with what the answer's headers say. Never reads a clock; holds no
//! more callers than it was told to.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use common_core::Moment;

/// Whether a request may pass, and how its caller stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it may pass.
    pub allowed: bool,
    /// Requests of this caller in a window.
    pub limit: u32,
    /// Of these, how many are left in this one.
    pub remaining: u32,
    /// When the window ends; the caller's next request starts another.
    pub resets_at: Moment,
}

struct Window {
    started: Moment,
    passed: u32,
}

/// See the module. `K` is a caller, cheap to copy into two places.
pub struct Limiter<K> {
    window: Duration,
    callers_max: usize,
    callers: HashMap<K, Window>,
    /// Every caller of `callers` once, by the start of its window. Windows are of one length, so this is also the order in which they end.
    by_start: VecDeque<K>,
}

impl<K: Clone + Eq + Hash> Limiter<K> {
    /// Windows of this length, of at most `callers_max` callers at once. If there are more, the one whose window is the oldest is forgotten.
    pub fn new(window: Duration, callers_max: usize) -> Self {
        Self { window, callers_max: callers_max.max(1), callers: HashMap::new(), by_start: VecDeque::new() }
    }

    /// A request of `caller`, who may make `limit` in a window. One that may not pass is not counted: whoever goes on asking gets no less
    /// in the next window. In constant time, spread over calls.
    pub fn check(&mut self, now: Moment, caller: &K, limit: u32) -> Verdict {
        self.forget_ended(now);
        if !self.callers.contains_key(caller) {
            self.admit(now, caller);
        }
        let window = self.callers.get_mut(caller).expect("admitted above, and nothing was forgotten since");
        let allowed = window.passed < limit;
        if allowed {
            window.passed += 1;
        }
        Verdict { allowed, limit, remaining: limit.saturating_sub(window.passed), resets_at: window.started + self.window }
    }

    /// Callers in a window.
    pub fn callers(&self) -> usize {
        self.callers.len()
    }

    fn forget_ended(&mut self, now: Moment) {
        while let Some(oldest) = self.by_start.front() {
            if self.callers.get(oldest).is_some_and(|window| now < window.started + self.window) {
                return;
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.by_start.pop_front() {
            self.callers.remove(&oldest);
        }
    }

    fn admit(&mut self, now: Moment, caller: &K) {
        if self.callers.len() >= self.callers_max {
            self.forget_oldest();
        }
        self.by_start.push_back(caller.clone());
        self.callers.insert(caller.clone(), Window { started: now, passed: 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    /// A hundred pass, the next does not, and the window's end lets another hundred in.
    #[test]
    fn a_window_starts_with_the_first_request() {
        let mut limiter = Limiter::new(MINUTE, 10);
        let mut check = |now: Moment, allowed: bool, remaining: u32, resets_at: u64| {
            let expected = Verdict { allowed, limit: 100, remaining, resets_at: at(resets_at) };
            assert_eq!(limiter.check(now, &"ana", 100), expected, "{now:?}");
        };
        check(at(50), true, 99, 110);
        for left in (0..99).rev() {
            check(at(60), true, left, 110);
        }
        check(at(61), false, 0, 110);
        check(Moment::from_micros(at(110).as_micros() - 1), false, 0, 110);
        check(at(110), true, 99, 170);
    }

    #[test]
    fn a_limit_may_change_within_a_window() {
        let mut limiter = Limiter::new(MINUTE, 10);
        let mut check = |limit: u32, allowed: bool, remaining: u32| {
            let verdict = limiter.check(at(1), &1, limit);
            assert_eq!((verdict.allowed, verdict.limit, verdict.remaining), (allowed, limit, remaining));
        };
        check(2, true, 1);
        check(2, true, 0);
        check(2, false, 0);
        check(5, true, 2);
        check(1, false, 0);
        check(0, false, 0);
    }

    #[test]
    fn the_oldest_window_makes_room() {
        let mut limiter = Limiter::new(MINUTE, 2);
        for caller in ["ana", "ben", "cem"] {
            limiter.check(at(1), &caller, 1);
        }
        assert_eq!(limiter.callers(), 2);
        assert!(!limiter.check(at(2), &"cem", 1).allowed);
        assert!(limiter.check(at(2), &"ana", 1).allowed, "she was forgotten");
        limiter.check(at(62), &"dan", 1);
        assert_eq!(limiter.callers(), 1, "windows that ended are forgotten");
    }
}
