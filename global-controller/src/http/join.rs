//! `POST /api/v1/meetings/{meeting_id}/join`: where to go, and a token to be let in by (DESIGN section 3).

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use common::tls::hash_base64;
use common::token::{ISSUER, JOIN_AUDIENCE, JoinClaims};
use common_core::MeetingId;
use common_core::grant::Role;
use global_controller_core::Scope;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::ApiJson;
use super::caller::{Actor, Caller};
use super::meetings::{display_name, find, region, user_id};
use super::{ApiError, ErrorCode};
use crate::app::App;
use crate::assignment::settle;
use crate::cluster::{Controller, Handlers};
use crate::store::{Account, Meeting};
use crate::timestamp::{now_millis, rfc3339};

/// Longest resume token that is looked at, bytes; ours have 43.
const RESUME_TOKEN_BYTES_MAX: usize = 256;

/// Who joins, or comes back.
#[derive(Deserialize, ToSchema)]
#[schema(as = JoinMeeting, example = json!({"display_name": "Ana"}))]
pub struct JoinBody {
    /// What others see: 1 to 64 characters, none of them a control character. Needed unless a resume token is shown.
    #[schema(min_length = 1, max_length = 64)]
    display_name: Option<String>,
    /// The account that joins, if the access token has the scope `participants:act-as`; else it changes nothing.
    #[schema(min_length = 1, max_length = 128)]
    user_id: Option<String>,
    /// Where the participant is.
    #[schema(max_length = 63)]
    region: Option<String>,
    /// From the join response of a session that was lost.
    #[schema(min_length = 1, max_length = 256)]
    resume_token: Option<String>,
}

/// The way into a meeting.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JoinedMeeting)]
pub struct JoinAnswer {
    /// Its id.
    #[schema(example = "550e8400-e29b-41d4-a716-446655440000", format = Uuid)]
    meeting_id: String,
    #[serde(flatten)]
    invitation: Invitation,
}

/// What a client needs to join: the part that create and join answer alike.
#[derive(Debug, Serialize, ToSchema)]
pub struct Invitation {
    /// Good for one join; empty when a resume token was shown, which the controller judges.
    #[schema(example = "eyJhbGciOiJFZERTQSIs…")]
    pub join_token: String,
    /// Of the join token; absent with an empty one.
    #[schema(required = false, example = "2025-01-16T12:05:00Z", format = DateTime)]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub expires_at: String,
    /// Signaling over WebTransport.
    #[schema(example = "https://us-west-1.darktower.example.com/wt")]
    pub meeting_controller_url: String,
    /// Signaling over WebSocket.
    #[schema(example = "wss://us-west-1.darktower.example.com/ws")]
    pub signaling_fallback_url: String,
    /// Media over WebTransport: may be dialled while joining, best first.
    #[schema(example = json!(["https://media-1.us-west-1.darktower.example.com/media"]))]
    pub media_handler_urls: Vec<String>,
    /// Base64 SHA-256 of self-signed certificates that may be met, for `serverCertificateHashes`; empty under a public authority.
    #[schema(example = json!(["47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="]))]
    pub certificate_hashes: Vec<String>,
}

/// Who is to be let in.
#[derive(Clone, Debug)]
pub struct Participant {
    /// As what.
    pub role: Role,
    /// Under which name; empty: the one of the join request.
    pub name: String,
    /// By which account; `None`: a guest.
    pub account: Option<String>,
}

/// Join a meeting
///
/// Answers with a token to be let in by, once, and where to dial. Without an access token one joins as a guest, unless the meeting's `require_auth`
/// is set. The role is host if the account owns the meeting, else attendee.
#[utoipa::path(
    post, path = "/api/v1/meetings/{meeting_id}/join", operation_id = "joinMeeting", tag = "Meetings",
    params(("meeting_id" = String, Path, description = "Id or code of the meeting.", example = "550e8400-e29b-41d4-a716-446655440000")),
    request_body = JoinBody,
    responses((status = 200, description = "The way in.", body = JoinAnswer)),
    security((), ("bearerAuth" = ["meetings:join"])),
    extensions(("x-refusals" = json!([ErrorCode::CapacityExceeded, ErrorCode::MeetingEnded]))),
)]
pub async fn join(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(asked): Path<String>,
    ApiJson(body): ApiJson<JoinBody>,
) -> Result<impl IntoResponse, ApiError> {
    let meeting = find(&app, &asked).await?;
    // Everyone in a meeting goes to the region that it is in; a wish counts once a meeting can span regions.
    region(body.region)?;
    let resumes = body.resume_token.is_some();
    if body.resume_token.is_some_and(|token| token.is_empty() || token.len() > RESUME_TOKEN_BYTES_MAX) {
        return Err(ApiError::invalid_field("resume_token", "is none that was given out"));
    }
    let participant = if resumes { None } else { Some(admit(&app, &caller, &meeting, &asked, body.display_name, body.user_id)?) };
    if meeting.ended_at.is_some() {
        return Err(ApiError::meeting_ended());
    }
    if participant.is_some() && app.cluster.participant_count(meeting.id) >= meeting.settings.max_participants {
        return Err(ApiError::meeting_full(meeting.settings.max_participants));
    }
    let controller = settle(&app.cluster, app.store.as_ref(), &meeting).await?;
    let invitation = match participant {
        Some(participant) => {
            if let Some(subject) = &participant.account {
                let account = Account { subject: subject.clone(), display_name: Some(participant.name.clone()) };
                app.store.upsert_user(meeting.tenant, &account, now_millis()).await?;
            }
            invite(&app, meeting.id, &controller, participant)?
        }
        None => way(&controller, &app.cluster.handlers(meeting.id, &controller.record.region)),
    };
    Ok(Json(JoinAnswer { meeting_id: meeting.id.to_string(), invitation }))
}

/// Who the caller is in this meeting, or why it may not be in it.
fn admit(
    app: &App,
    caller: &Caller,
    meeting: &Meeting,
    asked: &str,
    name: Option<String>,
    claimed: Option<String>,
) -> Result<Participant, ApiError> {
    let claimed = claimed.map(user_id).transpose()?;
    let account = match caller {
        // Without a bearer one comes by the link alone, as far as the meeting lets one.
        Caller::Anonymous if meeting.settings.require_auth => return Err(ApiError::no_bearer()),
        Caller::Anonymous => None,
        Caller::Bearer(_) => {
            let Actor { account, .. } = caller.permit_as(app, Scope::JoinMeetings, claimed)?;
            if !caller.sees(app, meeting.tenant) {
                return Err(ApiError::meeting_not_found(asked));
            }
            account
        }
    };
    let owns = account.is_some() && account == meeting.host;
    let role = if owns { Role::Host } else { Role::Attendee };
    Ok(Participant { role, name: display_name(name.as_deref())?.to_owned(), account })
}

/// A join token and the way to the meeting.
pub fn invite(app: &App, meeting: MeetingId, controller: &Controller, participant: Participant) -> Result<Invitation, ApiError> {
    let handlers = app.cluster.handlers(meeting, &controller.record.region);
    if handlers.ids.is_empty() {
        return Err(ApiError::unavailable("no media handler is available"));
    }
    let now = common::clock::unix_seconds();
    let expires = now + app.join_life().as_secs();
    let is_account = participant.account.is_some();
    let claims = JoinClaims {
        iss: ISSUER.to_owned(),
        aud: JOIN_AUDIENCE.to_owned(),
        sub: participant.account.unwrap_or_else(|| format!("guest-{}", common::random::uuid())),
        jti: common::random::uuid().to_string(),
        iat: now,
        exp: expires,
        meeting_id: meeting.to_string(),
        role: participant.role.as_str().to_owned(),
        name: participant.name,
        account: is_account,
        handlers: handlers.ids.iter().map(ToString::to_string).collect(),
    };
    let join_token = app.keys.signer().sign_join(&claims).map_err(ApiError::internal)?;
    let expires_at = rfc3339(i64::try_from(expires).unwrap_or(i64::MAX));
    Ok(Invitation { join_token, expires_at, ..way(controller, &handlers) })
}

/// The way to a meeting, without a token.
fn way(controller: &Controller, handlers: &Handlers) -> Invitation {
    let mut hashes: Vec<String> = Vec::new();
    for hash in controller.record.certificate_hashes.iter().chain(&handlers.certificate_hashes) {
        let hash = hash_base64(hash);
        if !hashes.contains(&hash) {
            hashes.push(hash);
        }
    }
    Invitation {
        join_token: String::new(),
        expires_at: String::new(),
        meeting_controller_url: controller.record.public_url.clone(),
        signaling_fallback_url: controller.record.fallback_url.clone(),
        media_handler_urls: handlers.urls.clone(),
        certificate_hashes: hashes,
    }
}
