//! What hostile or mistaken clients get: the documented code, and nobody else notices.

use std::time::Duration;

use common::quic::TransportLimits;
use common_core::{Code, FrameKind, MeetingId, ParticipantId};
use proto::v1::media_client_message::Body as Say;
use proto::v1::media_server_message::Body as Said;
use proto::v1::{MediaClientMessage, MediaHello, Ping};

use crate::client::{group, length, record, stopped, write};
use crate::world::{World, camera, microphone, stream_id};

/// How soon is looked at from outside, with everything that makes it slower (`make hostile`).
async fn closes_with(code: Code, what: &str, client: &crate::client::Client) {
    assert_eq!(client.closed().await, code, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_good_once_and_for_a_while() {
    let mut world = World::begin().await;
    let mut client = world.stranger().await;
    client.say_hello("wrong").await;
    assert!(matches!(client.hear().await, Said::Error(error) if error.code() == proto::v1::ErrorCode::Unauthorized));
    closes_with(Code::Unauthorized, "a wrong token", &client).await;

    let mut client = world.stranger().await;
    let token = world.controller.register(world.meeting, client.id, 1, vec![]).await.expect("registered");
    client.hello(&token).await;
    let mut thief = world.stranger().await;
    thief.say_hello(&token).await;
    closes_with(Code::Unauthorized, "a spent token", &thief).await;

    let mut world = World::with_limits(&[("token_life_ms", "300")]).await;
    let mut client = world.stranger().await;
    let token = world.controller.register(world.meeting, client.id, 1, vec![]).await.expect("registered");
    tokio::time::sleep(Duration::from_millis(350)).await;
    client.say_hello(&token).await;
    closes_with(Code::Unauthorized, "an expired token", &client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_without_a_hello_is_closed() {
    let world = World::with_limits(&[("hello_timeout_ms", "200")]).await;
    closes_with(Code::Unauthorized, "silence", &world.stranger().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_streams_say_what_the_contract_asks_for() {
    let mut world = World::begin().await;
    for prefix in [0u32, u32::MAX, 65_537] {
        let mut client = world.stranger().await;
        client.open_control(&[&[0][..], &length(prefix)].concat()).await;
        closes_with(Code::InvalidRequest, &format!("a length of {prefix}"), &client).await;

        let mut client = world.participant(vec![]).await;
        client.open_control(&[&[0][..], &length(prefix)].concat()).await;
        closes_with(Code::InvalidRequest, "a second control stream", &client).await;
    }
    let mut client = world.stranger().await;
    client.open_control(&length(0)).await;
    closes_with(Code::InvalidRequest, "a bare length of 0", &client).await;

    let mut client = world.stranger().await;
    client.open_control(&[0xff; 4]).await;
    closes_with(Code::InvalidRequest, "neither control nor media", &client).await;

    let mut client = world.stranger().await;
    client.open_control(&[0]).await;
    client.say(Say::Ping(Ping { sent_at_us: 1 })).await;
    closes_with(Code::InvalidRequest, "a ping first", &client).await;

    let mut client = world.stranger().await;
    client.open_control(&[0]).await;
    let hello = MediaHello { connection_token: "any".into(), datagrams: false };
    client.say_message(&MediaClientMessage { version: 2, body: Some(Say::Hello(hello)) }).await;
    match client.hear().await {
        Said::Error(error) => assert_eq!(error.details.get("supported").map(String::as_str), Some("1")),
        other => panic!("no error: {other:?}"),
    }
    closes_with(Code::InvalidRequest, "another version", &client).await;
}

/// The other reading of the contract: the 0x00 is the length's own first byte.
#[tokio::test(flavor = "multi_thread")]
async fn a_hello_behind_a_bare_length_is_heard() {
    let mut world = World::begin().await;
    let id = ParticipantId::new(common::random::uuid());
    let token = world.controller.register(world.meeting, id, 1, vec![]).await.expect("registered");
    let mut client = world.stranger().await;
    client.open_control(&[]).await;
    client.say(Say::Hello(MediaHello { connection_token: token, datagrams: false })).await;
    match client.hear().await {
        Said::Welcome(welcome) => assert_eq!(welcome.participant_id, id.to_string()),
        other => panic!("no welcome: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_ids_and_bad_headers_stop_one_stream() {
    let mut world = World::with_limits(&[("max_payload_bytes", "100000"), ("unknown_stream_timeout_ms", "200")]).await;
    let (own, sound, others, far) = (stream_id(), stream_id(), stream_id(), stream_id());
    let client = world.participant(vec![camera(own), microphone(sound)]).await;
    let other = world.participant(vec![camera(others)]).await;
    let elsewhere = MeetingId::new(common::random::uuid());
    let _far = world.participant_in(elsewhere, vec![camera(far)], TransportLimits::SIGNALING).await;
    world.route(own, &other, Default::default()).await;

    let mut bad_version = record(own, FrameKind::VideoKey, 0, 10).to_vec();
    bad_version[0] = 2;
    let mut bad_kind = record(own, FrameKind::VideoKey, 0, 10).to_vec();
    bad_kind[1] = 3;
    let mut bad_length = record(own, FrameKind::VideoKey, 0, 10).to_vec();
    bad_length[34..38].fill(0xff);
    for (what, wire, code) in [
        ("another participant's id", record(others, FrameKind::VideoKey, 0, 10).to_vec(), Code::Forbidden),
        ("another meeting's id", record(far, FrameKind::VideoKey, 0, 10).to_vec(), Code::NotFound),
        ("an unknown id", record(stream_id(), FrameKind::VideoKey, 0, 10).to_vec(), Code::NotFound),
        ("a picture where sound is registered", record(sound, FrameKind::VideoKey, 0, 10).to_vec(), Code::InvalidRequest),
        ("another version", bad_version, Code::InvalidRequest),
        ("another kind", bad_kind, Code::InvalidRequest),
        ("a length over the limit", bad_length, Code::InvalidRequest),
    ] {
        let stream = client.publish(&[wire.into()]).await;
        assert_eq!(stopped(&stream).await, Some(code), "{what}");
    }
    // Nobody noticed, the client's other streams included.
    let records = group(own, 0, 2, 1000);
    let mut stream = client.publish(&records[..1]).await;
    let mut at_other = other.expect(&records[..1]).await;
    write(&mut stream, &records[1..]).await;
    at_other.expect(&records[1..]).await;
}
