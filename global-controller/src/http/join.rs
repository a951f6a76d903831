//! `POST /api/v1/meetings/{meeting_id}/join`: where to go, and a token to be let in by (DESIGN section 3).

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Json;
use axum::extract::State;
use common::tls::hash_base64;
use common::token::{ISSUER, JOIN_AUDIENCE, JoinClaims};
use common_core::MeetingId;
use common_core::authority::{Action, Actor, Relation, permit};
use common_core::grant::Role;
use global_controller_core::Scope;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::Unread;
use super::caller::Caller;
use super::idempotency::{self, Repeatable};
use super::meetings::{SettingsAnswer, display_name, find, find_for, region, user_id};
use super::path::ApiPath;
use super::{ApiError, ErrorCode};
use crate::app::App;
use crate::assignment::settle;
use crate::attendance;
use crate::cluster::Controller;
use crate::store::{Account, Meeting};
use crate::timestamp::{now_millis, rfc3339};

/// Longest resume token that is looked at, bytes; ours have 43.
const RESUME_TOKEN_BYTES_MAX: usize = 256;

/// Who joins, or comes back.
#[derive(Deserialize, Serialize, ToSchema)]
#[schema(as = JoinMeeting, example = json!({"display_name": "Ana"}))]
pub struct JoinBody {
    /// What others see: 1 to 64 characters, none of them a control character. Needed to join; refused beside a resume token.
    #[schema(min_length = 1, max_length = 64, pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$")]
    display_name: Option<String>,
    /// The account that joins, if the access token has the scope `participants:act-as`; else it changes nothing. Refused beside a resume token.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    user_id: Option<String>,
    /// Where the participant is.
    #[schema(max_length = 63, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    region: Option<String>,
    /// From the join response of a session that was lost: whoever comes back by it keeps its name, account and role, and needs nothing else.
    #[schema(min_length = 1, max_length = 256, pattern = "^[!-~]+$")]
    resume_token: Option<String>,
}

/// The way into a meeting.
#[derive(Serialize, ToSchema)]
#[schema(as = JoinedMeeting)]
pub struct JoinAnswer {
    /// Its id.
    #[schema(example = "550e8400-e29b-41d4-a716-446655440000", format = Uuid)]
    meeting_id: String,
    /// What people call it.
    #[schema(example = "Team Standup")]
    display_name: String,
    /// How it is run: with `enable_e2e_encryption` the client needs the key before it sends.
    settings: SettingsAnswer,
    #[serde(flatten)]
    invitation: Invitation,
}

/// What a client needs to join: the part that create and join answer alike.
#[derive(Serialize, ToSchema)]
pub struct Invitation {
    /// Good for one join.
    #[schema(example = "eyJhbGciOiJFZERTQSIs…")]
    pub join_token: String,
    /// Of the join token.
    #[schema(example = "2025-01-16T12:05:00Z", format = DateTime)]
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
    role: Role,
    /// Empty: the one of the join request.
    name: String,
    subject: String,
    /// Whether the subject is an account, and not a guest's.
    is_account: bool,
    /// The participant whose place it takes: its own.
    resumes: Option<String>,
}

impl Participant {
    /// Whoever creates a meeting, by whatever name it will join.
    pub fn host(subject: String, is_account: bool) -> Self {
        Self { role: Role::Host, name: String::new(), subject, is_account, resumes: None }
    }

    /// Its account, or what a guest has in place of one.
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

/// Join a meeting
///
/// Answers with a token to be let in by, once, and where to dial. Without an access token one joins as a guest, unless the meeting's `require_auth`
/// is set. The role is host if the account owns the meeting, else attendee. With a `resume_token` instead of a name one comes back as who one was,
/// also into a full meeting: as long as one is missed there, a join by the answer's `join_token` takes one's own place again, with the same id. Who
/// was removed from the meeting is kept out. Sent again with the same `Idempotency-Key` it answers with a fresh token for the same guest.
#[utoipa::path(
    post, path = "/api/v1/meetings/{meeting_id}/join", operation_id = "joinMeeting", tag = "Meetings",
    params(
        ("meeting_id" = String, Path, description = "Id or code of the meeting.", example = "550e8400-e29b-41d4-a716-446655440000"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes the request repeatable for a day: a random UUID, the same for each try.", min_length = 1, max_length = 255, pattern = "^[!-~]+$"),
    ),
    request_body(content = JoinBody, examples(
        ("join" = (summary = "To join", value = json!({"display_name": "Ana"}))),
        ("come back" = (summary = "To come back", value = json!({"resume_token": "vT1dQ0YwR3m8xKp2LbN5cZ7hJ4sF9gA6eUiOqWtXyEk"}))),
    )),
    responses((status = 200, description = "The way in.", body = JoinAnswer)),
    security((), ("bearerAuth" = ["meetings:join"])),
    extensions(("x-refusals" = json!([ErrorCode::CapacityExceeded, ErrorCode::Conflict, ErrorCode::MeetingEnded]))),
)]
pub async fn join(
    State(app): State<Arc<App>>,
    caller: Caller,
    path: ApiPath<String>,
    repeatable: Repeatable,
    body: Unread,
) -> Result<Json<JoinAnswer>, ApiError> {
    let account = match &caller {
        Caller::Bearer(_) => caller.permit(&app, Scope::JoinMeetings)?.account,
        Caller::Anonymous => None,
    };
    let asked = path.read()?;
    let meeting = match &caller {
        Caller::Bearer(_) => find_for(&app, &caller, Action::Invite, &asked).await?,
        // Without a bearer one comes by the link alone, as far as the meeting lets one.
        Caller::Anonymous => find(&app, &asked).await?,
    };
    let body: JoinBody = body.json(&app).await?;
    let account = caller.believed(body.user_id.clone().map(user_id).transpose()?).or(account);
    let key = repeatable.key(&caller, &format!("join {}", meeting.id), account.as_deref(), &body)?;
    // Everyone in a meeting goes to the region that it is in; a wish counts once a meeting can span regions.
    region(body.region)?;
    let (controller, participant) = match body.resume_token {
        Some(token) => {
            let besides = body.display_name.map(|_| "display_name").or(body.user_id.map(|_| "user_id"));
            come_back(&app, &meeting, &token, besides).await?
        }
        None if account.is_none() && meeting.settings.require_auth => return Err(ApiError::no_bearer()),
        None => {
            let name = display_name(body.display_name.as_deref())?.to_owned();
            come_in(&app, &meeting, name, account).await?
        }
    };
    let participant = match idempotency::remember(&app, key.as_ref(), &participant.subject).await? {
        Some(subject) if subject != participant.subject => {
            let_in(&app, &meeting, &subject).await?;
            Participant { subject, ..participant }
        }
        _ => participant,
    };
    let invitation = invite(&app, meeting.id, &controller, participant)?;
    let settings = meeting.settings.into();
    Ok(Json(JoinAnswer { meeting_id: meeting.id.to_string(), display_name: meeting.display_name, settings, invitation }))
}

/// Who joins, and where.
async fn come_in(app: &App, meeting: &Meeting, name: String, account: Option<String>) -> Result<(Controller, Participant), ApiError> {
    if meeting.ended_at.is_some() {
        return Err(ApiError::meeting_ended());
    }
    let owns = account.is_some() && account == meeting.host;
    let role = if owns { Role::Host } else { Role::Attendee };
    let is_account = account.is_some();
    // A guest is somebody new each time, and nobody has refused it yet.
    let subject = account.unwrap_or_else(|| format!("guest-{}", common::random::uuid()));
    if is_account {
        let_in(app, meeting, &subject).await?;
    }
    if app.cluster.participant_count(meeting.id) >= meeting.settings.max_participants {
        return Err(ApiError::meeting_full(meeting.settings.max_participants));
    }
    let controller = settle(&app.cluster, app.store.as_ref(), meeting).await?;
    if is_account {
        let account = Account { subject: subject.clone(), display_name: Some(name.clone()) };
        app.store.upsert_user(meeting.tenant, &account, now_millis()).await?;
    }
    Ok((controller, Participant { role, name, subject, is_account, resumes: None }))
}

/// Who comes back with a resume token, and where it was; `besides`: a field that goes with joining only.
async fn come_back(app: &App, meeting: &Meeting, token: &str, besides: Option<&str>) -> Result<(Controller, Participant), ApiError> {
    if let Some(field) = besides {
        return Err(ApiError::invalid_field(field, "cannot stand beside resume_token: who comes back keeps its name and account"));
    }
    if token.is_empty() || token.len() > RESUME_TOKEN_BYTES_MAX {
        return Err(ApiError::invalid_field("resume_token", "is none that was given out"));
    }
    if meeting.ended_at.is_some() {
        return Err(ApiError::meeting_ended());
    }
    let hash = digest(&SHA256, token.as_bytes());
    let known = attendance::check_resume(&app.cluster, meeting, hash.as_ref().to_vec()).await?;
    let known = known.and_then(|(controller, one)| Some((controller, one.participant?, one.subject)));
    let (controller, one, subject) =
        known.ok_or_else(|| ApiError::unauthorized("resume_token: nobody can come back by it any more; join anew with display_name"))?;
    let_in(app, meeting, &subject).await?;
    let role = Role::from_name(&one.role).unwrap_or(Role::Attendee);
    let is_account = !one.user_id.is_empty();
    Ok((controller, Participant { role, name: one.name, subject, is_account, resumes: Some(one.participant_id) }))
}

/// Lets in everybody but those who were removed from the meeting.
pub async fn let_in(app: &App, meeting: &Meeting, subject: &str) -> Result<(), ApiError> {
    let actor = if app.store.is_refused(meeting.id, subject).await? { Actor::Removed } else { Actor::Stranger };
    permit(actor, Action::Invite, Relation::SameMeeting)
        .map_err(|_| ApiError::forbidden("who was removed from this meeting cannot join it again"))
}

/// A join token and the way to the meeting.
pub fn invite(app: &App, meeting: MeetingId, controller: &Controller, participant: Participant) -> Result<Invitation, ApiError> {
    let handlers = app.cluster.handlers(meeting, &controller.record.region);
    if handlers.ids.is_empty() {
        return Err(ApiError::unavailable("no media handler is available"));
    }
    let now = common::clock::unix_seconds();
    let expires = now + app.join_life().as_secs();
    let claims = JoinClaims {
        iss: ISSUER.to_owned(),
        aud: JOIN_AUDIENCE.to_owned(),
        sub: participant.subject,
        jti: common::random::uuid().to_string(),
        iat: now,
        exp: expires,
        meeting_id: meeting.to_string(),
        role: participant.role.as_str().to_owned(),
        name: participant.name,
        account: participant.is_account,
        resumes: participant.resumes,
        handlers: handlers.ids.iter().map(ToString::to_string).collect(),
    };
    let join_token = app.keys.signer().sign_join(&claims).map_err(ApiError::internal)?;
    let expires_at = rfc3339(i64::try_from(expires).unwrap_or(i64::MAX));
    let mut certificate_hashes: Vec<String> = Vec::new();
    for hash in controller.record.certificate_hashes.iter().chain(&handlers.certificate_hashes) {
        let hash = hash_base64(hash);
        if !certificate_hashes.contains(&hash) {
            certificate_hashes.push(hash);
        }
    }
    Ok(Invitation {
        join_token,
        expires_at,
        meeting_controller_url: controller.record.public_url.clone(),
        signaling_fallback_url: controller.record.fallback_url.clone(),
        media_handler_urls: handlers.urls,
        certificate_hashes,
    })
}
