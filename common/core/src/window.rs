//! How much QUIC may hold of what is sent, so that lateness is seen where it can be acted upon.

use std::ops::RangeInclusive;
use std::time::Duration;

/// What may be sent and not acknowledged, bytes: what is in flight (`congestion_window`, bytes) and what the path carries in `buffered`,
/// within `bounds`.
pub fn send_window(congestion_window: u64, round_trip: Duration, buffered: Duration, bounds: &RangeInclusive<u64>) -> u64 {
    let micros = |length: Duration| u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
    let behind = congestion_window.saturating_mul(micros(buffered)) / micros(round_trip).max(1);
    congestion_window.saturating_add(behind).clamp(*bounds.start(), *bounds.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With 50 ms to and fro: a megabit a second is below the floor; at 20 Mb/s 125 kB are in flight and 187.5 kB behind them; at 40 Mb/s
    /// 250 kB and 500 kB.
    #[test]
    fn the_window_follows_the_path_within_bounds() {
        let check = |congestion_window, round_trip_ms, buffered_ms, expected| {
            let millis = Duration::from_millis;
            let window = send_window(congestion_window, millis(round_trip_ms), millis(buffered_ms), &(64 * 1024..=4 * 1024 * 1024));
            assert_eq!(window, expected, "{congestion_window} {round_trip_ms} {buffered_ms}");
        };
        check(6_250, 50, 75, 64 * 1024);
        check(6_250, 50, 100, 64 * 1024);
        check(125_000, 50, 75, 312_500);
        check(250_000, 50, 100, 750_000);
        check(u64::MAX, 0, 100, 4 * 1024 * 1024);
    }
}
