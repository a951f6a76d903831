//! Participants that a handler still has to be told are gone: asked again until it has heard, or is another process, or is gone for good.
//!
//! In: removals that failed. Out: the same calls, later. A removal carries the participant's generation, and a handler passes over one that is
//! older than what it knows: it never hurts who has come back meanwhile, here or at another controller.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common_core::{MeetingId, NodeId, ParticipantId};
use proto::cluster::RemoveParticipant;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Handlers;
use super::worker::is_settled_by;

/// Between two rounds of asking again.
const ROUND_INTERVAL: Duration = Duration::from_secs(1);
/// Removals that wait: all participants of a full controller, twice. The oldest is given up for one more.
const WAITING_MAX: usize = 10_000;
/// Calls under way at once.
const TOGETHER: usize = 16;
/// A handler that no directory has listed for so long is gone, and what it knew with it.
const GIVE_UP: Duration = Duration::from_secs(600);

/// Whose removal at which process of which handler.
type Key = (NodeId, u64, MeetingId, ParticipantId);

#[derive(Default)]
pub(super) struct Withdrawals(Mutex<BTreeMap<Key, (RemoveParticipant, Instant)>>);

impl Withdrawals {
    fn waiting(&self) -> MutexGuard<'_, BTreeMap<Key, (RemoveParticipant, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a removal asked for again, not before `after`.
    pub fn add(&self, handler: &NodeId, start_number: u64, ids: (MeetingId, ParticipantId), removal: RemoveParticipant, after: Instant) {
        let mut waiting = self.waiting();
        if waiting.len() >= WAITING_MAX {
            let oldest = waiting.iter().min_by_key(|(_, (_, since))| *since).map(|(key, _)| key.clone());
            oldest.map(|key| waiting.remove(&key));
            metrics::counter!("dark_tower_controller_withdrawals_dropped_total").increment(1);
        }
        waiting.insert((handler.clone(), start_number, ids.0, ids.1), (removal, after));
        metrics::gauge!("dark_tower_controller_withdrawals_waiting").set(waiting.len() as f64);
    }

    /// A meeting uses this handler again: whoever was to be withdrawn there is wanted again.
    pub fn take_back(&self, handler: &NodeId, meeting_id: MeetingId) {
        self.waiting().retain(|(of, _, meeting, _), (removal, _)| {
            of != handler || *meeting != meeting_id || removal.code != i32::from(proto::v1::ErrorCode::Moved)
        });
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.waiting().len()
    }

    fn settle(&self, key: &Key) {
        let mut waiting = self.waiting();
        waiting.remove(key);
        metrics::gauge!("dark_tower_controller_withdrawals_waiting").set(waiting.len() as f64);
    }
}

/// Asks again, round after round, until `stop`.
pub(super) async fn run(handlers: Arc<Handlers>, stop: CancellationToken) {
    let mut rounds = tokio::time::interval(ROUND_INTERVAL);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = rounds.tick() => {}
        }
        let now = Instant::now();
        let due: Vec<(Key, RemoveParticipant, Instant)> = {
            let waiting = handlers.withdrawals.waiting();
            let due = waiting.iter().filter(|(_, (_, after))| *after <= now);
            due.map(|(key, (removal, after))| (key.clone(), removal.clone(), *after)).collect()
        };
        let ask = futures_util::stream::iter(due);
        let asked = futures_util::StreamExt::for_each_concurrent(ask, TOGETHER, |(key, removal, after)| {
            let handlers = handlers.clone();
            async move { withdraw(&handlers, key, removal, after).await }
        });
        tokio::select! {
            () = stop.cancelled() => return,
            () = asked => {}
        }
    }
}

async fn withdraw(handlers: &Handlers, key: Key, removal: RemoveParticipant, after: Instant) {
    let (id, start_number, meeting, participant) = &key;
    match handlers.find(id) {
        // Another process of it knows nothing of what is to be withdrawn.
        Some(handler) if handler.start_number != *start_number => handlers.withdrawals.settle(&key),
        Some(handler) => {
            if handlers.gate.passage().await.is_err() {
                return;
            }
            let mut client = handler.client.clone();
            let call = client.remove_participant(removal);
            let done = match tokio::time::timeout(common::grpc::CALL_TIMEOUT, call).await {
                Ok(Ok(_)) => true,
                Ok(Err(status)) => is_settled_by(status.code()),
                Err(_) => false,
            };
            if done {
                tracing::debug!(%meeting, %participant, handler = %id, "withdrawn at last");
                handlers.withdrawals.settle(&key);
            }
        }
        None if after.elapsed() > GIVE_UP => handlers.withdrawals.settle(&key),
        // It may be frozen, or cut off from the global controllers, and come back with everybody on it.
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_gives_way() {
        let withdrawals = Withdrawals::default();
        let (handler, began) = ("mh-1".parse().expect("a node id"), Instant::now());
        for number in 0..=WAITING_MAX {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
            let ids = (MeetingId::from_bytes([1; 16]), ParticipantId::from_bytes(bytes));
            withdrawals.add(&handler, 1, ids, RemoveParticipant::default(), began + Duration::from_millis(number as u64));
        }
        assert_eq!(withdrawals.len(), WAITING_MAX);
        let first = (handler, 1, MeetingId::from_bytes([1; 16]), ParticipantId::from_bytes([0; 16]));
        assert!(!withdrawals.waiting().contains_key(&first));
    }
}
