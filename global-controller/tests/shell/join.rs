//! Join: who is let in as what, and where one is sent.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::world::{World, eventually, participant};

fn join_path(meeting: &Value) -> String {
    format!("/api/v1/meetings/{}/join", meeting["meeting_id"].as_str().expect("an id"))
}

#[tokio::test]
async fn guests_come_by_the_link() {
    let (world, _controller, _handler) = World::with_nodes().await;
    let meeting = world.meeting().await;
    let joined = world.post(&join_path(&meeting), None, json!({"display_name": " Ana ", "user_id": "ana"})).await.expect(StatusCode::OK);
    for same in ["meeting_id", "meeting_controller_url", "signaling_fallback_url", "media_handler_urls", "certificate_hashes"] {
        assert_eq!(joined[same], meeting[same], "{same}");
    }
    assert!(joined["expires_at"].is_string());
    let grant = world.grant(&joined).await;
    assert_eq!((grant.role.as_str(), grant.display_name.as_str(), grant.is_account), ("attendee", "Ana", false));
    assert!(grant.subject.starts_with("guest-"), "{}", grant.subject);
    let other = world.post(&join_path(&meeting), None, json!({"display_name": "Ana"})).await.expect(StatusCode::OK);
    let other = world.grant(&other).await;
    assert!(other.subject != grant.subject && other.token_id != grant.token_id);
    let nameless = world.post(&join_path(&meeting), None, json!({})).await;
    assert_eq!(nameless.refusal(), "400 INVALID_REQUEST: display_name: is required");
}

#[tokio::test]
async fn accounts_come_as_themselves_or_as_whom_they_may_speak_for() {
    let (world, _controller, _handler) = World::with_nodes().await;
    let (app, token) = world.api_client("meetings:create meetings:join participants:act-as").await;
    let body = json!({"display_name": "Ana's", "user_id": "ana", "settings": {"require_auth": true}});
    let meeting = world.post("/api/v1/meetings", Some(&token), body).await.expect(StatusCode::CREATED);
    assert_eq!(world.grant(&meeting).await.subject, "ana");
    let stranger = world.post(&join_path(&meeting), None, json!({"display_name": "Eve"})).await;
    assert!(stranger.refusal().starts_with("401 UNAUTHORIZED"), "{}", stranger.text);
    for (user_id, subject, role) in
        [(Some("ana"), "ana", "host"), (Some("bob"), "bob", "attendee"), (None, app.client_id.as_str(), "attendee")]
    {
        let body = json!({"display_name": "Somebody", "user_id": user_id});
        let joined = world.post(&join_path(&meeting), Some(&token), body).await.expect(StatusCode::OK);
        let grant = world.grant(&joined).await;
        assert_eq!((grant.subject.as_str(), grant.role.as_str(), grant.is_account), (subject, role, true));
    }

    // Who may not speak for others is itself, whatever it says.
    let (plain, token) = world.api_client("meetings:create meetings:join").await;
    let body = json!({"display_name": "Mine", "user_id": "ana"});
    let meeting = world.post("/api/v1/meetings", Some(&token), body).await.expect(StatusCode::CREATED);
    for user_id in [None, Some("ana")] {
        let body = json!({"display_name": "Me", "user_id": user_id});
        let joined = world.post(&join_path(&meeting), Some(&token), body).await.expect(StatusCode::OK);
        let grant = world.grant(&joined).await;
        assert_eq!((grant.subject.as_str(), grant.role.as_str()), (plain.client_id.as_str(), "host"));
    }
}

#[tokio::test]
async fn a_full_meeting_takes_nobody_but_who_comes_back() {
    let (world, controller, _handler) = World::with_nodes().await;
    let body = json!({"display_name": "Small", "max_participants": 1});
    let meeting = world.post("/api/v1/meetings", None, body).await.expect(StatusCode::CREATED);
    controller.seats(&world, &meeting, 1).await;
    let refused = world.post(&join_path(&meeting), None, json!({"display_name": "Ana"})).await;
    assert_eq!(refused.refusal(), "409 CAPACITY_EXCEEDED: the meeting has its 1 participants");
    let ana = participant(1, "Ana", "");
    controller.comes_back(&meeting, "of the one who is in", &ana);
    let back = world.post(&join_path(&meeting), None, json!({"resume_token": "of the one who is in"})).await.expect(StatusCode::OK);
    let grant = world.grant(&back).await;
    let expected = ("guest-1", "Ana", "attendee", false);
    assert_eq!((grant.subject.as_str(), grant.display_name.as_str(), grant.role.as_str(), grant.is_account), expected);
    let own_id = ana.participant.as_ref().map(|one| one.participant_id.clone());
    assert_eq!(grant.resumes.map(|id| id.to_string()), own_id, "it takes its own place");
    assert_eq!(back["meeting_controller_url"], meeting["meeting_controller_url"]);
    assert!(back["expires_at"].is_string());
}

/// A resume token speaks for itself, also where a bearer is needed to join; it is the controller's word that counts.
#[tokio::test]
async fn who_comes_back_is_who_it_was() {
    let (world, controller, _handler) = World::with_nodes().await;
    let (_, token) = world.api_client("meetings:create").await;
    let body = json!({"display_name": "Closed", "settings": {"require_auth": true}});
    let meeting = world.post("/api/v1/meetings", Some(&token), body).await.expect(StatusCode::CREATED);
    let mut owner = participant(1, "Ana", "ana");
    owner.participant.as_mut().expect("a participant").role = "host".into();
    controller.comes_back(&meeting, "ana's", &owner);
    let resume = async |body: Value| world.post(&join_path(&meeting), None, body).await;
    for _ in 0..2 {
        let back = resume(json!({"resume_token": "ana's", "region": "eu"})).await.expect(StatusCode::OK);
        let grant = world.grant(&back).await;
        assert_eq!((grant.subject.as_str(), grant.role.as_str(), grant.is_account), ("ana", "host", true));
    }
    let refusals = [
        (json!({"resume_token": ""}), "400 INVALID_REQUEST: resume_token: is none that was given out"),
        (json!({"resume_token": "x".repeat(257)}), "400 INVALID_REQUEST: resume_token: is none that was given out"),
        (
            json!({"resume_token": "ana's", "display_name": "Eve"}),
            "400 INVALID_REQUEST: display_name: cannot stand beside resume_token: who comes back keeps its name and account",
        ),
        (
            json!({"resume_token": "ana's", "user_id": "eve"}),
            "400 INVALID_REQUEST: user_id: cannot stand beside resume_token: who comes back keeps its name and account",
        ),
        (
            json!({"resume_token": "Ana's"}),
            "401 UNAUTHORIZED: resume_token: nobody can come back by it any more; join anew with display_name",
        ),
    ];
    for (body, expected) in refusals {
        assert_eq!(resume(body).await.refusal(), expected);
    }
    // It opens the meeting that it was given out for alone, and to nobody of another tenant.
    let other = world.meeting().await;
    let elsewhere = world.post(&join_path(&other), None, json!({"resume_token": "ana's"})).await;
    assert!(elsewhere.refusal().starts_with("401 UNAUTHORIZED"), "{}", elsewhere.text);
    let (_, foreign) = world.api_client("meetings:join").await;
    let tenant = world.post(&join_path(&meeting), Some(&foreign), json!({"resume_token": "ana's"})).await;
    assert!(tenant.refusal().starts_with("404 MEETING_NOT_FOUND"), "{}", tenant.text);
    controller.told().refuse = 1;
    let away = resume(json!({"resume_token": "ana's"})).await;
    assert_eq!(away.refusal(), "503 UNAVAILABLE: the meeting's controller does not answer; try again in a moment");
    assert_eq!(away.header("retry-after"), "2");
}

/// Joins follow the meeting to another controller when its own is lost, and that one is told first.
#[tokio::test]
async fn a_lost_controller_is_replaced() {
    let (world, first, _handler) = World::with_nodes().await;
    let meeting = world.meeting().await;
    assert_eq!(meeting["meeting_controller_url"], "https://mc-1.example.com/wt");
    let second = world.controller("mc-2").await;
    drop(first);
    eventually("joins are sent to the second controller", || async {
        let joined = world.post(&join_path(&meeting), None, json!({"display_name": "Ana"})).await;
        let body = (joined.status == StatusCode::OK).then(|| joined.expect(StatusCode::OK))?;
        (body["meeting_controller_url"] == "https://mc-2.example.com/wt").then_some(())
    })
    .await;
    let assigned: Vec<String> = second.told().assigned.iter().map(|assigned| assigned.meeting_id.clone()).collect();
    assert_eq!(assigned, [meeting["meeting_id"].as_str().expect("an id")]);
    let id = meeting["meeting_id"].as_str().expect("an id");
    let shown = world.get(&format!("/api/v1/meetings/{id}"), None).await.expect(StatusCode::OK);
    assert_eq!(shown["meeting_controller_url"], "https://mc-2.example.com/wt");
}

#[tokio::test]
async fn a_controller_that_refuses_is_passed_over() {
    let (world, first, _handler) = World::with_nodes().await;
    let _second = world.controller("mc-2").await;
    first.told().refuse = usize::MAX;
    for _ in 0..8 {
        assert_eq!(world.meeting().await["meeting_controller_url"], "https://mc-2.example.com/wt");
    }
}

#[tokio::test]
async fn without_nodes_one_is_told_to_come_again() {
    let world = World::start(|config| config.allow_anonymous_create = true).await;
    let create = || world.post("/api/v1/meetings", None, json!({"display_name": "Standup"}));
    let refused = create().await;
    assert_eq!(refused.refusal(), "503 UNAVAILABLE: no media handler is available");
    assert_eq!(refused.header("retry-after"), "2");
    let _handler = world.handler("mh-1", "eu").await;
    assert_eq!(create().await.refusal(), "503 UNAVAILABLE: no meeting controller has registered");
    let controller = world.controller("mc-1").await;
    controller.told().refuse = 1;
    assert_eq!(create().await.refusal(), "503 UNAVAILABLE: no meeting controller answers");
    let meeting = create().await.expect(StatusCode::CREATED);
    drop(controller);
    let gone = eventually("the controller is lost", || async {
        let answer = world.post(&join_path(&meeting), None, json!({"display_name": "Ana"})).await;
        (answer.status == StatusCode::SERVICE_UNAVAILABLE && answer.text.contains("lost")).then_some(answer)
    })
    .await;
    let expected = "503 UNAVAILABLE: no meeting controller can take a meeting: 1 lost, 0 draining, 0 unhealthy, 0 full";
    assert_eq!(gone.refusal(), expected);
    // What could not be placed is not there.
    assert_eq!(world.get("/api/v1/meetings", None).await.expect(StatusCode::OK)["total"], 1);
}

/// The handlers of the controller's region come first, and the token names them in the same order as the answer.
#[tokio::test]
async fn handlers_of_the_region_come_first() {
    let (world, _controller, _near) = World::with_nodes().await;
    let _far = world.handler("mh-0", "us").await;
    let meeting = world.meeting().await;
    assert_eq!(meeting["media_handler_urls"], json!(["https://mh-1.example.com/media", "https://mh-0.example.com/media"]));
    let handlers: Vec<String> = world.grant(&meeting).await.handlers.iter().map(ToString::to_string).collect();
    assert_eq!(handlers, ["mh-1", "mh-0"]);
    // Both handlers show the same certificate here, and it is named once.
    assert_eq!(meeting["certificate_hashes"].as_array().map(Vec::len), Some(2));
}

/// After a start nobody is declared lost at once: those who are there need a moment to be heard.
#[tokio::test]
async fn a_controller_may_take_a_moment_to_come_back() {
    let adjust = |config: &mut global_controller::Config| {
        config.allow_anonymous_create = true;
        config.cluster.grace = std::time::Duration::from_secs(20);
    };
    let world = World::start(adjust).await;
    let (_controller, _handler) = (world.controller("mc-1").await, world.handler("mh-1", "eu").await);
    let meeting = world.meeting().await;
    let world = world.restarted().await;
    let _second = world.controller("mc-2").await;
    let path = join_path(&meeting);
    let join = || world.post(&path, None, json!({"display_name": "Ana"}));
    assert_eq!(join().await.refusal(), "503 UNAVAILABLE: the cluster is coming back; try again in a moment");
    // Who is there takes new meetings already.
    let _near = world.handler("mh-2", "eu").await;
    assert_eq!(world.meeting().await["meeting_controller_url"], "https://mc-2.example.com/wt");
    let (_controller, _handler) = (world.controller("mc-1").await, world.handler("mh-1", "eu").await);
    assert_eq!(join().await.expect(StatusCode::OK)["meeting_controller_url"], meeting["meeting_controller_url"]);
}

/// A controller may forget a meeting in which nobody was for long: it is told again, once, and replaced if it does not take it.
#[tokio::test]
async fn an_empty_meeting_is_told_again_after_a_restart() {
    let (world, first, _handler) = World::with_nodes().await;
    let (meeting, second_meeting) = (world.meeting().await, world.meeting().await);
    let path = join_path(&meeting);
    let join = async |world: &World, path: &str| world.post(path, None, json!({"display_name": "Ana"})).await.expect(StatusCode::OK);
    join(&world, &path).await;
    assert_eq!(first.told().assigned.len(), 2);
    let world = world.restarted().await;
    let (first, _handler) = (world.controller("mc-1").await, world.handler("mh-1", "eu").await);
    for _ in 0..2 {
        assert_eq!(join(&world, &path).await["meeting_controller_url"], "https://mc-1.example.com/wt");
    }
    let assigned: Vec<String> = first.told().assigned.iter().map(|assigned| assigned.meeting_id.clone()).collect();
    assert_eq!(assigned, [meeting["meeting_id"].as_str().expect("an id")]);

    let _second = world.controller("mc-2").await;
    first.told().refuse = usize::MAX;
    assert_eq!(join(&world, &join_path(&second_meeting)).await["meeting_controller_url"], "https://mc-2.example.com/wt");
}

#[tokio::test]
async fn a_join_tells_what_the_meeting_is() {
    let (world, controller, _handler) = World::with_nodes().await;
    let settings = json!({"enable_e2e_encryption": true, "require_auth": false, "recording_enabled": true});
    let body = json!({"display_name": "Standup", "settings": settings});
    let meeting = world.post("/api/v1/meetings", None, body).await.expect(StatusCode::CREATED);
    let joined = world.post(&join_path(&meeting), None, json!({"display_name": "Ana"})).await.expect(StatusCode::OK);
    assert_eq!((&joined["display_name"], &joined["settings"]), (&json!("Standup"), &settings));
    let config = controller.told().assigned[0].config.clone().expect("a configuration");
    assert_eq!((config.enable_e2e_encryption, config.recording_enabled, config.refused_subjects), (true, true, Vec::new()));
}
