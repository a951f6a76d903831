//! The keys that verify our tokens, as a JSON Web Key Set (RFC 7517 section 5).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use crate::app::App;

/// The keys that tokens are signed with
///
/// A JSON Web Key Set (RFC 7517): Ed25519 keys, current and coming. Access and join tokens name theirs by `kid`.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", operation_id = "getKeys", tag = "Authentication",
    responses((
        status = 200, description = "The keys.", body = serde_json::Value,
        example = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k-2f0c9a51", "use": "sig", "alg": "EdDSA",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}),
    )),
)]
pub async fn jwks(State(app): State<Arc<App>>) -> impl IntoResponse {
    // A key is published for this long before it signs: whoever keeps an answer no longer than that knows every key in time.
    let max_age = app.config.tokens.key_activation.as_secs();
    ([(header::CACHE_CONTROL, format!("public, max-age={max_age}"))], Json(app.keys.jwks()))
}
