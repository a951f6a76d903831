//! `POST /api/v1/auth/token`: OAuth 2.0 client credentials (RFC 6749 section 4.4), in JSON as the contract shows it, as a form, or with the
//! client's credentials in HTTP Basic.
//!
//! JSON requests are refused in the contract's error body, the others in OAuth's.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::Secret;
use common::token::{ACCESS_AUDIENCE, AccessClaims, ISSUER};
use global_controller_core::Scopes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{ApiError, ErrorCode, body, context};
use crate::app::App;
use crate::credentials::HashError;
use crate::store::StoreError;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
/// Longest client id that is looked up, bytes.
const CLIENT_ID_BYTES_MAX: usize = 128;

/// The client's credentials: here, or in HTTP Basic.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(example = json!({
    "grant_type": "client_credentials", "client_id": "dt-4f2a91c07be3", "client_secret": "0dZ4yD0Yk8Hc3mXr7JtUqk2nVb5sWp1eLg9aTf6iOuE",
}))]
pub struct TokenRequest {
    /// Always `client_credentials`.
    #[schema(required, nullable = false, pattern = "^client_credentials$")]
    grant_type: Option<String>,
    /// As the operator gave it out.
    client_id: Option<String>,
    /// As the operator gave it out.
    #[schema(value_type = Option<String>, format = Password)]
    client_secret: Option<Secret>,
    /// Scopes to have, separated by spaces; all that the client may have if absent.
    #[schema(example = "meetings:create meetings:join")]
    scope: Option<String>,
}

/// An access token.
#[derive(Serialize, ToSchema)]
pub struct TokenAnswer {
    /// A JWT, to be sent as `Authorization: Bearer …`.
    #[schema(example = "eyJhbGciOiJFZERTQSIs…")]
    access_token: String,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Its life, seconds.
    #[schema(example = 3600)]
    expires_in: u64,
    /// What it allows, separated by spaces.
    #[schema(example = "meetings:create meetings:read meetings:join meetings:end participants:act-as")]
    scope: String,
}

/// Why no token is given, before it is put into either body.
enum Refusal {
    /// A parameter is missing or wrong.
    Invalid(&'static str, String),
    GrantType,
    Scope(String),
    Client,
    Other(ApiError),
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Other(error)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Other(error.into())
    }
}

impl From<HashError> for Refusal {
    fn from(error: HashError) -> Self {
        Self::Other(error.into())
    }
}

/// Get an access token
///
/// OAuth 2.0 client credentials (RFC 6749 section 4.4): as JSON, as a form, or with the credentials in HTTP Basic. Requests in JSON are refused
/// in this API's error body, the others in OAuth's.
#[utoipa::path(
    post, path = "/api/v1/auth/token", operation_id = "createToken", tag = "Authentication",
    request_body(content((TokenRequest = "application/json"), (TokenRequest = "application/x-www-form-urlencoded"))),
    responses((status = 200, description = "A token.", body = TokenAnswer)),
    security((), ("clientSecretBasic" = [])),
    extensions(("x-refusals" = json!([ErrorCode::Unauthorized]))),
)]
pub async fn issue(State(app): State<Arc<App>>, request: Request) -> Response {
    let basic = request.headers().contains_key(header::AUTHORIZATION);
    let in_oauth = basic || body::media_type(request.headers()).is_some_and(|found| found == FORM);
    match answer(&app, request).await {
        Ok(answer) => ([(header::PRAGMA, "no-cache")], Json(answer)).into_response(),
        Err(refusal) if in_oauth => in_oauth_body(refusal),
        Err(refusal) => in_contract_body(refusal).into_response(),
    }
}

async fn answer(app: &App, request: Request) -> Result<TokenAnswer, Refusal> {
    let (headers, media_type) = (request.headers().clone(), body::media_type(request.headers()));
    let address = context::address(request.extensions());
    if media_type.as_deref().is_some_and(|found| found != FORM && found != JSON) {
        return Err(ApiError::wrong_media_type("application/json or application/x-www-form-urlencoded").into());
    }
    let bytes = body::read(request.into_body(), app).await?;
    let mut asked: TokenRequest = match media_type.as_deref() {
        Some(FORM) => form(&bytes)?,
        None if bytes.is_empty() => TokenRequest::default(),
        _ => body::parse(&bytes)?,
    };
    if let Some((id, secret)) = basic_credentials(&headers)? {
        if asked.client_secret.is_some() || asked.client_id.as_ref().is_some_and(|given| *given != id) {
            return Err(Refusal::Invalid("client_id", "give the credentials once".to_owned()));
        }
        (asked.client_id, asked.client_secret) = (Some(id), Some(secret));
    }
    let missing = |field| Refusal::Invalid(field, "is required".to_owned());
    let grant_type = asked.grant_type.ok_or_else(|| missing("grant_type"))?;
    if grant_type != "client_credentials" {
        return Err(Refusal::GrantType);
    }
    let id = asked.client_id.ok_or_else(|| missing("client_id"))?;
    let secret = asked.client_secret.ok_or_else(|| missing("client_secret"))?;
    // PostgreSQL cannot even be asked for a text that holds U+0000.
    let is_an_id = id.len() <= CLIENT_ID_BYTES_MAX && !id.chars().any(char::is_control);
    let client = if is_an_id { app.store.api_client(&id).await? } else { None };
    // One that was shut out is one that is not there.
    let client = client.filter(|client| client.revoked_at.is_none());
    let stored = client.as_ref().map(|client| client.secret_hash.clone());
    let matches = app.hasher.verify(address, secret, stored).await?;
    let Some(client) = client.filter(|_| matches) else { return Err(Refusal::Client) };
    let scopes = match asked.scope.as_deref() {
        None | Some("") => client.scopes,
        Some(text) => {
            let wanted: Scopes = text.parse().map_err(|error| Refusal::Scope(format!("{error}")))?;
            if !wanted.is_within(&client.scopes) {
                return Err(Refusal::Scope("this client may not have all of these scopes".to_owned()));
            }
            wanted
        }
    };
    let life = app.config.tokens.access_life().as_secs();
    let now = common::clock::unix_seconds();
    let claims = AccessClaims {
        iss: ISSUER.to_owned(),
        aud: ACCESS_AUDIENCE.to_owned(),
        sub: client.id,
        jti: common::random::uuid().to_string(),
        iat: now,
        exp: now + life,
        tenant: client.tenant.to_string(),
        scope: scopes.to_string(),
        rate_limit: client.rate_limit,
    };
    let access_token = app.keys.signer().sign_access(&claims).map_err(ApiError::internal)?;
    Ok(TokenAnswer { access_token, token_type: "Bearer", expires_in: life, scope: claims.scope })
}

/// Parameters of a form; one that stands twice is refused (RFC 6749 section 3.2).
fn form(bytes: &[u8]) -> Result<TokenRequest, Refusal> {
    let mut asked = TokenRequest::default();
    for (name, value) in form_urlencoded::parse(bytes) {
        let value = value.into_owned();
        let before = match name.as_ref() {
            "grant_type" => asked.grant_type.replace(value).is_some(),
            "client_id" => asked.client_id.replace(value).is_some(),
            "client_secret" => asked.client_secret.replace(Secret::new(value)).is_some(),
            "scope" => asked.scope.replace(value).is_some(),
            _ => false,
        };
        if before {
            return Err(Refusal::Invalid("form", "a parameter stands twice".to_owned()));
        }
    }
    Ok(asked)
}

/// Id and secret of HTTP Basic, each form-encoded before (RFC 6749 section 2.3.1).
fn basic_credentials(headers: &HeaderMap) -> Result<Option<(String, Secret)>, Refusal> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::Invalid("authorization", "stands twice".to_owned()));
    }
    let text = value.to_str().unwrap_or_default();
    let (scheme, encoded) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Refusal::Client);
    }
    let decoded = STANDARD.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(Refusal::Client)?;
    let (id, secret) = decoded.split_once(':').ok_or(Refusal::Client)?;
    Ok(Some((form_decoded(id), Secret::new(form_decoded(secret)))))
}

fn form_decoded(text: &str) -> String {
    let pair = format!("v={text}");
    form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

fn in_contract_body(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::Invalid(field, problem) => ApiError::invalid_field(field, problem),
        Refusal::GrantType => ApiError::invalid_field("grant_type", "must be client_credentials"),
        Refusal::Scope(problem) => ApiError::invalid_field("scope", problem),
        Refusal::Client => ApiError::bad_client(),
        Refusal::Other(error) => error,
    }
}

/// RFC 6749 section 5.2; what has no code there keeps its status.
fn in_oauth_body(refusal: Refusal) -> Response {
    let (status, code, description) = match refusal {
        Refusal::Invalid(field, problem) => (StatusCode::BAD_REQUEST, "invalid_request", format!("{field}: {problem}")),
        Refusal::GrantType => (StatusCode::BAD_REQUEST, "unsupported_grant_type", "grant_type must be client_credentials".to_owned()),
        Refusal::Scope(problem) => (StatusCode::BAD_REQUEST, "invalid_scope", problem),
        Refusal::Client => (StatusCode::UNAUTHORIZED, "invalid_client", ApiError::bad_client().message().to_owned()),
        Refusal::Other(error) if error.status().is_client_error() => (error.status(), "invalid_request", error.message().to_owned()),
        // Not ours to dress up: clients retry by status.
        Refusal::Other(error) => return error.into_response(),
    };
    // Quotation marks, backslashes and what is beyond ASCII may not stand there.
    let plain = |it: char| if matches!(it, ' ' | '!' | '#'..='[' | ']'..='~') { it } else { '\'' };
    let description: String = description.chars().map(plain).collect();
    let mut response = (status, Json(json!({"error": code, "error_description": description}))).into_response();
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"dark-tower\""));
    }
    response
}
