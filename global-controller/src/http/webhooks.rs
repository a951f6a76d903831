//! Webhooks of an API client: register, list, delete. The client's token is needed, also where anybody may create meetings.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use global_controller_core::Scope;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::body::Unread;
use super::caller::{Bearer, Caller};
use super::idempotency::{self, Repeatable};
use super::path::ApiPath;
use super::{ApiError, ErrorCode};
use crate::app::App;
use crate::events::EventType;
use crate::store::{EventKind, IdempotencyKey, StoreError, Webhook};
use crate::timestamp::{now_millis, rfc3339};
use crate::webhooks::{new_secret, parse_target};

/// A webhook to be registered.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = CreateWebhook, example = json!({"url": "https://example.com/hooks", "events": ["participant.joined", "participant.left"]}))]
pub struct CreateBody {
    /// Where to: `https`, a host on the public internet, at most 2048 bytes, no user name, password or fragment.
    #[schema(
        required,
        nullable = false,
        max_length = 2048,
        pattern = r"^https://([a-z][a-z0-9]*\.)+[a-z]{2,}(:[1-9][0-9]{0,3})?(/[!$-~]*)?$"
    )]
    url: Option<String>,
    /// Which events; all if absent.
    #[schema(value_type = Option<Vec<EventType>>, min_items = 1, max_items = 7)]
    events: Option<Vec<String>>,
}

/// A webhook.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Webhook)]
pub struct WebhookBody {
    /// Its id.
    #[schema(example = "3f333df6-90a4-4fda-8dd3-9485d27cee36", format = Uuid)]
    webhook_id: String,
    /// Where to, as it is called.
    #[schema(example = "https://example.com/hooks")]
    url: String,
    /// Which events.
    #[schema(value_type = Vec<EventType>, example = json!(["participant.joined", "participant.left"]))]
    events: Vec<&'static str>,
    /// When it was registered.
    #[schema(example = "2025-01-16T12:00:00Z", format = DateTime)]
    created_at: String,
    /// When a call last succeeded; absent: none has.
    #[schema(nullable = false, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    last_delivered_at: Option<String>,
    /// Since when all calls fail; absent: the last one succeeded.
    #[schema(nullable = false, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<String>,
    /// Why the last call failed; absent: it succeeded.
    #[schema(nullable = false, example = "the target answered 500 Internal Server Error")]
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
}

/// A webhook that was just registered.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedWebhook)]
pub struct CreateAnswer {
    #[serde(flatten)]
    webhook: WebhookBody,
    /// Verifies the calls; shown here and never again.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=")]
    secret: String,
}

/// The webhooks of an API client.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookList)]
pub struct ListAnswer {
    /// Oldest first.
    webhooks: Vec<WebhookBody>,
}

/// Register a webhook
///
/// From now on `url` is called when something happens in a meeting of the caller's tenant. The answer's `secret` is shown this once: keep it to
/// verify the calls by.
#[utoipa::path(
    post, path = "/api/v1/webhooks", operation_id = "createWebhook", tag = "Webhooks",
    params((
        "Idempotency-Key" = Option<String>, Header, description = "Makes the request repeatable for a day: the same webhook, the same secret.",
        min_length = 1, max_length = 255, pattern = "^[!-~]+$",
    )),
    request_body = CreateBody,
    responses((
        status = 201, description = "It is registered.", body = CreateAnswer,
        headers(("Location" = String, description = "The webhook in this API.")),
    )),
    security(("bearerAuth" = ["webhooks:manage"])),
    extensions(("x-refusals" = json!([ErrorCode::CapacityExceeded, ErrorCode::Conflict]))),
)]
pub async fn create(State(app): State<Arc<App>>, caller: Caller, repeatable: Repeatable, body: Unread) -> Result<Created, ApiError> {
    let bearer = bearer(&app, &caller)?;
    let body: CreateBody = body.json(&app).await?;
    let key = repeatable.key(&caller, IdempotencyKey::CREATE_WEBHOOK, None, &body)?;
    let config = &app.config.webhooks;
    let url = body.url.ok_or_else(|| ApiError::invalid_field("url", "is required"))?;
    let url = parse_target(&url, config.allow_private).map_err(|problem| ApiError::invalid_field("url", problem))?;
    let mut webhook = Webhook {
        id: common::random::uuid(),
        client: bearer.subject,
        tenant: bearer.tenant,
        url: url.into(),
        events: kinds(body.events.as_deref())?,
        secret: new_secret(),
        created_at: now_millis(),
        delivered_at: None,
        failing: None,
    };
    // Its id is remembered before it is there: should this break off in between, the repeat registers it under that id.
    if let Some(first) = idempotency::remember(&app, key.as_ref(), &webhook.id.to_string()).await? {
        if first == IdempotencyKey::DELETED {
            return Err(stands_for_deleted());
        }
        webhook.id = first.parse().map_err(ApiError::internal)?;
        if let Some(there) = find(&app, &webhook).await? {
            return Ok(created(there));
        }
    }
    match app.store.create_webhook(&webhook, config.per_client).await {
        Ok(true) => {
            // Not its URL: many hold a secret.
            tracing::info!(webhook = %webhook.id, client = webhook.client, "webhook registered");
            Ok(created(webhook))
        }
        Ok(false) => Err(ApiError::too_many_webhooks(config.per_client)),
        Err(StoreError::Taken(_)) => match find(&app, &webhook).await? {
            // The same request came in twice at once, and the other was first.
            Some(there) => Ok(created(there)),
            None if key.is_some() => Err(stands_for_deleted()),
            None => Err(ApiError::internal("a webhook's id is taken")),
        },
        Err(error) => Err(error.into()),
    }
}

/// A repeat registers nothing that its application has deleted meanwhile.
fn stands_for_deleted() -> ApiError {
    ApiError::conflict("Idempotency-Key", "stands for a webhook that was deleted; send another key")
}

/// The answer to a registration.
type Created = (StatusCode, [(HeaderName, String); 1], Json<CreateAnswer>);

fn created(webhook: Webhook) -> Created {
    let location = format!("/api/v1/webhooks/{}", webhook.id);
    let secret = webhook.secret.clone();
    (StatusCode::CREATED, [(header::LOCATION, location)], Json(CreateAnswer { webhook: webhook.into(), secret }))
}

/// What is in the store under the id of `wanted`, if it is the same client's.
async fn find(app: &App, wanted: &Webhook) -> Result<Option<Webhook>, ApiError> {
    Ok(app.store.webhooks(&wanted.client).await?.into_iter().find(|webhook| webhook.id == wanted.id))
}

/// List webhooks
///
/// Those of the caller's API client, and how they fare. Secrets are not shown.
#[utoipa::path(
    get, path = "/api/v1/webhooks", operation_id = "listWebhooks", tag = "Webhooks",
    responses((status = 200, description = "All of them.", body = ListAnswer)),
    security(("bearerAuth" = ["webhooks:manage"])),
)]
pub async fn list(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<ListAnswer>, ApiError> {
    let bearer = bearer(&app, &caller)?;
    let webhooks = app.store.webhooks(&bearer.subject).await?;
    Ok(Json(ListAnswer { webhooks: webhooks.into_iter().map(WebhookBody::from).collect() }))
}

/// Delete a webhook
///
/// It is called no more, also not about what has happened already; a call that is under way may still arrive.
#[utoipa::path(
    delete, path = "/api/v1/webhooks/{webhook_id}", operation_id = "deleteWebhook", tag = "Webhooks",
    params(("webhook_id" = String, Path, description = "Id of the webhook.", example = "3f333df6-90a4-4fda-8dd3-9485d27cee36")),
    responses((status = 204, description = "It is gone.")),
    security(("bearerAuth" = ["webhooks:manage"])),
    extensions(("x-refusals" = json!([ErrorCode::NotFound]))),
)]
pub async fn delete(State(app): State<Arc<App>>, caller: Caller, path: ApiPath<String>) -> Result<StatusCode, ApiError> {
    let bearer = bearer(&app, &caller)?;
    let asked = path.read()?;
    let unknown = || ApiError::not_found(format!("Webhook {} does not exist", common_core::name::escape(&asked, 64)));
    let id: Uuid = asked.parse().map_err(|_| unknown())?;
    if !app.store.delete_webhook(&bearer.subject, id).await? {
        return Err(unknown());
    }
    tracing::info!(webhook = %id, client = bearer.subject, "webhook deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// A webhook belongs to an API client, so there has to be one.
fn bearer(app: &App, caller: &Caller) -> Result<Bearer, ApiError> {
    caller.permit(app, Scope::ManageWebhooks)?;
    match caller {
        Caller::Bearer(bearer) => Ok(bearer.clone()),
        Caller::Anonymous => Err(ApiError::no_bearer()),
    }
}

/// The kinds that are named, as the store keeps them; all of them if none is.
fn kinds(names: Option<&[String]>) -> Result<i64, ApiError> {
    let known = EventKind::ALL.map(EventKind::as_str).join(", ");
    let Some(names) = names else { return Ok(bits(EventKind::ALL)) };
    let wrong = || ApiError::invalid_field("events", format!("must be one or more of {known}"));
    if names.is_empty() || names.len() > EventKind::ALL.len() {
        return Err(wrong());
    }
    let kinds: Option<Vec<EventKind>> = names.iter().map(|name| EventKind::from_name(name)).collect();
    Ok(bits(kinds.ok_or_else(wrong)?))
}

fn bits(kinds: impl IntoIterator<Item = EventKind>) -> i64 {
    kinds.into_iter().fold(0, |bits, kind| bits | kind.bit())
}

impl From<Webhook> for WebhookBody {
    fn from(webhook: Webhook) -> Self {
        let (failing_since, last_error) = webhook.failing.unzip();
        let time = |millis: i64| rfc3339(millis / 1000);
        Self {
            webhook_id: webhook.id.to_string(),
            url: webhook.url,
            events: EventKind::ALL.into_iter().filter(|kind| webhook.events & kind.bit() != 0).map(EventKind::as_str).collect(),
            created_at: time(webhook.created_at),
            last_delivered_at: webhook.delivered_at.map(time),
            failing_since: failing_since.map(time),
            last_error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_as_applications_know_them() {
        let check = |names: &[&str], expected: Option<i64>| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(kinds(Some(&names)).ok(), expected, "{names:?}");
        };
        check(&["meeting.created"], Some(1));
        check(&["participant.left", "participant.left", "meeting.ended"], Some(0b10100));
        check(&[], None);
        check(&["meeting.exploded"], None);
        check(&["Meeting.Created"], None);
        check(&["meeting.created"; 8], None);
        assert_eq!(kinds(None).ok(), Some(0b111_1111));
        let message = kinds(Some(&["x".to_owned()])).expect_err("it is unknown").message().to_owned();
        assert!(message.starts_with("events: must be one or more of meeting.created, meeting.started, "), "{message}");
    }
}
