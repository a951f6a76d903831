//! What is told of the forwarding: per media stream and session for controllers, in sum for metrics.

use common_core::{MeetingId, NodeId, ParticipantId, StreamId};

use super::Hub;
use crate::arena::Key;
use crate::fate::{Fate, Fates};
use crate::session::Session;

/// One media stream over one participant's media session.
#[derive(Clone, Debug)]
pub struct StreamTelemetry {
    /// The media stream.
    pub media_stream: StreamId,
    /// Where.
    pub meeting: MeetingId,
    /// Whose session.
    pub participant: ParticipantId,
    /// Whether that participant publishes it; else it subscribes to it.
    pub publishes: bool,
    /// Since it was routed to a subscriber.
    pub bytes_sent: u64,
    /// Since it was published.
    pub bytes_received: u64,
    /// On arrival at this handler.
    pub jitter_ms: u32,
    /// Of a subscription.
    pub fates: Fates,
    /// Records due and without a fate yet.
    pub pending: u64,
    /// The session it goes over, if one stands.
    pub session: Option<Key<Session>>,
}

/// Since the hub began, without what lives still; [`Hub::totals`] adds that.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Of all subscriptions.
    pub fates: Fates,
    /// Groups begun by publishers.
    pub groups: u64,
    /// Requests sent to publishers.
    pub key_frame_requests: u64,
    /// Frames' bytes, headers included.
    pub bytes_received: u64,
    /// The same, per subscriber.
    pub bytes_sent: u64,
}

impl Hub {
    /// Everything that `owner`'s participants publish and subscribe to.
    pub fn telemetry(&self, owner: &NodeId) -> Vec<StreamTelemetry> {
        let mut all = Vec::new();
        for ((meeting, participant), state) in self.participants.iter().filter(|(_, state)| state.owner == *owner) {
            let session = state.sessions.last().copied();
            for (media_stream, published) in &state.streams {
                let sources = published.sources.iter().filter_map(|source| self.sources.get(*source));
                let (bytes_received, jitter_ms) = sources
                    .fold((0, 0), |(bytes, jitter): (u64, u32), source| (bytes + source.bytes_received, jitter.max(source.jitter_ms())));
                all.push(StreamTelemetry {
                    media_stream: *media_stream,
                    meeting: *meeting,
                    participant: *participant,
                    publishes: true,
                    bytes_sent: 0,
                    bytes_received,
                    jitter_ms,
                    fates: Fates::default(),
                    pending: 0,
                    session,
                });
            }
            for subscription in state.subscriptions.values().filter_map(|key| self.subscriptions.get(*key)) {
                let source = self.sources.get(subscription.source);
                let rest = |source: &crate::source::Source| {
                    subscription.cursors.iter().filter_map(|cursor| Some(cursor.rest(source.group(cursor.group)?))).sum::<u64>()
                };
                all.push(StreamTelemetry {
                    media_stream: subscription.media_stream,
                    meeting: *meeting,
                    participant: *participant,
                    publishes: false,
                    bytes_sent: subscription.bytes_sent,
                    bytes_received: 0,
                    jitter_ms: source.map_or(0, crate::source::Source::jitter_ms),
                    fates: subscription.fates,
                    pending: source.map_or(0, rest),
                    session: subscription.session,
                });
            }
        }
        all
    }

    /// Since the hub began.
    pub fn totals(&self) -> Totals {
        let mut totals = self.totals;
        for (_, subscription) in self.subscriptions.iter() {
            totals.fates.merge(&subscription.fates);
            totals.bytes_sent += subscription.bytes_sent;
        }
        for (_, source) in self.sources.iter() {
            totals.bytes_received += source.bytes_received;
        }
        totals
    }

    /// Bytes of frames held for joiners and for subscribers who lag behind.
    pub fn bytes_held(&self) -> u64 {
        self.sources.iter().flat_map(|(_, source)| &source.groups).map(|group| group.bytes_held()).sum()
    }

    /// Group streams open to subscribers now.
    pub fn group_streams(&self) -> usize {
        self.sessions.iter().map(|(_, session)| session.slots.open()).sum()
    }
}

impl Totals {
    /// Records delivered.
    pub fn delivered(&self) -> u64 {
        self.fates.of(Fate::Delivered)
    }
}
