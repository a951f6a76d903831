//! Which layers of pictures somebody takes: a publisher is told to pause what nobody does, and to go on at once with the first taker
//! (DESIGN section 5).
//!
//! In: subscriptions whose delivery begins and ends, publishers' sessions, the time. Out: words for publishers. Never drops a record: whoever does
//! not listen is forwarded as ever. Sound is never paused: it costs little, and a word lost at its beginning is lost for good.
//!
//! A subscription takes one layer, and takes it while its subscriber has a media session.

use common_core::{Moment, StreamId};

use super::{Address, Hub};
use crate::arena::Key;
use crate::source::Source;
use crate::subscription::Subscription;

/// Who takes a layer, and what its publisher knows of that.
#[derive(Debug, Default)]
pub(crate) struct Taking {
    /// Subscriptions.
    takers: usize,
    /// Since when there are none, until the publisher is told.
    untaken_since: Option<Moment>,
    /// Whether the publisher was told to pause.
    is_paused: bool,
    /// When it was last told to go on.
    pub(super) resumed_at: Option<Moment>,
}

impl Hub {
    /// The layer that a subscription takes now, if it takes one.
    pub(super) fn taken(&self, key: Key<Subscription>) -> Option<Key<Source>> {
        self.subscriptions.get(key).filter(|subscription| subscription.session.is_some()).map(|subscription| subscription.source)
    }

    /// A subscription takes another layer than before, or none.
    pub(super) fn change_taker(&mut self, before: Option<Key<Source>>, after: Option<Key<Source>>, now: Moment) {
        if before == after {
            return;
        }
        if let Some(source) = after.and_then(|key| self.sources.get_mut(key)) {
            source.taking.takers += 1;
        }
        if let Some(source) = before.and_then(|key| self.sources.get_mut(key)) {
            source.taking.takers -= 1;
        }
        for key in [after, before].into_iter().flatten() {
            self.mind_takers(key, now);
        }
    }

    /// What follows from whether a layer has takers. A layer that has none counts as untaken from now on, unless it did before.
    pub(super) fn mind_takers(&mut self, key: Key<Source>, now: Moment) {
        let Some(source) = self.sources.get_mut(key).filter(|source| !source.is_audio) else { return };
        let taking = &mut source.taking;
        if taking.takers == 0 {
            if taking.untaken_since.is_none() && !taking.is_paused {
                taking.untaken_since = Some(now);
                self.untaken.insert((now, key));
            }
            return;
        }
        if let Some(since) = taking.untaken_since.take() {
            self.untaken.remove(&(since, key));
        }
        if std::mem::take(&mut taking.is_paused) {
            taking.resumed_at = Some(now);
            let (publisher, layer) = (source.address(), source.frame_id);
            self.tell_layer(publisher, layer, false);
        }
    }

    /// Another session of its publisher is spoken on, whose client may know nothing of a pause or may keep to one: it goes on, and is told to pause
    /// again when that is due from now on.
    pub(super) fn resume_for_session(&mut self, key: Key<Source>, now: Moment) {
        let Some(source) = self.sources.get_mut(key) else { return };
        let (since, was_paused) = (source.taking.untaken_since.take(), std::mem::take(&mut source.taking.is_paused));
        let (publisher, layer) = (source.address(), source.frame_id);
        if let Some(since) = since {
            self.untaken.remove(&(since, key));
        }
        if was_paused {
            self.tell_layer(publisher, layer, false);
        }
        self.mind_takers(key, now);
    }

    /// A source that is no more. If it comes again it is another, which nobody has paused; so its publisher is told.
    pub(super) fn forget_takers(&mut self, key: Key<Source>, source: &Source) {
        if let Some(since) = source.taking.untaken_since {
            self.untaken.remove(&(since, key));
        }
        if source.taking.is_paused {
            self.tell_layer(source.address(), source.frame_id, false);
        }
    }

    /// Tells the publishers of layers that nobody has taken for long enough. Who has no session is told on the next one, if it is so then.
    pub(super) fn pause_untaken(&mut self, now: Moment) {
        while let Some((since, key)) = self.untaken.first().copied()
            && now.since(since) >= self.limits.pause_untaken_after
        {
            self.untaken.pop_first();
            let Some(source) = self.sources.get_mut(key) else { continue };
            source.taking.untaken_since = None;
            let (publisher, layer) = (source.address(), source.frame_id);
            source.taking.is_paused = self.participants.get(&publisher).is_some_and(|publisher| !publisher.sessions.is_empty());
            if source.taking.is_paused {
                self.tell_layer(publisher, layer, true);
            }
        }
    }

    /// Has a publisher told how it stands with a layer, unless it was to be told the opposite and has not heard that yet.
    fn tell_layer(&mut self, publisher: Address, layer: StreamId, is_paused: bool) {
        let session = self.participants.get(&publisher).and_then(|publisher| publisher.sessions.last());
        let Some(session) = session.and_then(|session| self.sessions.get_mut(*session)).filter(|session| !session.is_closing()) else {
            return;
        };
        if let Some(untold) = session.layers.iter().position(|(untold, _)| *untold == layer) {
            session.layers.remove(untold);
            return;
        }
        session.layers.push_back((layer, is_paused));
        self.wakes.extend(session.control_waker.take());
    }
}
