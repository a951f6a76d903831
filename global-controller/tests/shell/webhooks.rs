//! Webhooks: registered per API client, called in order and at least once, whatever the target does.

use std::time::Duration;

use proto::v1::LeaveReason;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::reporter::{Reporter, told_of};
use crate::target::{Answer, Target, brief, signature};
use crate::world::{self, FakeController, FakeHandler, World, eventually, is_recent};

const SCOPES: &str = "meetings:create meetings:read meetings:end webhooks:manage";

/// A cluster that may call loopback, and is impatient.
struct Hooked {
    world: World,
    client_id: String,
    token: String,
    _nodes: (FakeController, FakeHandler),
}

impl Hooked {
    async fn start(adjust: fn(&mut global_controller::Config)) -> Self {
        let world = World::start(adjust).await;
        let nodes = (world.controller("mc-1").await, world.handler("mh-1", "eu").await);
        let (credentials, token) = world.api_client(SCOPES).await;
        Self { world, client_id: credentials.client_id, token, _nodes: nodes }
    }

    /// Registers a webhook; its secret.
    async fn hook(&self, target: &Target, events: Option<&[&str]>) -> Value {
        let body = json!({"url": target.url, "events": events});
        self.world.post("/api/v1/webhooks", Some(&self.token), body).await.expect(StatusCode::CREATED)
    }

    async fn meeting(&self) -> Value {
        self.world.post("/api/v1/meetings", Some(&self.token), json!({"display_name": "Standup"})).await.expect(StatusCode::CREATED)
    }

    async fn list(&self) -> Vec<Value> {
        let listed = self.world.get("/api/v1/webhooks", Some(&self.token)).await.expect(StatusCode::OK);
        listed["webhooks"].as_array().expect("a list").clone()
    }
}

fn impatient(config: &mut global_controller::Config) {
    config.webhooks.allow_private = true;
    config.webhooks.timeout = Duration::from_millis(500);
    config.webhooks.retry = Duration::from_millis(20);
    config.webhooks.retry_max = Duration::from_millis(100);
}

#[tokio::test]
async fn a_webhook_from_its_registration_to_its_end() {
    let world = World::start(|config| config.webhooks.per_client = 2).await;
    let (_, token) = world.api_client("webhooks:manage").await;
    let answer = world.post("/api/v1/webhooks", Some(&token), json!({"url": "https://Example.com/hooks"})).await;
    let created = answer.expect(StatusCode::CREATED);
    let id = created["webhook_id"].as_str().expect("an id");
    assert_eq!(answer.header("location"), format!("/api/v1/webhooks/{id}"));
    assert_eq!(created["url"], "https://example.com/hooks");
    let all = json!([
        "meeting.created",
        "meeting.started",
        "meeting.ended",
        "participant.joined",
        "participant.left",
        "stream.published",
        "stream.unpublished",
    ]);
    assert_eq!(created["events"], all);
    assert!(is_recent(created["created_at"].as_str().expect("a time")));
    assert!(created["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_") && secret.len() == 50), "{created}");

    let some = json!({"url": "https://example.com/others", "events": ["meeting.ended", "meeting.created"]});
    let second = world.post("/api/v1/webhooks", Some(&token), some.clone()).await.expect(StatusCode::CREATED);
    assert_eq!(second["events"], json!(["meeting.created", "meeting.ended"]));
    let third = world.post("/api/v1/webhooks", Some(&token), some.clone()).await;
    assert_eq!(third.refusal(), "409 CAPACITY_EXCEEDED: this API client has its 2 webhooks; delete one first");

    let listed = world.get("/api/v1/webhooks", Some(&token)).await.expect(StatusCode::OK);
    let without_secret = |webhook: &Value| {
        let mut webhook = webhook.clone();
        webhook.as_object_mut().expect("an object").remove("secret");
        webhook
    };
    assert_eq!(listed, json!({"webhooks": [without_secret(&created), without_secret(&second)]}));

    // Another client sees nothing of it, and cannot touch it.
    let (_, other) = world.api_client("webhooks:manage").await;
    assert_eq!(world.get("/api/v1/webhooks", Some(&other)).await.expect(StatusCode::OK), json!({"webhooks": []}));
    let path = format!("/api/v1/webhooks/{id}");
    let unknown = format!("404 NOT_FOUND: Webhook {id} does not exist");
    assert_eq!(world.delete(&path, Some(&other)).await.refusal(), unknown);
    let gone = world.delete(&path, Some(&token)).await;
    assert_eq!((gone.status, gone.text.as_str()), (StatusCode::NO_CONTENT, ""));
    assert_eq!(world.delete(&path, Some(&token)).await.refusal(), unknown);
    assert_eq!(world.delete("/api/v1/webhooks/x", Some(&token)).await.refusal(), "404 NOT_FOUND: Webhook x does not exist");
    world.post("/api/v1/webhooks", Some(&token), some).await.expect(StatusCode::CREATED);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    // Also where anybody may create meetings, a webhook is an API client's.
    let world = World::start(|config| config.allow_anonymous_create = true).await;
    let (_, token) = world.api_client("webhooks:manage").await;
    let (_, reader) = world.api_client("meetings:read").await;
    let good = json!({"url": "https://example.com/"});
    for method in [Method::GET, Method::POST] {
        let refused = |bearer| world.send(method.clone(), "/api/v1/webhooks", bearer, Some(good.to_string()));
        assert!(refused(None).await.refusal().starts_with("401 UNAUTHORIZED: an access token is needed"));
        assert_eq!(refused(Some(reader.as_str())).await.refusal(), "403 FORBIDDEN: the access token lacks the scope webhooks:manage");
    }
    let outside = "400 INVALID_REQUEST: url: must lead to a host on the public internet";
    let kinds = "400 INVALID_REQUEST: events: must be one or more of meeting.created, meeting.started, meeting.ended, participant.joined, \
        participant.left, stream.published, stream.unpublished";
    let cases = [
        (json!({}), "400 INVALID_REQUEST: url: is required"),
        (json!({"url": "http://example.com/"}), "400 INVALID_REQUEST: url: must be an https URL"),
        (json!({"url": "https://ana:secret@example.com/"}), "400 INVALID_REQUEST: url: must not hold a user name or password"),
        (json!({"url": "https://127.0.0.1/"}), outside),
        (json!({"url": "https://0x7f000001/"}), outside),
        (json!({"url": "https://[::ffff:169.254.169.254]/"}), outside),
        (json!({"url": "https://localhost:8443/"}), outside),
        (json!({"url": "https://example.com/", "events": []}), kinds),
        (json!({"url": "https://example.com/", "events": ["meeting.exploded"]}), kinds),
    ];
    for (body, expected) in cases {
        let answer = world.post("/api/v1/webhooks", Some(&token), body.clone()).await;
        assert_eq!(answer.refusal(), expected, "{body}");
    }
}

/// The answer to a registration may be lost on its way, and the secret with it.
#[tokio::test]
async fn a_registration_may_be_repeated() {
    // No round while it runs: what was deleted is still known of.
    let world = World::start(|config| config.cluster.sweep_interval = Duration::from_secs(3600)).await;
    let (_, token) = world.api_client("webhooks:manage").await;
    let send = async |url: &str| {
        let request = world.http.post(world.url("/api/v1/webhooks")).bearer_auth(&token).header("idempotency-key", "one");
        world::Answer::of(request.json(&json!({"url": url}))).await
    };
    let (first, again) = tokio::join!(send("https://example.com/a"), send("https://example.com/a"));
    assert_eq!(first.expect(StatusCode::CREATED), again.expect(StatusCode::CREATED));
    assert_eq!(send("https://example.com/a").await.expect(StatusCode::CREATED), first.expect(StatusCode::CREATED));
    assert_eq!(send("https://example.com/b").await.refusal().split(':').next(), Some("409 CONFLICT"));
    let listed = world.get("/api/v1/webhooks", Some(&token)).await.expect(StatusCode::OK);
    assert_eq!(listed["webhooks"].as_array().map(Vec::len), Some(1));
    let id = listed["webhooks"][0]["webhook_id"].as_str().expect("an id");
    assert_eq!(world.delete(&format!("/api/v1/webhooks/{id}"), Some(&token)).await.status, StatusCode::NO_CONTENT);
    let expected = "409 CONFLICT: Idempotency-Key: stands for a webhook that was deleted; send another key";
    assert_eq!(send("https://example.com/a").await.refusal(), expected, "what was deleted does not come back");
}

#[tokio::test]
async fn calls_are_signed_and_tell_what_happened() {
    let hooked = Hooked::start(impatient).await;
    let target = Target::start().await;
    let secret = hooked.hook(&target, None).await["secret"].as_str().expect("a secret").to_owned();
    let meeting = hooked.meeting().await;
    let mut reporter = Reporter::new(&hooked.world);
    reporter.joins(&meeting, "Ana").await;
    reporter.publishes(&meeting, "Ana").await;
    reporter.leaves(&meeting, "Ana", LeaveReason::Voluntary).await;
    let id = meeting["meeting_id"].as_str().expect("an id");
    hooked.world.delete(&format!("/api/v1/meetings/{id}"), Some(&hooked.token)).await.expect(StatusCode::OK);
    target.is_told("meeting.ended 7").await;
    let expected = [
        "meeting.created 1",
        "meeting.started 2",
        "participant.joined 3",
        "stream.published 4",
        "stream.unpublished 5",
        "participant.left 6",
        "meeting.ended 7",
    ];
    assert_eq!(target.told(), expected);
    let feed = hooked.world.get(&format!("/api/v1/meetings/{id}/events"), Some(&hooked.token)).await.expect(StatusCode::OK);
    for (call, event) in target.calls().iter().zip(feed["events"].as_array().expect("a list")) {
        assert_eq!((&call.event(), call.path.as_str()), (event, "/hook"));
        let (id, timestamp) = (call.header("webhook-id"), call.header("webhook-timestamp"));
        assert_eq!(id, event["id"]);
        assert!(timestamp.parse::<u64>().is_ok_and(|seconds| common::clock::unix_seconds().abs_diff(seconds) < 30), "{timestamp}");
        assert_eq!(call.header("webhook-signature"), signature(&secret, id, timestamp, &call.body));
        assert_eq!(call.header("content-type"), "application/json");
        assert!(call.header("user-agent").starts_with("dark-tower/"));
    }
    let calls = target.calls();
    assert_eq!(calls[0].event()["data"]["display_name"], "Standup");
    assert_eq!(calls[2].event()["data"], told_of("Ana"));
    assert_eq!(calls[5].event()["data"]["reason"], "VOLUNTARY");
    let listed = hooked.list().await;
    assert!(is_recent(listed[0]["last_delivered_at"].as_str().expect("a time")), "{listed:?}");
    assert_eq!(listed[0].get("failing_since"), None);
}

#[tokio::test]
async fn each_hears_of_its_tenant_and_its_kinds_alone() {
    let hooked = Hooked::start(impatient).await;
    let (all, some) = (Target::start().await, Target::start().await);
    hooked.hook(&all, None).await;
    hooked.hook(&some, Some(&["participant.joined"])).await;
    let (_, other) = hooked.world.api_client(SCOPES).await;
    hooked.world.post("/api/v1/meetings", Some(&other), json!({"display_name": "Theirs"})).await.expect(StatusCode::CREATED);
    let meeting = hooked.meeting().await;
    let mut reporter = Reporter::new(&hooked.world);
    reporter.joins(&meeting, "Ana").await;
    reporter.joins(&meeting, "Ben").await;
    all.is_told("participant.joined 4").await;
    some.is_told("participant.joined 4").await;
    assert_eq!(all.told(), ["meeting.created 1", "meeting.started 2", "participant.joined 3", "participant.joined 4"]);
    assert_eq!(some.told(), ["participant.joined 3", "participant.joined 4"]);
    // What is deleted is called no more.
    let id = hooked.list().await[0]["webhook_id"].as_str().expect("an id").to_owned();
    hooked.world.delete(&format!("/api/v1/webhooks/{id}"), Some(&hooked.token)).await;
    reporter.joins(&meeting, "Eve").await;
    some.is_told("participant.joined 5").await;
    assert_eq!(all.told().len(), 4);
}

/// Whatever a target does, it hears of each meeting in order, again and again until it has taken it; and is led nowhere.
#[tokio::test]
async fn a_failing_target_is_called_again_in_order() {
    let hooked = Hooked::start(impatient).await;
    let target = Target::start().await;
    target.answers([
        Answer::Status(500),
        Answer::Status(404),
        Answer::Close,
        Answer::Redirect("/elsewhere"),
        Answer::Nothing,
        // A body without an end is not waited for.
        Answer::Endless,
        Answer::Status(429),
    ]);
    hooked.hook(&target, None).await;
    let meeting = hooked.meeting().await;
    let mut reporter = Reporter::new(&hooked.world);
    let failing = eventually("it is seen to fail", || async {
        let listed = hooked.list().await;
        listed[0].get("failing_since").is_some().then(|| listed[0].clone())
    });
    let failing = failing.await;
    assert!(is_recent(failing["failing_since"].as_str().expect("a time")), "{failing}");
    assert!(failing["last_error"].as_str().is_some_and(|error| error.contains("answer")), "{failing}");
    for name in ["Ana", "Ben", "Eve"] {
        reporter.joins(&meeting, name).await;
    }
    target.is_told("participant.joined 5").await;
    // The first six calls were about the first event; the sixth was taken. The seventh was refused.
    let expected = ["meeting.created 1"; 6].into_iter().chain(["meeting.started 2"; 2]);
    let expected: Vec<&str> = expected.chain(["participant.joined 3", "participant.joined 4", "participant.joined 5"]).collect();
    assert_eq!(target.told(), expected);
    let calls = target.calls();
    assert!(calls.iter().all(|call| call.path == "/hook"), "a redirect was followed");
    assert!(calls[..6].iter().all(|call| call.header("webhook-id") == calls[0].header("webhook-id")), "a repeat has the same id");
    eventually("it is seen to work", || async { hooked.list().await[0].get("failing_since").is_none().then_some(()) }).await;
}

#[tokio::test]
async fn one_slow_target_holds_up_nobody_else() {
    let hooked = Hooked::start(|config| {
        impatient(config);
        config.webhooks.at_once = 8;
        config.webhooks.timeout = Duration::from_secs(60);
    })
    .await;
    let (slow, fast) = (Target::start().await, Target::start().await);
    slow.falls_silent();
    hooked.hook(&slow, None).await;
    // Further webhooks to the same host get it no further lanes.
    hooked.hook(&slow.also_at("/hook", "/neighbour"), None).await;
    hooked.hook(&fast.also_at("127.0.0.1", "localhost"), None).await;
    for _ in 0..20 {
        hooked.meeting().await;
    }
    eventually("the fast one has heard of all", || async { (fast.calls().len() == 20).then_some(()) }).await;
    assert_eq!(slow.calls().len(), 1, "of eight lanes a host has one");
}

/// What is answered is kept: a process that ends over its calls has its successor make them.
#[tokio::test]
async fn a_restart_loses_no_call() {
    let hooked = Hooked::start(|config| {
        impatient(config);
        // The first calls fail and are not due again before the restart.
        config.webhooks.retry = Duration::from_secs(1);
        config.webhooks.retry_max = Duration::from_secs(1);
    })
    .await;
    let target = Target::start().await;
    target.answers([Answer::Status(500), Answer::Nothing]);
    // Not of leaves: to the process that comes next, nobody speaks for the participants any more.
    hooked.hook(&target, Some(&["meeting.created", "meeting.started", "participant.joined"])).await;
    let (first, second) = (hooked.meeting().await, hooked.meeting().await);
    eventually("one call was made of each meeting", || async { (target.calls().len() == 2).then_some(()) }).await;
    let mut reporter = Reporter::new(&hooked.world);
    for meeting in [&first, &second] {
        reporter.joins(meeting, "Ana").await;
    }
    let world = hooked.world.restarted().await;
    let of = |meeting: &Value| {
        let calls = target.calls();
        let events = calls.iter().map(|call| call.event()).filter(|event| event["meeting_id"] == meeting["meeting_id"]);
        events.map(|event| brief(&event)).collect::<Vec<_>>()
    };
    let expected = ["meeting.created 1", "meeting.created 1", "meeting.started 2", "participant.joined 3"];
    for meeting in [&first, &second] {
        eventually("all was told", || async { (of(meeting).len() == expected.len()).then_some(()) }).await;
        assert_eq!(of(meeting), expected);
    }
    drop(world);
}

/// What nobody takes for long is told no more, and what comes behind it is.
#[tokio::test]
async fn what_nobody_takes_is_given_up() {
    let hooked = Hooked::start(|config| {
        impatient(config);
        config.webhooks.give_up = Duration::from_millis(1500);
    })
    .await;
    let target = Target::start().await;
    target.refuses(&["meeting.created"]);
    hooked.hook(&target, None).await;
    let meeting = hooked.meeting().await;
    Reporter::new(&hooked.world).joins(&meeting, "Ana").await;
    target.is_told("participant.joined 3").await;
    let told = target.told();
    assert!(told.iter().filter(|told| *told == "meeting.created 1").count() > 1, "{told:?}");
    assert_eq!(told[told.len() - 2..], ["meeting.started 2", "participant.joined 3"]);
}

#[tokio::test]
async fn a_target_that_is_gone_is_dropped() {
    let hooked = Hooked::start(impatient).await;
    let target = Target::start().await;
    target.answers([Answer::Status(410)]);
    hooked.hook(&target, None).await;
    hooked.meeting().await;
    eventually("its webhook is dropped", || async { hooked.list().await.is_empty().then_some(()) }).await;
    assert_eq!(target.told(), ["meeting.created 1"]);
}

/// A client that is shut out is told nothing more.
#[tokio::test]
async fn a_client_that_is_shut_out_is_not_called() {
    let hooked = Hooked::start(impatient).await;
    let (theirs, ours) = (Target::start().await, Target::start().await);
    hooked.hook(&theirs, None).await;
    assert!(hooked.world.global_controller.revoke_client(&hooked.client_id).await.expect("it answers"));
    let (_, token) = hooked.world.api_client(SCOPES).await;
    hooked.world.post("/api/v1/webhooks", Some(&token), json!({"url": ours.url})).await.expect(StatusCode::CREATED);
    hooked.world.post("/api/v1/meetings", Some(&token), json!({"display_name": "Ours"})).await.expect(StatusCode::CREATED);
    ours.is_told("meeting.created 1").await;
    assert!(theirs.calls().is_empty());
}
