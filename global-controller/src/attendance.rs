//! Who is in a meeting: asks the controllers that have it, which is one unless the meeting moved.
//!
//! In: a stored meeting. Out: what its controllers say, put together. A controller that does not answer makes the whole answer unknown, except
//! where another one already knows.

use common_core::{NodeId, ParticipantId};
use futures_util::future::join_all;
use proto::cluster::{CheckResume, KickFromMeeting, MeetingParticipant, RequestMute};
use thiserror::Error;

use crate::cluster::{Assigned, CallError, Cluster, Controller};
use crate::store::Meeting;

/// Why it is not known who is in a meeting.
#[derive(Debug, Error)]
pub enum AttendanceError {
    /// A controller that may have someone in it does not answer.
    #[error("the meeting's controller does not answer; try again in a moment")]
    NoAnswer(#[from] CallError),
    /// This process has just started and has not heard of the meeting's controller yet.
    #[error("the cluster is coming back; try again in a moment")]
    Unsettled,
}

/// What a participant is asked to turn off.
#[derive(Clone, Debug)]
pub struct Mute {
    /// Whether the microphone.
    pub microphone: bool,
    /// Whether the camera.
    pub camera: bool,
    /// For the participant to read; empty: none.
    pub reason: String,
}

/// Everybody in a meeting, in the order of their joins.
pub async fn participants(cluster: &Cluster, meeting: &Meeting) -> Result<Vec<MeetingParticipant>, AttendanceError> {
    let mut all = Vec::new();
    let id = meeting.id;
    for (_, answer) in ask(cluster, meeting, |controller| async move { cluster.list_participants(&controller, id).await }).await? {
        all.extend(answer?.unwrap_or_default());
    }
    all.sort_by_key(|one| one.participant.as_ref().map(|participant| participant.joined_at));
    Ok(all)
}

/// Removes a participant and everybody else of its subject; returns the ids of those who were removed.
pub async fn kick(cluster: &Cluster, meeting: &Meeting, participant: ParticipantId, subject: &str) -> Result<Vec<String>, AttendanceError> {
    let message =
        KickFromMeeting { meeting_id: meeting.id.to_string(), participant_id: participant.to_string(), subject: subject.to_owned() };
    let mut removed = Vec::new();
    for (_, answer) in ask(cluster, meeting, |controller| {
        let message = message.clone();
        async move { cluster.kick(&controller, message).await }
    })
    .await?
    {
        removed.extend(answer?.map(|kicked| kicked.participant_ids).unwrap_or_default());
    }
    Ok(removed)
}

/// Asks a participant to turn something off; who it was, or `None`: there is none of that id.
pub async fn mute(
    cluster: &Cluster,
    meeting: &Meeting,
    participant: ParticipantId,
    mute: Mute,
) -> Result<Option<MeetingParticipant>, AttendanceError> {
    let Mute { microphone, camera, reason } = mute;
    let message = RequestMute { meeting_id: meeting.id.to_string(), participant_id: participant.to_string(), microphone, camera, reason };
    let asked = ask(cluster, meeting, |controller| {
        let message = message.clone();
        async move { cluster.request_mute(&controller, message).await }
    })
    .await?;
    Ok(first(asked)?.map(|(_, participant)| participant))
}

/// Who comes back with a resume token, by the token's SHA-256, and the controller that knows it.
pub async fn check_resume(
    cluster: &Cluster,
    meeting: &Meeting,
    token_hash: Vec<u8>,
) -> Result<Option<(Controller, MeetingParticipant)>, AttendanceError> {
    let message = CheckResume { meeting_id: meeting.id.to_string(), token_hash: token_hash.into() };
    let asked = ask(cluster, meeting, |controller| {
        let message = message.clone();
        async move { cluster.check_resume(&controller, message).await }
    });
    first(asked.await?)
}

type Answers<T> = Vec<(Controller, Result<Option<T>, CallError>)>;

/// Asks all at once.
async fn ask<T, F: Future<Output = Result<Option<T>, CallError>>>(
    cluster: &Cluster,
    meeting: &Meeting,
    call: impl Fn(NodeId) -> F,
) -> Result<Answers<T>, AttendanceError> {
    let asked = controllers(cluster, meeting)?.into_iter().map(|controller| {
        let answer = call(controller.id.clone());
        async move { (controller, answer.await) }
    });
    Ok(join_all(asked).await)
}

/// Whoever knows counts; whoever does not answer, only if nobody does.
fn first<T>(answers: Answers<T>) -> Result<Option<(Controller, T)>, AttendanceError> {
    let mut failed = None;
    for (controller, answer) in answers {
        match answer {
            Ok(Some(known)) => return Ok(Some((controller, known))),
            Ok(None) => {}
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(None), |error| Err(error.into()))
}

/// The controllers that say that they run the meeting, and the one to which new joins go: someone may have come to it since its last heartbeat.
fn controllers(cluster: &Cluster, meeting: &Meeting) -> Result<Vec<Controller>, AttendanceError> {
    let mut controllers = cluster.controllers_of(meeting.id);
    match cluster.assigned(meeting.id, &meeting.assignment.controller, meeting.assignment.start_number) {
        Assigned::Live(assigned) | Assigned::Forgetful(assigned) => {
            if !controllers.iter().any(|known| known.id == assigned.id) {
                controllers.push(assigned);
            }
        }
        Assigned::Unsettled => return Err(AttendanceError::Unsettled),
        Assigned::Gone => {}
    }
    Ok(controllers)
}
