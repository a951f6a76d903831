//! The one state of a handler: participants, media streams, subscriptions and sessions, and the operations on them.
//!
//! `control` is what controllers ask for, `ingest` the publishers' side, `deliver` the subscribers', `sessions` hello and farewell, `access`
//! who may do what, `layers` which of them somebody takes, `bounds` what anyone may make it hold, `report` what is told of it all. Every operation answers at once; tasks to be
//! woken are left in [`Hub::take_wakes`], so that the shell wakes them after it has let go of its lock.

mod access;
mod bounds;
mod control;
mod deliver;
mod ingest;
mod layers;
mod report;
mod sessions;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::task::Waker;

use common_core::media::{MediaStream, SubscriptionOptions};
use common_core::{Code, Generation, MeetingId, Moment, NodeId, ParticipantId, StreamId};

pub use control::{Destination, RegisterError, RouteError};
pub use deliver::{Batch, Outcome, Write};
pub use ingest::{Ingress, Refusal};
pub(crate) use layers::Taking;
pub use report::{Limiter, Report, StreamTelemetry, Totals};
pub use sessions::{HelloError, TokenHash};

use crate::arena::{Arena, Key};
use crate::fate::{Fate, Fates};
use crate::key_frames::Need;
use crate::limits::Limits;
use crate::session::{End, Session};
use crate::source::Source;
use crate::subscription::{Cursor, Following, Subscription};

/// A participant as its controller registered it.
#[derive(Debug)]
struct Participant {
    owner: NodeId,
    /// The owner's process, by its start number; 0: not stated.
    process: u64,
    /// When that process registered it last.
    registered_at: Moment,
    generation: Generation,
    streams: BTreeMap<StreamId, Published>,
    /// By media stream.
    subscriptions: BTreeMap<StreamId, Key<Subscription>>,
    /// Oldest first; deliveries go to the newest.
    sessions: Vec<Key<Session>>,
}

/// A media stream and the frame ids it arrives under, lowest layer first.
#[derive(Debug)]
struct Published {
    stream: MediaStream,
    sources: Vec<Key<Source>>,
}

impl Published {
    /// The layer `options` ask for: the named one, else the best.
    fn choose(&self, options: &SubscriptionOptions) -> Option<Key<Source>> {
        let layers = self.stream.video.iter().flat_map(|video| &video.layers);
        let named =
            layers.zip(&self.sources).find(|(layer, _)| !options.preferred_layer.is_empty() && layer.layer_id == options.preferred_layer);
        named.map(|(_, source)| source).or(self.sources.last()).copied()
    }
}

type Address = (MeetingId, ParticipantId);

/// See the module's head.
#[derive(Debug, Default)]
pub struct Hub {
    limits: Limits,
    participants: BTreeMap<Address, Participant>,
    /// Who publishes a media stream. Looked up, never walked. Ids are unique in a meeting and found in it alone: what another meeting
    /// has is not there.
    media_streams: HashMap<(MeetingId, StreamId), ParticipantId>,
    /// What arrives under a frame id, by the same rule.
    frame_ids: HashMap<(MeetingId, StreamId), Key<Source>>,
    sources: Arena<Source>,
    subscriptions: Arena<Subscription>,
    sessions: Arena<Session>,
    /// Sessions that have said hello.
    greeted: usize,
    tokens: BTreeMap<TokenHash, sessions::Token>,
    /// Who was removed lately, with which generation: a registration that was under way meanwhile comes to nothing.
    removed: BTreeMap<Address, (Generation, Moment)>,
    /// Sources for which a key frame is wanted.
    wanting: BTreeSet<Key<Source>>,
    /// Subscriptions that lost their group, and wanted a key frame for that too short a time ago.
    lost: BTreeSet<Key<Subscription>>,
    /// Layers of pictures that nobody takes and that are not paused, by since when.
    untaken: BTreeSet<(Moment, Key<Source>)>,
    /// Sources of sound with an open group.
    sounding: BTreeSet<Key<Source>>,
    swept_at: Moment,
    ingresses_begun: u64,
    groups_begun: u64,
    totals: Totals,
    wakes: Vec<Waker>,
}

/// Between looks at what only ages: unspent tokens, caches of idle sources.
const SWEEP_INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);

impl Hub {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Default::default() }
    }

    /// The limits it goes by.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Moves the wakers of the tasks that have something to do now to `wakes`. Both lists keep their memory: a crowd is woken with each record.
    pub fn take_wakes(&mut self, wakes: &mut Vec<Waker>) {
        wakes.append(&mut self.wakes);
    }

    /// Whether something waits for the next [`tick`](Self::tick) closely: sound that may fall silent, a request held back.
    pub fn is_ticking(&self) -> bool {
        !self.sounding.is_empty() || !self.wanting.is_empty()
    }

    /// Does what time alone brings about.
    pub fn tick(&mut self, now: Moment) {
        for key in self.sounding.iter().copied().collect::<Vec<_>>() {
            self.end_silent_group(key, now);
        }
        for key in self.wanting.iter().copied().collect::<Vec<_>>() {
            self.ask_key_frame(key, now);
        }
        for key in self.lost.iter().copied().collect::<Vec<_>>() {
            self.ask_after_loss(key, now);
        }
        self.pause_untaken(now);
        if now.since(self.swept_at) >= SWEEP_INTERVAL {
            self.swept_at = now;
            let life = self.limits.token_life;
            self.tokens.retain(|_, token| now.since(token.issued_at) < life);
            self.removed.retain(|_, (_, at)| now.since(*at) < self.limits.removed_memory);
            for key in self.sources.keys() {
                self.release(key, now);
            }
            self.report_changes(now);
        }
    }

    /// Asks the publisher for a key frame if one is wanted, none was asked for lately and there is a session to ask on.
    fn ask_key_frame(&mut self, key: Key<Source>, now: Moment) {
        let Some(source) = self.sources.get_mut(key) else {
            self.wanting.remove(&key);
            return;
        };
        if source.listeners.is_empty() {
            source.key_frames.forget();
        }
        if !source.key_frames.is_wanted() {
            self.wanting.remove(&key);
            return;
        }
        self.wanting.insert(key);
        let publisher = self.participants.get(&(source.meeting, source.publisher));
        let session = publisher.and_then(|publisher| publisher.sessions.last()).and_then(|session| self.sessions.get_mut(*session));
        let Some(session) = session else { return };
        if let Some(need) = source.key_frames.take(now, self.limits.key_frame_interval, self.limits.key_frame_interval_max) {
            self.totals.key_frame_requests[need as usize] += 1;
            session.ask_key_frame(source.frame_id, &mut self.wakes);
        }
    }

    fn want_key_frame(&mut self, key: Key<Source>, need: Need, now: Moment) {
        if let Some(source) = self.sources.get_mut(key) {
            source.key_frames.want(need);
            self.ask_key_frame(key, now);
        }
    }

    /// Wants a key frame for a subscription that lost its group and whose subscriber takes bytes: now, or when it may again. Nothing if one
    /// has begun meanwhile.
    fn ask_after_loss(&mut self, key: Key<Subscription>, now: Moment) {
        let waits = |subscription: &&mut Subscription| {
            subscription.following == Following::Waiting && subscription.session.is_some() && subscription.parked.is_none()
        };
        let Some(subscription) = self.subscriptions.get_mut(key).filter(waits) else {
            self.lost.remove(&key);
            return;
        };
        if subscription.losses.admit(now, self.limits.lost_key_frame_interval, self.limits.lost_key_frame_interval_max) {
            self.lost.remove(&key);
            let source = subscription.source;
            self.want_key_frame(source, Need::Lost, now);
        } else {
            self.lost.insert(key);
        }
    }

    /// Closes `session` from here: its task learns it as its last control message.
    fn close(&mut self, key: Key<Session>, code: Code, reason: &str) {
        if let Some(session) = self.sessions.get_mut(key)
            && !session.is_closing()
        {
            session.close = Some((code, reason.to_owned()));
            self.wakes.extend(session.control_waker.take());
        }
    }

    /// Ends every cursor of a subscription; what was not handed over is `closed`.
    fn end_cursors(&mut self, key: Key<Subscription>, code: Code) {
        let Some(subscription) = self.subscriptions.get_mut(key) else { return };
        let mut source = self.sources.get_mut(subscription.source);
        let mut session = subscription.session.and_then(|session| self.sessions.get_mut(session));
        while let Some(cursor) = subscription.cursors.pop() {
            let fates = &mut subscription.fates;
            if end_cursor(fates, cursor, source.as_deref_mut(), session.as_deref_mut(), Fate::Closed, End::Reset(code))
                && let Some(session) = session.as_deref_mut()
            {
                session.wake(&mut self.wakes);
            }
        }
        subscription.following = Following::Waiting;
        if let Some(parked) = subscription.parked.take()
            && let Some(session) = session.as_deref_mut()
        {
            session.ending.push((parked.slot, End::Reset(code)));
            session.wake(&mut self.wakes);
        }
        if let Some(session) = session {
            session.ready.retain(|ready| *ready != key);
            session.blocked.retain(|blocked| *blocked != key);
            session.reports.retain(|reports| *reports != key);
        }
        subscription.to_report = None;
        (subscription.is_ready, subscription.is_blocked) = (false, false);
    }

    /// Takes a subscription out of everything that knows it.
    fn remove_subscription(&mut self, key: Key<Subscription>, code: Code, now: Moment) {
        self.end_cursors(key, code);
        self.change_taker(self.taken(key), None, now);
        let Some(subscription) = self.subscriptions.remove(key) else { return };
        self.totals.fates.merge(&subscription.fates);
        self.totals.bytes_sent += subscription.bytes_sent;
        if let Some(participant) = self.participants.get_mut(&(subscription.meeting, subscription.participant)) {
            participant.subscriptions.remove(&subscription.media_stream);
        }
        for source in self.sources_of(subscription.meeting, subscription.media_stream) {
            if let Some(source) = self.sources.get_mut(source) {
                source.listeners.retain(|listener| *listener != key);
            }
        }
    }

    fn sources_of(&self, meeting: MeetingId, media_stream: StreamId) -> Vec<Key<Source>> {
        self.published(meeting, media_stream).map(|published| published.sources.clone()).unwrap_or_default()
    }

    fn published(&self, meeting: MeetingId, media_stream: StreamId) -> Option<&Published> {
        let publisher = self.media_streams.get(&(meeting, media_stream))?;
        self.participants.get(&(meeting, *publisher))?.streams.get(&media_stream)
    }

    fn release(&mut self, key: Key<Source>, now: Moment) {
        let Some(source) = self.sources.get_mut(key) else { return };
        release(source, &self.subscriptions, key, now, &self.limits);
    }
}

/// See [`Source::release`].
fn release(source: &mut Source, subscriptions: &Arena<Subscription>, key: Key<Source>, now: Moment, limits: &Limits) {
    let listeners = std::mem::take(&mut source.listeners);
    source.release(now, limits, |group| {
        let readers =
            listeners.iter().filter_map(|listener| subscriptions.get(*listener)).filter(|subscription| subscription.source == key);
        let cursors = readers.flat_map(|reader| &reader.cursors).filter(|cursor| cursor.group == group);
        cursors.map(|cursor| cursor.position.record).min()
    });
    source.listeners = listeners;
}

/// Counts what a cursor leaves undone as `fate`, takes it out of its group and its session's sums, and has its QUIC stream ended if it
/// has one: then the answer is `true`, and the session's task has something to do.
fn end_cursor(
    fates: &mut Fates,
    mut cursor: Cursor,
    source: Option<&mut Source>,
    session: Option<&mut Session>,
    fate: Fate,
    end: End,
) -> bool {
    if let Some(group) = source.and_then(|source| source.group_mut(cursor.group)) {
        fates.add(fate, cursor.rest(group));
        group.readers -= 1;
    }
    let Some(session) = session else { return false };
    session.unblock(&mut cursor);
    session.ending.extend(cursor.slot.map(|slot| (slot, end)));
    cursor.slot.is_some()
}
