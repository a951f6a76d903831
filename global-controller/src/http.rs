//! The public API and the pages, as one axum router that all three protocols serve.
//!
//! In: requests of strangers. Out: answers of the contract (seed 003 section 1, DESIGN section 3); every refusal has the contract's error body.

mod auth;
pub(crate) mod body;
mod caller;
mod context;
mod docs;
mod error;
mod events;
mod gate;
pub(crate) mod idempotency;
mod join;
pub(crate) mod meetings;
mod meters;
mod openapi;
mod pages;
mod participants;
mod path;
mod preflight;
pub(crate) mod query;
mod rates;
pub(crate) mod token;
mod webhooks;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use crate::app::App;

pub use error::{ApiError, ErrorCode};
pub use rates::Rates;

/// How long a browser may keep the answer to a CORS preflight.
const PREFLIGHT_LIFE: std::time::Duration = std::time::Duration::from_secs(3600);

/// Every public route, ready to be served by any listener.
pub fn router(app: Arc<App>) -> Router {
    let document = openapi::Document::default();
    let (api, described) = api(&document).split_for_parts();
    document.write(described, &app);
    api.merge(pages())
        .fallback(|| async { ApiError::no_such_route() })
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        // From the inside out: what stands lower sees a request earlier.
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(from_fn_with_state(app.clone(), context::admit))
        .layer(from_fn_with_state(app.clone(), gate::check))
        // Every answer of the API says what is left (DESIGN section 3), also that to a request which the gate refuses.
        .layer(from_fn_with_state(app.clone(), rates::limit))
        .layer(preflight::Apart(cors(&app.config.public.origins)))
        .layer(from_fn_with_state(meters::Meters::default(), context::surround))
        .with_state(app)
}

/// The calls for programs. Each says by its `#[utoipa::path]` what it takes and answers; `openapi` says what all have in common.
fn api(document: &openapi::Document) -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default()
        .routes(routes!(token::issue))
        .routes(routes!(meetings::create, meetings::list))
        .routes(routes!(meetings::show, meetings::end))
        .routes(routes!(join::join))
        .routes(routes!(participants::list))
        .routes(routes!(participants::remove, participants::mute))
        .routes(routes!(events::feed))
        .routes(routes!(webhooks::create, webhooks::list))
        .routes(routes!(webhooks::delete))
        .routes(routes!(auth::jwks))
        .routes(routes!(openapi::serve).layer(axum::Extension(document.clone())))
        .routes(routes!(pages::health))
        .routes(routes!(pages::ready))
}

/// The pages for people.
fn pages() -> Router<Arc<App>> {
    let pages = Router::new().route("/", get(pages::page)).route("/m/{code}", get(pages::page)).route("/docs", get(docs::page));
    crate::assets::assets().keys().fold(pages, |pages, path| pages.route(&format!("/{path}"), get(pages::asset)))
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
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            context::REQUEST_ID,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("last-event-id"),
        ])
        .expose_headers([header::LOCATION, header::RETRY_AFTER, context::REQUEST_ID, rates::LIMIT, rates::REMAINING, rates::RESET])
        // Preflights are kept by no cache that others read (RFC 9110 section 9.3.7), so that answers differ by the origin alone.
        .vary([header::ORIGIN])
        .max_age(PREFLIGHT_LIFE)
}
