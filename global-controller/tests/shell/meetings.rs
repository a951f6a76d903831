//! Create, show, list, end; what is refused, and how.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{STORE_TIMEOUT, World, eventually, is_recent};

#[tokio::test]
async fn a_meeting_from_its_creation_to_its_end() {
    let (world, controller, _handler) = World::with_nodes().await;
    let settings = json!({"enable_e2e_encryption": true, "require_auth": false, "recording_enabled": false});
    let body = json!({"display_name": " Team Standup ", "max_participants": 5, "settings": settings, "later": "unknown"});
    let answer = world.post("/api/v1/meetings", None, body).await;
    let created = answer.expect(StatusCode::CREATED);
    let id = created["meeting_id"].as_str().expect("an id");
    assert_eq!(answer.header("location"), format!("/api/v1/meetings/{id}"));
    assert_eq!(answer.header("cache-control"), "no-store");
    let code = created["meeting_url"].as_str().and_then(|url| url.strip_prefix(&world.url("/m/"))).expect("a page");
    assert!(code.len() == 10 && code.bytes().all(|byte| b"abcdefghijklmnopqrstuvwxyz234567".contains(&byte)), "{code}");
    assert_eq!(created["meeting_controller_url"], "https://mc-1.example.com/wt");
    assert_eq!(created["signaling_fallback_url"], "wss://mc-1.example.com/ws");
    assert_eq!(created["media_handler_urls"], json!(["https://mh-1.example.com/media"]));
    let hash = |byte: &str| Value::from(byte);
    let hashes = [hash("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="), hash("AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=")];
    assert_eq!(created["certificate_hashes"], Value::from(hashes.to_vec()));
    assert!(is_recent(created["created_at"].as_str().expect("a time")));
    let grant = world.grant(&created).await;
    assert_eq!((grant.meeting_id.to_string().as_str(), grant.role.as_str(), grant.is_account), (id, "host", false));
    assert_eq!(grant.handlers.len(), 1);
    {
        let told = controller.told();
        let config = told.assigned[0].config.clone().expect("a configuration");
        assert_eq!((told.assigned.len(), told.assigned[0].meeting_id.as_str()), (1, id));
        assert_eq!((config.display_name.as_str(), config.max_participants, config.enable_e2e_encryption), ("Team Standup", 5, true));
    }

    controller.seats(&world, &created, 3).await;
    // Everywhere the code stands for the id, however it is written.
    for name in [id.to_owned(), id.to_ascii_uppercase(), code.to_owned(), code.to_ascii_uppercase()] {
        let shown = world.get(&format!("/api/v1/meetings/{name}"), None).await.expect(StatusCode::OK);
        let expected = json!({
            "meeting_id": id, "display_name": "Team Standup", "participant_count": 3, "max_participants": 5,
            "created_at": created["created_at"], "meeting_controller_region": "eu", "meeting_url": created["meeting_url"],
            "meeting_controller_url": "https://mc-1.example.com/wt", "settings": settings,
        });
        assert_eq!(shown, expected);
    }

    let ended = world.delete(&format!("/api/v1/meetings/{code}"), None).await.expect(StatusCode::OK);
    assert!(is_recent(ended["ended_at"].as_str().expect("a time")));
    // Once, or again while it is still reported.
    assert!(matches!(controller.told().ended.as_slice(), [first, again @ ..] if first == id && again.iter().all(|it| it == id)));
    let shown = world.get(&format!("/api/v1/meetings/{id}"), None).await.expect(StatusCode::OK);
    assert_eq!(shown["ended_at"], ended["ended_at"]);
    let again = world.delete(&format!("/api/v1/meetings/{id}"), None).await.expect(StatusCode::OK);
    assert_eq!(again, ended);
    let refused = world.post(&format!("/api/v1/meetings/{id}/join"), None, json!({"display_name": "Ana"})).await;
    assert_eq!(refused.refusal(), "410 MEETING_ENDED: the meeting has ended");
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let (world, _controller, _handler) = World::with_nodes().await;
    let unknown = "550e8400-e29b-41d4-a716-446655440000";
    let long = "x".repeat(65);
    let cases: Vec<(Method, String, Option<String>, &str)> = vec![
        (Method::GET, "/nowhere".into(), None, "404 NOT_FOUND: there is nothing at this path"),
        (Method::GET, "/api/v1/meetings/".into(), None, "404 NOT_FOUND: there is nothing at this path"),
        (Method::PUT, "/api/v1/meetings".into(), None, "405 INVALID_REQUEST: this path does not take this method"),
        (
            Method::POST,
            "/api/v1/meetings".into(),
            Some("{".into()),
            "400 INVALID_REQUEST: the body is not JSON: EOF while parsing an object at line 1 column 1",
        ),
        (Method::POST, "/api/v1/meetings".into(), Some("{}".into()), "400 INVALID_REQUEST: display_name: is required"),
        (
            Method::POST,
            "/api/v1/meetings".into(),
            Some("{\"display_name\": null}".into()),
            "400 INVALID_REQUEST: display_name: is required",
        ),
        (
            Method::POST,
            "/api/v1/meetings".into(),
            Some("{\"display_name\": 7}".into()),
            "400 INVALID_REQUEST: display_name: must be a string, not a number",
        ),
        (
            Method::POST,
            "/api/v1/meetings".into(),
            Some("{\"display_name\": \" \"}".into()),
            "400 INVALID_REQUEST: display_name: a name must have at least one visible character",
        ),
        (
            Method::POST,
            "/api/v1/meetings".into(),
            Some(format!("{{\"display_name\": \"{long}\"}}")),
            "400 INVALID_REQUEST: display_name: a name may have at most 64 characters",
        ),
        (
            Method::POST,
            "/api/v1/meetings".into(),
            Some("{\"display_name\": \"a\\u001b[2J\"}".into()),
            "400 INVALID_REQUEST: display_name: a name may not contain control characters",
        ),
        (
            Method::POST,
            "/api/v1/meetings".into(),
            Some("{\"display_name\": \"a\", \"max_participants\": 0}".into()),
            "400 INVALID_REQUEST: max_participants: must be a whole number between 1 and 1000",
        ),
        (
            Method::POST,
            "/api/v1/meetings".into(),
            Some("{\"display_name\": \"a\", \"max_participants\": \"5\"}".into()),
            "400 INVALID_REQUEST: max_participants: must be a whole number between 1 and 1000",
        ),
        (
            Method::POST,
            "/api/v1/meetings".into(),
            Some("{\"display_name\": \"a\", \"max_participants\": 5.5}".into()),
            "400 INVALID_REQUEST: max_participants: must be a whole number between 1 and 1000",
        ),
        (
            Method::POST,
            "/api/v1/meetings".into(),
            Some("{\"display_name\": \"a\", \"max_participants\": 1e30}".into()),
            "400 INVALID_REQUEST: max_participants: must be a whole number between 1 and 1000",
        ),
        (
            Method::POST,
            "/api/v1/meetings".into(),
            Some("{\"display_name\": \"a\", \"max_participants\": true}".into()),
            "400 INVALID_REQUEST: max_participants: must be a whole number between 1 and 1000",
        ),
        (
            Method::POST,
            "/api/v1/meetings".into(),
            Some("{\"display_name\": \"a\", \"display_name\": \"b\"}".into()),
            "400 INVALID_REQUEST: display_name: stands twice",
        ),
        (
            Method::POST,
            "/api/v1/meetings".into(),
            Some("{\"display_name\": \"a\", \"max_participants\": 1001}".into()),
            "400 INVALID_REQUEST: max_participants: must be a whole number between 1 and 1000",
        ),
        (
            Method::POST,
            "/api/v1/meetings".into(),
            Some("{\"display_name\": \"a\", \"settings\": {\"require_auth\": \"yes\"}}".into()),
            "400 INVALID_REQUEST: settings.require_auth: must be true or false, not a string",
        ),
        (Method::GET, "/api/v1/meetings?limit=0".into(), None, "400 INVALID_REQUEST: limit: must be a whole number between 1 and 200"),
        (Method::GET, "/api/v1/meetings?limit=201".into(), None, "400 INVALID_REQUEST: limit: must be a whole number between 1 and 200"),
        (Method::GET, "/api/v1/meetings?active=maybe".into(), None, "400 INVALID_REQUEST: active: must be true or false"),
        (Method::GET, "/api/v1/meetings?cursor=x".into(), None, "400 INVALID_REQUEST: cursor: is none that was given out"),
        (Method::GET, "/api/v1/meetings?limit=9&limit=9".into(), None, "400 INVALID_REQUEST: limit: must be given once"),
        (Method::GET, "/api/v1/meetings?user_id=".into(), None, "400 INVALID_REQUEST: user_id: must not be empty; leave it out instead"),
        (
            Method::GET,
            "/api/v1/meetings?limt=9".into(),
            None,
            "400 INVALID_REQUEST: limt: is no parameter of this call; it takes user_id, active, limit, cursor",
        ),
        (Method::GET, "/api/v1/meetings/%FF".into(), None, "400 INVALID_REQUEST: meeting_id: must be UTF-8 text, percent-encoded"),
        (
            Method::DELETE,
            format!("/api/v1/meetings/{unknown}/participants/%FF"),
            None,
            "400 INVALID_REQUEST: participant_id: must be UTF-8 text, percent-encoded",
        ),
        (
            Method::GET,
            format!("/api/v1/meetings/{unknown}"),
            None,
            "404 MEETING_NOT_FOUND: Meeting 550e8400-e29b-41d4-a716-446655440000 does not exist",
        ),
        (Method::GET, "/api/v1/meetings/abcdefghij".into(), None, "404 MEETING_NOT_FOUND: Meeting abcdefghij does not exist"),
        (Method::GET, "/api/v1/meetings/a%0Ab".into(), None, "404 MEETING_NOT_FOUND: Meeting a\\nb does not exist"),
        (
            Method::DELETE,
            format!("/api/v1/meetings/{unknown}"),
            None,
            "404 MEETING_NOT_FOUND: Meeting 550e8400-e29b-41d4-a716-446655440000 does not exist",
        ),
        (
            Method::POST,
            format!("/api/v1/meetings/{unknown}/join"),
            Some("{}".into()),
            "404 MEETING_NOT_FOUND: Meeting 550e8400-e29b-41d4-a716-446655440000 does not exist",
        ),
    ];
    for (method, path, body, expected) in cases {
        let answer = world.send(method.clone(), &path, None, body).await;
        assert_eq!(answer.refusal(), expected, "{method} {path}");
    }
    let answer = world.send(Method::PUT, "/api/v1/meetings", None, None).await;
    assert_eq!(answer.header("allow"), "POST,GET,HEAD");
    let answer = world.post("/api/v1/meetings", None, json!({"display_name": "a", "max_participants": 0})).await;
    assert_eq!(answer.expect(StatusCode::BAD_REQUEST)["error"]["details"], json!({"field": "max_participants"}));
}

#[tokio::test]
async fn requests_have_ids() {
    let world = World::start(|_| {}).await;
    let given = world.http.get(world.url("/nowhere")).header("x-request-id", "abc-1");
    assert_eq!(crate::world::Answer::of(given).await.header("x-request-id"), "abc-1");
    assert_eq!(world.get("/nowhere", None).await.header("x-request-id").len(), 36);
}

#[tokio::test]
async fn listings_are_newest_first_in_pages() {
    let (world, _controller, _handler) = World::with_nodes().await;
    let mut ids = Vec::new();
    for number in 0..5 {
        let body = json!({"display_name": format!("Meeting {number}")});
        let created = world.post("/api/v1/meetings", None, body).await.expect(StatusCode::CREATED);
        ids.insert(0, created["meeting_id"].as_str().expect("an id").to_owned());
    }
    let (mut seen, mut path) = (Vec::new(), "/api/v1/meetings?limit=2".to_owned());
    loop {
        let page = world.get(&path, None).await.expect(StatusCode::OK);
        assert_eq!(page["total"], 5);
        let meetings = page["meetings"].as_array().expect("a list");
        seen.extend(meetings.iter().map(|meeting| meeting["meeting_id"].as_str().expect("an id").to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        assert_eq!(meetings.len(), 2);
        path = format!("/api/v1/meetings?limit=2&cursor={cursor}");
    }
    // Two that were made in the same millisecond may stand in either order, so the sets are compared and the count.
    assert_eq!(seen.len(), 5);
    assert!(ids.iter().all(|id| seen.contains(id)));
    world.delete(&format!("/api/v1/meetings/{}", ids[0]), None).await.expect(StatusCode::OK);
    for (query, total) in [("active=true", 4), ("active=false", 1), ("active=false&limit=1", 1)] {
        let page = world.get(&format!("/api/v1/meetings?{query}"), None).await.expect(StatusCode::OK);
        assert_eq!(page["total"], total, "{query}");
        assert_eq!(page["meetings"].as_array().map(Vec::len), Some(total), "{query}");
    }
}

/// An ended meeting whose controller did not hear of it is ended when it is next reported.
#[tokio::test]
async fn an_end_that_was_not_heard_is_said_again() {
    let (world, controller, _handler) = World::with_nodes().await;
    let meeting = world.meeting().await;
    controller.seats(&world, &meeting, 1).await;
    controller.told().refuse = 3;
    let id = meeting["meeting_id"].as_str().expect("an id");
    world.delete(&format!("/api/v1/meetings/{id}"), None).await.expect(StatusCode::OK);
    eventually("the controller hears", || async { controller.told().ended.iter().any(|it| it == id).then_some(()) }).await;
}

#[tokio::test]
async fn a_restart_keeps_meetings_and_keys() {
    let (world, _controller, _handler) = World::with_nodes().await;
    let (_, token) = world.api_client("meetings:create meetings:read").await;
    let created = world.post("/api/v1/meetings", Some(&token), json!({"display_name": "Kept"})).await.expect(StatusCode::CREATED);
    let keys = world.get("/.well-known/jwks.json", None).await.expect(StatusCode::OK);
    let world = world.restarted().await;
    assert_eq!(world.get("/.well-known/jwks.json", None).await.expect(StatusCode::OK), keys);
    let id = created["meeting_id"].as_str().expect("an id");
    let shown = world.get(&format!("/api/v1/meetings/{id}"), Some(&token)).await.expect(StatusCode::OK);
    assert_eq!((&shown["display_name"], &shown["created_at"]), (&json!("Kept"), &created["created_at"]));
    assert_eq!(world.grant(&created).await.meeting_id.to_string(), id);
}

/// What went wrong inside stays inside; the request's id leads to the log.
#[tokio::test]
async fn a_broken_record_is_our_fault_and_says_no_more() {
    let (world, _controller, _handler) = World::with_nodes().await;
    let meeting = world.meeting().await;
    sqlx::query("UPDATE rooms SET settings = 'spoiled'").execute(&world.database().await).await.expect("spoiled");
    let answer = world.get(&format!("/api/v1/meetings/{}", meeting["meeting_id"].as_str().expect("an id")), None).await;
    let body = answer.expect(StatusCode::INTERNAL_SERVER_ERROR);
    let expected = json!({"error": {
        "code": "INTERNAL_ERROR", "message": "something went wrong on our side",
        "details": {"request_id": answer.header("x-request-id")},
    }});
    assert_eq!(body, expected);
}

/// A store that hangs is no reason to hang: within two seconds one is told to come again.
#[tokio::test]
async fn a_busy_store_is_not_waited_for() {
    let world = World::start(|config| {
        config.allow_anonymous_create = true;
        config.store.timeout = STORE_TIMEOUT;
    })
    .await;
    let _nodes = (world.controller("mc-1").await, world.handler("mh-1", "eu").await);
    let database = world.database().await;
    let held = database.begin_with("BEGIN IMMEDIATE").await.expect("the only writer");
    let started = std::time::Instant::now();
    let answer = world.post("/api/v1/meetings", None, json!({"display_name": "Standup"})).await;
    assert_eq!(answer.refusal(), "503 UNAVAILABLE: the store is not available");
    assert!(started.elapsed() < std::time::Duration::from_secs(2), "{:?}", started.elapsed());
    held.rollback().await.expect("let go");
    world.meeting().await;
}

/// Who has no leave does not get its body read, and learns nothing about it.
#[tokio::test]
async fn permission_comes_before_the_body() {
    let world = World::start(|_| {}).await;
    let (_, token) = world.api_client("meetings:read").await;
    let (create, join) = ("/api/v1/meetings", "/api/v1/meetings/550e8400-e29b-41d4-a716-446655440000/join");
    let mute = "/api/v1/meetings/550e8400-e29b-41d4-a716-446655440000/participants/%FF";
    for body in ["{", "", &"x".repeat(2 << 20)] {
        for (method, path) in [(Method::POST, create), (Method::POST, join), (Method::PATCH, mute)] {
            let answer = world.send(method.clone(), path, Some(&token), Some(body.to_owned())).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}: {}", answer.text);
        }
        assert_eq!(world.send(Method::POST, create, None, Some(body.to_owned())).await.status, StatusCode::UNAUTHORIZED);
    }
}

/// Whose meetings one asks for counts if one may speak for that account, or is it.
#[tokio::test]
async fn listings_are_narrowed_to_an_account() {
    let (world, _controller, _handler) = World::with_nodes().await;
    let (_, acting) = world.api_client("meetings:create meetings:read participants:act-as").await;
    for user_id in ["ana", "ana", "bob"] {
        let body = json!({"display_name": "Standup", "user_id": user_id});
        world.post("/api/v1/meetings", Some(&acting), body).await.expect(StatusCode::CREATED);
    }
    let (plain, token) = world.api_client("meetings:create meetings:read").await;
    world.post("/api/v1/meetings", Some(&token), json!({"display_name": "Mine"})).await.expect(StatusCode::CREATED);
    let total = async |token: &str, user_id: &str| {
        let page = world.get(&format!("/api/v1/meetings?user_id={user_id}"), Some(token)).await.expect(StatusCode::OK);
        page["total"].as_u64().expect("a number")
    };
    assert_eq!((total(&acting, "ana").await, total(&acting, "bob").await, total(&acting, "eve").await), (2, 1, 0));
    assert_eq!((total(&token, &plain.client_id).await, total(&token, "ana").await), (1, 1));
}
