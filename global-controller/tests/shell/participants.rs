//! Who is in a meeting, seen, muted and removed from the server's side.

use common_core::grant::JoinGrant;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::world::{Answer, FakeController, FakeHandler, World, eventually, participant};

const ALL: &str = "meetings:create meetings:read meetings:join meetings:end participants:act-as participants:manage";
const ANA: &str = "00000000-0000-4000-8000-000000000001";
const BOB: &str = "00000000-0000-4000-8000-000000000002";

/// A meeting of an application, and its access token.
async fn held() -> (World, FakeController, FakeHandler, Value, String) {
    let (world, controller, handler) = World::with_nodes().await;
    let (_, token) = world.api_client(ALL).await;
    let meeting = world.post("/api/v1/meetings", Some(&token), json!({"display_name": "Standup"})).await.expect(StatusCode::CREATED);
    (world, controller, handler, meeting, token)
}

fn path(meeting: &Value, rest: &str) -> String {
    format!("/api/v1/meetings/{}/{rest}", meeting["meeting_id"].as_str().expect("an id"))
}

async fn join_as(world: &World, meeting: &Value, token: &str, user_id: &str) -> Answer {
    world.post(&path(meeting, "join"), Some(token), json!({"display_name": "Somebody", "user_id": user_id})).await
}

#[tokio::test]
async fn everybody_in_a_meeting_is_listed() {
    let (world, controller, _handler, meeting, token) = held().await;
    let list = async || world.get(&path(&meeting, "participants"), Some(&token)).await.expect(StatusCode::OK);
    assert_eq!(list().await, json!({"meeting_id": meeting["meeting_id"], "participants": [], "total": 0}));
    let mut bob = participant(2, "Bob", "");
    bob.connected = false;
    controller.holds(&meeting, vec![bob, participant(1, "Ana", "ana")]);
    let said = |id: &str, name: &str, number: u8, connected: bool| {
        json!({
            "participant_id": id, "display_name": name, "role": "attendee", "joined_at": "2025-01-16T12:00:00Z",
            "is_muted": true, "is_video_on": false, "is_connected": connected,
            "streams": [{"stream_id": format!("00000000-0000-4000-9000-00000000000{number}"), "stream_type": "VIDEO_CAMERA", "codec": "VP9"}],
        })
    };
    let mut ana = said(ANA, "Ana", 1, true);
    ana["user_id"] = json!("ana");
    // In the order of their joins, whatever the controller's.
    let expected = json!({"meeting_id": meeting["meeting_id"], "participants": [ana, said(BOB, "Bob", 2, false)], "total": 2});
    assert_eq!(list().await, expected);
    let code = meeting["meeting_url"].as_str().and_then(|url| url.rsplit('/').next()).expect("a code");
    assert_eq!(world.get(&format!("/api/v1/meetings/{code}/participants"), Some(&token)).await.expect(StatusCode::OK), expected);

    controller.told().refuse = 1;
    let away = world.get(&path(&meeting, "participants"), Some(&token)).await;
    assert_eq!(away.refusal(), "503 UNAVAILABLE: the meeting's controller does not answer; try again in a moment");
    assert_eq!(away.header("retry-after"), "2");

    world.delete(&path(&meeting, "")[..path(&meeting, "").len() - 1], Some(&token)).await.expect(StatusCode::OK);
    assert_eq!(list().await["total"], 0);
}

/// A removal lasts: over repeated joins, resumes, a new process of the controller and one of the global controller.
#[tokio::test]
async fn who_is_removed_stays_out() {
    let (world, controller, _handler, meeting, token) = held().await;
    let mut second = participant(3, "Bob's phone", "bob");
    second.connected = false;
    controller.holds(&meeting, vec![participant(1, "Ana", "ana"), participant(2, "Bob", "bob"), second.clone()]);
    controller.comes_back(&meeting, "bob's", &second);
    join_as(&world, &meeting, &token, "bob").await.expect(StatusCode::OK);

    let removed = world.delete(&path(&meeting, &format!("participants/{}", BOB.to_ascii_uppercase())), Some(&token)).await;
    let expected = json!({"meeting_id": meeting["meeting_id"], "removed": [BOB, "00000000-0000-4000-8000-000000000003"]});
    assert_eq!(removed.expect(StatusCode::OK), expected);
    assert_eq!(controller.told().kicked[0].subject, "bob");
    let gone = world.delete(&path(&meeting, &format!("participants/{BOB}")), Some(&token)).await;
    assert_eq!(gone.refusal(), format!("404 NOT_FOUND: Participant {BOB} is not in this meeting"));

    let refused = "403 FORBIDDEN: who was removed from this meeting cannot join it again";
    assert_eq!(join_as(&world, &meeting, &token, "bob").await.refusal(), refused);
    let resumed = world.post(&path(&meeting, "join"), None, json!({"resume_token": "bob's"})).await;
    assert_eq!(resumed.refusal(), refused);
    join_as(&world, &meeting, &token, "ana").await.expect(StatusCode::OK);
    // Elsewhere nothing is held against it.
    let other = world.post("/api/v1/meetings", Some(&token), json!({"display_name": "Other"})).await.expect(StatusCode::CREATED);
    join_as(&world, &other, &token, "bob").await.expect(StatusCode::OK);

    drop(controller);
    let controller = world.controller_process("mc-1", 8).await;
    join_as(&world, &meeting, &token, "ana").await.expect(StatusCode::OK);
    {
        let told = controller.told();
        let configs: Vec<_> = told.assigned.iter().filter_map(|assigned| assigned.config.clone()).collect();
        assert_eq!(configs.iter().map(|config| config.refused_subjects.clone()).collect::<Vec<_>>(), [["bob"]]);
    }
    assert_eq!(join_as(&world, &meeting, &token, "bob").await.refusal(), refused);

    let world = world.restarted().await;
    assert_eq!(join_as(&world, &meeting, &token, "bob").await.refusal(), refused);
}

/// The controller dies over it: the removal is not lost with it.
#[tokio::test]
async fn a_removal_is_kept_before_it_is_told() {
    let (world, controller, _handler, meeting, token) = held().await;
    controller.holds(&meeting, vec![participant(2, "Bob", "bob")]);
    controller.told().deaf_to_kicks = true;
    let answer = world.delete(&path(&meeting, &format!("participants/{BOB}")), Some(&token)).await;
    assert_eq!(answer.refusal(), "503 UNAVAILABLE: the meeting's controller does not answer; try again in a moment");
    assert_eq!(join_as(&world, &meeting, &token, "bob").await.status, StatusCode::FORBIDDEN);
    controller.told().deaf_to_kicks = false;
    let answer = world.delete(&path(&meeting, &format!("participants/{BOB}")), Some(&token)).await;
    assert_eq!(answer.expect(StatusCode::OK)["removed"], json!([BOB]));
}

/// A guest is kept out as well as one can: its tokens and its repeated requests are worth nothing any more.
#[tokio::test]
async fn a_removed_guest_does_not_come_back_as_itself() {
    let (world, controller, _handler, meeting, token) = held().await;
    let join = async |key: &str| world.post_once(&path(&meeting, "join"), None, key, json!({"display_name": "Eve"})).await;
    let JoinGrant { subject, .. } = world.grant(&join("eve-1").await.expect(StatusCode::OK)).await;
    let mut eve = participant(2, "Eve", "");
    eve.subject.clone_from(&subject);
    controller.holds(&meeting, vec![eve]);
    world.delete(&path(&meeting, &format!("participants/{BOB}")), Some(&token)).await.expect(StatusCode::OK);
    assert_eq!(join("eve-1").await.status, StatusCode::FORBIDDEN);
    let anew = world.grant(&join("eve-2").await.expect(StatusCode::OK)).await;
    assert_ne!(anew.subject, subject);
}

#[tokio::test]
async fn participants_are_asked_to_turn_things_off() {
    let (world, controller, _handler, meeting, token) = held().await;
    controller.holds(&meeting, vec![participant(1, "Ana", "ana"), participant(2, "Bob", "bob")]);
    let one = path(&meeting, &format!("participants/{BOB}"));
    let asked = world.patch(&one, Some(&token), json!({"is_muted": true, "reason": "Please"})).await.expect(StatusCode::ACCEPTED);
    assert_eq!((&asked["participant_id"], &asked["user_id"]), (&json!(BOB), &json!("bob")));
    world.patch(&one, Some(&token), json!({"is_video_on": false})).await.expect(StatusCode::ACCEPTED);
    {
        let told = controller.told();
        let muted: Vec<_> =
            told.muted.iter().map(|it| (it.participant_id.as_str(), it.microphone, it.camera, it.reason.as_str())).collect();
        assert_eq!(muted, [(BOB, true, false, "Please"), (BOB, false, true, "")]);
    }
    let cases = [
        (json!({"is_muted": false}), "is_muted: can only be set to true: nobody but the participant turns it on", "is_muted"),
        (
            json!({"is_muted": true, "is_video_on": true}),
            "is_video_on: can only be set to false: nobody but the participant turns it on",
            "is_video_on",
        ),
        (json!({}), "is_muted: is required, unless is_video_on is given", "is_muted"),
        (
            json!({"is_muted": true, "reason": "x".repeat(201)}),
            "reason: must be at most 200 characters, none of them a control character",
            "reason",
        ),
    ];
    for (body, message, field) in cases {
        let answer = world.patch(&one, Some(&token), body).await;
        assert_eq!(answer.refusal(), format!("400 INVALID_REQUEST: {message}"));
        assert_eq!(answer.expect(StatusCode::BAD_REQUEST)["error"]["details"], json!({"field": field}));
    }
    for nobody in ["00000000-0000-4000-8000-000000000009", "bob"] {
        let answer = world.patch(&path(&meeting, &format!("participants/{nobody}")), Some(&token), json!({"is_muted": true})).await;
        assert_eq!(answer.refusal(), format!("404 NOT_FOUND: Participant {nobody} is not in this meeting"));
    }
    controller.told().refuse = 1;
    let away = world.patch(&one, Some(&token), json!({"is_muted": true})).await;
    assert_eq!(away.refusal(), "503 UNAVAILABLE: the participant cannot be asked right now; try again in a moment");
}

/// Nobody is in a meeting whose controller is gone.
#[tokio::test]
async fn a_meeting_that_runs_nowhere_has_nobody_in_it() {
    let (world, controller, _handler, meeting, token) = held().await;
    controller.holds(&meeting, vec![participant(2, "Bob", "bob")]);
    drop(controller);
    eventually("the controller is lost", || async {
        let list = world.get(&path(&meeting, "participants"), Some(&token)).await;
        (list.status == StatusCode::OK).then(|| assert_eq!(list.expect(StatusCode::OK)["total"], 0))
    })
    .await;
    let answer = world.delete(&path(&meeting, &format!("participants/{BOB}")), Some(&token)).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.text);
}

#[tokio::test]
async fn managing_needs_its_own_scope() {
    let (world, _controller, _handler) = World::with_nodes().await;
    let (_, token) = world.api_client("meetings:create meetings:join meetings:end").await;
    let meeting = world.post("/api/v1/meetings", Some(&token), json!({"display_name": "Standup"})).await.expect(StatusCode::CREATED);
    let one = path(&meeting, &format!("participants/{BOB}"));
    let answers = [
        world.get(&path(&meeting, "participants"), Some(&token)).await,
        world.delete(&one, Some(&token)).await,
        world.patch(&one, Some(&token), json!({"is_muted": true})).await,
    ];
    let scopes = answers.map(|answer| answer.expect(StatusCode::FORBIDDEN)["error"]["details"]["scope"].clone());
    assert_eq!(scopes, ["meetings:read", "participants:manage", "participants:manage"]);
}
