//! Meetings: create, show, list, end (seed 003 sections 1.1 to 1.3, DESIGN section 3).

mod list;
mod shapes;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use common_core::authority::{Action, Actor, Relation, permit};
use common_core::name::parse_name;
use common_core::{Code, MeetingId};
use global_controller_core::{MeetingCode, Scope};

use self::shapes::{CreateAnswer, CreateBody, EndAnswer, MeetingAnswer, SettingsBody};
use super::body::Unread;
use super::caller::Caller;
use super::idempotency::{self, Repeatable, outcome};
use super::join::{Invitation, Participant, invite, let_in};
use super::path::ApiPath;
use super::{ApiError, ErrorCode};
use crate::app::App;
use crate::assignment::{assign, config, settle};
use crate::cluster::Controller;
use crate::store::{Account, EventKind, IdempotencyKey, Meeting, MeetingKey, NewMeeting, Repeated, Settings, StoreError, UnixMillis};
use crate::timestamp::{now_millis, rfc3339};

pub use list::{__path_list, list};
pub use shapes::SettingsAnswer;

/// `max_participants` when the request does not say.
const MAX_PARTICIPANTS_DEFAULT: u32 = 100;
/// What `max_participants` may be.
const MAX_PARTICIPANTS: std::ops::RangeInclusive<i64> = 1..=1000;
/// Longest `user_id`, characters.
const USER_ID_CHARS_MAX: usize = 128;
/// Longest name of a region, characters.
const REGION_CHARS_MAX: usize = 63;
/// Codes that are tried when one is taken: with 50 bits, a second clash means that the generator is broken.
const CODE_ATTEMPTS: usize = 3;

/// The answer to a creation.
type Created = (StatusCode, [(HeaderName, String); 1], Json<CreateAnswer>);

/// Create a meeting
///
/// The meeting is ready to be joined when this answers. The answer's `join_token` is the host's; hand out `meeting_url` to everybody else. Sent again
/// with the same `Idempotency-Key` it answers with the same meeting and a fresh token, or with `MEETING_ENDED` once that meeting has ended.
#[utoipa::path(
    post, path = "/api/v1/meetings", operation_id = "createMeeting", tag = "Meetings",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes the request repeatable for a day: a random UUID, the same for each try.", min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    request_body = CreateBody,
    responses((
        status = 201, description = "The meeting is there.", body = CreateAnswer,
        headers(("Location" = String, description = "The meeting in this API.")),
    )),
    security(("bearerAuth" = ["meetings:create"])),
    extensions(("x-refusals" = json!([ErrorCode::Conflict, ErrorCode::MeetingEnded]))),
)]
pub async fn create(State(app): State<Arc<App>>, caller: Caller, repeatable: Repeatable, body: Unread) -> Result<Created, ApiError> {
    let actor = caller.permit(&app, Scope::CreateMeetings)?;
    let body: CreateBody = body.json(&app).await?;
    let host = caller.believed(body.user_id.clone().map(user_id).transpose()?).or(actor.account);
    let key = repeatable.key(&caller, "create", host.as_deref(), &body)?;
    let display_name = display_name(body.display_name.as_deref())?.to_owned();
    let settings = settings(body.max_participants, body.settings.unwrap_or_default())?;
    let region = region(body.region)?.unwrap_or_else(|| app.config.region.clone());
    // Before a controller is told of a meeting that there will not be.
    if let Some(id) = idempotency::recall(&app, key.as_ref()).await? {
        return created_before(&app, &id).await;
    }
    if app.cluster.live_nodes().handlers == 0 {
        return Err(ApiError::unavailable("no media handler is available"));
    }
    let id = MeetingId::new(common::random::uuid());
    let config = config(&display_name, &settings, Vec::new());
    let (controller, assignment) = assign(&app.cluster, id, config, &region, 1, Vec::new()).await?;
    let invitation = invite(&app, id, &controller, host_of(id, host.clone()))?;
    let code = MeetingCode::from_random(common::random::number());
    let mut meeting = NewMeeting {
        id,
        code,
        meeting_url: app.meeting_url(code),
        tenant: actor.tenant,
        host: host.map(|subject| Account { subject, display_name: None }),
        display_name,
        settings,
        region: controller.record.region.clone(),
        created_at: now_millis(),
        assignment,
    };
    let repeated = keep(&app, &mut meeting, key.as_ref()).await?;
    if repeated != Repeated::New {
        // The same request came in twice at once, and the other was first.
        forsake(&app, &controller, id).await;
    }
    if let Some(first) = outcome(repeated)? {
        return created_before(&app, &first).await;
    }
    metrics::counter!("dark_tower_meetings_created_total").increment(1);
    app.tell(id, EventKind::MeetingCreated);
    Ok(created(&app, id, meeting.code, meeting.created_at, invitation))
}

async fn keep(app: &App, meeting: &mut NewMeeting, key: Option<&IdempotencyKey>) -> Result<Repeated, ApiError> {
    for _ in 1..CODE_ATTEMPTS {
        match app.store.create_meeting(meeting, key).await {
            Err(StoreError::Taken(_)) => {
                meeting.code = MeetingCode::from_random(common::random::number());
                meeting.meeting_url = app.meeting_url(meeting.code);
            }
            other => return Ok(other?),
        }
    }
    Ok(app.store.create_meeting(meeting, key).await?)
}

/// Tells a controller that a meeting it was assigned will not be.
async fn forsake(app: &App, controller: &Controller, meeting: MeetingId) {
    if let Err(error) = app.cluster.end_meeting(&controller.id, meeting).await {
        // Nobody has a token for it: it stays empty there until the controller drops it.
        tracing::debug!(%meeting, %error, "a meeting that was made twice is not ended");
    }
}

/// The answer to a request that was made before: its meeting, with a fresh token.
async fn created_before(app: &App, id: &str) -> Result<Created, ApiError> {
    let id: MeetingId = id.parse().map_err(ApiError::internal)?;
    let found = app.store.meeting(MeetingKey::Id(id)).await?;
    let meeting = found.ok_or_else(|| ApiError::internal("a remembered meeting is not in the store"))?;
    if meeting.ended_at.is_some() {
        return Err(ApiError::meeting_ended());
    }
    let host = host_of(id, meeting.host.clone());
    // It may have been removed meanwhile.
    let_in(app, &meeting, host.subject()).await?;
    let controller = settle(&app.cluster, app.store.as_ref(), &meeting).await?;
    let invitation = invite(app, id, &controller, host)?;
    Ok(created(app, id, meeting.code, meeting.created_at, invitation))
}

/// Who creates without an account is a guest, and host by the token alone: the same guest each time the request is repeated.
fn host_of(meeting: MeetingId, account: Option<String>) -> Participant {
    match account {
        Some(subject) => Participant::host(subject, true),
        None => Participant::host(format!("guest-{meeting}"), false),
    }
}

fn created(app: &App, id: MeetingId, code: MeetingCode, created_at: UnixMillis, invitation: Invitation) -> Created {
    let answer =
        CreateAnswer { meeting_id: id.to_string(), meeting_url: app.meeting_url(code), invitation, created_at: rfc3339(created_at / 1000) };
    (StatusCode::CREATED, [(header::LOCATION, format!("/api/v1/meetings/{id}"))], Json(answer))
}

/// See a meeting
///
/// A meeting that has ended is there as well, with `ended_at`.
#[utoipa::path(
    get, path = "/api/v1/meetings/{meeting_id}", operation_id = "getMeeting", tag = "Meetings",
    params(("meeting_id" = String, Path, description = "Id or code of the meeting.", example = "550e8400-e29b-41d4-a716-446655440000")),
    responses((status = 200, description = "The meeting.", body = MeetingAnswer)),
    security(("bearerAuth" = ["meetings:read"])),
)]
pub async fn show(State(app): State<Arc<App>>, caller: Caller, path: ApiPath<String>) -> Result<Json<MeetingAnswer>, ApiError> {
    caller.permit(&app, Scope::ReadMeetings)?;
    let asked = path.read()?;
    let key = key_of(&asked).ok_or_else(|| ApiError::meeting_not_found(&asked))?;
    let meeting = app.store.recent_meeting(key).await?.filter(|meeting| caller.sees(&app, meeting.tenant));
    let meeting = meeting.ok_or_else(|| ApiError::meeting_not_found(&asked))?;
    Ok(Json(MeetingAnswer::of(&app, &meeting)))
}

/// End a meeting
///
/// Everybody who is in it is sent away, and nobody can join it any more. Ending it again changes nothing.
#[utoipa::path(
    delete, path = "/api/v1/meetings/{meeting_id}", operation_id = "endMeeting", tag = "Meetings",
    params(("meeting_id" = String, Path, description = "Id or code of the meeting.", example = "550e8400-e29b-41d4-a716-446655440000")),
    responses((status = 200, description = "It has ended.", body = EndAnswer)),
    security(("bearerAuth" = ["meetings:end"])),
)]
pub async fn end(State(app): State<Arc<App>>, caller: Caller, path: ApiPath<String>) -> Result<Json<EndAnswer>, ApiError> {
    caller.permit(&app, Scope::EndMeetings)?;
    let asked = path.read()?;
    let meeting = find_for(&app, &caller, Action::EndMeeting, &asked).await?;
    let ended = app.store.end_meeting(meeting.id, now_millis()).await?.ok_or_else(|| ApiError::meeting_not_found(&asked))?;
    if !ended.already {
        tracing::info!(meeting = %meeting.id, "meeting ended");
        app.tell(meeting.id, EventKind::MeetingEnded);
    }
    // Also when it had ended before: that call may have broken off behind the store.
    app.end_running(meeting.id, meeting.assignment.controller).await;
    Ok(Json(EndAnswer { meeting_id: meeting.id.to_string(), ended_at: rfc3339(ended.ended_at / 1000) }))
}

/// A meeting by its id or code, whoever asks.
pub async fn find(app: &App, asked: &str) -> Result<Meeting, ApiError> {
    // What is neither is no meeting's name.
    let key = key_of(asked).ok_or_else(|| ApiError::meeting_not_found(asked))?;
    app.store.meeting(key).await?.ok_or_else(|| ApiError::meeting_not_found(asked))
}

/// A meeting with which a caller may do `action`, whose scope it has; another tenant's looks like none.
pub async fn find_for(app: &App, caller: &Caller, action: Action, asked: &str) -> Result<Meeting, ApiError> {
    let meeting = find(app, asked).await?;
    let relation = if caller.sees(app, meeting.tenant) { Relation::SameMeeting } else { Relation::OtherMeeting };
    permit(Actor::Application, action, relation).map_err(|denied| match denied.code {
        Code::NotFound => ApiError::meeting_not_found(asked),
        _ => ApiError::forbidden(denied.reason),
    })?;
    Ok(meeting)
}

/// Ids and codes are the same in capitals.
pub(crate) fn key_of(asked: &str) -> Option<MeetingKey> {
    let id = asked.parse().or_else(|_| asked.to_ascii_lowercase().parse());
    id.map(MeetingKey::Id).ok().or_else(|| asked.parse().map(MeetingKey::Code).ok())
}

/// The `display_name` of a request, which it must have.
pub fn display_name(given: Option<&str>) -> Result<&str, ApiError> {
    let text = given.ok_or_else(|| ApiError::invalid_field("display_name", "is required"))?;
    parse_name(text).map_err(|error| ApiError::invalid_field("display_name", error))
}

/// A `user_id`, as an application names an account.
pub fn user_id(text: String) -> Result<String, ApiError> {
    if text.is_empty() || text.chars().count() > USER_ID_CHARS_MAX || text.chars().any(char::is_control) {
        return Err(ApiError::invalid_field("user_id", "must be 1 to 128 characters, none of them a control character"));
    }
    Ok(text)
}

/// A `region`; empty is none.
pub fn region(text: Option<String>) -> Result<Option<String>, ApiError> {
    let text = text.filter(|text| !text.is_empty());
    if text.as_ref().is_some_and(|text| text.chars().count() > REGION_CHARS_MAX || text.chars().any(char::is_control)) {
        return Err(ApiError::invalid_field("region", "must be at most 63 characters, none of them a control character"));
    }
    Ok(text)
}

fn settings(max_participants: Option<i64>, body: SettingsBody) -> Result<Settings, ApiError> {
    let max_participants = match max_participants {
        None => MAX_PARTICIPANTS_DEFAULT,
        Some(number) if MAX_PARTICIPANTS.contains(&number) => u32::try_from(number).expect("at most a thousand"),
        Some(_) => return Err(ApiError::invalid_field("max_participants", "must be a whole number between 1 and 1000")),
    };
    Ok(Settings {
        max_participants,
        recording_enabled: body.recording_enabled.unwrap_or(false),
        enable_e2e_encryption: body.enable_e2e_encryption.unwrap_or(false),
        require_auth: body.require_auth.unwrap_or(false),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_codes_are_case_blind() {
        let id = "550e8400-e29b-41d4-a716-446655440000";
        let expected = Some(MeetingKey::Id(id.parse().expect("an id")));
        assert_eq!((key_of(id), key_of(&id.to_ascii_uppercase())), (expected, expected));
        let code = Some(MeetingKey::Code("abcdefgh27".parse().expect("a code")));
        assert_eq!((key_of("abcdefgh27"), key_of("ABCDefgh27")), (code, code));
        for neither in ["", "550e8400e29b41d4a716446655440000", "{550e8400-e29b-41d4-a716-446655440000}", "abcdefghi", "ä"] {
            assert_eq!(key_of(neither), None, "{neither}");
        }
    }

    #[test]
    fn max_participants_is_bounded() {
        let check = |given: Option<i64>, expected: Option<u32>| {
            assert_eq!(settings(given, SettingsBody::default()).ok().map(|settings| settings.max_participants), expected, "{given:?}");
        };
        check(None, Some(100));
        check(Some(1), Some(1));
        check(Some(1000), Some(1000));
        check(Some(0), None);
        check(Some(1001), None);
        check(Some(-1), None);
    }
}
