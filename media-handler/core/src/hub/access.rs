//! What a session may do here: open, send under a frame id, ask for a key frame.
//!
//! Everything is looked up in the session's own meeting, so that another meeting's ids and ids of nobody are the same from here on.

use common_core::authority::{Action, Actor, Denied, Relation, permit};
use common_core::{Code, MeetingId, ParticipantId, StreamId};

use super::{Address, Hub};
use crate::arena::Key;
use crate::hub::Refusal;
use crate::session::Session;
use crate::source::Source;
use crate::subscription::Subscription;

impl Hub {
    /// Whose media session it becomes; `token` is whom the connection token was made for, if it is good.
    pub(super) fn may_open(&self, token: Option<Address>) -> Result<Address, Denied> {
        let address = token.filter(|address| self.participants.contains_key(address));
        let (actor, relation) = address.map_or((Actor::Stranger, Relation::OtherMeeting), |_| (Actor::MEDIA, Relation::Own));
        permit(actor, Action::OpenMediaSession, relation)?;
        address.ok_or(Denied::NO_CONNECTION)
    }

    /// Where records of this frame id go. What is not there, or not yet, or in another meeting, is held.
    pub(super) fn may_send(&self, session: Key<Session>, frame_id: StreamId) -> Result<Key<Source>, Refusal> {
        let sender = self.sessions.get(session).and_then(|session| session.participant);
        let actor = sender.map_or(Actor::Stranger, |_| Actor::MEDIA);
        let relation = sender.map_or(Relation::OtherMeeting, |(meeting, who)| Relation::to(who, self.frame_owner(meeting, frame_id)));
        permit(actor, Action::SendMedia, relation).map_err(|denied| match denied.code {
            Code::NotFound => Refusal::Unknown,
            code => Refusal::Stop(code),
        })?;
        sender.and_then(|(meeting, _)| self.frame_ids.get(&(meeting, frame_id))).copied().ok_or(Refusal::Unknown)
    }

    /// The subscription that a key frame is asked for.
    pub(super) fn may_request_key_frame(&self, session: Key<Session>, media_stream: StreamId) -> Result<Key<Subscription>, Denied> {
        let address = self.sessions.get(session).and_then(|session| session.participant);
        let participant = address.and_then(|address| self.participants.get(&address));
        let own = participant.and_then(|participant| participant.subscriptions.get(&media_stream)).copied();
        let is_here = address.is_some_and(|(meeting, _)| self.media_streams.contains_key(&(meeting, media_stream)));
        let relation = match (own, is_here) {
            (Some(_), _) => Relation::Own,
            (None, true) => Relation::SameMeeting,
            (None, false) => Relation::OtherMeeting,
        };
        permit(participant.map_or(Actor::Stranger, |_| Actor::MEDIA), Action::RequestKeyFrame, relation)?;
        own.ok_or(Denied::NO_SUBSCRIPTION)
    }

    /// Who publishes under a frame id in a meeting.
    pub(super) fn frame_owner(&self, meeting: MeetingId, frame_id: StreamId) -> Option<ParticipantId> {
        let source = self.frame_ids.get(&(meeting, frame_id))?;
        self.sources.get(*source).map(|source| source.publisher)
    }
}
