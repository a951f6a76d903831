//! Which quality figures are worth a message: at most one a second for a media stream and its addressee, and only when
//! something has changed noticeably, or every two seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use common_core::{Moment, ParticipantId, StreamId};

use crate::message::StreamQuality;

/// A second, less the jitter of reports that come once a second.
const INTERVAL_MIN: Duration = Duration::from_millis(900);
/// Figures that stay alike are repeated this often, so that a client can tell old from steady.
const INTERVAL_MAX: Duration = Duration::from_millis(1900);

/// Whose figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub stream_id: StreamId,
    pub to: ParticipantId,
    /// Passed on from a subscriber, not measured by the handler.
    pub reported: bool,
}

/// What was told last, and when.
#[derive(Debug, Default)]
pub(crate) struct QualityGate {
    told: BTreeMap<Key, (Moment, StreamQuality)>,
}

impl QualityGate {
    /// Whether `quality` goes out now.
    pub fn passes(&mut self, now: Moment, key: Key, quality: StreamQuality) -> bool {
        let passes = self.told.get(&key).is_none_or(|(at, last)| {
            let age = now.since(*at);
            age >= INTERVAL_MAX || (age >= INTERVAL_MIN && differs(last, &quality))
        });
        if passes {
            self.told.insert(key, (now, quality));
        }
        passes
    }

    /// A media stream is gone.
    pub fn forget_stream(&mut self, stream_id: StreamId) {
        self.told.retain(|key, _| key.stream_id != stream_id);
    }

    /// A participant is gone.
    pub fn forget_participant(&mut self, participant_id: ParticipantId) {
        self.told.retain(|key, _| key.to != participant_id);
    }
}

/// Moves under 15 % are noise to every estimator (and under 10 ms, and under one percent of loss).
fn differs(a: &StreamQuality, b: &StreamQuality) -> bool {
    let apart = |a: u32, b: u32, floor: u32| a.abs_diff(b) > floor.max(a.max(b) / 100 * 15);
    apart(a.available_bitrate, b.available_bitrate, 0) || apart(a.rtt_ms, b.rtt_ms, 10) || (a.packet_loss - b.packet_loss).abs() > 0.01
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_changed_and_repeats_what_did_not() {
        let key = Key { stream_id: StreamId::from_bytes([1; 16]), to: ParticipantId::from_bytes([2; 16]), reported: false };
        let figures = |rtt_ms| StreamQuality { stream_id: key.stream_id, available_bitrate: 1_000_000, packet_loss: 0.0, rtt_ms };
        let mut gate = QualityGate::default();
        let mut check = |millis, rtt_ms, expected| {
            let now = Moment::ORIGIN + Duration::from_millis(millis);
            assert_eq!(gate.passes(now, key, figures(rtt_ms)), expected, "{millis} ms, rtt {rtt_ms}");
        };
        check(0, 20, true);
        check(500, 200, false);
        check(1000, 21, false);
        check(1100, 200, true);
        check(2100, 200, false);
        check(3100, 200, true);
    }
}
