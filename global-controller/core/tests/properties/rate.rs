//! The rate limiter against the sentence that it has to keep: in no window of a caller do more pass than its limit, and what the headers
//! say comes true.

use std::collections::BTreeMap;
use std::time::Duration;

use common_core::Moment;
use global_controller_core::rate::Limiter;
use proptest::prelude::*;

const WINDOW: Duration = Duration::from_micros(100);

/// Requests of a few callers: who, and how long after the one before.
fn requests(callers: u8) -> impl Strategy<Value = Vec<(u8, u64)>> {
    prop::collection::vec((0..callers, 0..20_u64), 1..400)
}

proptest! {
    /// A model that keeps every request: the limiter passes one exactly if the window that began with the caller's first request since the
    /// last one has room, and says exactly how much room is left and when it ends.
    #[test]
    fn passes_what_the_sentence_says(requests in requests(4), limit in 0..6_u32) {
        let mut limiter = Limiter::new(WINDOW, 4);
        let mut windows: BTreeMap<u8, (u64, u32)> = BTreeMap::new();
        let mut now = 0;
        for (caller, pause) in requests {
            now += pause;
            let verdict = limiter.check(Moment::from_micros(now), &caller, limit);
            let window = windows.entry(caller).or_insert((now, 0));
            if now >= window.0 + 100 {
                *window = (now, 0);
            }
            let room = window.1 < limit;
            window.1 += u32::from(room);
            prop_assert_eq!(verdict.allowed, room);
            prop_assert_eq!(verdict.remaining, limit - window.1);
            prop_assert_eq!(verdict.resets_at, Moment::from_micros(window.0 + 100));
            prop_assert!(verdict.resets_at > Moment::from_micros(now), "whoever waits until then is let in");
        }
    }

    /// With more callers than there is room for: never more are held, and never more pass between two resets that a caller was told of.
    #[test]
    fn is_bounded_whoever_comes(requests in requests(200), callers_max in 1..20_usize) {
        let mut limiter = Limiter::new(WINDOW, callers_max);
        let mut told: BTreeMap<(u8, Moment), u32> = BTreeMap::new();
        let mut now = 0;
        for (caller, pause) in requests {
            now += pause;
            let verdict = limiter.check(Moment::from_micros(now), &caller, 3);
            prop_assert!(limiter.callers() <= callers_max);
            if verdict.allowed && pause > 0 {
                let passed = told.entry((caller, verdict.resets_at)).or_default();
                *passed += 1;
                prop_assert!(*passed <= 3);
            }
        }
    }
}
