//! What time alone brings about in the hub, and the metrics of its sums.

use std::sync::Arc;
use std::time::Duration;

use media_handler_core::{Fate, Need};
use metrics::{counter, gauge};
use tokio_util::sync::CancellationToken;

use crate::handler::Handler;

/// Between looks at sound that may have fallen silent and at requests held back: a third of the silence that ends a group.
const TICK: Duration = Duration::from_millis(20);
/// The same when there is neither: how late the first of them may be noticed.
const IDLE_TICK: Duration = Duration::from_millis(100);
/// Between updates of the metrics.
const METRICS_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until `stop`.
pub(crate) async fn run(handler: Arc<Handler>, stop: CancellationToken) {
    let mut measured_at = None;
    loop {
        let now = handler.now();
        handler.keep_upkept(now);
        let is_ticking = handler.with(|hub| {
            hub.tick(now);
            hub.is_ticking()
        });
        if measured_at.is_none_or(|at| now.since(at) >= METRICS_INTERVAL) {
            measured_at = Some(now);
            measure(&handler);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(if is_ticking { TICK } else { IDLE_TICK }) => {}
        }
    }
}

fn measure(handler: &Handler) {
    handler.forget_paces();
    let (totals, participants, sessions, streams, held, (layers, subscriptions)) =
        handler.with(|hub| (hub.totals(), hub.participants(), hub.greeted_count(), hub.group_streams(), hub.cost_held(), hub.counts()));
    for fate in Fate::ALL {
        counter!("dark_tower_media_records_total", "fate" => fate.name()).absolute(totals.fates.of(fate));
    }
    counter!("dark_tower_media_groups_total").absolute(totals.groups);
    for need in Need::ALL {
        counter!("dark_tower_media_key_frame_requests_total", "need" => need.name()).absolute(totals.key_frame_requests[need as usize]);
    }
    for (told, paused) in totals.layer_controls.into_iter().zip(["false", "true"]) {
        counter!("dark_tower_media_layer_controls_total", "paused" => paused).absolute(told);
    }
    counter!("dark_tower_media_bytes_total", "direction" => "in").absolute(totals.bytes_received);
    counter!("dark_tower_media_bytes_total", "direction" => "out").absolute(totals.bytes_sent);
    gauge!("dark_tower_media_participants").set(participants as f64);
    gauge!("dark_tower_media_sessions").set(sessions as f64);
    gauge!("dark_tower_media_sessions_waiting").set(handler.waiting.count() as f64);
    gauge!("dark_tower_media_layers").set(layers as f64);
    gauge!("dark_tower_media_subscriptions").set(subscriptions as f64);
    gauge!("dark_tower_media_group_streams").set(streams as f64);
    gauge!("dark_tower_media_held_bytes").set(held as f64);
}
