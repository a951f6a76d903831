//! One router over three protocols: the same answers, on the same port.

use reqwest::StatusCode;
use serde_json::json;

use crate::http3::Http3;
use crate::world::{Answer, World, client};

#[tokio::test]
async fn all_three_answer_alike() {
    let (world, _controller, _handler) = World::with_nodes().await;
    let alternative = format!("h3=\":{}\"; ma=86400", world.global_controller.public_address().port());
    let body = json!({"display_name": "Standup"}).to_string();
    for (http, version) in [
        (client(&world.certificate, |builder| builder.http1_only()), reqwest::Version::HTTP_11),
        (client(&world.certificate, |builder| builder), reqwest::Version::HTTP_2),
    ] {
        let response = http.get(world.url("/healthz")).send().await.expect("an answer");
        assert_eq!((response.status(), response.version()), (StatusCode::OK, version));
        let request = http.post(world.url("/api/v1/meetings")).header("content-type", "application/json");
        let created = Answer::of(request.body(body.clone())).await;
        created.expect(StatusCode::CREATED);
        assert_eq!(created.header("alt-svc"), alternative);
        let missing = Answer::of(http.get(world.url("/nowhere"))).await;
        assert_eq!(missing.refusal(), "404 NOT_FOUND: there is nothing at this path");
    }
    let mut http3 = Http3::connect(&world).await;
    let created = http3.send("POST", "/api/v1/meetings", Some(body.into_bytes())).await;
    created.expect(StatusCode::CREATED);
    assert_eq!(created.header("alt-svc"), "", "who is here need not be told");
    assert_eq!(http3.send("GET", "/nowhere", None).await.refusal(), "404 NOT_FOUND: there is nothing at this path");
    assert_eq!(http3.send("PUT", "/api/v1/meetings", None).await.header("allow"), "POST,GET,HEAD");
}

#[tokio::test]
async fn long_bodies_are_refused() {
    let world = World::start(|config| {
        config.allow_anonymous_create = true;
        config.limits.body_bytes = 1000;
    })
    .await;
    let long = format!("{{\"display_name\": \"{}\"}}", "x".repeat(1000));
    let expected = "413 INVALID_REQUEST: the body is over the limit of 1000 bytes";
    let answer = world.send(reqwest::Method::POST, "/api/v1/meetings", None, Some(long.clone())).await;
    assert_eq!(answer.refusal(), expected);
    let other = world.http.post(world.url("/api/v1/meetings")).header("content-type", "text/plain").body("{}");
    assert_eq!(Answer::of(other).await.refusal(), "415 INVALID_REQUEST: content-type must be application/json");
    let mut http3 = Http3::connect(&world).await;
    assert_eq!(http3.send("POST", "/api/v1/meetings", Some(long.into_bytes())).await.refusal(), expected);
}

#[tokio::test]
async fn a_crowd_of_requests_is_told_to_come_again() {
    let world = World::start(|config| config.limits.requests = 0).await;
    let answer = world.get("/api/v1/meetings", None).await;
    assert_eq!(answer.refusal(), "503 UNAVAILABLE: too many requests are under way");
    assert_eq!(answer.header("retry-after"), "2");
    assert_eq!(world.get("/healthz", None).await.text, "ok\n", "a crowd is no reason to restart this process");
    let world = World::start(|config| config.limits.requests_per_address = 0).await;
    let answer = world.get("/", None).await;
    assert_eq!(answer.refusal(), "503 UNAVAILABLE: too many requests from this address are under way");
    assert_eq!(answer.header("retry-after"), "2");
    assert_eq!(world.get("/readyz", None).await.status, 200);
}

/// Pages of the list may call the API from a browser, others may not.
#[tokio::test]
async fn origins_are_allowed_by_a_list() {
    let world = World::start(|config| config.public.origins = vec!["https://app.example.com".to_owned()]).await;
    for (origin, allowed) in [("https://app.example.com", "https://app.example.com"), ("https://evil.example.com", "")] {
        let preflight = world.http.request(reqwest::Method::OPTIONS, world.url("/api/v1/meetings")).header("origin", origin);
        let preflight = preflight.header("access-control-request-method", "POST");
        let answer = Answer::of(preflight.header("access-control-request-headers", "authorization, content-type")).await;
        assert_eq!(answer.header("access-control-allow-origin"), allowed);
        assert_eq!(answer.header("access-control-allow-methods"), "GET,POST,PATCH,DELETE");
        assert_eq!(answer.header("x-request-id").len(), 36);
        let plain = Answer::of(world.http.get(world.url("/healthz")).header("origin", origin)).await;
        assert_eq!(plain.header("access-control-allow-origin"), allowed);
    }
}

/// What no browser sends ahead is a request like others, and answered by the route.
#[tokio::test]
async fn options_are_answered_truthfully() {
    let world = World::start(|config| config.public.origins = vec!["https://app.example.com".to_owned()]).await;
    let ask = |path: &str| world.http.request(reqwest::Method::OPTIONS, world.url(path));
    for (path, allow) in
        [("/api/v1/meetings", "GET,HEAD,POST"), ("/api/v1/meetings/abc/join", "POST"), ("/healthz", "GET,HEAD"), ("/", "GET,HEAD")]
    {
        for request in
            [ask(path), ask(path).header("origin", "https://app.example.com"), ask(path).header("access-control-request-method", "GET")]
        {
            let answer = Answer::of(request).await;
            assert_eq!(answer.refusal(), "405 INVALID_REQUEST: this path does not take this method");
            let mut methods: Vec<&str> = answer.header("allow").split(',').collect();
            methods.sort_unstable();
            assert_eq!((methods.join(",").as_str(), answer.header("x-request-id").len()), (allow, 36), "{path}");
        }
    }
    assert_eq!(Answer::of(ask("/api/v1/nowhere")).await.refusal(), "404 NOT_FOUND: there is nothing at this path");
    let preflight = ask("/").header("origin", "https://app.example.com").header("access-control-request-method", "GET");
    let answer = Answer::of(preflight).await;
    assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (200, "https://app.example.com"));
}

/// Idle connections do not hold up a stop.
#[tokio::test]
async fn a_stop_does_not_wait_for_the_idle() {
    let world = World::start(|_| {}).await;
    let mut http3 = Http3::connect(&world).await;
    assert_eq!(http3.send("GET", "/healthz", None).await.text, "ok\n");
    assert_eq!(world.get("/healthz", None).await.text, "ok\n");
    let started = std::time::Instant::now();
    world.global_controller.stop().await;
    assert!(started.elapsed() < std::time::Duration::from_secs(1), "{:?}", started.elapsed());
}
