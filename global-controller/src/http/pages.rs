//! The page for people and its parts, and the readiness of this process.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::ApiError;
use crate::app::App;
use crate::assets::{TaggedAsset, assets, index, is_known, takes_gzip};

/// What the page may load and whom it may call: itself, and the controllers and handlers that it is told of. Those are at any host, and others join
/// them while a page lives, so `connect-src` names their schemes. No script is made from text but the client's worker, by the page's own policy.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' https: wss:; img-src 'self'; \
    worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types default";

/// What a meeting needs of a browser, for this origin alone, and what it never asks for.
const PERMISSIONS_POLICY: &str = "camera=(self), microphone=(self), display-capture=(self), speaker-selection=(self), autoplay=(self), \
    fullscreen=(self), clipboard-write=(self), geolocation=(), payment=(), usb=(), serial=(), hid=(), midi=()";

/// No header of ours by this name is in the `http` crate.
const PERMISSIONS_POLICY_NAME: HeaderName = HeaderName::from_static("permissions-policy");
/// Windows that the page opens, or is opened by, cannot reach into it.
const OPENER_POLICY_NAME: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
/// Nobody else's page takes our files for its own.
const RESOURCE_POLICY_NAME: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// `GET /` and `GET /m/{code}`: one page, which reads the code from its own address.
pub async fn page(headers: HeaderMap) -> Response {
    serve(index(), CONTENT_SECURITY_POLICY, &headers)
}

/// `GET` of a file of the page.
pub async fn asset(uri: Uri, headers: HeaderMap) -> Response {
    match assets().get(uri.path().trim_start_matches('/')) {
        Some(found) => serve(found, CONTENT_SECURITY_POLICY, &headers),
        None => ApiError::no_such_route().into_response(),
    }
}

/// Whether this process is alive
#[utoipa::path(
    get, path = "/healthz", operation_id = "getHealth", tag = "Service",
    responses((status = 200, description = "It is.", body = String, content_type = "text/plain", example = "ok")),
)]
pub async fn health() -> &'static str {
    "ok\n"
}

/// Whether this process can do its work
#[utoipa::path(
    get, path = "/readyz", operation_id = "getReadiness", tag = "Service",
    responses(
        (status = 200, description = "It can.", body = String, content_type = "text/plain", example = "store: ok"),
        (status = 503, description = "It cannot; the text says why.", body = String, content_type = "text/plain", example = "store: it is locked"),
    ),
)]
pub async fn ready(State(app): State<Arc<App>>) -> (StatusCode, String) {
    match app.store_state() {
        Ok(()) => (StatusCode::OK, "store: ok\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("store: {reason}\n")),
    }
}

/// A file as a page or a part of one, compressed for who takes that; or that the browser has it.
pub fn serve(TaggedAsset { asset, entity_tag }: &TaggedAsset, policy: &'static str, headers: &HeaderMap) -> Response {
    let gzip = asset.gzip.filter(|_| takes_gzip(headers));
    // Strong tags tell codings apart.
    let entity_tag = if gzip.is_some() { entity_tag.replacen('"', "\"gzip-", 1) } else { entity_tag.clone() };
    let answer_headers = [
        (header::CONTENT_TYPE, asset.content_type),
        (header::ETAG, entity_tag.as_str()),
        // Kept, and asked for again each time: names do not change with contents.
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, "accept-encoding"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, "no-referrer"),
        (PERMISSIONS_POLICY_NAME, PERMISSIONS_POLICY),
        (OPENER_POLICY_NAME, "same-origin"),
        (RESOURCE_POLICY_NAME, "same-origin"),
    ];
    if is_known(&entity_tag, headers) {
        return (StatusCode::NOT_MODIFIED, answer_headers).into_response();
    }
    match gzip {
        Some(gzip) => ([(header::CONTENT_ENCODING, "gzip")], answer_headers, gzip).into_response(),
        None => (answer_headers, asset.bytes).into_response(),
    }
}
