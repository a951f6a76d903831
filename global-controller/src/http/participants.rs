//! Who is in a meeting, from the server's side: list, mute by request, remove for good.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use common_core::ParticipantId;
use common_core::authority::{Action, Actor, Relation, permit};
use common_core::name::escape;
use global_controller_core::Scope;
use proto::cluster::MeetingParticipant;
use proto::v1;
use serde::{Deserialize, Serialize};
use tonic::Code;
use utoipa::ToSchema;

use super::body::Unread;
use super::caller::Caller;
use super::meetings::find_for;
use super::path::ApiPath;
use super::{ApiError, ErrorCode};
use crate::app::App;
use crate::attendance::{self, AttendanceError, Mute};
use crate::cluster::CallError;
use crate::store::Meeting;
use crate::timestamp::{now_millis, rfc3339};

/// Longest reason that a participant is shown, characters.
const REASON_CHARS_MAX: usize = 200;
/// Of an id that is repeated in a refusal, characters.
const ID_CHARS_MAX: usize = 64;

/// Somebody in a meeting.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Participant)]
pub struct ParticipantAnswer {
    /// Its id in this meeting; the same after a lost connection.
    #[schema(example = "7d444840-9dc0-11d1-b245-5ffdce74fad2", format = Uuid)]
    participant_id: String,
    /// What others see.
    #[schema(example = "Ana")]
    display_name: String,
    /// `host` or `attendee`.
    #[schema(example = "attendee")]
    role: String,
    /// Its account; absent for a guest.
    #[schema(nullable = false, example = "ana@example.com")]
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    /// When it came in.
    #[schema(example = "2025-01-16T12:00:10Z", format = DateTime)]
    joined_at: String,
    /// Whether its microphone is off.
    is_muted: bool,
    /// Whether its camera is on.
    is_video_on: bool,
    /// False: its connection is lost, and it may come back for a moment.
    is_connected: bool,
    /// What it sends.
    streams: Vec<StreamAnswer>,
}

/// What a participant sends.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MediaStream)]
struct StreamAnswer {
    /// Its id.
    #[schema(example = "9b2d3f0e-53a4-4c5e-8a2e-0e6f3a1d4b77", format = Uuid)]
    stream_id: String,
    /// `AUDIO`, `VIDEO_CAMERA` or `VIDEO_SCREEN`.
    #[schema(example = "VIDEO_CAMERA")]
    stream_type: &'static str,
    /// As the participant names it.
    #[schema(example = "VP9")]
    codec: String,
}

/// Who is in a meeting.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ParticipantList)]
pub struct ListAnswer {
    /// Of the meeting.
    #[schema(example = "550e8400-e29b-41d4-a716-446655440000", format = Uuid)]
    meeting_id: String,
    /// In the order of their joins.
    participants: Vec<ParticipantAnswer>,
    /// How many they are.
    #[schema(example = 1)]
    total: usize,
}

/// Who was removed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RemovedParticipants)]
pub struct RemoveAnswer {
    /// Of the meeting.
    #[schema(example = "550e8400-e29b-41d4-a716-446655440000", format = Uuid)]
    meeting_id: String,
    /// The participant, and whoever else was in the meeting by the same account.
    #[schema(example = json!(["7d444840-9dc0-11d1-b245-5ffdce74fad2"]))]
    removed: Vec<String>,
}

/// What a participant is asked to turn off: one of the two at least.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ChangeParticipant, example = json!({"is_muted": true, "reason": "Please mute while others speak"}))]
pub struct MuteBody {
    /// `true`: turn the microphone off. Only its owner turns it on.
    is_muted: Option<bool>,
    /// `false`: turn the camera off. Only its owner turns it on.
    is_video_on: Option<bool>,
    /// For the participant to read: at most 200 characters, none of them a control character.
    #[schema(max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    reason: Option<String>,
}

/// List participants
///
/// Everybody who is in the meeting now, also those whose connection was just lost and who may come back. Nobody is in a meeting that has ended.
#[utoipa::path(
    get, path = "/api/v1/meetings/{meeting_id}/participants", operation_id = "listParticipants", tag = "Participants",
    params(("meeting_id" = String, Path, description = "Id or code of the meeting.", example = "550e8400-e29b-41d4-a716-446655440000")),
    responses((status = 200, description = "Who is in the meeting.", body = ListAnswer)),
    security(("bearerAuth" = ["meetings:read"])),
)]
pub async fn list(State(app): State<Arc<App>>, caller: Caller, path: ApiPath<String>) -> Result<Json<ListAnswer>, ApiError> {
    caller.permit(&app, Scope::ReadMeetings)?;
    let meeting = find_for(&app, &caller, Action::ListParticipants, &path.read()?).await?;
    let participants: Vec<_> = present(&app, &meeting).await?.into_iter().filter_map(answer).collect();
    Ok(Json(ListAnswer { meeting_id: meeting.id.to_string(), total: participants.len(), participants }))
}

/// Remove a participant
///
/// Ends its sessions within a second and keeps its account out of this meeting for good, wherever the meeting goes on: later joins are refused with
/// `FORBIDDEN`. A guest is kept out as well as one can: its tokens are worth nothing any more, but by the link somebody new may come.
#[utoipa::path(
    delete, path = "/api/v1/meetings/{meeting_id}/participants/{participant_id}", operation_id = "removeParticipant", tag = "Participants",
    params(
        ("meeting_id" = String, Path, description = "Id or code of the meeting.", example = "550e8400-e29b-41d4-a716-446655440000"),
        ("participant_id" = String, Path, description = "Of the participant.", example = "7d444840-9dc0-11d1-b245-5ffdce74fad2"),
    ),
    responses((status = 200, description = "It is removed.", body = RemoveAnswer)),
    security(("bearerAuth" = ["participants:manage"])),
    extensions(("x-refusals" = json!([ErrorCode::NotFound]))),
)]
pub async fn remove(State(app): State<Arc<App>>, caller: Caller, path: ApiPath<(String, String)>) -> Result<Json<RemoveAnswer>, ApiError> {
    caller.permit(&app, Scope::ManageParticipants)?;
    let (asked, participant) = path.read()?;
    let meeting = find_for(&app, &caller, Action::Kick, &asked).await?;
    let id = participant_id(&participant)?;
    let present = present(&app, &meeting).await?;
    let found = among(present.into_iter().find(|one| has_id(one, id)), Action::Kick, &participant)?;
    // First what lasts: a controller that is told and dies would take the removal with it.
    app.store.refuse_subject(meeting.id, &found.subject, now_millis()).await?;
    let removed = attendance::kick(&app.cluster, &meeting, id, &found.subject).await?;
    tracing::info!(meeting = %meeting.id, participant = %id, "participant removed by the application");
    Ok(Json(RemoveAnswer { meeting_id: meeting.id.to_string(), removed }))
}

/// Mute a participant
///
/// Asks the participant's client to turn its microphone or camera off; nobody can turn them on for it. The answer is the participant as it was when it
/// was asked.
#[utoipa::path(
    patch, path = "/api/v1/meetings/{meeting_id}/participants/{participant_id}", operation_id = "muteParticipant", tag = "Participants",
    params(
        ("meeting_id" = String, Path, description = "Id or code of the meeting.", example = "550e8400-e29b-41d4-a716-446655440000"),
        ("participant_id" = String, Path, description = "Of the participant.", example = "7d444840-9dc0-11d1-b245-5ffdce74fad2"),
    ),
    request_body = MuteBody,
    responses((status = 202, description = "It is asked.", body = ParticipantAnswer)),
    security(("bearerAuth" = ["participants:manage"])),
    extensions(("x-refusals" = json!([ErrorCode::NotFound]))),
)]
pub async fn mute(
    State(app): State<Arc<App>>,
    caller: Caller,
    path: ApiPath<(String, String)>,
    body: Unread,
) -> Result<(StatusCode, Json<ParticipantAnswer>), ApiError> {
    caller.permit(&app, Scope::ManageParticipants)?;
    let (asked, participant) = path.read()?;
    let wish = wish(body.json(&app).await?)?;
    let meeting = find_for(&app, &caller, Action::AskToMute, &asked).await?;
    let id = participant_id(&participant)?;
    let found = match meeting.ended_at {
        Some(_) => None,
        None => attendance::mute(&app.cluster, &meeting, id, wish).await.map_err(not_asked)?,
    };
    let answer = answer(among(found, Action::AskToMute, &participant)?).ok_or_else(|| no_participant(&participant))?;
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// A participant whose connection is lost cannot be asked either: it may be back in a moment.
fn not_asked(error: AttendanceError) -> ApiError {
    match error {
        AttendanceError::NoAnswer(CallError::Refused(_, status)) if status.code() == Code::Unavailable => {
            ApiError::unavailable("the participant cannot be asked right now; try again in a moment")
        }
        other => other.into(),
    }
}

async fn present(app: &App, meeting: &Meeting) -> Result<Vec<MeetingParticipant>, ApiError> {
    // A controller may not have heard of the end yet.
    if meeting.ended_at.is_some() {
        return Ok(Vec::new());
    }
    Ok(attendance::participants(&app.cluster, meeting).await?)
}

/// A participant with whom an application may do `action`: one who is in the meeting that it named.
fn among(found: Option<MeetingParticipant>, action: Action, asked: &str) -> Result<MeetingParticipant, ApiError> {
    let relation = found.as_ref().map_or(Relation::OtherMeeting, |_| Relation::SameMeeting);
    permit(Actor::Application, action, relation).map_err(|_| no_participant(asked))?;
    found.ok_or_else(|| no_participant(asked))
}

/// Case-blind, as meetings' ids are; what is no id is no participant's.
fn participant_id(asked: &str) -> Result<ParticipantId, ApiError> {
    asked.to_ascii_lowercase().parse().map_err(|_| no_participant(asked))
}

fn no_participant(asked: &str) -> ApiError {
    ApiError::not_found(format!("Participant {} is not in this meeting", escape(asked, ID_CHARS_MAX)))
}

fn has_id(one: &MeetingParticipant, id: ParticipantId) -> bool {
    one.participant.as_ref().is_some_and(|participant| participant.participant_id.parse() == Ok(id))
}

fn wish(body: MuteBody) -> Result<Mute, ApiError> {
    let only_off =
        |field, value| ApiError::invalid_field(field, format!("can only be set to {value}: nobody but the participant turns it on"));
    match (body.is_muted, body.is_video_on) {
        (Some(false), _) => return Err(only_off("is_muted", true)),
        (_, Some(true)) => return Err(only_off("is_video_on", false)),
        (None, None) => return Err(ApiError::invalid_field("is_muted", "is required, unless is_video_on is given")),
        _ => {}
    }
    let reason = body.reason.unwrap_or_default();
    if reason.chars().count() > REASON_CHARS_MAX || reason.chars().any(char::is_control) {
        return Err(ApiError::invalid_field("reason", "must be at most 200 characters, none of them a control character"));
    }
    Ok(Mute { microphone: body.is_muted.is_some(), camera: body.is_video_on.is_some(), reason })
}

/// As applications see a participant; `None`: a controller that sends an empty one says nothing.
fn answer(one: MeetingParticipant) -> Option<ParticipantAnswer> {
    let participant = one.participant?;
    let joined_at = i64::try_from(participant.joined_at / 1000).unwrap_or(i64::MAX);
    Some(ParticipantAnswer {
        participant_id: participant.participant_id,
        display_name: participant.name,
        role: participant.role,
        user_id: Some(participant.user_id).filter(|user_id| !user_id.is_empty()),
        joined_at: rfc3339(joined_at),
        is_muted: participant.is_muted,
        is_video_on: participant.is_video_on,
        is_connected: one.connected,
        streams: participant.streams.into_iter().map(stream).collect(),
    })
}

fn stream(stream: v1::MediaStream) -> StreamAnswer {
    StreamAnswer {
        stream_type: stream.stream_type().as_str_name(),
        stream_id: stream.stream_id,
        codec: stream.metadata.map(|metadata| metadata.codec).unwrap_or_default(),
    }
}
