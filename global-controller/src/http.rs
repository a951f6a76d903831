//! The public API and the pages, as one axum router that all three protocols serve.
//!
//! In: requests of strangers. Out: answers of the contract (seed 003 section 1, DESIGN section 3); every refusal has the contract's error body.

mod auth;
mod body;
mod caller;
mod context;
mod error;
mod join;
mod meetings;
mod pages;
mod token;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::app::App;

pub use error::ApiError;

/// How long a browser may keep the answer to a CORS preflight.
const PREFLIGHT_LIFE: std::time::Duration = std::time::Duration::from_secs(3600);

/// Every public route, ready to be served by any listener.
pub fn router(app: Arc<App>) -> Router {
    let mut router = Router::new()
        .route("/api/v1/auth/token", post(token::issue))
        .route("/api/v1/meetings", post(meetings::create).get(meetings::list))
        .route("/api/v1/meetings/{meeting_id}", get(meetings::show).delete(meetings::end))
        .route("/api/v1/meetings/{meeting_id}/join", post(join::join))
        .route("/.well-known/jwks.json", get(auth::jwks))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(pages::ready))
        .route("/", get(pages::page))
        .route("/m/{code}", get(pages::page));
    for path in crate::assets::assets().keys() {
        router = router.route(&format!("/{path}"), get(pages::asset));
    }
    router
        .fallback(|| async { ApiError::no_such_route() })
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(cors(&app.config.public.origins))
        .layer(from_fn_with_state(app.clone(), context::surround))
        .with_state(app)
}

/// Pages of `origins` may call the API; pages of ours need no leave.
fn cors(origins: &[String]) -> CorsLayer {
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| origin.parse::<HeaderValue>().ok()))
    };
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, context::REQUEST_ID, HeaderName::from_static("idempotency-key")])
        .expose_headers([header::LOCATION, header::RETRY_AFTER, context::REQUEST_ID])
        .max_age(PREFLIGHT_LIFE)
}
