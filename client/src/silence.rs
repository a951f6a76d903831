//! When a session counts as silent. In: counts of what was received, with instants. Out: for how long nothing came. Never
//! reads a clock.

use std::time::Duration;

use common_core::Moment;

/// A session from which nothing came for this long is dialled anew in parallel (DESIGN section 4). Keep-alives and the
/// server's pongs make something come each second.
pub(crate) const SILENCE_MAX: Duration = Duration::from_millis(1_500);
/// How often silence is looked for: late by at most a sixth of [`SILENCE_MAX`].
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// Watches one session.
#[derive(Debug)]
pub(crate) struct Silence {
    count: u64,
    heard: Moment,
    checked: Moment,
}

impl Silence {
    /// A session that has just been heard.
    pub(crate) fn new(now: Moment) -> Self {
        Self { count: 0, heard: now, checked: now }
    }

    /// Something came.
    pub(crate) fn heard(&mut self, now: Moment) {
        self.heard = now;
    }

    /// `count` packets came in all; whether the session is silent. A caller that was frozen itself (no check for longer
    /// than [`SILENCE_MAX`]) has to listen once more before it may judge.
    pub(crate) fn check(&mut self, count: u64, now: Moment) -> bool {
        let frozen = now.since(self.checked) > SILENCE_MAX;
        self.checked = now;
        if count != self.count || frozen {
            self.count = count;
            self.heard = now;
        }
        now.since(self.heard) >= SILENCE_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_micros(ms * 1_000)
    }

    #[test]
    fn packets_and_messages_both_count_as_sound() {
        let mut silence = Silence::new(at(0));
        assert!(!silence.check(1, at(1_000)));
        silence.heard(at(2_000));
        assert!(!silence.check(1, at(2_400)));
        assert!(!silence.check(1, at(3_400)));
        assert!(silence.check(1, at(3_500)));
        assert!(!silence.check(2, at(3_600)));
    }

    /// A laptop that slept must not take its own sleep for the server's silence.
    #[test]
    fn who_was_frozen_listens_once_more() {
        let mut silence = Silence::new(at(0));
        assert!(!silence.check(1, at(250)));
        assert!(!silence.check(1, at(60_000)));
        assert!(!silence.check(1, at(61_000)));
        assert!(silence.check(1, at(61_500)));
    }
}
