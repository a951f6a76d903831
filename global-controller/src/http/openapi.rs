//! The OpenAPI 3.1 document: what the handlers say of themselves, and what all calls have in common.
//!
//! In: the operations that `#[utoipa::path]` describes on each handler. Out: one JSON document, written once when the process starts. It is as true
//! as the handlers' attributes are; what follows from them is added here and stated nowhere else:
//!
//! - `security(("bearerAuth" = ["meetings:create"]))` names the scope: the document gets the sentence about it, the OAuth 2.0 alternative, 401 and 403.
//! - `security((), …)` says that the call can be made without a token. Where the configuration lets anybody create meetings, so can all calls in a
//!   tenant, those about webhooks aside.
//! - A path with the id that a call to create answers is linked from that answer.
//! - A path with `{meeting_id}` may be answered with `MEETING_NOT_FOUND`; one with a parameter or body with `INVALID_REQUEST`, and 408, 413, 415
//!   with a body.
//! - Each call may be answered with 500 and 503, and each answer has `X-Request-Id`. Those under `/api/v1` may be answered with 429, and have the
//!   headers of the rate limit.
//! - `extensions(("x-refusals" = json!([ErrorCode::MeetingEnded])))` names the codes that this call may be refused with besides.

mod bodies;
mod refusals;
mod webhooks;

use std::sync::{Arc, OnceLock};

use axum::Extension;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use global_controller_core::Scope;
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

use super::ErrorCode;
use crate::app::App;
use crate::assets::{entity_tag, is_known};

/// Where it is served.
const PATH: &str = "/api/v1/openapi.json";
/// What the reader is told before the calls; `{{server}}` stands for the API's own address.
const INTRODUCTION: &str = include_str!("openapi/introduction.md");
/// Groups of calls, in reading order.
const TAGS: [(&str, &str); 6] = [
    ("Authentication", "Access tokens for programs, and the keys that verify them."),
    ("Meetings", "Create meetings, hand out the ways into them, end them."),
    ("Participants", "See who is in a meeting, mute and remove them."),
    ("Events", "What happened in a meeting, as a list or as it happens."),
    ("Webhooks", "Have your server called when something happens."),
    ("Service", "The state of the service itself, and this description of it."),
];

/// The document as it is served; empty until it is written.
#[derive(Clone, Default)]
pub struct Document(Arc<OnceLock<Written>>);

struct Written {
    bytes: Bytes,
    entity_tag: String,
}

impl Document {
    /// Writes it, once.
    pub fn write(&self, described: OpenApi, app: &App) {
        let value = complete(described, &app.public_url, app.config.allow_anonymous_create);
        let bytes = Bytes::from(value.to_string());
        let entity_tag = entity_tag(&bytes);
        let _ = self.0.set(Written { bytes, entity_tag });
    }
}

/// This description
///
/// OpenAPI 3.1, generated from the code that serves the calls. Any page may read it.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", operation_id = "getOpenApi", tag = "Service",
    responses(
        (status = 200, description = "The document.", body = serde_json::Value),
        (status = 304, description = "It is the one that `If-None-Match` names."),
    ),
)]
pub async fn serve(Extension(document): Extension<Document>, headers: HeaderMap) -> Response {
    let Some(Written { bytes, entity_tag }) = document.0.get() else {
        return super::ApiError::internal("the description of the API is not written").into_response();
    };
    let answer_headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::ETAG, entity_tag.as_str()),
        (header::CACHE_CONTROL, "public, max-age=300"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    if is_known(entity_tag, &headers) {
        (StatusCode::NOT_MODIFIED, answer_headers).into_response()
    } else {
        (answer_headers, bytes.clone()).into_response()
    }
}

/// Adds what all calls have in common. `open`: whether anybody may create meetings.
fn complete(described: OpenApi, public_url: &str, open: bool) -> Value {
    let mut document = serde_json::to_value(described).expect("the description is JSON");
    document["info"] = json!({
        "title": "Dark Tower",
        "version": env!("CARGO_PKG_VERSION"),
        "summary": "Video meetings over QUIC: the API for applications.",
        "description": INTRODUCTION.replace("{{server}}", public_url),
        "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
    });
    document["servers"] = json!([{"url": public_url}]);
    document["webhooks"] = webhooks::calls();
    document["tags"] = TAGS.iter().map(|(name, description)| json!({"name": name, "description": description})).collect();
    let links = bodies::links(&document);
    for (path, item) in object(&mut document["paths"]) {
        for operation in object(item).values_mut().filter(|value| value.get("responses").is_some()) {
            describe(path, operation, open);
            bodies::link(operation, &links);
        }
    }
    let components = object(&mut document["components"]);
    components.insert("securitySchemes".to_owned(), security_schemes());
    components.insert("headers".to_owned(), headers());
    components.insert("responses".to_owned(), refusals::responses());
    components.insert("examples".to_owned(), refusals::examples());
    let schemas = object(components.entry("schemas").or_insert(Value::Null));
    bodies::narrow(schemas);
    schemas.extend(refusals::schemas());
    document
}

/// Adds to an operation what follows from its path, its body and its security.
fn describe(path: &str, operation: &mut Value, open: bool) {
    let is_api = path.starts_with("/api/v1/") && path != PATH;
    let scopes: Vec<String> = scopes_of(operation);
    let mut refused: Vec<refusals::Case> = Vec::new();
    let named = object(operation).remove("x-refusals").unwrap_or_default();
    for name in named.as_array().into_iter().flatten() {
        let code = ErrorCode::ALL.into_iter().find(|code| *name == code.parts().0).expect("x-refusals names error codes");
        refused.push(refusals::Case::of(code));
    }
    if operation.get("requestBody").is_some() {
        refused.extend(refusals::OF_BODIES);
    }
    if operation.get("requestBody").is_some() || path.contains('{') || operation.get("parameters").is_some() {
        refused.push(refusals::Case::of(ErrorCode::InvalidRequest));
    }
    if path.contains("{meeting_id}") {
        refused.push(refusals::Case::of(ErrorCode::MeetingNotFound));
    }
    if !scopes.is_empty() {
        refused.extend([ErrorCode::Unauthorized, ErrorCode::Forbidden].map(refusals::Case::of));
        let said = scopes.iter().map(|scope| format!("`{scope}`")).collect::<Vec<_>>().join(", ");
        let optional = security_of(operation).iter().any(|requirement| requirement.as_object().is_some_and(Map::is_empty));
        let sentence = if optional { format!("With an access token: scope {said}.") } else { format!("Needs the scope {said}.") };
        let before = operation["description"].as_str().map(|text| format!("{text}\n\n")).unwrap_or_default();
        operation["description"] = Value::from(format!("{before}{sentence}"));
        let mut requirements = security_of(operation);
        requirements.extend(scopes.iter().map(|scope| json!({"oauth2": [scope]})));
        // A webhook is an API client's, so there has to be one.
        let is_clients = scopes == [Scope::ManageWebhooks.as_str()];
        if open && !optional && !is_clients {
            requirements.insert(0, json!({}));
        }
        operation["security"] = Value::from(requirements);
    }
    if is_api {
        refused.push(refusals::Case::of(ErrorCode::RateLimited));
    }
    refused.extend([ErrorCode::InternalError, ErrorCode::Unavailable].map(refusals::Case::of));
    let in_oauth = operation["security"].as_array().is_some_and(|all| all.iter().any(|one| one.get("clientSecretBasic").is_some()));
    let responses = object(&mut operation["responses"]);
    for (_, response) in responses.iter_mut() {
        let headers = object(&mut response["headers"]);
        headers.extend(common_headers(is_api));
    }
    for (status, response) in refusals::by_status(&refused, in_oauth) {
        responses.entry(status).or_insert(response);
    }
}

/// References to the headers of every answer.
fn common_headers(is_api: bool) -> Map<String, Value> {
    let names = if is_api { &HEADERS[..] } else { &HEADERS[..1] };
    names.iter().map(|(name, ..)| ((*name).to_owned(), json!({"$ref": format!("#/components/headers/{name}")}))).collect()
}

/// Headers of answers: name, meaning, example. The first is on every answer, the others on those of the API.
const HEADERS: [(&str, &str, &str); 4] = [
    (
        "X-Request-Id",
        "The id of this request, as the client sent it or made here; the logs have it too.",
        "0b6f6c0e-6f0c-4d53-9a55-0d3c2b1f7a10",
    ),
    ("X-RateLimit-Limit", "Requests that the caller may make in a window.", "100"),
    ("X-RateLimit-Remaining", "Requests that are left in this window.", "95"),
    ("X-RateLimit-Reset", "When the window ends: seconds since the epoch.", "1705411200"),
];

fn headers() -> Value {
    let described = HEADERS.map(|(name, description, example)| {
        let schema = match example.parse::<u64>() {
            Ok(number) => json!({"type": "integer", "format": "int64", "minimum": 0, "example": number}),
            Err(_) => json!({"type": "string", "example": example}),
        };
        (name.to_owned(), json!({"description": description, "schema": schema}))
    });
    let mut headers: Map<String, Value> = described.into_iter().collect();
    headers.insert(
        "Retry-After".to_owned(),
        json!({"description": "Seconds after which another try makes sense.", "schema": {"type": "integer", "minimum": 0, "example": 2}}),
    );
    headers.insert(
        "WWW-Authenticate".to_owned(),
        json!({"description": "What was wrong with the credentials (RFC 6750 section 3, RFC 7617).",
            "schema": {"type": "string", "example": "Bearer realm=\"dark-tower\", error=\"invalid_token\""}}),
    );
    headers.into()
}

fn security_schemes() -> Value {
    let scopes: Map<String, Value> =
        Scope::ALL.iter().map(|scope| (scope.as_str().to_owned(), Value::from(refusals::scope_meaning(*scope)))).collect();
    json!({
        "bearerAuth": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "An access token of `POST /api/v1/auth/token`.",
        },
        "oauth2": {
            "type": "oauth2",
            "description": "The same access token, for tools that fetch it by themselves.",
            "flows": {"clientCredentials": {"tokenUrl": "/api/v1/auth/token", "scopes": scopes}},
        },
        "clientSecretBasic": {
            "type": "http", "scheme": "basic",
            "description": "Client id and secret, each form-encoded (RFC 6749 section 2.3.1); instead of those in the body.",
        },
    })
}

fn security_of(operation: &Value) -> Vec<Value> {
    operation.get("security").and_then(Value::as_array).cloned().unwrap_or_default()
}

/// The scopes that a bearer needs for an operation.
fn scopes_of(operation: &Value) -> Vec<String> {
    let bearers = security_of(operation).into_iter().filter_map(|requirement| requirement.get("bearerAuth").cloned());
    bearers.flat_map(|scopes| serde_json::from_value::<Vec<String>>(scopes).unwrap_or_default()).collect()
}

/// The members of an object; of one that is not there yet, none.
fn object(value: &mut Value) -> &mut Map<String, Value> {
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut().expect("an OpenAPI document has objects here")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::EventKind;

    /// A code, scope or event that is added is explained, or this fails.
    #[test]
    fn the_introduction_explains_every_word() {
        let codes = ErrorCode::ALL.iter().map(|code| code.parts().0);
        let scopes = Scope::ALL.iter().map(|scope| scope.as_str());
        let events = EventKind::ALL.iter().map(|kind| kind.as_str());
        for word in codes.chain(scopes).chain(events) {
            assert!(INTRODUCTION.contains(&format!("| `{word}` |")), "{word} is not in introduction.md");
        }
    }
}
