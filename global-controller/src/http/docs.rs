//! The documentation page: embedded, made in the browser from the OpenAPI document, without any asset from elsewhere.

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use super::ApiError;
use super::pages::serve;
use crate::assets::assets;

/// What the page may load and whom it may call: this server alone. Nothing inline, no script made from text.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /docs`
pub async fn page(headers: HeaderMap) -> Response {
    match assets().get("docs/index.html") {
        Some(found) => serve(found, CONTENT_SECURITY_POLICY, &headers),
        None => ApiError::no_such_route().into_response(),
    }
}
