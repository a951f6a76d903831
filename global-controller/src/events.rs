//! What happens in meetings: reports of controllers put into the store, whoever waits for them woken, who vanished with a controller let go.
//!
//! In: reports, and what the API did itself. Out: events in the store, numbered in their meeting, and a knock for feeds and webhooks of this process.

pub(crate) mod report;
mod rounds;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common_core::{MeetingId, NodeId};
use proto::cluster::MeetingEvent;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use utoipa::ToSchema;

use crate::store::{Event, EventKind, MeetingKey, Store, StoreError};
use crate::timestamp::{now_millis, rfc3339_millis};

pub use report::WrongEvent;
pub use rounds::make_rounds;

/// An event as applications see it, in the feed and in webhooks alike.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event, example = json!({
    "id": "8b1d1f5e-6d0c-4a53-9a39-0d3c2b1f7a10", "type": "participant.joined", "meeting_id": "550e8400-e29b-41d4-a716-446655440000",
    "sequence": 3, "occurred_at": "2025-01-16T12:00:07.125Z",
    "data": {"participant_id": "0f8fad5b-d9cb-469f-a165-70867728950e", "display_name": "Ana", "role": "attendee"},
}))]
pub struct EventBody {
    /// The same at each delivery: whoever keeps it knows a repeat.
    #[schema(format = Uuid)]
    id: String,
    /// What happened.
    #[serde(rename = "type")]
    #[schema(value_type = EventType)]
    kind: &'static str,
    /// Where.
    #[schema(format = Uuid)]
    meeting_id: String,
    /// 1, 2, 3 … in its meeting, without holes.
    #[schema(minimum = 1)]
    sequence: i64,
    /// When.
    #[schema(format = DateTime)]
    occurred_at: String,
    /// More, by the kind.
    #[schema(value_type = Object)]
    data: Value,
}

/// What can be told of a meeting.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the names that `EventKind::as_str` gives")]
pub enum EventType {
    /// `data`: `display_name`, `meeting_url`, `max_participants`, `settings`.
    #[schema(rename = "meeting.created")]
    MeetingCreated,
    /// Somebody is in it for the first time.
    #[schema(rename = "meeting.started")]
    MeetingStarted,
    /// It has ended for good.
    #[schema(rename = "meeting.ended")]
    MeetingEnded,
    /// `data`: `participant_id`, `display_name`, `role`, `user_id` (not of guests).
    #[schema(rename = "participant.joined")]
    ParticipantJoined,
    /// `data`: as of the join, and `reason`: `VOLUNTARY`, `KICKED`, `CONNECTION_LOST` or `MEETING_ENDED`.
    #[schema(rename = "participant.left")]
    ParticipantLeft,
    /// `data`: `participant_id`, `stream_id`, `stream_type` (`AUDIO`, `VIDEO_CAMERA` or `VIDEO_SCREEN`), `codec`.
    #[schema(rename = "stream.published")]
    StreamPublished,
    /// `data`: `participant_id`, `stream_id`.
    #[schema(rename = "stream.unpublished")]
    StreamUnpublished,
}

impl From<Event> for EventBody {
    fn from(event: Event) -> Self {
        Self {
            id: event.id.to_string(),
            kind: event.kind.as_str(),
            meeting_id: event.meeting.to_string(),
            sequence: event.sequence,
            occurred_at: rfc3339_millis(event.occurred_at),
            data: event.data,
        }
    }
}

/// Wakes who waits for events in this process. What other global controllers store is not heard here: who waits looks each second besides.
#[derive(Debug, Default)]
pub struct Bell {
    deliveries: Notify,
    meetings: Mutex<BTreeMap<MeetingId, watch::Sender<u64>>>,
}

impl Bell {
    /// These meetings have new events.
    pub fn ring(&self, meetings: &[MeetingId]) {
        if meetings.is_empty() {
            return;
        }
        self.deliveries.notify_one();
        let followed = self.meetings();
        for strokes in meetings.iter().filter_map(|meeting| followed.get(meeting)) {
            strokes.send_modify(|strokes| *strokes = strokes.wrapping_add(1));
        }
    }

    /// Returns at the next stroke, or at once if there was one since the last return. One listener.
    pub async fn any(&self) {
        self.deliveries.notified().await;
    }

    /// Listens to one meeting.
    pub fn follow(self: &Arc<Self>, meeting: MeetingId) -> Follower {
        let strokes = self.meetings().entry(meeting).or_insert_with(|| watch::channel(0).0).subscribe();
        Follower { bell: self.clone(), meeting, strokes }
    }

    fn meetings(&self) -> MutexGuard<'_, BTreeMap<MeetingId, watch::Sender<u64>>> {
        self.meetings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens to a meeting until it is dropped.
#[derive(Debug)]
pub struct Follower {
    bell: Arc<Bell>,
    meeting: MeetingId,
    strokes: watch::Receiver<u64>,
}

impl Follower {
    /// Returns when the meeting has new events, at once if it got some since the last return.
    pub async fn heard(&mut self) {
        // The sender stays while there is a receiver: see `drop`.
        let _ = self.strokes.changed().await;
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut meetings = self.bell.meetings();
        // This one is still counted.
        if meetings.get(&self.meeting).is_some_and(|strokes| strokes.receiver_count() <= 1) {
            meetings.remove(&self.meeting);
        }
    }
}

/// Why reports were not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// One of them is not as it should be; none was stored.
    #[error(transparent)]
    Wrong(#[from] WrongEvent),
    /// The store did not take them: worth another try.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Puts reports of controllers into the store.
#[derive(Clone)]
pub struct Reports {
    store: Arc<dyn Store>,
    bell: Arc<Bell>,
}

impl Reports {
    /// Into `store`, with a stroke of `bell`.
    pub fn new(store: Arc<dyn Store>, bell: Arc<Bell>) -> Self {
        Self { store, bell }
    }

    /// Stores what `controller` reports from its process `start_number`. Once it returns, all is stored; a repeat changes nothing.
    pub async fn take(&self, controller: &NodeId, start_number: u64, events: Vec<MeetingEvent>) -> Result<(), ReportError> {
        let reported = report::read(controller, start_number, events, now_millis()).inspect_err(|_| {
            metrics::counter!("dark_tower_events_rejected_total").increment(1);
        })?;
        let meetings = self.store.append_events(&reported.events).await?;
        for (meeting, subject) in &reported.kicked {
            // A meeting that is not known has nobody to keep out.
            if self.store.meeting(MeetingKey::Id(*meeting)).await?.is_some() {
                self.store.refuse_subject(*meeting, subject, now_millis()).await?;
            }
        }
        for event in &reported.events {
            count(event.kind);
        }
        self.bell.ring(&meetings);
        Ok(())
    }
}

/// Counts an event that was taken; a controller's repeat counts again.
pub fn count(kind: EventKind) {
    metrics::counter!("dark_tower_events_total", "kind" => kind.as_str()).increment(1);
}

/// What the event of a leave tells: what that of the join told, and why.
fn left(mut joined: Value, reason: &str) -> Value {
    match joined.as_object_mut() {
        Some(data) => {
            data.insert("reason".to_owned(), reason.into());
            joined
        }
        None => json!({"reason": reason}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stroke between two looks is not missed, and nothing stays behind when nobody listens any more.
    #[tokio::test]
    async fn followers_hear_their_meeting_alone() {
        let bell = Arc::new(Bell::default());
        let (ours, other) = (MeetingId::from_bytes([1; 16]), MeetingId::from_bytes([2; 16]));
        let (mut first, mut second) = (bell.follow(ours), bell.follow(ours));
        let mut elsewhere = bell.follow(other);
        bell.ring(&[ours]);
        bell.ring(&[ours]);
        first.heard().await;
        second.heard().await;
        bell.any().await;
        let quiet = |follower: &mut Follower| futures_util::FutureExt::now_or_never(follower.heard()).is_none();
        assert!(quiet(&mut first) && quiet(&mut elsewhere));
        drop((first, elsewhere));
        assert_eq!(bell.meetings().len(), 1);
        bell.ring(&[ours, other]);
        second.heard().await;
        drop(second);
        assert!(bell.meetings().is_empty());
    }
}
