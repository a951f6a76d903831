//! What is told of the forwarding: per media stream and session for controllers, in sum for metrics.

use std::time::Duration;

use common_core::{MeetingId, Moment, NodeId, ParticipantId, StreamId};

use super::Hub;
use crate::arena::Key;
use crate::fate::{Fate, Fates};
use crate::key_frames::Need;
use crate::session::Session;
use crate::source::Source;
use crate::subscription::{Following, Subscription};

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
    /// Requests sent to publishers, by [`Need`](crate::Need).
    pub key_frame_requests: [u64; Need::ALL.len()],
    /// Layers that publishers were told somebody takes again; and that nobody takes.
    pub layer_controls: [u64; 2],
    /// Frames' bytes, headers included.
    pub bytes_received: u64,
    /// The same, per subscriber.
    pub bytes_sent: u64,
}

/// What keeps a subscriber from more than it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limiter {
    /// Nothing: what is published comes.
    None,
    /// The path took less than came, in time.
    Bandwidth,
    /// Nothing comes from the publisher.
    Publisher,
    /// The next key frame is awaited.
    NoKeyFrame,
    /// The subscriber allows no more streams.
    StreamLimit,
}

impl Limiter {
    /// The contract's name.
    pub const fn name(self) -> &'static str {
        match self {
            Limiter::None => "none",
            Limiter::Bandwidth => "bandwidth",
            Limiter::Publisher => "publisher",
            Limiter::NoKeyFrame => "no_key_frame",
            Limiter::StreamLimit => "stream_limit",
        }
    }

    /// For people.
    pub const fn in_words(self) -> &'static str {
        match self {
            Limiter::None => "everything that is published comes",
            Limiter::Bandwidth => "the path to you took less than came, so late frames were dropped",
            Limiter::Publisher => "the publisher sends nothing now",
            Limiter::NoKeyFrame => "waiting for the publisher's next key frame",
            Limiter::StreamLimit => "your side allowed no more streams in time, so frames were dropped",
        }
    }
}

/// Why a subscriber sees what it sees; layers by the publisher's names, empty for a media stream without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The media stream.
    pub media_stream: StreamId,
    /// What the subscription asks for; empty: the best.
    pub wanted_layer: String,
    /// What is chosen for it.
    pub allowed_layer: String,
    /// What is delivered now; empty also while nothing is.
    pub forwarded_layer: String,
    /// Why not more.
    pub limiter: Limiter,
    /// Records by fate so far.
    pub fates: Fates,
}

/// A source that began no record for this long is silent: more than the longest spacing of DTX and slow screens.
const SILENCE: Duration = Duration::from_secs(2);

impl Hub {
    /// Tells each subscriber what has changed since it was told last: what limits it, or what was dropped.
    pub(super) fn report_changes(&mut self, now: Moment) {
        for key in self.subscriptions.keys() {
            let Some(subscription) = self.subscriptions.get(key) else { continue };
            let (told, before) = subscription.reported.unwrap_or((Limiter::None, Fates::default()));
            let limiter = self.limiter(subscription, &before, now);
            // What another layer carries is not missed.
            let missed = |fates: &Fates| fates.dropped() - fates.of(Fate::Layer);
            if limiter == told && missed(&subscription.fates) == missed(&before) {
                continue;
            }
            let Some(session) = subscription.session.and_then(|session| self.sessions.get_mut(session)) else { continue };
            if let Some(subscription) = self.subscriptions.get_mut(key)
                && subscription.to_report.replace(limiter).is_none()
            {
                session.reports.push_back(key);
                self.wakes.extend(session.control_waker.take());
            }
        }
    }

    /// What a subscription's subscriber is to be told, as it stands now; from then on it counts as told.
    pub(super) fn take_report(&mut self, key: Key<Subscription>) -> Option<Report> {
        let subscription = self.subscriptions.get_mut(key)?;
        let limiter = subscription.to_report.take()?;
        subscription.reported = Some((limiter, subscription.fates));
        let subscription = self.subscriptions.get(key)?;
        Some(self.report(subscription, limiter))
    }

    fn limiter(&self, subscription: &Subscription, before: &Fates, now: Moment) -> Limiter {
        let grew = |fate| subscription.fates.of(fate) > before.of(fate);
        // Who was told to go on is given time to do so.
        let last = self.sources.get(subscription.source).and_then(|source| source.last_arrival.max(source.taking.resumed_at));
        if grew(Fate::StreamLimit) {
            Limiter::StreamLimit
        } else if grew(Fate::Expired) || grew(Fate::Discardable) || grew(Fate::Bandwidth) {
            Limiter::Bandwidth
        } else if last.is_none_or(|last| now.since(last) > SILENCE) {
            Limiter::Publisher
        } else if !subscription.is_audio && (subscription.following == Following::Waiting || grew(Fate::NoKeyFrame)) {
            Limiter::NoKeyFrame
        } else {
            Limiter::None
        }
    }

    fn report(&self, subscription: &Subscription, limiter: Limiter) -> Report {
        let published = self.published(subscription.meeting, subscription.media_stream);
        let layer = published.and_then(|published| {
            let at = published.sources.iter().position(|source| *source == subscription.source)?;
            Some(published.stream.video.as_ref()?.layers.get(at)?.layer_id.clone())
        });
        let allowed_layer = layer.unwrap_or_default();
        let flows = match limiter {
            Limiter::Publisher => false,
            Limiter::NoKeyFrame => subscription.following != Following::Waiting,
            _ => true,
        };
        Report {
            media_stream: subscription.media_stream,
            wanted_layer: subscription.options.preferred_layer.clone(),
            forwarded_layer: if flows { allowed_layer.clone() } else { String::new() },
            allowed_layer,
            limiter,
            fates: subscription.fates,
        }
    }

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
                let rest = |source: &Source| {
                    subscription.cursors.iter().filter_map(|cursor| Some(cursor.rest(source.group(cursor.group)?))).sum::<u64>()
                };
                all.push(StreamTelemetry {
                    media_stream: subscription.media_stream,
                    meeting: *meeting,
                    participant: *participant,
                    publishes: false,
                    bytes_sent: subscription.bytes_sent,
                    bytes_received: 0,
                    jitter_ms: source.map_or(0, Source::jitter_ms),
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
