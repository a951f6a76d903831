//! Statistics as lines: a table for people, an object for programs.

use client::{PublicationLimiter, PublicationStats, Roster, Stats, SubscriptionStats};
use serde_json::{Value, json};

use super::names::short;

/// The object, and the lines of the table.
pub(super) fn describe(stats: &Stats, roster: &Roster) -> (String, Value) {
    let handler =
        if stats.handler_url.is_empty() { "no media handler".to_owned() } else { format!("media{}", trip(stats.media_round_trip)) };
    let mut lines = vec![format!("statistics: {}{}, {handler}", stats.signaling.name(), trip(stats.round_trip))];
    lines.extend(stats.publications.iter().map(outward));
    lines.extend(stats.subscriptions.iter().map(|it| inward(it, roster)));
    let value = json!({
        "event": "stats",
        "at_ms": stats.at_ms,
        "signaling": stats.signaling.name(),
        "round_trip_ms": stats.round_trip.map(millis),
        "handler_url": stats.handler_url,
        "media_round_trip_ms": stats.media_round_trip.map(millis),
        "dropped_groups": stats.dropped_groups,
        "publications": stats.publications.iter().map(publication).collect::<Vec<_>>(),
        "subscriptions": stats.subscriptions.iter().map(subscription).collect::<Vec<_>>(),
    });
    (lines.join("\n"), value)
}

fn millis(length: std::time::Duration) -> f64 {
    (length.as_secs_f64() * 10_000.0).round() / 10.0
}

fn trip(length: Option<std::time::Duration>) -> String {
    length.map(|length| format!(" {} ms", millis(length))).unwrap_or_default()
}

/// "1.25 Mb/s"; below a megabit in kilobits.
fn rate(bits: u64) -> String {
    if bits >= 1_000_000 { format!("{}.{:02} Mb/s", bits / 1_000_000, bits / 10_000 % 100) } else { format!("{} kb/s", bits / 1_000) }
}

fn outward(it: &PublicationStats) -> String {
    let counts = &it.counts;
    let codec = common_core::name::escape(&it.codec, 16);
    let mut line = format!(
        "  out {} {codec:<5} {:>11}  {} frames/s, {} frames, {} key, {} groups, {} dropped, {} groups late",
        short(it.stream_id),
        rate(it.bitrate),
        it.frames_per_second,
        counts.frames,
        counts.key_frames,
        counts.groups,
        counts.dropped,
        counts.late_groups
    );
    match it.limiter {
        PublicationLimiter::None => {}
        PublicationLimiter::Uplink => line += &format!(", the uplink is {} ms behind", it.backlog.as_millis()),
        PublicationLimiter::Paused => line += ", paused: nobody takes it",
    }
    line
}

fn inward(it: &SubscriptionStats, roster: &Roster) -> String {
    let name = it.participant_id.and_then(|id| roster.participant(id)).map_or("?", |participant| participant.name.as_str());
    let (name, codec) = (common_core::name::escape(name, 24), common_core::name::escape(&it.codec, 16));
    let mut line = format!("  in  {} {codec:<5} {:>11}  {name}: {} frames/s", short(it.stream_id), rate(it.bitrate), it.frames_per_second);
    line += &it.latency.map(|latency| format!(", {} ms old", latency.as_millis())).unwrap_or_default();
    line += &format!(", jitter {} ms", it.jitter.as_millis());
    line += &it.sync_offset_ms.map(|ms| format!(", {ms:+} ms to the sound")).unwrap_or_default();
    if !it.is_audio {
        line += &format!(", {} freezes of {} ms", it.freezes, it.frozen.as_millis());
    }
    if !matches!(it.limiter(), "" | "none") {
        line += &format!(", limited by {}", common_core::name::escape(it.limiter(), 16));
    }
    for (cause, count) in it.dropped.iter().filter(|(_, count)| **count > 0) {
        line += &format!(", {cause} {count}");
    }
    line
}

fn publication(it: &PublicationStats) -> Value {
    json!({
        "stream_id": it.stream_id.to_string(),
        "codec": it.codec,
        "width": it.width,
        "height": it.height,
        "bitrate": it.bitrate,
        "frames_per_second": it.frames_per_second,
        "records": it.counts.sent,
        "frames": it.counts.frames,
        "key_frames": it.counts.key_frames,
        "bytes": it.counts.bytes,
        "groups": it.counts.groups,
        "dropped": it.counts.dropped,
        "late_groups": it.counts.late_groups,
        "stopped_groups": it.counts.stopped_groups,
        "queued_bytes": it.queued_bytes,
        "backlog_ms": it.backlog.as_millis(),
        "limiter": it.limiter.name(),
    })
}

fn subscription(it: &SubscriptionStats) -> Value {
    json!({
        "stream_id": it.stream_id.to_string(),
        "participant_id": it.participant_id.map(|id| id.to_string()),
        "codec": it.codec,
        "width": it.width,
        "height": it.height,
        "is_audio": it.is_audio,
        "bitrate": it.bitrate,
        "frames_per_second": it.frames_per_second,
        "frames": it.frames,
        "key_frames": it.key_frames,
        "records": it.records,
        "bytes": it.bytes,
        "groups": it.groups,
        "freezes": it.freezes,
        "frozen_ms": it.frozen.as_millis(),
        "latency_ms": it.latency.map(millis),
        "jitter_ms": millis(it.jitter),
        "sync_offset_ms": it.sync_offset_ms,
        "key_frames_requested": it.key_frames_requested,
        "dropped": it.dropped,
        "estimated_bitrate": it.report.as_ref().map(|report| report.estimated_bitrate),
        "limiter": it.report.as_ref().map(|report| report.limiter.as_str()),
        "layer": it.report.as_ref().map(|report| json!({
            "wanted": report.wanted_layer,
            "allowed": report.allowed_layer,
            "forwarded": report.forwarded_layer,
            "last_change": report.last_change,
        })),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use client::SignalingTransport;

    use super::*;

    #[test]
    fn numbers_are_told_in_units_of_people() {
        assert_eq!((rate(999_999), rate(1_000_000), rate(12_345_678)), ("999 kb/s".into(), "1.00 Mb/s".into(), "12.34 Mb/s".into()));
        let stats = Stats {
            at_ms: 7,
            signaling: SignalingTransport::WebSocket,
            round_trip: Some(Duration::from_micros(1_540)),
            handler_url: String::new(),
            media_round_trip: None,
            publications: Vec::new(),
            subscriptions: Vec::new(),
            dropped_groups: 0,
        };
        let (words, value) = describe(&stats, &Roster::default());
        assert_eq!(words, "statistics: websocket 1.5 ms, no media handler");
        assert_eq!((&value["event"], &value["round_trip_ms"]), (&json!("stats"), &json!(1.5)));
    }
}
