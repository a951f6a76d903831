//! Sessions: they open, say hello with a token, are told things, and end.

use std::task::{Context, Poll};

use common_core::authority::Denied;
use common_core::{Code, MeetingId, Moment, ParticipantId, StreamId};
use thiserror::Error;

use super::{Address, Hub};
use crate::arena::Key;
use crate::key_frames::Need;
use crate::pace::Pace;
use crate::session::{Control, Session};
use crate::subscription::{Cursor, Following, Subscription};

/// SHA-256 of a connection token: the token itself is not kept.
pub type TokenHash = [u8; 32];

/// An unspent connection token.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) address: Address,
    pub(super) issued_at: Moment,
}

/// Why a hello is refused. All causes that lie in the token look alike to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HelloError {
    /// The token is unknown, spent, past its time, or its participant is gone.
    #[error("{}", .0.reason)]
    Denied(#[from] Denied),
    /// This session has said hello before.
    #[error("hello is said once")]
    Twice,
    /// This handler is full. The token is not spent.
    #[error("this handler serves no more sessions")]
    Full,
}

impl Hub {
    /// Lets `address` say hello once with the token of `hash`, within its life. Its oldest unspent token makes room.
    pub fn issue_token(&mut self, now: Moment, address: (MeetingId, ParticipantId), hash: TokenHash) {
        let mut own: Vec<(Moment, TokenHash)> =
            self.tokens.iter().filter(|(_, token)| token.address == address).map(|(hash, token)| (token.issued_at, *hash)).collect();
        own.sort_unstable();
        let room = self.limits.tokens_per_participant_max.saturating_sub(1);
        for (_, old) in own.iter().take(own.len().saturating_sub(room)) {
            self.tokens.remove(old);
        }
        self.tokens.insert(hash, Token { address, issued_at: now });
    }

    /// A session of someone who has not said hello yet.
    pub fn open_session(&mut self) -> Key<Session> {
        self.sessions.insert(Session::default())
    }

    /// Spends a token: from now on the session is that participant's, and the participant's deliveries go to it.
    pub fn hello(&mut self, now: Moment, key: Key<Session>, hash: &TokenHash) -> Result<(MeetingId, ParticipantId), HelloError> {
        if self.sessions.get(key).is_none_or(|session| session.participant.is_some()) {
            return Err(HelloError::Twice);
        }
        if self.greeted >= self.limits.sessions_max {
            return Err(HelloError::Full);
        }
        let token = self.tokens.remove(hash).filter(|token| now.since(token.issued_at) < self.limits.token_life);
        let address = self.may_open(token.map(|token| token.address))?;
        let participant = self.participants.get_mut(&address).ok_or(Denied::NO_CONNECTION)?;
        participant.sessions.push(key);
        let surplus = participant.sessions.len().saturating_sub(self.limits.sessions_per_participant_max);
        let oldest: Vec<_> = participant.sessions.drain(..surplus).collect();
        let sources: Vec<_> = participant.streams.values().flat_map(|published| published.sources.clone()).collect();
        for session in oldest {
            self.close(session, Code::Moved, "a newer session of this participant took over");
        }
        if let Some(session) = self.sessions.get_mut(key) {
            session.participant = Some(address);
            session.sending = Some(Pace::of_bitrate(self.limits.egress_bitrate_max));
            session.stops = Some(Pace::new(self.limits.stops_per_second_max, self.limits.stops_burst));
            self.greeted += 1;
        }
        self.deliver_to(address, Some(key), now);
        for source in sources {
            self.resume_for_session(source, now);
            // A request may have waited for someone to ask.
            self.ask_key_frame(source, now);
        }
        Ok(address)
    }

    /// The session is over, from whichever side. Deliveries go back to the participant's session before it, if it has one.
    pub fn end_session(&mut self, now: Moment, key: Key<Session>) {
        let Some(session) = self.sessions.get(key) else { return };
        if let Some(address) = session.participant
            && let Some(participant) = self.participants.get_mut(&address)
        {
            let was_newest = participant.sessions.last() == Some(&key);
            participant.sessions.retain(|session| *session != key);
            if was_newest {
                let before = participant.sessions.last().copied();
                let sources: Vec<_> = participant.streams.values().flat_map(|published| published.sources.clone()).collect();
                self.deliver_to(address, before, now);
                for source in sources.into_iter().filter(|_| before.is_some()) {
                    self.resume_for_session(source, now);
                }
            }
        }
        if self.sessions.remove(key).is_some_and(|session| session.participant.is_some()) {
            self.greeted -= 1;
        }
    }

    /// What is to be said or done on this session next.
    pub fn poll_control(&mut self, key: Key<Session>, context: &Context<'_>) -> Poll<Control> {
        let Some(session) = self.sessions.get_mut(key) else { return Poll::Ready(Control::Close(Code::Normal, String::new())) };
        if let Some((code, reason)) = &session.close {
            let is_told = std::mem::replace(&mut session.is_close_told, true);
            return if is_told { Poll::Pending } else { Poll::Ready(Control::Close(*code, reason.clone())) };
        }
        // Who goes on begins with a key frame, also where it was asked for one too.
        if let Some((layer, is_paused)) = session.layers.pop_front() {
            self.totals.layer_controls[usize::from(is_paused)] += 1;
            return Poll::Ready(Control::Layer { layer, is_paused });
        }
        if let Some(layer) = session.key_frames.pop_front() {
            return Poll::Ready(Control::KeyFrame(layer));
        }
        while let Some(subscription) = self.sessions.get_mut(key).and_then(|session| session.reports.pop_front()) {
            if let Some(report) = self.take_report(subscription) {
                return Poll::Ready(Control::Report(Box::new(report)));
            }
        }
        if let Some(session) = self.sessions.get_mut(key) {
            session.control_waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// The same before the hello, when there is nothing to say yet: resolves once the session is to be closed.
    pub fn poll_close(&mut self, key: Key<Session>, context: &Context<'_>) -> Poll<(Code, String)> {
        let Some(session) = self.sessions.get_mut(key) else { return Poll::Ready((Code::Normal, String::new())) };
        if let Some((code, reason)) = &session.close {
            return Poll::Ready((*code, reason.clone()));
        }
        session.control_waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// A subscriber asks for a key frame of a media stream.
    pub fn request_key_frame(&mut self, now: Moment, key: Key<Session>, media_stream: StreamId) -> Result<(), Denied> {
        let subscription = self.may_request_key_frame(key, media_stream)?;
        if let Some(subscription) = self.subscriptions.get(subscription).filter(|subscription| !subscription.is_audio) {
            self.want_key_frame(subscription.source, Need::Asked, now);
        }
        Ok(())
    }

    /// Closes every session, as when the process ends.
    pub fn close_all(&mut self, code: Code, reason: &str) {
        for key in self.sessions.keys() {
            self.close(key, code, reason);
        }
    }

    /// Sessions that stand, hello said or not.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Sessions that have said hello.
    pub fn greeted_count(&self) -> usize {
        self.greeted
    }

    fn deliver_to(&mut self, address: Address, session: Option<Key<Session>>, now: Moment) {
        let Some(participant) = self.participants.get(&address) else { return };
        for key in participant.subscriptions.values().copied().collect::<Vec<_>>() {
            self.end_cursors(key, Code::Moved);
            let before = self.taken(key);
            if let Some(subscription) = self.subscriptions.get_mut(key) {
                subscription.session = session;
            }
            self.change_taker(before, self.taken(key), now);
            self.start(key, now);
        }
    }

    /// Starts delivering a subscription as for a joiner: a picture at the cached group or the next key frame, sound at the
    /// next record.
    pub(super) fn start(&mut self, key: Key<Subscription>, now: Moment) {
        let Some(subscription) = self.subscriptions.get_mut(key) else { return };
        let Some(session) = subscription.session.and_then(|session| self.sessions.get_mut(session)) else { return };
        let Some(source) = self.sources.get_mut(subscription.source) else { return };
        subscription.burst_until = Some(now + self.limits.burst);
        if subscription.is_audio {
            // The next record makes a cursor, in this group or a new one.
            subscription.following =
                source.groups.back().filter(|group| !group.closed).map_or(Following::Waiting, |group| Following::Group(group.number));
            return;
        }
        let Some(number) = source.join_group(now, &self.limits).map(|group| group.number) else {
            let source = subscription.source;
            self.want_key_frame(source, Need::Start, now);
            return;
        };
        if let Some(group) = source.group_mut(number) {
            group.readers += 1;
        }
        subscription.following = Following::Group(number);
        subscription.cursors.push(Cursor::new(number, 0, now));
        subscription.is_ready = true;
        session.ready.push(key);
        session.wake(&mut self.wakes);
    }
}
