//! What a global controller asks of a meeting that is awake.

use common_core::ParticipantId;
use meeting_controller_core::message::MuteWish;
use meeting_controller_core::{Attendance, Input, TokenHash};
use tokio::sync::oneshot;

use super::Actor;

/// A question or a command; a dropped sender means that the meeting was over.
pub(crate) enum Control {
    /// Who is there.
    List(oneshot::Sender<Vec<Attendance>>),
    /// These subjects are kept out, and removed where they are here.
    Refuse(Vec<String>, oneshot::Sender<()>),
    /// A participant's subject, or this one, is kept out and removed.
    Kick { participant_id: Option<ParticipantId>, subject: Option<String>, done: oneshot::Sender<Result<Kicked, KickError>> },
    /// A participant is asked to turn things off.
    AskToMute { participant_id: ParticipantId, wish: MuteWish, done: oneshot::Sender<Result<Attendance, MuteError>> },
    /// Everybody who is there is reported again.
    Retell(oneshot::Sender<()>),
    /// Who would come back with this token.
    CheckResume(TokenHash, oneshot::Sender<Option<Attendance>>),
}

/// What a kick did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kicked {
    pub participants: Vec<ParticipantId>,
    /// `None`: nobody was there, and nobody was named.
    pub subject: Option<String>,
}

/// Why nobody was kicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KickError {
    /// The two that were named are not one.
    #[error("the participant is of another subject")]
    OtherSubject,
}

/// Why nobody was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MuteError {
    /// Not here (any more).
    #[error("no such participant in this meeting")]
    Unknown,
    /// Its session is lost.
    #[error("this participant is reconnecting")]
    Lost,
}

impl Actor {
    pub(super) fn control(&mut self, control: Control) {
        // What is due is done before anyone looks.
        self.feed(Input::Tick);
        if self.ended.is_some() {
            return;
        }
        // Whoever asked may not wait any more; what was asked for is done all the same.
        match control {
            Control::List(done) => drop(done.send(self.meeting.attendances())),
            Control::Refuse(subjects, done) => {
                self.feed(Input::Refuse(subjects));
                let _ = done.send(());
            }
            Control::Kick { participant_id, subject, done } => drop(done.send(self.kick(participant_id, subject))),
            Control::AskToMute { participant_id, wish, done } => drop(done.send(self.ask_to_mute(participant_id, wish))),
            Control::Retell(done) => {
                for attendance in self.meeting.attendances() {
                    self.node.reports.note_again(self.meeting_id, &attendance);
                }
                let _ = done.send(());
            }
            Control::CheckResume(hash, done) => drop(done.send(self.meeting.attendance_by_token(hash))),
        }
    }

    fn kick(&mut self, participant_id: Option<ParticipantId>, subject: Option<String>) -> Result<Kicked, KickError> {
        let here = participant_id.and_then(|participant_id| self.meeting.attendance(participant_id)).map(|it| it.subject);
        if here.is_some() && subject.is_some() && here != subject {
            return Err(KickError::OtherSubject);
        }
        let Some(subject) = subject.or(here) else { return Ok(Kicked::default()) };
        let of_subject = self.meeting.attendances().into_iter().filter(|it| it.subject == subject);
        let participants: Vec<ParticipantId> = of_subject.map(|it| it.participant.participant_id).collect();
        tracing::info!(meeting = %self.meeting_id, removed = participants.len(), "a subject is kept out by the API");
        self.feed(Input::Refuse(vec![subject.clone()]));
        Ok(Kicked { participants, subject: Some(subject) })
    }

    fn ask_to_mute(&mut self, participant_id: ParticipantId, wish: MuteWish) -> Result<Attendance, MuteError> {
        let attendance = self.meeting.attendance(participant_id).ok_or(MuteError::Unknown)?;
        if !attendance.is_connected {
            return Err(MuteError::Lost);
        }
        self.feed(Input::AskToMute { participant_id, wish });
        Ok(attendance)
    }
}
