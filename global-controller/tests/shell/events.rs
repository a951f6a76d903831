//! What controllers report, as applications read it: page by page and followed.

use std::time::Duration;

use bytes::Buf;
use proto::cluster::meeting_event::What;
use proto::v1::LeaveReason;
use reqwest::{StatusCode, Version};
use serde_json::{Value, json};
use tonic::Code;

use crate::http3::Http3;
use crate::reporter::{Reporter, id_of, somebody, told_of};
use crate::target::brief;
use crate::world::{self, STORE_TIMEOUT, World, eventually, is_recent};

fn path(meeting: &Value) -> String {
    format!("/api/v1/meetings/{}/events", meeting["meeting_id"].as_str().expect("an id"))
}

/// `type sequence` of each event.
fn briefs(events: &Value) -> Vec<String> {
    events.as_array().expect("a list").iter().map(brief).collect()
}

#[tokio::test]
async fn what_is_reported_is_told_in_pages() {
    let (world, _controller, _handler) = World::with_nodes().await;
    let meeting = world.meeting().await;
    let mut reporter = Reporter::new(&world);
    reporter.joins(&meeting, "Ana").await;
    reporter.publishes(&meeting, "Ana").await;
    reporter.leaves(&meeting, "Ana", LeaveReason::ConnectionLost).await;

    let all = world.get(&path(&meeting), None).await.expect(StatusCode::OK);
    let expected = [
        "meeting.created 1",
        "meeting.started 2",
        "participant.joined 3",
        "stream.published 4",
        "stream.unpublished 5",
        "participant.left 6",
    ];
    assert_eq!((briefs(&all["events"]), &all["last_sequence"]), (expected.map(str::to_owned).to_vec(), &json!(6)));
    let events = all["events"].as_array().expect("a list");
    assert!(events.iter().all(|event| event["meeting_id"] == meeting["meeting_id"]));
    let settings = json!({"enable_e2e_encryption": false, "require_auth": false, "recording_enabled": false});
    assert_eq!(
        events[0]["data"],
        json!({"display_name": "Standup", "meeting_url": meeting["meeting_url"], "max_participants": 100, "settings": settings})
    );
    assert_eq!((&events[1]["data"], &events[2]["data"]), (&json!({}), &told_of("Ana")));
    let (participant_id, stream_id) = (id_of("Ana"), id_of("a camera"));
    let published = json!({"participant_id": participant_id, "stream_id": stream_id, "stream_type": "VIDEO_CAMERA", "codec": "VP9"});
    assert_eq!(events[3]["data"], published);
    assert_eq!(events[4]["data"], json!({"participant_id": participant_id, "stream_id": stream_id}));
    let mut left = told_of("Ana");
    left["reason"] = "CONNECTION_LOST".into();
    assert_eq!(events[5]["data"], left);
    let time = events[5]["occurred_at"].as_str().expect("a time");
    assert!(time.len() == 24 && is_recent(&format!("{}Z", &time[..19])), "{time}");

    // Page by page, by id or code, until nothing is left.
    let code = meeting["meeting_url"].as_str().and_then(|url| url.rsplit('/').next()).expect("a code");
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let page = world.get(&format!("/api/v1/meetings/{code}/events?after={after}&limit=4"), None).await.expect(StatusCode::OK);
        if page["events"] == json!([]) {
            assert_eq!(page["last_sequence"], after);
            break;
        }
        after = page["last_sequence"].as_i64().expect("a number");
        seen.extend(page["events"].as_array().expect("a list").clone());
    }
    assert_eq!(&seen, events);
}

#[tokio::test]
async fn who_may_not_read_does_not() {
    let (world, _controller, _handler) = World::with_nodes().await;
    let (_, token) = world.api_client("meetings:create meetings:read").await;
    let (_, other) = world.api_client("meetings:read").await;
    let (_, creator) = world.api_client("meetings:create").await;
    let meeting = world.post("/api/v1/meetings", Some(&token), json!({"display_name": "Ours"})).await.expect(StatusCode::CREATED);
    let (id, path) = (meeting["meeting_id"].as_str().expect("an id"), path(&meeting));
    let hidden = format!("404 MEETING_NOT_FOUND: Meeting {id} does not exist");
    assert_eq!(world.get(&path, Some(&other)).await.refusal(), hidden);
    assert_eq!(world.get(&path, None).await.refusal(), hidden);
    assert_eq!(world.get(&path, Some(&creator)).await.refusal(), "403 FORBIDDEN: the access token lacks the scope meetings:read");
    world.get(&path, Some(&token)).await.expect(StatusCode::OK);
    for (query, expected) in [
        ("after=-1", "400 INVALID_REQUEST: after: must be a whole number between 0 and 9223372036854775807"),
        ("limit=0", "400 INVALID_REQUEST: limit: must be a whole number between 1 and 200"),
        ("limit=201", "400 INVALID_REQUEST: limit: must be a whole number between 1 and 200"),
        ("since=1", "400 INVALID_REQUEST: since: is no parameter of this call; it takes after, limit"),
    ] {
        assert_eq!(world.get(&format!("{path}?{query}"), Some(&token)).await.refusal(), expected);
    }
    let stream = world.http.get(world.url(&path)).bearer_auth(&token).header("accept", "text/event-stream");
    let refused = world::Answer::of(stream.header("last-event-id", "x")).await;
    assert_eq!(refused.refusal(), "400 INVALID_REQUEST: Last-Event-ID: must be a whole number between 0 and 9223372036854775807");
}

/// A controller that heard no answer reports again; of what is wrong nothing is kept; of a meeting that is not known nothing is told.
#[tokio::test]
async fn reports_are_checked_and_counted_once() {
    let (world, _controller, _handler) = World::with_nodes().await;
    let meeting = world.meeting().await;
    let mut reporter = Reporter::new(&world);
    let joined = reporter.event(&meeting, What::ParticipantJoined(somebody("Ana")));
    for _ in 0..3 {
        reporter.send(vec![joined.clone()]).await.expect("it is stored");
    }
    let nameless = somebody("\u{7}");
    let spoiled = vec![
        reporter.event(&meeting, What::ParticipantJoined(somebody("Ben"))),
        reporter.event(&meeting, What::ParticipantJoined(nameless)),
    ];
    let refused = reporter.send(spoiled).await.expect_err("a bell is no name");
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "name: a name may not contain control characters"));
    let unknown = json!({"meeting_id": "550e8400-e29b-41d4-a716-446655440000"});
    reporter.joins(&unknown, "Eve").await;
    reporter.leaves(&unknown, "Eve", LeaveReason::Kicked).await;
    reporter.send(Vec::new()).await.expect("nothing is no problem");
    let all = world.get(&path(&meeting), None).await.expect(StatusCode::OK);
    assert_eq!(briefs(&all["events"]), ["meeting.created 1", "meeting.started 2", "participant.joined 3"]);
}

/// A host's kick, reported by the controller, holds for later joins as well.
#[tokio::test]
async fn who_was_kicked_stays_out() {
    let (world, _controller, _handler) = World::with_nodes().await;
    let (_, token) = world.api_client("meetings:create meetings:join participants:act-as").await;
    let meeting = world.post("/api/v1/meetings", Some(&token), json!({"display_name": "Ours"})).await.expect(StatusCode::CREATED);
    let path = format!("/api/v1/meetings/{}/join", meeting["meeting_id"].as_str().expect("an id"));
    let join = async |user: &str| world.post(&path, Some(&token), json!({"display_name": user, "user_id": user})).await;
    join("ana").await.expect(StatusCode::OK);
    let mut reporter = Reporter::new(&world);
    reporter.joins(&meeting, "Ana").await;
    reporter.leaves(&meeting, "Ana", LeaveReason::Kicked).await;
    assert!(join("ana").await.refusal().starts_with("403 FORBIDDEN: "));
    join("ben").await.expect(StatusCode::OK);
}

/// Who was on a controller that is gone has left, though nobody reports it.
#[tokio::test]
async fn who_vanished_with_a_controller_has_left() {
    let (world, controller, _handler) = World::with_nodes().await;
    let meeting = world.meeting().await;
    Reporter::new(&world).joins(&meeting, "Ana").await;
    let events = async || world.get(&path(&meeting), None).await.expect(StatusCode::OK)["events"].as_array().expect("a list").clone();
    assert_eq!(events().await.len(), 3);
    drop(controller);
    let left = eventually("it is told", || async { events().await.get(3).cloned() }).await;
    let mut expected = told_of("Ana");
    expected["reason"] = "CONNECTION_LOST".into();
    assert_eq!((brief(&left).as_str(), &left["data"]), ("participant.left 4", &expected));
}

/// A report is answered when it is stored, and not before.
#[tokio::test]
async fn a_store_that_is_away_is_said_to_be() {
    let world = World::start(|config| {
        config.allow_anonymous_create = true;
        config.store.timeout = STORE_TIMEOUT;
    })
    .await;
    let _nodes = (world.controller("mc-1").await, world.handler("mh-1", "eu").await);
    let meeting = world.meeting().await;
    let mut reporter = Reporter::new(&world);
    let joined = reporter.event(&meeting, What::ParticipantJoined(somebody("Ana")));
    let database = world.database().await;
    let held = database.begin_with("BEGIN IMMEDIATE").await.expect("the only writer");
    let refused = reporter.send(vec![joined.clone()]).await.expect_err("it cannot be stored");
    assert_eq!(refused.code(), Code::Unavailable);
    held.rollback().await.expect("let go");
    reporter.send(vec![joined]).await.expect("it is stored");
    let all = world.get(&path(&meeting), None).await.expect(StatusCode::OK);
    assert_eq!(briefs(&all["events"]).len(), 3);
}

/// A followed feed, as a client of server-sent events reads it.
struct Follower {
    response: reqwest::Response,
    text: String,
}

impl Follower {
    async fn start(request: reqwest::RequestBuilder) -> Self {
        let response = request.header("accept", "text/event-stream").send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self { response, text: String::new() }
    }

    /// The next event: its id and itself. `None`: the feed has ended.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (found, rest) = (parse(block), rest.to_owned());
                self.text = rest;
                if found.is_some() {
                    return found;
                }
            }
            let chunk = tokio::time::timeout(Duration::from_secs(5), self.response.chunk()).await.expect("something within five seconds");
            self.text.push_str(std::str::from_utf8(&chunk.ok()??).expect("UTF-8"));
        }
    }

    async fn expect(&mut self, expected: &str) {
        let (id, event) = self.next().await.expect("the feed goes on");
        assert_eq!((brief(&event).as_str(), id), (expected, event["sequence"].to_string()));
    }
}

/// An event block (WHATWG HTML section 9.2.6); others, such as comments, are none.
fn parse(block: &str) -> Option<(String, Value)> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let event: Value = serde_json::from_str(field("data")?).expect("JSON");
    assert_eq!(field("event"), event["type"].as_str());
    Some((field("id").expect("an id").to_owned(), event))
}

/// What happened comes first, then what happens; who comes back goes on where it was. Over HTTP/2 and HTTP/1.1.
#[tokio::test]
async fn a_feed_is_followed() {
    let (world, _controller, _handler) = World::with_nodes().await;
    let http1 = world::client(&world.certificate, reqwest::ClientBuilder::http1_only);
    let mut reporter = Reporter::new(&world);
    for (http, version) in [(&world.http, Version::HTTP_2), (&http1, Version::HTTP_11)] {
        let meeting = world.meeting().await;
        reporter.joins(&meeting, "Ana").await;
        let mut feed = Follower::start(http.get(world.url(&path(&meeting)))).await;
        assert_eq!(feed.response.version(), version);
        for expected in ["meeting.created 1", "meeting.started 2", "participant.joined 3"] {
            feed.expect(expected).await;
        }
        reporter.joins(&meeting, "Ben").await;
        feed.expect("participant.joined 4").await;
        let mut behind = Follower::start(http.get(world.url(&format!("{}?after=2", path(&meeting))))).await;
        behind.expect("participant.joined 3").await;
        let back = http.get(world.url(&format!("{}?after=1", path(&meeting)))).header("last-event-id", "3");
        let mut back = Follower::start(back).await;
        back.expect("participant.joined 4").await;
        world.delete(&format!("/api/v1/meetings/{}", meeting["meeting_id"].as_str().expect("an id")), None).await.expect(StatusCode::OK);
        for feed in [&mut feed, &mut back] {
            feed.expect("meeting.ended 5").await;
        }
    }
}

#[tokio::test]
async fn a_feed_is_followed_over_http3() {
    let (world, _controller, _handler) = World::with_nodes().await;
    let meeting = world.meeting().await;
    let mut reporter = Reporter::new(&world);
    let mut http3 = Http3::connect(&world).await;
    let mut stream = http3.begin("GET", &path(&meeting), &[("accept", "text/event-stream")]).await;
    let head = stream.recv_response().await.expect("an answer");
    assert_eq!(head.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    let mut wait_for = async |expected: &str| {
        while !text.contains(expected) {
            let data = tokio::time::timeout(Duration::from_secs(5), stream.recv_data()).await.expect("something within five seconds");
            let mut data = data.expect("the body").expect("it goes on");
            text.push_str(std::str::from_utf8(&data.copy_to_bytes(data.remaining())).expect("UTF-8"));
        }
    };
    wait_for("event: meeting.created\n").await;
    reporter.joins(&meeting, "Ana").await;
    wait_for("event: participant.joined\n").await;
}

/// Whoever waits longer for something to happen than a request's head or body may take is not let go for that.
#[tokio::test]
async fn a_quiet_feed_stays() {
    let world = World::start(|config| {
        config.allow_anonymous_create = true;
        config.limits.read_timeout = Duration::from_millis(300);
        config.limits.write_timeout = Duration::from_millis(300);
    })
    .await;
    let _nodes = (world.controller("mc-1").await, world.handler("mh-1", "eu").await);
    let meeting = world.meeting().await;
    let http1 = world::client(&world.certificate, reqwest::ClientBuilder::http1_only);
    let mut feeds = Vec::new();
    for http in [&world.http, &http1] {
        let mut feed = Follower::start(http.get(world.url(&path(&meeting)))).await;
        feed.expect("meeting.created 1").await;
        feeds.push(feed);
    }
    let mut http3 = Http3::connect(&world).await;
    let mut stream = http3.begin("GET", &path(&meeting), &[("accept", "text/event-stream")]).await;
    stream.recv_response().await.expect("an answer");
    let quiet = async {
        loop {
            // What has been sent is read; then nothing comes.
            stream.recv_data().await.expect("the body").expect("it goes on");
        }
    };
    tokio::time::timeout(Duration::from_millis(1500), quiet).await.expect_err("the feed does not end");
    Reporter::new(&world).joins(&meeting, "Ana").await;
    for feed in &mut feeds {
        feed.expect("meeting.started 2").await;
    }
    assert!(stream.recv_data().await.expect("the body").is_some());
}

/// More events than one look takes.
#[tokio::test]
async fn a_long_past_is_told_whole() {
    let (world, _controller, _handler) = World::with_nodes().await;
    let meeting = world.meeting().await;
    let mut reporter = Reporter::new(&world);
    let names: Vec<String> = (0..450).map(|number| format!("P{number}")).collect();
    for names in names.chunks(150) {
        let events = names.iter().map(|name| reporter.event(&meeting, What::ParticipantJoined(somebody(name)))).collect();
        reporter.send(events).await.expect("they are stored");
    }
    let mut feed = Follower::start(world.http.get(world.url(&path(&meeting)))).await;
    for sequence in 1..=452 {
        let (id, _) = feed.next().await.expect("the feed goes on");
        assert_eq!(id, sequence.to_string());
    }
}

/// A feed takes no place of those for requests, and gives its own back.
#[tokio::test]
async fn feeds_have_places_of_their_own() {
    let world = World::start(|config| {
        config.allow_anonymous_create = true;
        config.webhooks.feeds = 1;
        config.limits.requests = 1;
    })
    .await;
    let _nodes = (world.controller("mc-1").await, world.handler("mh-1", "eu").await);
    let meeting = world.meeting().await;
    let follow = || world.http.get(world.url(&path(&meeting)));
    let mut feed = Follower::start(follow()).await;
    feed.expect("meeting.created 1").await;
    let refused = world::Answer::of(follow().header("accept", "text/event-stream")).await;
    assert_eq!((refused.refusal().as_str(), refused.header("retry-after")), ("503 UNAVAILABLE: too many feeds are followed", "2"));
    world.get(&path(&meeting), None).await.expect(StatusCode::OK);
    drop(feed);
    let again = eventually("the place is free", || async {
        let response = follow().header("accept", "text/event-stream").send().await.expect("an answer");
        response.status().is_success().then_some(response)
    });
    drop(again.await);
}

/// One caller cannot take the places of all others.
#[tokio::test]
async fn a_caller_has_a_share_of_the_places_for_feeds() {
    let world = World::start(|config| {
        config.allow_anonymous_create = true;
        config.webhooks.feeds = 3;
        config.webhooks.feeds_per_caller = 2;
    })
    .await;
    let _nodes = (world.controller("mc-1").await, world.handler("mh-1", "eu").await);
    let meeting = world.meeting().await;
    let (_, token) = world.api_client("meetings:read").await;
    let follow = || world.http.get(world.url(&path(&meeting)));
    let _greedy = (Follower::start(follow()).await, Follower::start(follow()).await);
    let refused = world::Answer::of(follow().header("accept", "text/event-stream")).await;
    assert_eq!(refused.refusal(), "503 UNAVAILABLE: this caller follows as many feeds as one may");
    let mut other = Follower::start(follow().bearer_auth(&token)).await;
    other.expect("meeting.created 1").await;
}

/// A feed ends when its token does, when its client is shut out, and when the process stops.
#[tokio::test]
async fn a_feed_ends_when_it_should() {
    let world = World::start(|config| config.tokens.leeway = Duration::ZERO).await;
    let nodes = (world.controller("mc-1").await, world.handler("mh-1", "eu").await);
    let (credentials, token) = world.api_client("meetings:create meetings:read").await;
    let meeting = world.post("/api/v1/meetings", Some(&token), json!({"display_name": "Ours"})).await.expect(StatusCode::CREATED);
    let follow = || Follower::start(world.http.get(world.url(&path(&meeting))).bearer_auth(&token));
    let mut shut_out = follow().await;
    shut_out.expect("meeting.created 1").await;
    assert!(world.global_controller.revoke_client(&credentials.client_id).await.expect("it answers"));
    assert_eq!(shut_out.next().await, None);
    drop(nodes);

    let world = World::start(|config| {
        config.allow_anonymous_create = true;
        config.tokens.leeway = Duration::ZERO;
        config.tokens.access_life = Duration::from_secs(2);
    })
    .await;
    let _nodes = (world.controller("mc-1").await, world.handler("mh-1", "eu").await);
    let meeting = world.meeting().await;
    let (_, token) = world.api_client("meetings:read").await;
    let mut expiring = Follower::start(world.http.get(world.url(&path(&meeting))).bearer_auth(&token)).await;
    let mut lasting = Follower::start(world.http.get(world.url(&path(&meeting)))).await;
    expiring.expect("meeting.created 1").await;
    assert_eq!(expiring.next().await, None);
    lasting.expect("meeting.created 1").await;
    let (_, ended) = tokio::join!(world.global_controller.stop(), lasting.next());
    assert_eq!(ended, None);
}
