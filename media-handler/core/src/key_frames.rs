//! Merges all who need a key frame of one layer into one request, and spaces the requests; and how often one subscription may be the cause.
//!
//! In: who needs one and why, which came, the time. Out: whether to ask now. Never reads a clock.

use std::time::Duration;

use common_core::Moment;

/// Why a publisher is asked for a key frame: what the first of those who share the request needs it for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Need {
    /// A subscription begins, and there is no group it could begin with.
    Start = 0,
    /// The subscriber asked.
    Asked = 1,
    /// A subscription lost its group, and its subscriber takes bytes.
    Lost = 2,
    /// The publisher broke off a group.
    Broken = 3,
}

impl Need {
    /// All of them, by number.
    pub const ALL: [Need; 4] = [Need::Start, Need::Asked, Need::Lost, Need::Broken];

    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Need::Start => "start",
            Need::Asked => "asked",
            Need::Lost => "lost",
            Need::Broken => "broken",
        }
    }
}

/// Of one frame id.
#[derive(Debug, Default)]
pub(crate) struct KeyFrames {
    /// What for, since the last one.
    wanted: Option<Need>,
    asked_at: Option<Moment>,
    /// Doubles while requests bring nothing.
    interval: Duration,
}

impl KeyFrames {
    /// Someone needs one.
    pub fn want(&mut self, need: Need) {
        self.wanted.get_or_insert(need);
    }

    /// One came: whoever waited has it.
    pub fn came(&mut self) {
        self.wanted = None;
        self.interval = Duration::ZERO;
    }

    /// Nobody waits any more.
    pub fn forget(&mut self) {
        self.wanted = None;
    }

    pub fn is_wanted(&self) -> bool {
        self.wanted.is_some()
    }

    /// Whether to send a request now, and what for; if so, the next one is due after `interval`, doubled each time up to `interval_max`.
    pub fn take(&mut self, now: Moment, interval: Duration, interval_max: Duration) -> Option<Need> {
        let is_due = self.asked_at.is_none_or(|asked_at| now.since(asked_at) >= self.interval.max(interval));
        let need = self.wanted.filter(|_| is_due)?;
        self.interval = (self.interval * 2).clamp(interval, interval_max);
        self.asked_at = Some(now);
        Some(need)
    }
}

/// How often one subscription that loses its groups may want a key frame for that: each costs its publisher's and all other
/// subscribers' paths the bytes of one.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    wanted_at: Option<Moment>,
    interval: Duration,
}

impl Losses {
    /// Whether it may want one now; if so, the next after `interval`, doubled each time up to `interval_max`. Who needed none for twice
    /// the longest interval begins anew.
    pub fn admit(&mut self, now: Moment, interval: Duration, interval_max: Duration) -> bool {
        let rested = self.wanted_at.map(|at| now.since(at));
        if rested.is_some_and(|rested| rested < self.interval) {
            return false;
        }
        let is_new = rested.is_none_or(|rested| rested >= 2 * interval_max);
        self.interval = if is_new { interval } else { (self.interval * 2).clamp(interval, interval_max) };
        self.wanted_at = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(500);
    const MAX: Duration = Duration::from_secs(4);

    fn at(millis: u64) -> Moment {
        Moment::from_micros(millis * 1000)
    }

    /// Fifty who join within the interval cost one key frame.
    #[test]
    fn askers_are_merged_and_spaced() {
        let mut key_frames = KeyFrames::default();
        let mut asked = Vec::new();
        for millis in (0..500).step_by(10) {
            key_frames.want(Need::Start);
            if key_frames.take(at(millis), INTERVAL, MAX).is_some() {
                asked.push(millis);
                key_frames.came();
            }
        }
        assert_eq!(asked, [0]);
        key_frames.came();
        key_frames.want(Need::Lost);
        key_frames.want(Need::Asked);
        let taken = [499, 500].map(|millis| key_frames.take(at(millis), INTERVAL, MAX));
        assert_eq!(taken, [None, Some(Need::Lost)], "for the first who needs it");
    }

    #[test]
    fn repetitions_back_off() {
        let mut key_frames = KeyFrames::default();
        key_frames.want(Need::Start);
        let asked: Vec<u64> = (0..20_000).step_by(100).filter(|millis| key_frames.take(at(*millis), INTERVAL, MAX).is_some()).collect();
        assert_eq!(asked, [0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500]);
    }
    /// Who loses one group after the other has a key frame now and then; who lost one a minute ago has one at once.
    #[test]
    fn losses_in_a_row_back_off_and_are_forgotten() {
        let (mut losses, max) = (Losses::default(), Duration::from_secs(16));
        let mut admitted = |seconds: std::ops::Range<u64>| -> Vec<u64> {
            (seconds.start * 10..seconds.end * 10)
                .filter(|tenth| losses.admit(at(tenth * 100), Duration::from_secs(1), max))
                .map(|tenth| tenth / 10)
                .collect()
        };
        assert_eq!(admitted(0..64), [0, 1, 3, 7, 15, 31, 47, 63]);
        assert_eq!(admitted(70..71), [], "sixteen seconds are not over");
        assert_eq!(admitted(95..98), [95, 96]);
    }
}
