//! Merges all who need a key frame of one layer into one request, and spaces the requests.

use std::time::Duration;

use common_core::Moment;

/// Of one frame id.
#[derive(Debug, Default)]
pub(crate) struct KeyFrames {
    wanted: bool,
    asked_at: Option<Moment>,
    /// Doubles while requests bring nothing.
    interval: Duration,
}

impl KeyFrames {
    /// Someone needs one.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// One came: whoever waited has it.
    pub fn came(&mut self) {
        self.wanted = false;
        self.interval = Duration::ZERO;
    }

    /// Nobody waits any more.
    pub fn forget(&mut self) {
        self.wanted = false;
    }

    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Whether to send a request now; if so, the next one is due after `interval`, doubled each time up to `interval_max`.
    pub fn take(&mut self, now: Moment, interval: Duration, interval_max: Duration) -> bool {
        let due = self.wanted && self.asked_at.is_none_or(|asked_at| now.since(asked_at) >= self.interval.max(interval));
        if due {
            self.interval = (self.interval * 2).clamp(interval, interval_max);
            self.asked_at = Some(now);
        }
        due
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
            key_frames.want();
            if key_frames.take(at(millis), INTERVAL, MAX) {
                asked.push(millis);
                key_frames.came();
            }
        }
        assert_eq!(asked, [0]);
        key_frames.want();
        assert!(!key_frames.take(at(499), INTERVAL, MAX) && key_frames.take(at(500), INTERVAL, MAX));
    }

    #[test]
    fn repetitions_back_off() {
        let mut key_frames = KeyFrames::default();
        key_frames.want();
        let asked: Vec<u64> = (0..20_000).step_by(100).filter(|millis| key_frames.take(at(*millis), INTERVAL, MAX)).collect();
        assert_eq!(asked, [0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500]);
    }
}
