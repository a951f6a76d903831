//! What anyone may make the hub hold: room for media streams and subscriptions, records begun and not finished, what a slow subscriber
//! pins. The bounds are in [`Limits`](crate::Limits), with their reasons.

use std::collections::BTreeSet;

use common_core::media::MediaStream;
use common_core::{Code, MeetingId, Moment, StreamId};

use super::control::{Destination, RegisterError, RouteError};
use super::ingest::{Ingress, Refusal};
use super::{Address, Hub};
use crate::arena::Key;
use crate::session::Session;
use crate::subscription::Subscription;

impl Hub {
    /// There must be room for what `streams` add to what `address` publishes.
    pub(super) fn check_room(&self, address: Address, streams: &[MediaStream]) -> Result<(), RegisterError> {
        let sources = |streams: &mut dyn Iterator<Item = &MediaStream>| streams.map(|stream| stream.frame_ids().len()).sum::<usize>();
        let known = self.participants.get(&address);
        let before = known.map_or(0, |known| sources(&mut known.streams.values().map(|published| &published.stream)));
        let after = sources(&mut streams.iter());
        // Who publishes less is never refused, however full it is.
        if after > before && self.sources.len() - before + after > self.limits.sources_max {
            return Err(RegisterError::FullOfStreams);
        }
        Ok(())
    }

    /// There must be room for the subscriptions of `destinations` that are new.
    pub(super) fn check_routes(&self, meeting: MeetingId, media_stream: StreamId, destinations: &[Destination]) -> Result<(), RouteError> {
        let mut fresh = BTreeSet::new();
        for (id, _) in destinations {
            let Some(participant) = self.participants.get(&(meeting, *id)) else { continue };
            if participant.subscriptions.contains_key(&media_stream) {
                continue;
            }
            if participant.subscriptions.len() >= self.limits.subscriptions_per_participant_max {
                return Err(RouteError::TooMany(*id));
            }
            fresh.insert(*id);
        }
        if !fresh.is_empty() && self.subscriptions.len() + fresh.len() > self.limits.subscriptions_max {
            return Err(RouteError::Full);
        }
        Ok(())
    }

    /// Counts a record that begins on `ingress`, or that is over (0 bytes). Too many unfinished ones of a session stop the newest.
    pub(super) fn count_under_way(&mut self, ingress: &mut Ingress, payload_bytes: u32) -> Result<(), Refusal> {
        let Some(session) = self.sessions.get_mut(ingress.session) else { return Ok(()) };
        session.under_way = session.under_way.saturating_sub(ingress.under_way);
        ingress.under_way = u64::from(payload_bytes);
        session.under_way += ingress.under_way;
        if session.under_way > self.limits.under_way_bytes_max {
            session.under_way -= std::mem::take(&mut ingress.under_way);
            return Err(Refusal::Stop(Code::CapacityExceeded));
        }
        Ok(())
    }

    /// Takes from a subscriber that lags behind by too much what is largest, until it does not.
    pub(super) fn shed(&mut self, key: Key<Session>, now: Moment) {
        while let Some(session) = self.sessions.get(key).filter(|session| session.lag > self.limits.lag_bytes_max) {
            let blocked = session.blocked.iter().filter_map(|key| Some((*key, self.subscriptions.get(*key)?)));
            let cursors = blocked.flat_map(|(key, subscription)| {
                subscription.cursors.iter().filter(|cursor| cursor.blocked.is_some()).map(move |cursor| (cursor.lag, key, cursor.group))
            });
            let Some((_, subscription, group)) = cursors.max() else { return };
            self.expire(subscription, now, Some(group));
        }
    }

    /// Memory that what a session's subscriber lags behind takes, as it is counted.
    pub fn lag_bytes(&self, key: Key<Session>) -> u64 {
        self.sessions.get(key).map_or(0, |session| session.lag)
    }

    /// The same, counted anew over all its cursors that are blocked: for tests of the sum.
    pub fn lag_bytes_anew(&self, key: Key<Session>) -> u64 {
        let its = |subscription: &&Subscription| subscription.session == Some(key);
        let subscriptions = self.subscriptions.iter().map(|(_, subscription)| subscription).filter(its);
        let cursors = subscriptions.flat_map(|subscription| {
            let source = self.sources.get(subscription.source);
            subscription
                .cursors
                .iter()
                .filter(|cursor| cursor.blocked.is_some())
                .filter_map(move |cursor| Some(source?.group(cursor.group)?.cost_from(cursor.position.record)))
        });
        cursors.sum()
    }

    /// Payload of the records under way that a session sends.
    pub fn under_way_bytes(&self, key: Key<Session>) -> u64 {
        self.sessions.get(key).map_or(0, |session| session.under_way)
    }

    /// Memory that all groups take, with their bookkeeping.
    pub fn cost_held(&self) -> u64 {
        self.sources.iter().flat_map(|(_, source)| &source.groups).map(crate::group::Group::cost).sum()
    }

    /// The most groups that one layer has.
    pub fn groups_max(&self) -> usize {
        self.sources.iter().map(|(_, source)| source.groups.len()).max().unwrap_or(0)
    }

    /// Media streams' layers, and subscriptions.
    pub fn counts(&self) -> (usize, usize) {
        (self.sources.len(), self.subscriptions.len())
    }
}
