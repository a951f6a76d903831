//! The heartbeat of a session: when to ping, what the round trip is, whether the other side is silent. In: instants, counts of packets. Never reads
//! a clock.

use std::time::Duration;

use common_core::Moment;

use crate::silence::Silence;

/// Pings go at least this far apart, whatever the server asks for: they cost messages of the participant's quota.
const HEARTBEAT_MIN: Duration = Duration::from_secs(1);

/// Watches one session.
#[derive(Debug)]
pub(super) struct Pulse {
    interval: Duration,
    pinged: Option<Moment>,
    silence: Silence,
    began: Moment,
}

impl Pulse {
    /// A session that has just been entered, whose server wants a ping every so often.
    pub(super) fn new(interval_ms: u32, now: Moment) -> Self {
        let interval = Duration::from_millis(u64::from(interval_ms)).max(HEARTBEAT_MIN);
        Self { interval, pinged: None, silence: Silence::new(now), began: now }
    }

    /// A message came.
    pub(super) fn heard(&mut self, now: Moment) {
        self.silence.heard(now);
    }

    /// Whether a ping is due; it is taken for sent.
    pub(super) fn is_ping_due(&mut self, now: Moment) -> bool {
        let due = self.pinged.is_none_or(|pinged| now.since(pinged) >= self.interval);
        if due {
            self.pinged = Some(now);
        }
        due
    }

    /// How long a ping that was sent at `sent_at_us` took to come back; `None` if that makes no sense.
    pub(super) fn round_trip(&self, sent_at_us: u64, now: Moment) -> Option<Duration> {
        (sent_at_us != 0 && sent_at_us <= now.as_micros()).then(|| now.since(Moment::from_micros(sent_at_us)))
    }

    /// Whether nothing has come for a while; `packets` came in all.
    pub(super) fn is_silent(&mut self, packets: u64, now: Moment) -> bool {
        self.silence.check(packets, now)
    }

    /// How long the session has stood.
    pub(super) fn age(&self, now: Moment) -> Duration {
        now.since(self.began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_micros(ms * 1_000)
    }

    #[test]
    fn pings_keep_their_distance_and_measure() {
        let mut pulse = Pulse::new(0, at(100));
        assert!(pulse.is_ping_due(at(100)));
        assert!(!pulse.is_ping_due(at(1_099)));
        assert!(pulse.is_ping_due(at(1_100)));
        assert_eq!(pulse.round_trip(1_100_000, at(1_130)), Some(Duration::from_millis(30)));
        assert_eq!((pulse.round_trip(0, at(5)), pulse.round_trip(9_999_999, at(5))), (None, None));
        assert_eq!(pulse.age(at(350)), Duration::from_millis(250));
    }
}
