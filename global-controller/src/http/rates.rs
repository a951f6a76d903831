//! Rate limits (DESIGN section 3): who asks, how often it may, and the headers that tell it.
//!
//! A caller is the API client of a good access token, else an address. Joins without a bearer are counted apart, so that an office behind
//! one address gets in. The three kinds of callers are bounded apart: a flood of addresses makes no API client forgotten. Behind a proxy
//! all callers without a token have the proxy's address; no header that names another is believed.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use common::clock::{Clock, unix_millis};
use common_core::Moment;
use global_controller_core::{Limiter, Verdict};

use super::ApiError;
use super::caller::{Bearer, Caller, Shown};
use super::context;
use crate::app::App;
use crate::config::RatesConfig;

/// Requests of this caller in a window.
pub const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
/// Of these, how many are left.
pub const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
/// When the next window may begin, seconds since the epoch.
pub const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// What is counted.
const COUNTED: &str = "/api/v1/";
/// What under it is free.
const FREE: &str = "/api/v1/openapi.json";
/// The route on which requests without a bearer have a bucket of their own.
const JOIN: &str = "/api/v1/meetings/{meeting_id}/join";

/// Whose requests are counted together.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Bucket {
    Client(Box<str>, Option<u32>),
    Address(IpAddr),
    AnonymousJoins(IpAddr),
}

impl Bucket {
    /// Its label in metrics.
    fn name(&self) -> &'static str {
        match self {
            Bucket::Client(..) => "client",
            Bucket::Address(_) => "address",
            Bucket::AnonymousJoins(_) => "anonymous_joins",
        }
    }
}

/// What was counted in this process.
pub struct Rates {
    config: RatesConfig,
    clock: Clock,
    clients: Mutex<Limiter<Box<str>>>,
    addresses: Mutex<Limiter<IpAddr>>,
    joins: Mutex<Limiter<IpAddr>>,
}

impl Rates {
    /// Nothing was counted yet.
    pub fn new(config: RatesConfig) -> Self {
        Self {
            config,
            clock: Clock::start(),
            clients: Mutex::new(Limiter::new(config.window, config.callers)),
            addresses: Mutex::new(Limiter::new(config.window, config.callers)),
            joins: Mutex::new(Limiter::new(config.window, config.callers)),
        }
    }

    /// Counts a request, and says for how long its window goes on.
    fn count(&self, bucket: &Bucket) -> (Verdict, Duration) {
        // What a limiter did before a panic would be whole: it changes last what it looks at.
        fn check<K: Clone + Eq + std::hash::Hash>(limiter: &Mutex<Limiter<K>>, now: Moment, caller: &K, limit: u32) -> Verdict {
            limiter.lock().unwrap_or_else(PoisonError::into_inner).check(now, caller, limit)
        }
        let now = self.clock.now();
        let verdict = match bucket {
            Bucket::Client(id, own) => check(&self.clients, now, id, own.unwrap_or(self.config.requests)),
            Bucket::Address(address) => check(&self.addresses, now, address, self.config.requests),
            Bucket::AnonymousJoins(address) => check(&self.joins, now, address, self.config.anonymous_joins),
        };
        (verdict, verdict.resets_at.since(now))
    }
}

/// The middleware: before any work is done for a request, and so that its headers are on every answer to it.
pub async fn limit(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if !path.starts_with(COUNTED) || path == FREE {
        return next.run(request).await;
    }
    let shown = Shown::of(&app, request.headers());
    let bucket = bucket(&shown, &request);
    request.extensions_mut().insert(shown);
    let (verdict, left) = app.rates.count(&bucket);
    let mut response = if verdict.allowed {
        next.run(request).await
    } else {
        metrics::counter!("dark_tower_rate_limited_total", "bucket" => bucket.name()).increment(1);
        common::door::count_refusal("http", "rate");
        ApiError::rate_limited(verdict.limit, whole_seconds(left)).into_response()
    };
    tell(response.headers_mut(), &verdict, unix_millis(), left);
    response
}

fn bucket(shown: &Shown, request: &Request) -> Bucket {
    let address = context::address(request.extensions());
    match &shown.0 {
        Ok(Caller::Bearer(Bearer { subject, rate_limit, .. })) => Bucket::Client(subject.as_str().into(), *rate_limit),
        Ok(Caller::Anonymous) if is_join(request) => Bucket::AnonymousJoins(address),
        _ => Bucket::Address(address),
    }
}

fn is_join(request: &Request) -> bool {
    // The token endpoint takes Basic, so that it may be nobody's; a join takes none.
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    request.method() == Method::POST && route == Some(JOIN) && !request.headers().contains_key(header::AUTHORIZATION)
}

fn tell(headers: &mut HeaderMap, verdict: &Verdict, now_millis: u64, left: Duration) {
    // Rounded up: a caller that comes at this second is in the next window.
    let reset = now_millis.saturating_add(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)).div_ceil(1000);
    headers.insert(LIMIT, HeaderValue::from(verdict.limit));
    headers.insert(REMAINING, HeaderValue::from(verdict.remaining));
    headers.insert(RESET, HeaderValue::from(reset));
}

/// Rounded up, so that whoever waits so long has waited long enough.
fn whole_seconds(length: Duration) -> u32 {
    u32::try_from(length.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_so_that_waiting_them_is_enough() {
        let check = |millis: u64, expected: u32| assert_eq!(whole_seconds(Duration::from_millis(millis)), expected, "{millis}");
        check(60_000, 60);
        check(59_001, 60);
        check(1, 1);
        check(0, 1);
        let verdict = Verdict { allowed: true, limit: 100, remaining: 99, resets_at: Moment::ORIGIN };
        let mut headers = HeaderMap::new();
        tell(&mut headers, &verdict, 1_700_000_000_001, Duration::from_secs(60));
        assert_eq!([LIMIT, REMAINING, RESET].map(|name| headers[name].to_str().expect("digits")), ["100", "99", "1700000061"]);
    }

    #[test]
    fn kinds_of_callers_are_counted_apart() {
        let rates = Rates::new(RatesConfig { requests: 1, anonymous_joins: 2, ..RatesConfig::default() });
        let address: IpAddr = "192.0.2.7".parse().expect("an address");
        let check = |bucket: Bucket, expected: [bool; 3]| {
            assert_eq!([(); 3].map(|()| rates.count(&bucket).0.allowed), expected, "{bucket:?}");
        };
        check(Bucket::Address(address), [true, false, false]);
        check(Bucket::AnonymousJoins(address), [true, true, false]);
        check(Bucket::Client("a".into(), None), [true, false, false]);
        check(Bucket::Client("b".into(), Some(2)), [true, true, false]);
    }
}
