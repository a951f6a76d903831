//! What surrounds every request: an id, a bound on how many are under way, the access log, metrics, headers that all answers carry.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::ApiError;
use super::meters::Meters;
use crate::app::App;
use common::shares::{Full, caller_address};

/// Echoed, or made.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over from a client.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// What is answered however many requests are under way: whoever watches this process must not take a crowd for its death.
const ALWAYS: [&str; 2] = ["/healthz", "/readyz"];

tokio::task_local! {
    static CURRENT: HeaderValue;
}

/// The id of the request that this task answers; empty outside of one.
pub fn request_id() -> String {
    CURRENT.try_with(|id| text(id).to_owned()).unwrap_or_default()
}

/// What of a request's address tells callers apart; all the same where the listener does not say.
pub fn address(extensions: &Extensions) -> IpAddr {
    let remote = extensions.get::<ConnectInfo<SocketAddr>>();
    remote.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |ConnectInfo(remote)| caller_address(remote.ip()))
}

/// A middleware: a request holds a place while it is under way, its body included; of these one address has only a share.
pub async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if ALWAYS.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    match app.requests.take(address(request.extensions())) {
        Ok(_place) => next.run(request).await,
        Err(full) => {
            common::door::count_refusal("http", "requests");
            let problem = match full {
                Full::All => "too many requests are under way",
                Full::Own => "too many requests from this address are under way",
            };
            ApiError::unavailable(problem).into_response()
        }
    }
}

/// The middleware; outermost of all.
pub async fn surround(State(meters): State<Meters>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id_of(request.headers());
    let method = request.method().clone();
    // The template, not the path: its values are few, and none of them is a secret or an id.
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("none", MatchedPath::as_str);
    let protocol = protocol(request.version());
    let is_api = request.uri().path().starts_with("/api/");
    let mut response = CURRENT.scope(id.clone(), next.run(request)).await;
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id.clone());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if is_api {
        // Answers hold tokens, unless their handler knows better.
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
    let (status, elapsed) = (response.status().as_u16(), started.elapsed());
    let (request_id, method, ms) = (text(&id), method.as_str(), u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
    if is_api {
        tracing::info!(request_id, method, route, status, ms, protocol, "request");
    } else {
        tracing::debug!(request_id, method, route, status, ms, protocol, "request");
    }
    meters.count(route, status, protocol, elapsed);
    response
}

fn request_id_of(headers: &HeaderMap) -> HeaderValue {
    let fits = |id: &&HeaderValue| (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    headers.get(REQUEST_ID).filter(fits).cloned().unwrap_or_else(|| {
        HeaderValue::try_from(common::random::uuid().to_string()).expect("hexadecimal digits and hyphens make a header value")
    })
}

/// An id as text: all of its bytes are ASCII.
fn text(id: &HeaderValue) -> &str {
    id.to_str().unwrap_or_default()
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_3 => "h3",
        Version::HTTP_2 => "h2",
        _ => "h1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_clients_are_echoed_if_they_are_harmless() {
        let check = |given: &str, echoed: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(given.as_bytes()).expect("a header value"));
            assert_eq!(request_id_of(&headers) == given, echoed, "{given}");
        };
        check("abc-123", true);
        check("a b", false);
        check("", false);
        check(&"a".repeat(129), false);
        assert_eq!(request_id_of(&HeaderMap::new()).len(), 36);
    }
}
