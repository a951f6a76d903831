//! What a loop delivers and how busy that keeps it, and by that whether it ticks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common_core::Moment;
use media_handler_core::ticks::{Load, Reason, Ticks, spared};
use metrics::{counter, gauge};
use tokio::time::MissedTickBehavior;

use super::EventLoop;

/// Between decisions on ticks.
const DECISION_INTERVAL: Duration = Duration::from_millis(250);

/// What all subscribers of a loop had since the last decision.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    records: AtomicU64,
    spared: AtomicU64,
}

/// What one subscriber had in the interval under way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Share {
    interval: u64,
    records: u64,
}

impl EventLoop {
    /// Counts records that were handed over to one subscriber.
    pub fn count(&self, share: &mut Share, records: u64, now: Moment) {
        let interval = now.as_micros() / u64::try_from(DECISION_INTERVAL.as_micros()).unwrap_or(u64::MAX);
        if share.interval != interval {
            let deliveries = &self.0.deliveries;
            deliveries.records.fetch_add(share.records, Ordering::Relaxed);
            deliveries.spared.fetch_add(spared(share.records, DECISION_INTERVAL), Ordering::Relaxed);
            *share = Share { interval, records: 0 };
        }
        share.records += records;
    }

    /// Decides again and again whether to tick, and tells of it as worker `index`; to be run on the loop's own runtime. Never ends.
    pub async fn decide(self, index: usize, mut ticks: Ticks) {
        let worker = index.to_string();
        let tick_seconds = gauge!("dark_tower_media_tick_seconds", "worker" => worker.clone());
        let reasons = Reason::ALL
            .map(|reason| (reason, gauge!("dark_tower_media_tick_reason", "worker" => worker.clone(), "reason" => reason.name())));
        let metrics = tokio::runtime::Handle::current().metrics();
        let mut interval = tokio::time::interval(DECISION_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.set_tick(ticks.tick());
        let (mut busy_before, mut before) = (metrics.worker_total_busy_duration(0), Instant::now());
        loop {
            interval.tick().await;
            let (busy, now) = (metrics.worker_total_busy_duration(0), Instant::now());
            let load = Load {
                records: self.0.deliveries.records.swap(0, Ordering::Relaxed),
                spared: self.0.deliveries.spared.swap(0, Ordering::Relaxed),
                busy: busy.saturating_sub(busy_before).as_secs_f64() / now.duration_since(before).as_secs_f64().max(f64::EPSILON),
            };
            (busy_before, before) = (busy, now);
            let tick_before = ticks.tick();
            let reason = ticks.decide(&load);
            if ticks.tick() != tick_before {
                self.set_tick(ticks.tick());
                tracing::debug!(worker, reason = reason.name(), ?load, tick = ?ticks.tick(), "the socket is read in another way");
                counter!("dark_tower_media_tick_changes_total", "reason" => reason.name()).increment(1);
            }
            tick_seconds.set(ticks.tick().as_secs_f64());
            for (other, gauge) in &reasons {
                gauge.set(f64::from(u8::from(*other == reason)));
            }
        }
    }
}
