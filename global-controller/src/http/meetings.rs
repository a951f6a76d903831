//! Meetings: create, show, list, end (seed 003 sections 1.1 to 1.3, DESIGN section 3).

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common_core::MeetingId;
use common_core::grant::Role;
use common_core::name::parse_name;
use global_controller_core::{MeetingCode, Scope};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiError;
use super::body::ApiJson;
use super::caller::{Actor, Caller};
use super::join::{self, Participant};
use crate::app::App;
use crate::assignment::{assign, config};
use crate::store::{Account, Listing, Meeting, MeetingKey, NewMeeting, Settings, StoreError, UnixMillis};
use crate::timestamp::{now_millis, rfc3339};

/// `max_participants` when the request does not say.
const MAX_PARTICIPANTS_DEFAULT: u32 = 100;
/// What `max_participants` may be.
const MAX_PARTICIPANTS: std::ops::RangeInclusive<i64> = 1..=1000;
/// Meetings on a page of a listing when the request does not say.
const LIST_DEFAULT: u32 = 50;
/// Meetings on a page at most.
const LIST_MAX: u32 = 200;
/// Longest `user_id`, characters.
const USER_ID_CHARS_MAX: usize = 128;
/// Longest name of a region, bytes.
const REGION_BYTES_MAX: usize = 63;
/// Codes that are tried when one is taken: with 50 bits, a second clash means that the generator is broken.
const CODE_ATTEMPTS: usize = 3;

/// A meeting to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = CreateMeeting, example = json!({
    "display_name": "Team Standup", "max_participants": 100,
    "settings": {"enable_e2e_encryption": true, "require_auth": false, "recording_enabled": false},
}))]
pub struct CreateBody {
    /// What people call it: 1 to 64 characters, none of them a control character.
    #[schema(required, nullable = false, min_length = 1, max_length = 64)]
    display_name: Option<String>,
    /// Participants at once; 100 if absent.
    #[schema(minimum = 1, maximum = 1000, default = 100)]
    max_participants: Option<i64>,
    /// How it is run.
    settings: Option<SettingsBody>,
    /// The account that owns the meeting and is its host, if the access token has the scope `participants:act-as`; else it changes nothing.
    #[schema(min_length = 1, max_length = 128, example = "ana@example.com")]
    user_id: Option<String>,
    /// Where it should be run; the API's own region if absent or not known.
    #[schema(max_length = 63, example = "us-west-1")]
    region: Option<String>,
}

/// How a meeting is run; what is absent is off.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[schema(as = MeetingSettings)]
struct SettingsBody {
    /// Whether clients encrypt what they send for each other; servers forward it unread.
    enable_e2e_encryption: Option<bool>,
    /// Whether one may join with an access token only.
    require_auth: Option<bool>,
    /// Whether recordings are made.
    recording_enabled: Option<bool>,
}

/// A meeting that was just made, and the way in for its host.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreatedMeeting)]
pub struct CreateAnswer {
    /// Its id.
    #[schema(example = "550e8400-e29b-41d4-a716-446655440000", format = Uuid)]
    meeting_id: String,
    /// The page to join it by; ends in the meeting's code.
    #[schema(example = "https://darktower.example.com/m/k3vq7xw2ma")]
    meeting_url: String,
    /// Lets the host in, once.
    #[schema(example = "eyJhbGciOiJFZERTQSIs…")]
    join_token: String,
    /// Of the join token.
    #[schema(example = "2025-01-16T12:05:00Z", format = DateTime)]
    expires_at: String,
    /// Signaling over WebTransport.
    #[schema(example = "https://us-west-1.darktower.example.com/wt")]
    meeting_controller_url: String,
    /// Signaling over WebSocket.
    #[schema(example = "wss://us-west-1.darktower.example.com/ws")]
    signaling_fallback_url: String,
    /// Media over WebTransport: may be dialled while joining, best first.
    #[schema(example = json!(["https://media-1.us-west-1.darktower.example.com/media"]))]
    media_handler_urls: Vec<String>,
    /// Base64 SHA-256 of self-signed certificates that may be met, for `serverCertificateHashes`; empty under a public authority.
    #[schema(example = json!(["47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="]))]
    certificate_hashes: Vec<String>,
    /// When it was made.
    #[schema(example = "2025-01-16T12:00:00Z", format = DateTime)]
    created_at: String,
}

/// How a meeting is run.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MeetingSettingsKept)]
struct SettingsAnswer {
    /// Whether clients encrypt what they send for each other.
    enable_e2e_encryption: bool,
    /// Whether one may join with an access token only.
    require_auth: bool,
    /// Whether recordings are made.
    recording_enabled: bool,
}

/// A meeting.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Meeting)]
pub struct ShowAnswer {
    /// Its id.
    #[schema(example = "550e8400-e29b-41d4-a716-446655440000", format = Uuid)]
    meeting_id: String,
    /// What people call it.
    #[schema(example = "Team Standup")]
    display_name: String,
    /// Who is in it now; at most two seconds old.
    #[schema(example = 5)]
    participant_count: u32,
    /// Participants at once.
    #[schema(example = 100)]
    max_participants: u32,
    /// When it was made.
    #[schema(example = "2025-01-16T12:00:00Z", format = DateTime)]
    created_at: String,
    /// Where it was placed first.
    #[schema(example = "us-west-1")]
    meeting_controller_region: String,
    /// Signaling over WebTransport.
    #[schema(example = "https://us-west-1.darktower.example.com/wt")]
    meeting_controller_url: String,
    /// The page to join it by.
    #[schema(example = "https://darktower.example.com/m/k3vq7xw2ma")]
    meeting_url: String,
    /// How it is run.
    settings: SettingsAnswer,
    /// When it ended; absent while it has not.
    #[schema(nullable = false, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
}

/// A meeting in a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MeetingSummary)]
struct ListItem {
    /// Its id.
    #[schema(example = "550e8400-e29b-41d4-a716-446655440000", format = Uuid)]
    meeting_id: String,
    /// What people call it.
    #[schema(example = "Team Standup")]
    display_name: String,
    /// Who is in it now; at most two seconds old.
    #[schema(example = 5)]
    participant_count: u32,
    /// When it was made.
    #[schema(example = "2025-01-16T12:00:00Z", format = DateTime)]
    created_at: String,
    /// The page to join it by.
    #[schema(example = "https://darktower.example.com/m/k3vq7xw2ma")]
    meeting_url: String,
    /// When it ended; absent while it has not.
    #[schema(nullable = false, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
}

/// A part of the list, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MeetingList)]
pub struct ListAnswer {
    /// Newest first.
    meetings: Vec<ListItem>,
    /// How many there are in all, on every page.
    #[schema(example = 1)]
    total: u64,
    /// Asks for the next page; absent on the last one.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// When a meeting ended.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EndedMeeting)]
pub struct EndAnswer {
    /// Its id.
    #[schema(example = "550e8400-e29b-41d4-a716-446655440000", format = Uuid)]
    meeting_id: String,
    /// Now, or when it was ended first.
    #[schema(example = "2025-01-16T12:45:00Z", format = DateTime)]
    ended_at: String,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Those that this account owns alone.
    #[param(nullable = false, min_length = 1, max_length = 128)]
    user_id: Option<String>,
    /// `true`: those that have not ended; `false`: those that have. Both if absent.
    #[param(value_type = Option<bool>, nullable = false)]
    active: Option<String>,
    /// Meetings on a page.
    #[param(value_type = Option<u32>, nullable = false, minimum = 1, maximum = 200, default = 50)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    #[param(nullable = false)]
    cursor: Option<String>,
}

/// Create a meeting
///
/// The meeting is ready to be joined when this answers. The answer's `join_token` is the host's; hand out `meeting_url` to everybody else.
#[utoipa::path(
    post, path = "/api/v1/meetings", operation_id = "createMeeting", tag = "Meetings",
    request_body = CreateBody,
    responses((
        status = 201, description = "The meeting is there.", body = CreateAnswer,
        headers(("Location" = String, description = "The meeting in this API.")),
    )),
    security(("bearerAuth" = ["meetings:create"])),
)]
pub async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiJson(body): ApiJson<CreateBody>,
) -> Result<impl IntoResponse, ApiError> {
    let user_id = body.user_id.map(user_id).transpose()?;
    let actor = caller.permit_as(&app, Scope::CreateMeetings, user_id)?;
    let display_name = display_name(body.display_name.as_deref())?.to_owned();
    let settings = settings(body.max_participants, body.settings.unwrap_or_default())?;
    let region = region(body.region)?.unwrap_or_else(|| app.config.region.clone());
    if app.cluster.live_nodes().handlers == 0 {
        return Err(ApiError::unavailable("no media handler is available"));
    }
    let id = MeetingId::new(common::random::uuid());
    let (controller, assignment) = assign(&app.cluster, id, config(&display_name, &settings), &region, 1).await?;
    let created_at = now_millis();
    let mut meeting = NewMeeting {
        id,
        code: MeetingCode::from_random(common::random::number()),
        tenant: actor.tenant,
        host: actor.account.clone().map(|subject| Account { subject, display_name: None }),
        display_name,
        settings,
        region: controller.record.region.clone(),
        created_at,
        assignment,
    };
    // Who creates without an account has this token alone to be the host by.
    let host = Participant { role: Role::Host, name: String::new(), account: actor.account };
    let invitation = join::invite(&app, id, &controller, host)?;
    keep(&app, &mut meeting).await?;
    let answer = CreateAnswer {
        meeting_id: id.to_string(),
        meeting_url: app.meeting_url(meeting.code),
        join_token: invitation.join_token,
        expires_at: invitation.expires_at,
        meeting_controller_url: invitation.meeting_controller_url,
        signaling_fallback_url: invitation.signaling_fallback_url,
        media_handler_urls: invitation.media_handler_urls,
        certificate_hashes: invitation.certificate_hashes,
        created_at: rfc3339(created_at / 1000),
    };
    metrics::counter!("dark_tower_meetings_created_total").increment(1);
    Ok((StatusCode::CREATED, [(header::LOCATION, format!("/api/v1/meetings/{id}"))], Json(answer)))
}

async fn keep(app: &App, meeting: &mut NewMeeting) -> Result<(), ApiError> {
    for _ in 1..CODE_ATTEMPTS {
        match app.store.create_meeting(meeting, None).await {
            Err(StoreError::Taken(_)) => meeting.code = MeetingCode::from_random(common::random::number()),
            other => return Ok(other.map(drop)?),
        }
    }
    Ok(app.store.create_meeting(meeting, None).await.map(drop)?)
}

/// Show a meeting
///
/// By its id or its code. A meeting that has ended is shown as well, with `ended_at`.
#[utoipa::path(
    get, path = "/api/v1/meetings/{meeting_id}", operation_id = "getMeeting", tag = "Meetings",
    params(("meeting_id" = String, Path, description = "Id or code of the meeting.", example = "550e8400-e29b-41d4-a716-446655440000")),
    responses((status = 200, description = "The meeting.", body = ShowAnswer)),
    security(("bearerAuth" = ["meetings:read"])),
)]
pub async fn show(State(app): State<Arc<App>>, caller: Caller, Path(asked): Path<String>) -> Result<impl IntoResponse, ApiError> {
    let actor = caller.permit(&app, Scope::ReadMeetings)?;
    let meeting = find_seen(&app, &caller, &actor, &asked).await?;
    Ok(Json(ShowAnswer {
        meeting_id: meeting.id.to_string(),
        participant_count: app.cluster.participant_count(meeting.id),
        max_participants: meeting.settings.max_participants,
        created_at: rfc3339(meeting.created_at / 1000),
        meeting_controller_url: meeting.assignment.controller_url,
        meeting_controller_region: meeting.region,
        meeting_url: app.meeting_url(meeting.code),
        settings: SettingsAnswer {
            enable_e2e_encryption: meeting.settings.enable_e2e_encryption,
            require_auth: meeting.settings.require_auth,
            recording_enabled: meeting.settings.recording_enabled,
        },
        ended_at: meeting.ended_at.map(|at| rfc3339(at / 1000)),
        display_name: meeting.display_name,
    }))
}

/// List meetings
///
/// The caller's tenant's, newest first.
#[utoipa::path(
    get, path = "/api/v1/meetings", operation_id = "listMeetings", tag = "Meetings",
    params(ListQuery),
    responses((status = 200, description = "A page of the list.", body = ListAnswer)),
    security(("bearerAuth" = ["meetings:read"])),
)]
pub async fn list(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Result<impl IntoResponse, ApiError> {
    let actor = caller.permit(&app, Scope::ReadMeetings)?;
    let Query(query) = Query::<ListQuery>::try_from_uri(&uri).map_err(|error| ApiError::invalid(format!("the query: {error}")))?;
    let listing = Listing {
        tenant: actor.tenant,
        host: query.user_id.map(user_id).transpose()?,
        active: query.active.as_deref().map(|text| flag("active", text)).transpose()?,
        limit: query.limit.as_deref().map(limit).transpose()?.unwrap_or(LIST_DEFAULT),
        after: query.cursor.as_deref().map(cursor).transpose()?,
    };
    let page = app.store.list_meetings(&listing).await?;
    let last = page.meetings.last().filter(|_| page.more);
    Ok(Json(ListAnswer {
        next_cursor: last.map(|meeting| next_cursor(meeting.created_at, meeting.id)),
        total: page.total,
        meetings: page
            .meetings
            .into_iter()
            .map(|meeting| ListItem {
                meeting_id: meeting.id.to_string(),
                participant_count: app.cluster.participant_count(meeting.id),
                created_at: rfc3339(meeting.created_at / 1000),
                meeting_url: app.meeting_url(meeting.code),
                ended_at: meeting.ended_at.map(|at| rfc3339(at / 1000)),
                display_name: meeting.display_name,
            })
            .collect(),
    }))
}

/// End a meeting
///
/// For good: everybody in it is told and let go, nobody can join it any more. Ending it again changes nothing and answers alike.
#[utoipa::path(
    delete, path = "/api/v1/meetings/{meeting_id}", operation_id = "endMeeting", tag = "Meetings",
    params(("meeting_id" = String, Path, description = "Id or code of the meeting.", example = "550e8400-e29b-41d4-a716-446655440000")),
    responses((status = 200, description = "It has ended.", body = EndAnswer)),
    security(("bearerAuth" = ["meetings:end"])),
)]
pub async fn end(State(app): State<Arc<App>>, caller: Caller, Path(asked): Path<String>) -> Result<impl IntoResponse, ApiError> {
    let actor = caller.permit(&app, Scope::EndMeetings)?;
    let meeting = find_seen(&app, &caller, &actor, &asked).await?;
    let ended = app.store.end_meeting(meeting.id, now_millis()).await?.ok_or_else(|| ApiError::meeting_not_found(&asked))?;
    if !ended.already {
        tracing::info!(meeting = %meeting.id, "meeting ended");
    }
    // Also when it had ended before: that call may have broken off behind the store.
    app.end_running(meeting.id, meeting.assignment.controller).await;
    Ok(Json(EndAnswer { meeting_id: meeting.id.to_string(), ended_at: rfc3339(ended.ended_at / 1000) }))
}

/// A meeting by its id or code, whoever asks.
pub async fn find(app: &App, asked: &str) -> Result<Meeting, ApiError> {
    let key = match (asked.parse(), asked.parse()) {
        (Ok(id), _) => MeetingKey::Id(id),
        (_, Ok(code)) => MeetingKey::Code(code),
        // Neither: no meeting has such a name.
        (Err(_), Err(_)) => return Err(ApiError::meeting_not_found(asked)),
    };
    app.store.meeting(key).await?.ok_or_else(|| ApiError::meeting_not_found(asked))
}

/// A meeting that the caller may know of.
async fn find_seen(app: &App, caller: &Caller, actor: &Actor, asked: &str) -> Result<Meeting, ApiError> {
    let meeting = find(app, asked).await?;
    if meeting.tenant == actor.tenant || caller.sees(app, meeting.tenant) { Ok(meeting) } else { Err(ApiError::meeting_not_found(asked)) }
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
    if text.as_ref().is_some_and(|text| text.len() > REGION_BYTES_MAX || text.chars().any(char::is_control)) {
        return Err(ApiError::invalid_field("region", "must be at most 63 bytes without control characters"));
    }
    Ok(text)
}

fn settings(max_participants: Option<i64>, body: SettingsBody) -> Result<Settings, ApiError> {
    let max_participants = match max_participants {
        None => MAX_PARTICIPANTS_DEFAULT,
        Some(number) if MAX_PARTICIPANTS.contains(&number) => u32::try_from(number).expect("at most a thousand"),
        Some(_) => return Err(ApiError::invalid_field("max_participants", "must be between 1 and 1000")),
    };
    Ok(Settings {
        max_participants,
        recording_enabled: body.recording_enabled.unwrap_or(false),
        enable_e2e_encryption: body.enable_e2e_encryption.unwrap_or(false),
        require_auth: body.require_auth.unwrap_or(false),
    })
}

fn flag(field: &str, text: &str) -> Result<bool, ApiError> {
    text.parse().map_err(|_| ApiError::invalid_field(field, "must be true or false"))
}

fn limit(text: &str) -> Result<u32, ApiError> {
    match text.parse() {
        Ok(number @ 1..=LIST_MAX) => Ok(number),
        _ => Err(ApiError::invalid_field("limit", "must be between 1 and 200")),
    }
}

/// A cursor is the creation time and id of the last meeting seen; clients must not read it.
fn next_cursor(created_at: UnixMillis, id: MeetingId) -> String {
    let mut bytes = created_at.to_be_bytes().to_vec();
    bytes.extend_from_slice(id.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn cursor(text: &str) -> Result<(UnixMillis, MeetingId), ApiError> {
    let bytes: Option<[u8; 24]> = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    let bytes = bytes.ok_or_else(|| ApiError::invalid_field("cursor", "is none that was given out"))?;
    let (time, id) = bytes.split_at(8);
    let (time, id) = (time.try_into().expect("eight bytes"), id.try_into().expect("sixteen bytes"));
    Ok((UnixMillis::from_be_bytes(time), MeetingId::from_bytes(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_as_they_went() {
        let id = MeetingId::from_bytes([9; 16]);
        assert_eq!(cursor(&next_cursor(1_737_028_800_123, id)).ok(), Some((1_737_028_800_123, id)));
        for bad in ["", "x", "AAAA", "%"] {
            assert!(cursor(bad).is_err(), "{bad}");
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
