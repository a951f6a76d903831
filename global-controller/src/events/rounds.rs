//! Rounds beside the reports: who was on a controller that is gone has left, and what is old is dropped.

use std::sync::Arc;
use std::time::Duration;

use common::clock::Clock;
use common_core::{Departures, NodeId};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{count, left};
use crate::app::App;
use crate::store::{EventKind, NewEvent, Presence, StoreError, UnixMillis};
use crate::timestamp::now_millis;

/// Participants that are let go, and events that are dropped, in one step: a statement that does not hold the store for long.
const STEP: u32 = 256;
/// Steps in one round; what is left waits for the next.
const STEPS_PER_ROUND: usize = 16;
/// Rounds after which what is old is looked for: it is in no hurry.
const ROUNDS_PER_PURGE: u32 = 60;
/// Rounds after which it is looked for who vanished, and how many webhook calls are still to be made.
const ROUNDS_PER_REVIEW: u32 = 5;
/// How long idempotency keys are kept (DESIGN section 3).
const KEYS_KEPT: Duration = Duration::from_secs(24 * 3600);

/// Makes the rounds until `stop`.
pub async fn make_rounds(app: Arc<App>, stop: CancellationToken) {
    let clock = Clock::start();
    let cluster = &app.config.cluster;
    let patience = cluster.lease + cluster.grace;
    let mut departures = Departures::new(patience, clock.now());
    // Of what others see there is word at each of their reviews, and one may be late.
    let others_patience = patience + 2 * ROUNDS_PER_REVIEW * cluster.sweep_interval;
    let mut ticks = tokio::time::interval(cluster.sweep_interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut round, mut is_more_old) = (0_u32, false);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let (settled, live) = app.cluster.processes();
        let review = round.is_multiple_of(ROUNDS_PER_REVIEW);
        // Without the store nobody hears of anybody: then all begin to listen anew.
        let is_noted = !review || app.store.note_processes(&live).await.is_ok();
        let present = departures.look(clock.now(), settled && is_noted, live);
        if let Some(pending) = if review { app.store.deliveries_pending().await.ok() } else { None } {
            metrics::gauge!("dark_tower_webhook_pending").set(pending as f64);
        }
        if let Some(present) = present.filter(|_| review) {
            let outcome = let_go(&app, &present, others_patience).await;
            outcome.unwrap_or_else(|error| tracing::debug!(%error, "who vanished with a controller is not known"));
        }
        if is_more_old || round.is_multiple_of(ROUNDS_PER_PURGE) {
            is_more_old = purge(&app).await.unwrap_or_else(|error| {
                tracing::debug!(%error, "what is old was not dropped");
                false
            });
        }
        round = round.wrapping_add(1);
    }
}

/// Whoever was on a process that is none of `present`, and was not seen by others for `others_patience` either, has left. Several global controllers may find the same: the first to tell takes them out.
async fn let_go(app: &App, present: &[(NodeId, u64)], others_patience: Duration) -> Result<(), StoreError> {
    for _ in 0..STEPS_PER_ROUND {
        let orphans = app.store.orphans(present, others_patience, STEP).await?;
        let events: Vec<NewEvent> = orphans.iter().map(|orphan| lost(orphan, now_millis())).collect();
        if events.is_empty() {
            return Ok(());
        }
        let meetings = app.store.append_events(&events).await?;
        tracing::info!(participants = events.len(), "participants of controllers that are gone have left");
        events.iter().for_each(|event| count(event.kind));
        app.bell.ring(&meetings);
        if orphans.len() < STEP as usize {
            return Ok(());
        }
    }
    Ok(())
}

fn lost(orphan: &Presence, now: UnixMillis) -> NewEvent {
    let joined: Value = serde_json::from_str(&orphan.data).unwrap_or_default();
    NewEvent {
        id: common::random::uuid(),
        meeting: orphan.meeting,
        kind: EventKind::ParticipantLeft,
        occurred_at: now,
        data: left(joined, "CONNECTION_LOST"),
        // It may be lost, come back and be lost again. Whoever comes second to tell of one loss finds nobody there any more.
        source: None,
        presence: Some(orphan.clone()),
    }
}

/// Drops what is old, as far as it can in one round; whether there may be more.
async fn purge(app: &App) -> Result<bool, StoreError> {
    let before = |age: Duration| now_millis().saturating_sub(UnixMillis::try_from(age.as_millis()).unwrap_or(UnixMillis::MAX));
    for _ in 0..STEPS_PER_ROUND {
        let dropped = app.store.purge(before(app.config.webhooks.retention), before(KEYS_KEPT), STEP).await?;
        if dropped < u64::from(STEP) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use common_core::{MeetingId, ParticipantId};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lost_participant_is_told_as_it_was() {
        let orphan = Presence {
            meeting: MeetingId::from_bytes([1; 16]),
            participant: ParticipantId::from_bytes([2; 16]),
            controller: "mc-1".parse().expect("a node id"),
            start_number: 7,
            data: json!({"participant_id": "p", "display_name": "Ana", "role": "host"}).to_string(),
        };
        let event = lost(&orphan, 5);
        let told = json!({"participant_id": "p", "display_name": "Ana", "role": "host", "reason": "CONNECTION_LOST"});
        assert_eq!((event.kind, event.data, event.occurred_at), (EventKind::ParticipantLeft, told, 5));
        assert_eq!((event.source, event.presence.as_ref()), (None, Some(&orphan)));
        // Of what cannot be read, at least the reason is told.
        let event = lost(&Presence { data: "spoiled".into(), ..orphan }, 5);
        assert_eq!(event.data, json!({"reason": "CONNECTION_LOST"}));
    }
}
