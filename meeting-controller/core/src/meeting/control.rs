//! What is asked of a meeting from outside of it: who is there, who must go and stay out, who should be quiet.

use common_core::authority::{Action, Actor, Denied, Relation, permit};
use common_core::{Code, ParticipantId};

use super::Meeting;
use super::join::{FIRST, PendingJoin};
use crate::credentials::{Memory, TokenHash};
use crate::handler::{HandlerCommand, Purpose};
use crate::message::{Message, MuteWish, Refusal, SessionKey};
use crate::output::Attendance;
use crate::roster::{Member, Presence};

impl Meeting {
    /// Everyone, in the order of joins, lost ones included.
    pub fn attendances(&self) -> Vec<Attendance> {
        self.roster.by_arrival().into_iter().map(|member| self.attendance_of(member)).collect()
    }

    /// One of them.
    pub fn attendance(&self, participant_id: ParticipantId) -> Option<Attendance> {
        self.roster.find(participant_id).map(|member| self.attendance_of(member))
    }

    /// Who would come back with this resume token.
    pub fn attendance_by_token(&self, hash: TokenHash) -> Option<Attendance> {
        self.resume.find(hash).and_then(|participant_id| self.attendance(participant_id))
    }

    /// What the handler must be told when this life of the meeting broke off and nobody can be told anything by the meeting itself any more:
    /// whoever it has registered, or was about to, is gone.
    pub fn withdrawals(&self) -> Vec<HandlerCommand> {
        let gone = |participant_id, generation| {
            let (code, reason) = (Code::InternalError, "the meeting broke off");
            HandlerCommand::Remove { participant_id, generation, code, reason }
        };
        let members = self.roster.by_arrival().into_iter().map(|member| gone(member.participant_id, member.generation));
        let coming = self.joins.values().filter_map(PendingJoin::newcomer).map(|participant_id| gone(participant_id, FIRST));
        members.chain(coming).collect()
    }

    /// Ends this life of the meeting, and keeps what must be known in the next.
    pub fn into_memory(mut self) -> Memory {
        for pending in std::mem::take(&mut self.joins).into_values() {
            self.give_back(&pending);
        }
        self.memory
    }

    pub(super) fn attendance_of(&self, member: &Member) -> Attendance {
        Attendance {
            participant: self.describe(member),
            subject: member.subject.clone(),
            is_connected: matches!(member.presence, Presence::On(_)),
        }
    }

    pub(super) fn refuse_subjects(&mut self, subjects: Vec<String>) {
        for subject in subjects {
            self.refuse_subject(&subject, Denied::REMOVED.reason);
            let here: Vec<ParticipantId> = self
                .roster
                .by_arrival()
                .into_iter()
                .filter(|member| member.subject == subject)
                .map(|member| member.participant_id)
                .collect();
            for participant_id in here {
                self.remove(participant_id, Denied::REMOVED.reason, Purpose::Quiet);
            }
        }
    }

    /// A subject stays out, and whoever of it is on the way in is turned back.
    pub(super) fn refuse_subject(&mut self, subject: &str, why: &'static str) {
        self.memory.refused.add(subject);
        let coming: Vec<SessionKey> =
            self.joins.iter().filter(|(_, pending)| pending.subject() == Some(subject)).map(|(session, _)| *session).collect();
        for session in coming {
            if let Some(pending) = self.joins.remove(&session) {
                self.refuse_join(session, pending.request_id(), Refusal::new(Code::Forbidden, why));
                self.abandon_join(pending);
            }
        }
    }

    pub(super) fn ask_to_mute(&mut self, participant_id: ParticipantId, wish: MuteWish) {
        let relation = self.roster.find(participant_id).map_or(Relation::OtherMeeting, |_| Relation::SameMeeting);
        if permit(Actor::Application, Action::AskToMute, relation).is_ok()
            && let Some(session) = self.roster.session_of(participant_id)
        {
            self.send(vec![session], 0, Message::MuteRequest(wish));
        }
    }
}
