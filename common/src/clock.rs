//! The one place where a shell reads clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use common_core::Moment;

/// A monotonic clock whose origin is its creation.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// Starts at [`Moment::ORIGIN`] plus one second, so that "a little earlier" is never before the origin.
    pub fn start() -> Self {
        let now = Instant::now();
        Self { origin: now.checked_sub(std::time::Duration::from_secs(1)).unwrap_or(now) }
    }

    /// One that was started so long ago.
    #[cfg(test)]
    pub(crate) fn started(ago: std::time::Duration) -> Self {
        let origin = Self::start().origin;
        Self { origin: origin.checked_sub(ago).unwrap_or(origin) }
    }

    /// Now, for a core.
    pub fn now(&self) -> Moment {
        Moment::from_micros(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The runtime's instant of `moment`, to sleep until.
    pub fn instant(&self, moment: Moment) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.origin + moment.since(Moment::ORIGIN))
    }
}

/// Milliseconds since the epoch by the wall clock; for people and records, never for deadlines.
pub fn unix_millis() -> u64 {
    u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX)
}

/// Microseconds since the epoch by the wall clock.
pub fn unix_micros() -> u64 {
    u64::try_from(since_epoch().as_micros()).unwrap_or(u64::MAX)
}

/// Seconds since the epoch by the wall clock.
pub fn unix_seconds() -> u64 {
    since_epoch().as_secs()
}

fn since_epoch() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
