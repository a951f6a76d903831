//! Access tokens: how they are given, what they allow, what is no access token.

use common::Secret;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::postgres::Postgres;
use crate::world::{Answer, World};

async fn token_request(world: &World, body: Value) -> Answer {
    world.post("/api/v1/auth/token", None, body).await
}

#[tokio::test]
async fn tokens_are_given_for_json_forms_and_basic() {
    let world = World::start(|_| {}).await;
    let (credentials, _) = world.api_client("meetings:read meetings:join").await;
    let (id, secret) = (credentials.client_id.as_str(), credentials.client_secret.expose());
    let url = world.url("/api/v1/auth/token");
    let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}&scope=meetings%3Aread");
    let form = world.http.post(&url).header("content-type", "application/x-www-form-urlencoded").body(form);
    let basic = world.http.post(&url).basic_auth(id, Some(secret));
    let basic = basic.header("content-type", "application/x-www-form-urlencoded").body("grant_type=client_credentials");
    let json = world.http.post(&url).header("content-type", "application/json; charset=utf-8");
    let json = json.body(json!({"grant_type": "client_credentials", "client_id": id, "client_secret": secret, "new": 1}).to_string());
    for (request, scope) in [(form, "meetings:read"), (basic, "meetings:read meetings:join"), (json, "meetings:read meetings:join")] {
        let answer = Answer::of(request).await;
        assert_eq!(answer.header("cache-control"), "no-store");
        let body = answer.expect(StatusCode::OK);
        assert_eq!((&body["token_type"], &body["expires_in"], &body["scope"]), (&json!("Bearer"), &json!(3600), &json!(scope)));
        let claims = world.verifier().await.verify_access(body["access_token"].as_str().expect("a token")).expect("a good token");
        assert_eq!((claims.sub.as_str(), claims.exp - claims.iat, claims.scope.as_str()), (id, 3600, scope));
    }
}

#[tokio::test]
async fn refusals_come_in_the_body_of_the_request() {
    let world = World::start(|_| {}).await;
    let (credentials, _) = world.api_client("meetings:read").await;
    let (id, secret) = (credentials.client_id.as_str(), credentials.client_secret.expose());
    let asked = |grant: &str, id: &str, secret: &str| json!({"grant_type": grant, "client_id": id, "client_secret": secret});
    for (body, expected) in [
        (json!({}), "400 INVALID_REQUEST: grant_type: is required"),
        (json!({"grant_type": "client_credentials"}), "400 INVALID_REQUEST: client_id: is required"),
        (asked("password", id, secret), "400 INVALID_REQUEST: grant_type: must be client_credentials"),
        (asked("client_credentials", id, "wrong"), "401 UNAUTHORIZED: client_id or client_secret is wrong"),
        (asked("client_credentials", "nobody", secret), "401 UNAUTHORIZED: client_id or client_secret is wrong"),
    ] {
        assert_eq!(token_request(&world, body).await.refusal(), expected);
    }
    let url = world.url("/api/v1/auth/token");
    let form = |body: &str| world.http.post(&url).header("content-type", "application/x-www-form-urlencoded").body(body.to_owned());
    let with = |rest: &str| form(&format!("client_id={id}&client_secret={secret}&{rest}"));
    for (request, status, code) in [
        (form("grant_type=client_credentials"), StatusCode::BAD_REQUEST, "invalid_request"),
        (with("grant_type=password"), StatusCode::BAD_REQUEST, "unsupported_grant_type"),
        (with("grant_type=client_credentials&scope=meetings:end"), StatusCode::BAD_REQUEST, "invalid_scope"),
        (with("grant_type=client_credentials&grant_type=password"), StatusCode::BAD_REQUEST, "invalid_request"),
        (form("grant_type=client_credentials&client_id=a&client_secret=b"), StatusCode::UNAUTHORIZED, "invalid_client"),
        (form("grant_type=client_credentials").basic_auth(id, Some("wrong")), StatusCode::UNAUTHORIZED, "invalid_client"),
    ] {
        let answer = Answer::of(request).await;
        assert_eq!(answer.expect(status)["error"], code);
    }
    // Every 401 says how one could get in (RFC 9110 section 15.5.2).
    let basic = Answer::of(form("grant_type=client_credentials").basic_auth(id, Some("wrong"))).await;
    let in_json = token_request(&world, asked("client_credentials", id, "wrong")).await;
    for answer in [basic, in_json] {
        assert_eq!(answer.header("www-authenticate"), "Basic realm=\"dark-tower\"");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    // RFC 6749 section 5.2 has no quotation marks in a description.
    let unknown = Answer::of(with("grant_type=client_credentials&scope=meetings:raed")).await.expect(StatusCode::BAD_REQUEST);
    let description = unknown["error_description"].as_str().expect("a string");
    assert!(description.starts_with("'meetings:raed' is no scope; the scopes are meetings:create"), "{description}");
    let twice = form("grant_type=client_credentials").basic_auth(id, Some(secret)).basic_auth(id, Some(secret));
    assert_eq!(Answer::of(twice).await.expect(StatusCode::BAD_REQUEST)["error"], "invalid_request");
    let xml = world.http.post(&url).header("content-type", "text/xml").body("<a/>");
    let expected = "415 INVALID_REQUEST: content-type must be application/json or application/x-www-form-urlencoded";
    assert_eq!(Answer::of(xml).await.refusal(), expected);
    let untyped = world.http.post(&url).body(asked("client_credentials", id, secret).to_string());
    Answer::of(untyped).await.expect(StatusCode::OK);
}

/// Before a secret is hashed, its request is counted: guessing ends at the limit of the address, right or wrong.
#[tokio::test]
async fn guessing_is_limited_by_address() {
    let world = World::start(|config| config.rates.requests = 3).await;
    let guess = || token_request(&world, json!({"grant_type": "client_credentials", "client_id": "a", "client_secret": "b"}));
    let statuses = [guess().await, guess().await, guess().await, guess().await].map(|answer| answer.status.as_u16());
    assert_eq!(statuses, [401, 401, 401, 429]);
}

#[tokio::test]
async fn scopes_and_tenants_bound_what_a_bearer_sees() {
    let (world, _controller, _handler) = World::with_nodes().await;
    let (_, maker) = world.api_client("meetings:create meetings:read meetings:end").await;
    let (_, stranger) = world.api_client("meetings:read meetings:join meetings:end").await;
    let created = world.post("/api/v1/meetings", Some(&maker), json!({"display_name": "Ours"})).await.expect(StatusCode::CREATED);
    let path = format!("/api/v1/meetings/{}", created["meeting_id"].as_str().expect("an id"));
    let answer = world.post("/api/v1/meetings", Some(&stranger), json!({"display_name": "Theirs"})).await;
    assert_eq!(answer.refusal(), "403 FORBIDDEN: the access token lacks the scope meetings:create");
    let hidden = world.get(&path, Some(&stranger)).await.refusal();
    assert!(hidden.starts_with("404 MEETING_NOT_FOUND"), "{hidden}");
    let hidden = world.get(&path, None).await.refusal();
    assert!(hidden.starts_with("404 MEETING_NOT_FOUND"), "{hidden}");
    assert!(world.delete(&path, Some(&stranger)).await.refusal().starts_with("404 MEETING_NOT_FOUND"));
    let join = world.post(&format!("{path}/join"), Some(&stranger), json!({"display_name": "Eve"})).await;
    assert!(join.refusal().starts_with("404 MEETING_NOT_FOUND"), "{}", join.text);
    for (bearer, total) in [(Some(maker.as_str()), 1), (Some(stranger.as_str()), 0), (None, 0)] {
        assert_eq!(world.get("/api/v1/meetings", bearer).await.expect(StatusCode::OK)["total"], total);
    }
    world.get(&path, Some(&maker)).await.expect(StatusCode::OK);
}

/// Where anonymous creation is off, everything but joining by the link needs a bearer; a token of another kind is none.
#[tokio::test]
async fn what_is_no_access_token_opens_nothing() {
    let world = World::start(|_| {}).await;
    let (_controller, _handler) = (world.controller("mc-1").await, world.handler("mh-1", "eu").await);
    let (_, token) = world.api_client("meetings:create meetings:read").await;
    let created = world.post("/api/v1/meetings", Some(&token), json!({"display_name": "Ours"})).await.expect(StatusCode::CREATED);
    let anonymous = world.post("/api/v1/meetings", None, json!({"display_name": "Nobody's"})).await;
    assert_eq!(anonymous.refusal(), "401 UNAUTHORIZED: an access token is needed: POST /api/v1/auth/token gives one");
    assert_eq!(anonymous.header("www-authenticate"), "Bearer realm=\"dark-tower\"");
    let join_token = created["join_token"].as_str().expect("a token");
    let mut broken = token.clone();
    broken.replace_range(token.len() - 4.., "AAAA");
    for bad in [join_token, "x", "", &broken] {
        let answer = world.get("/api/v1/meetings", Some(bad)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{bad}");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"dark-tower\", error=\"invalid_token\"");
    }
    assert!(world.verifier().await.verify_join(&token).is_err());
}

/// PostgreSQL holds no text with U+0000, and its refusal must not become ours to explain.
#[tokio::test]
async fn no_text_upsets_postgres() {
    let server = Postgres::start().expect("a server");
    let url = server.url();
    let world = World::start(move |config| config.store.url = Some(Secret::new(url.clone()))).await;
    let _nodes = (world.controller("mc-1").await, world.handler("mh-1", "eu").await);
    let (_, token) = world.api_client("meetings:create meetings:read meetings:join meetings:end participants:act-as webhooks:manage").await;
    let asked = |id: &str| json!({"grant_type": "client_credentials", "client_id": id, "client_secret": "a\0"});
    let refused = token_request(&world, asked("a\0")).await;
    assert_eq!(refused.refusal(), "401 UNAUTHORIZED: client_id or client_secret is wrong");
    let basic = world.http.post(world.url("/api/v1/auth/token")).basic_auth("%00", Some("%00"));
    let basic = basic.header("content-type", "application/x-www-form-urlencoded").body("grant_type=client_credentials");
    assert_eq!(Answer::of(basic).await.status, StatusCode::UNAUTHORIZED);
    let bearer = Some(token.as_str());
    for path in ["/api/v1/meetings?user_id=%00", "/api/v1/meetings?cursor=%00", "/api/v1/webhooks/%00", "/api/v1/meetings/%00/events"] {
        let answer = world.get(path, bearer).await;
        assert!(answer.status.is_client_error(), "{path}: {}", answer.text);
    }
    let meeting = world.post("/api/v1/meetings", bearer, json!({"display_name": "Standup"})).await.expect(StatusCode::CREATED);
    let join = format!("/api/v1/meetings/{}/join", meeting["meeting_id"].as_str().expect("an id"));
    for (path, body) in [
        ("/api/v1/meetings", json!({"display_name": "a\0"})),
        ("/api/v1/meetings", json!({"display_name": "a", "user_id": "a\0"})),
        ("/api/v1/meetings", json!({"display_name": "a", "region": "a\0"})),
        (join.as_str(), json!({"display_name": "a\0"})),
        (join.as_str(), json!({"display_name": "a", "user_id": "\0"})),
        (join.as_str(), json!({"resume_token": "\0"})),
        ("/api/v1/webhooks", json!({"url": "https://example.com/\0", "events": ["\0"]})),
    ] {
        let answer = world.post(path, bearer, body.clone()).await;
        assert!(answer.status.is_client_error(), "{path} {body}: {}", answer.text);
    }
}
