//! Tells what pages of other origins ask from other requests: the layer for CORS takes every `OPTIONS` for a preflight, would answer 200 wherever
//! it is asked, and tells every client what only such pages read.
//!
//! In: every request. Out: the answer of the layer for CORS, or, to what no such page has sent, that of the routes beneath. Both say that it
//! depends on the origin, for caches.

use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, header};
use futures_util::TryFutureExt;
use futures_util::future::{Either, MapOk};
use tower::{Layer, Service};
use tower_http::cors::{Cors, CorsLayer};

/// See the module.
#[derive(Clone)]
pub struct Apart(pub CorsLayer);

impl<S: Clone> Layer<S> for Apart {
    type Service = Split<S>;

    fn layer(&self, routes: S) -> Split<S> {
        Split { cors: self.0.layer(routes.clone()), routes }
    }
}

/// The routes, with CORS and without.
#[derive(Clone)]
pub struct Split<S> {
    cors: Cors<S>,
    routes: S,
}

impl<S: Service<Request<Body>, Response = Response<Body>>> Service<Request<Body>> for Split<S> {
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<<Cors<S> as Service<Request<Body>>>::Future, MapOk<S::Future, Vary>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // Which of the two will be called is not known yet.
        match self.routes.poll_ready(context) {
            Poll::Ready(Ok(())) => self.cors.poll_ready(context),
            other => other,
        }
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // `OPTIONS *` asks whether the server is there (RFC 9110 section 9.3.7), and it is.
        let is_ping = request.uri().path() == "*";
        let is_options = *request.method() == Method::OPTIONS;
        let is_of_page = request.headers().contains_key(header::ORIGIN) && (!is_options || is_preflight(&request));
        if is_of_page || (is_options && is_ping) {
            Either::Left(self.cors.call(request))
        } else {
            Either::Right(self.routes.call(request).map_ok(vary as Vary))
        }
    }
}

type Vary = fn(Response<Body>) -> Response<Body>;

/// Says that a page's answer would be another one.
fn vary(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
    response
}

/// By the two headers that every preflight has (WHATWG Fetch section 4.9).
fn is_preflight(request: &Request<Body>) -> bool {
    let headers = request.headers();
    headers.contains_key(header::ORIGIN) && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}
