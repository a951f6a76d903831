//! Rate limits as clients meet them: the headers on every answer, the refusal, whose requests are counted together.

use std::time::{Duration, Instant};

use common::clock::unix_millis;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::http3::Http3;
use crate::world::{Answer, World, eventually};

/// Limit and remaining, if the answer tells a reset within the next minute.
#[track_caller]
fn standing(answer: &Answer) -> (u32, u32) {
    let number = |name: &str| answer.header(name).parse::<u64>().unwrap_or_else(|_| panic!("{name} in {:?}", answer.headers));
    let (reset, now) = (number("x-ratelimit-reset") * 1000, unix_millis());
    assert!(reset > now && reset <= now + 61_000, "{reset} at {now}");
    let small = |name| u32::try_from(number(name)).expect("small");
    (small("x-ratelimit-limit"), small("x-ratelimit-remaining"))
}

/// The default is the contract's: of a minute's requests the hundred-and-first is refused, whatever the others came to.
#[tokio::test]
async fn the_hundred_and_first_request_is_refused() {
    let world = World::start(|config| config.rates = global_controller::config::RatesConfig::default()).await;
    let (_, token) = world.api_client("meetings:read").await;
    for left in (0..100).rev() {
        let answer = world.get("/api/v1/meetings", Some(&token)).await;
        assert_eq!((answer.status, standing(&answer)), (StatusCode::OK, (100, left)));
    }
    let refused = world.get("/api/v1/meetings", Some(&token)).await;
    let message = refused.refusal();
    assert!(message.starts_with("429 RATE_LIMITED: more than 100 requests in this window; come again in "), "{message}");
    assert_eq!(standing(&refused), (100, 0));
    let wait: u64 = refused.header("retry-after").parse().expect("a number");
    assert!((1..=60).contains(&wait), "{wait}");
    let reset: u64 = refused.header("x-ratelimit-reset").parse().expect("a number");
    assert!((reset * 1000).abs_diff(unix_millis() + wait * 1000) <= 2000, "both say the same");
    // The token alone decides, not the address nor the protocol.
    assert_eq!(standing(&world.get("/api/v1/meetings", None).await), (100, 98), "a token was asked for from here");
    let (_, other) = world.api_client("meetings:read").await;
    assert_eq!(standing(&world.get("/api/v1/meetings", Some(&other)).await), (100, 99));
    let mut http3 = Http3::connect(&world).await;
    assert_eq!(standing(&http3.send("GET", "/api/v1/meetings", None).await), (100, 96));
}

/// Retry-After is honest: whoever waits so long is let in.
#[tokio::test]
async fn after_the_told_time_one_is_let_in() {
    let world = World::start(|config| {
        config.rates.requests = 2;
        config.rates.window = Duration::from_millis(1500);
    })
    .await;
    let ask = || world.get("/api/v1/meetings", None);
    let refused = loop {
        let answer = ask().await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            break answer;
        }
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    };
    let told = Instant::now();
    let wait: u64 = refused.header("retry-after").parse().expect("a number");
    assert!((1..=2).contains(&wait), "{wait}");
    eventually("the next window", || async { (ask().await.status != StatusCode::TOO_MANY_REQUESTS).then_some(()) }).await;
    assert!(told.elapsed() < Duration::from_secs(wait) + Duration::from_millis(500), "{:?}, told {wait} s", told.elapsed());
}

/// On every answer under /api/v1, and on no other.
#[tokio::test]
async fn every_api_answer_tells_how_its_caller_stands() {
    let (world, _controller, _handler) = World::with_nodes().await;
    let bad = world.send(Method::POST, "/api/v1/meetings", None, Some("{".to_owned()));
    let large = world.send(Method::POST, "/api/v1/meetings", None, Some("x".repeat(1024 * 1024 + 1)));
    let answers = [
        (world.post("/api/v1/meetings", None, json!({"display_name": "Standup"})).await, 201),
        (world.get("/api/v1/meetings", Some("no token")).await, 401),
        (world.get("/api/v1/nowhere", None).await, 404),
        (world.send(Method::PUT, "/api/v1/meetings", None, None).await, 405),
        (bad.await, 400),
        (large.await, 413),
        (world.post("/api/v1/auth/token", None, json!({})).await, 400),
    ];
    for (index, (answer, status)) in answers.iter().enumerate() {
        let left = 1_000_000 - 1 - u32::try_from(index).expect("few");
        assert_eq!((answer.status.as_u16(), standing(answer)), (*status, (1_000_000, left)));
    }
    let preflight = world.http.request(Method::OPTIONS, world.url("/api/v1/meetings")).header("origin", "https://a.example.com");
    let preflight = Answer::of(preflight.header("access-control-request-method", "POST")).await;
    let free = ["/api/v1/openapi.json", "/.well-known/jwks.json", "/healthz", "/readyz", "/", "/nowhere", "/docs"];
    let mut answers = vec![preflight];
    for path in free {
        answers.push(world.get(path, None).await);
    }
    for answer in answers {
        assert_eq!(answer.header("x-ratelimit-limit"), "", "{}", answer.text);
    }
    assert_eq!(standing(&world.get("/api/v1/meetings", None).await).1, 1_000_000 - 8, "none of these was counted");
}

#[tokio::test]
async fn crowds_and_refusals_tell_it_too_and_pages_may_read_it() {
    let world = World::start(|config| {
        config.limits.requests = 0;
        config.rates.requests = 1;
        config.public.origins = vec!["https://app.example.com".to_owned()];
    })
    .await;
    for (status, left) in [(503, 0), (429, 0)] {
        let answer = Answer::of(world.http.get(world.url("/api/v1/meetings")).header("origin", "https://app.example.com")).await;
        assert_eq!((answer.status.as_u16(), standing(&answer)), (status, (1, left)));
        assert!(!answer.header("retry-after").is_empty() && !answer.header("x-request-id").is_empty(), "{:?}", answer.headers);
        assert_eq!(answer.header("access-control-allow-origin"), "https://app.example.com");
        let exposed = answer.header("access-control-expose-headers");
        for name in ["location", "retry-after", "x-request-id", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"] {
            assert!(exposed.contains(name), "{name} in {exposed}");
        }
    }
}

/// An office behind one address gets in by the link, however much its pages have asked for.
#[tokio::test]
async fn joins_without_a_bearer_are_counted_apart() {
    let world = World::start(|config| {
        config.allow_anonymous_create = true;
        config.rates.requests = 2;
        config.rates.anonymous_joins = 3;
    })
    .await;
    let (_controller, _handler) = (world.controller("mc-1").await, world.handler("mh-1", "eu").await);
    let meeting = world.meeting().await;
    let path = format!("/api/v1/meetings/{}/join", meeting["meeting_id"].as_str().expect("an id"));
    let join = || world.post(&path, None, json!({"display_name": "Ana"}));
    for left in [2, 1, 0] {
        let answer = join().await;
        assert_eq!((answer.status, standing(&answer)), (StatusCode::OK, (3, left)));
    }
    assert_eq!(join().await.status, StatusCode::TOO_MANY_REQUESTS);
    // With something in the header it is no anonymous join; neither is another method on that path.
    assert_eq!(standing(&world.post(&path, Some("guess"), json!({"display_name": "Ana"})).await), (2, 0));
    assert_eq!(world.get(&path, None).await.status, StatusCode::TOO_MANY_REQUESTS);
}
