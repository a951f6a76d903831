//! Requests that are sent again under their idempotency key.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::world::{Answer, World, participant};

const MEETINGS: &str = "/api/v1/meetings";

fn join_path(meeting: &Value) -> String {
    format!("{MEETINGS}/{}/join", meeting["meeting_id"].as_str().expect("an id"))
}

async fn total(world: &World, token: &str) -> Value {
    world.get(MEETINGS, Some(token)).await.expect(StatusCode::OK)["total"].clone()
}

#[tokio::test]
async fn a_creation_sent_again_is_the_same_meeting() {
    let (world, controller, _handler) = World::with_nodes().await;
    let (_, token) = world.api_client("meetings:create meetings:read meetings:end").await;
    let body = json!({"display_name": "Standup", "settings": {"require_auth": true}});
    let create = async |key: &str, body: Value| world.post_once(MEETINGS, Some(&token), key, body).await;
    let first = create("k-1", body.clone()).await.expect(StatusCode::CREATED);
    // What is absent may as well be null, and what is not known here does not count.
    let again =
        create("k-1", json!({"settings": {"require_auth": true, "recording_enabled": null}, "display_name": "Standup", "later": 1})).await;
    assert_eq!(again.header("location"), format!("{MEETINGS}/{}", first["meeting_id"].as_str().expect("an id")));
    let again = again.expect(StatusCode::CREATED);
    for same in ["meeting_id", "meeting_url", "created_at", "meeting_controller_url", "media_handler_urls"] {
        assert_eq!(again[same], first[same], "{same}");
    }
    let (one, two) = (world.grant(&first).await, world.grant(&again).await);
    assert_eq!((&one.subject, one.role), (&two.subject, two.role));
    assert_ne!(one.token_id, two.token_id);
    assert_eq!((total(&world, &token).await, controller.told().assigned.len()), (json!(1), 1));

    let other_body = create("k-1", json!({"display_name": "Retro"})).await;
    let message = "Idempotency-Key: stands for a request with another body or account; a new request needs a new key";
    assert_eq!(other_body.refusal(), format!("409 CONFLICT: {message}"));
    assert_eq!(other_body.expect(StatusCode::CONFLICT)["error"]["details"], json!({"field": "Idempotency-Key"}));
    assert_ne!(create("k-2", body.clone()).await.expect(StatusCode::CREATED)["meeting_id"], first["meeting_id"]);
    let (_, stranger) = world.api_client("meetings:create").await;
    let theirs = world.post_once(MEETINGS, Some(&stranger), "k-1", body.clone()).await.expect(StatusCode::CREATED);
    assert_ne!(theirs["meeting_id"], first["meeting_id"]);
    for bad in ["", "a b"] {
        let refused = create(bad, body.clone()).await;
        assert!(refused.refusal().starts_with("400 INVALID_REQUEST: Idempotency-Key: must be 1 to 255"), "{}", refused.text);
    }

    // It outlives the process, and the meeting's end.
    let world = world.restarted().await;
    let create = async || world.post_once(MEETINGS, Some(&token), "k-1", body.clone()).await;
    let (_controller, _handler) = (world.controller("mc-1").await, world.handler("mh-1", "eu").await);
    assert_eq!(create().await.expect(StatusCode::CREATED)["meeting_id"], first["meeting_id"]);
    let path = format!("{MEETINGS}/{}", first["meeting_id"].as_str().expect("an id"));
    world.delete(&path, Some(&token)).await.expect(StatusCode::OK);
    assert_eq!(create().await.refusal(), "410 MEETING_ENDED: the meeting has ended");
}

/// Of many at once one makes the meeting; what the others began is taken back from their controllers.
#[tokio::test]
async fn creations_at_once_make_one_meeting() {
    let (world, controller, _handler) = World::with_nodes().await;
    let (_, token) = world.api_client("meetings:create meetings:read").await;
    let create = || world.post_once(MEETINGS, Some(&token), "k-1", json!({"display_name": "Standup"}));
    let answers: Vec<Answer> = join_all((0..8).map(|_| create())).await;
    let ids: BTreeSet<String> = answers.iter().map(|answer| answer.expect(StatusCode::CREATED)["meeting_id"].to_string()).collect();
    assert_eq!((ids.len(), total(&world, &token).await), (1, json!(1)));
    let told = controller.told();
    // A call that may not have been heard is made again, so either may have come twice.
    let left: BTreeSet<&str> = told
        .assigned
        .iter()
        .map(|assigned| assigned.meeting_id.as_str())
        .filter(|id| !told.ended.iter().any(|ended| ended == id))
        .collect();
    assert_eq!(left, BTreeSet::from([ids.first().expect("one").trim_matches('"')]));
}

#[tokio::test]
async fn a_join_sent_again_is_the_same_guest() {
    let (world, _controller, _handler) = World::with_nodes().await;
    let (meeting, other) = (world.meeting().await, world.meeting().await);
    let join =
        async |meeting: &Value, key: &str, name: &str| world.post_once(&join_path(meeting), None, key, json!({"display_name": name})).await;
    let subject = async |answer: Answer| world.grant(&answer.expect(StatusCode::OK)).await.subject;
    let first = subject(join(&meeting, "k-1", "Ana").await).await;
    assert_eq!(subject(join(&meeting, "k-1", "Ana").await).await, first);
    assert_ne!(subject(join(&meeting, "k-2", "Ana").await).await, first);
    assert_ne!(subject(join(&other, "k-1", "Ana").await).await, first);
    assert_eq!(join(&meeting, "k-1", "Bob").await.status, StatusCode::CONFLICT);
    let at_once = join_all((0..8).map(|_| join(&meeting, "k-3", "Eve"))).await;
    let subjects: BTreeSet<String> = join_all(at_once.into_iter().map(subject)).await.into_iter().collect();
    assert_eq!(subjects.len(), 1);
}

/// A token that may not speak for somebody gets nothing by the key of one that may, though it is the same client's.
#[tokio::test]
async fn a_key_lends_nobody_another_name() {
    let (world, _controller, _handler) = World::with_nodes().await;
    let (credentials, strong) = world.api_client("meetings:create meetings:join participants:act-as").await;
    let asked = json!({
        "grant_type": "client_credentials", "scope": "meetings:create meetings:join",
        "client_id": credentials.client_id, "client_secret": credentials.client_secret.expose(),
    });
    let weak = world.post("/api/v1/auth/token", None, asked).await.expect(StatusCode::OK);
    let weak = weak["access_token"].as_str().expect("a token");
    let create =
        async |token: &str| world.post_once(MEETINGS, Some(token), "k-1", json!({"display_name": "Board", "user_id": "boss"})).await;
    let meeting = create(&strong).await.expect(StatusCode::CREATED);
    assert_eq!(world.grant(&meeting).await.subject, "boss");
    assert_eq!(create(weak).await.status, StatusCode::CONFLICT);
    let body = json!({"display_name": "Boss", "user_id": "boss"});
    let join = async |token: &str, key: &str| world.post_once(&join_path(&meeting), Some(token), key, body.clone()).await;
    assert_eq!(world.grant(&join(&strong, "k-1").await.expect(StatusCode::OK)).await.subject, "boss");
    assert_eq!(join(weak, "k-1").await.status, StatusCode::CONFLICT);
    assert_eq!(world.grant(&join(weak, "k-2").await.expect(StatusCode::OK)).await.subject, credentials.client_id);
}

/// A host that was removed does not come back by creating its meeting once more.
#[tokio::test]
async fn a_repeat_lets_nobody_in_who_was_removed() {
    let (world, controller, _handler) = World::with_nodes().await;
    let (_, token) = world.api_client("meetings:create meetings:join participants:act-as participants:manage").await;
    let create = async || world.post_once(MEETINGS, Some(&token), "k-1", json!({"display_name": "Board", "user_id": "bob"})).await;
    let meeting = create().await.expect(StatusCode::CREATED);
    let bob = participant(2, "Bob", "bob");
    let id = bob.participant.as_ref().expect("a participant").participant_id.clone();
    controller.holds(&meeting, vec![bob]);
    let path = join_path(&meeting).replace("/join", &format!("/participants/{id}"));
    world.delete(&path, Some(&token)).await.expect(StatusCode::OK);
    assert_eq!(create().await.refusal(), "403 FORBIDDEN: who was removed from this meeting cannot join it again");
}
