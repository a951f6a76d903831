//! The keys that verify our tokens, as a JSON Web Key Set (RFC 7517 section 5).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use crate::app::App;

/// `GET /.well-known/jwks.json`
pub async fn jwks(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(app.keys.jwks()))
}
