//! What QUIC knows of a connection's path, in the units of the contract.

use std::ops::RangeInclusive;
use std::time::Duration;

/// What QUIC may hold beyond what is in flight: lateness that the hub does not see.
const BUFFERED: Duration = Duration::from_millis(75);
/// Sent and not acknowledged, of one session: a joiner's key frame; 40 Mb/s at 100 ms.
pub(crate) const WINDOW_BYTES: RangeInclusive<u64> = 64 * 1024..=512 * 1024;
/// How often the window follows the path.
pub(crate) const WINDOW_INTERVAL: Duration = Duration::from_millis(100);

/// A congestion window per round trip, in bits per second; 0: not known.
pub(crate) fn available_bitrate(path: &quinn::PathStats) -> u32 {
    let rtt = path.rtt.as_secs_f64();
    // A float to integer cast saturates.
    if rtt > 0.0 { (path.cwnd as f64 * 8.0 / rtt) as u32 } else { 0 }
}

/// What may be sent and not acknowledged: what is in flight, and what the path carries in [`BUFFERED`].
pub(crate) fn send_window(congestion_window: u64, round_trip: Duration) -> u64 {
    common_core::send_window(congestion_window, round_trip, BUFFERED, &WINDOW_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A megabit a second with 50 ms to and fro: the floor; at 20 Mb/s 125 kB in flight and 187.5 kB behind it.
    #[test]
    fn the_window_follows_the_path_within_bounds() {
        assert_eq!(send_window(6_250, Duration::from_millis(50)), 64 * 1024);
        assert_eq!(send_window(125_000, Duration::from_millis(50)), 312_500);
        assert_eq!(send_window(u64::MAX, Duration::ZERO), 512 * 1024);
    }
}
