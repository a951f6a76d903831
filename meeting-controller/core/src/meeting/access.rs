//! Whether a request may be done: what it asks for, and how what it names is related to whoever asks.
//!
//! Everything is looked up in this meeting alone, so that another meeting's ids and ids of nobody are the same from here on.

use common_core::authority::{Actor, Denied, Relation, permit};
use common_core::{ParticipantId, StreamId};

use super::Meeting;
use crate::message::{Refusal, Request};
use crate::output::{Event, Output};

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Refusal::new(denied.code, denied.reason)
    }
}

impl Meeting {
    /// Whether this participant may have it done. A request that says nothing that is known here is refused later, for that.
    pub(super) fn may(&mut self, participant_id: ParticipantId, request: &Request) -> Result<(), Denied> {
        let Some(action) = request.action() else { return Ok(()) };
        let relation = self.relation(participant_id, request);
        let actor = self.roster.find(participant_id).map_or(Actor::Stranger, |member| member.role.into());
        permit(actor, action, relation).inspect_err(|denied| {
            let event = Event::Denied { participant_id, action, relation, code: denied.code };
            self.outputs.push_back(Output::Event(event));
        })
    }

    /// How what a request names is related to whoever makes it.
    fn relation(&self, who: ParticipantId, request: &Request) -> Relation {
        match request {
            // They name nobody: what they do, they do with their sender.
            Request::Publish(_) | Request::State(_) | Request::Leave | Request::Ping { .. } | Request::MediaServer { .. } => Relation::Own,
            Request::Chat { .. } => Relation::SameMeeting,
            Request::Unpublish(stream_id) => Relation::to(who, self.media.any(*stream_id).map(|it| it.participant_id)),
            Request::Subscribe(stream_id, _) => Relation::to(who, self.publisher(*stream_id)),
            Request::Unsubscribe(stream_id) => self.relation_of_subscription(who, *stream_id),
            Request::Quality(quality) => match self.publisher(quality.stream_id) {
                Some(publisher) if publisher == who => Relation::Own,
                _ => self.relation_of_subscription(who, quality.stream_id),
            },
            Request::Kick(target) | Request::Relay { target, .. } => {
                Relation::to(who, self.roster.find(*target).map(|member| member.participant_id))
            }
            Request::Invalid(_) => Relation::OtherMeeting,
        }
    }

    /// Of a media stream that others may take.
    fn publisher(&self, stream_id: StreamId) -> Option<ParticipantId> {
        self.media.live(stream_id).map(|media_stream| media_stream.participant_id)
    }

    fn relation_of_subscription(&self, who: ParticipantId, stream_id: StreamId) -> Relation {
        match self.publisher(stream_id) {
            None => Relation::OtherMeeting,
            Some(_) if self.media.subscription(stream_id, who).is_some() => Relation::Own,
            Some(_) => Relation::SameMeeting,
        }
    }
}
