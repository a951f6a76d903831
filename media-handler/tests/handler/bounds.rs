//! What lies beyond each bound of the handler: the documented code, within a second, for the one who went over it.

use std::time::{Duration, Instant};

use common::quic::TransportLimits;
use common::tls::{Certificate, ClusterAuthority, NodeKind};
use common_core::{Code, FrameKind, ParticipantId};
use media_handler::StartError;
use media_handler::config::Config;
use proto::cluster::RouteMediaCommand;
use proto::v1;
use proto::v1::Ping;
use proto::v1::media_client_message::Body as Say;
use proto::v1::media_server_message::Body as Said;
use tonic::Code as Grpc;
use web_transport_quinn::WriteError;

use crate::client::{Client, GroupEnd, group, record, stopped, write};
use crate::world::{PATIENCE, World, camera, microphone, stream_id, within};

fn patient() -> v1::SubscriptionOptions {
    v1::SubscriptionOptions { max_latency_ms: 20_000, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_hello_takes_no_participants_place() {
    let mut world = World::with_limits(&[("max_waiting_sessions", "2")]).await;
    let first = world.stranger().await;
    let second = world.stranger().await;
    let third = world.stranger().await;
    assert_eq!(first.closed().await, Code::CapacityExceeded, "the oldest makes room");
    let ana = world.participant(vec![]).await;
    assert_eq!(second.closed().await, Code::CapacityExceeded);
    assert!(ana.session.close_reason().is_none() && third.session.close_reason().is_none());

    let mut world = World::with_limits(&[("max_waiting_sessions_per_address", "2")]).await;
    let (_first, second) = (world.stranger().await, world.stranger().await);
    assert_eq!(world.stranger().await.closed().await, Code::CapacityExceeded, "an address has its share");
    let began = Instant::now();
    second.session.close(0, b"");
    second.session.closed().await;
    // The place is free as soon as the handler has seen the end.
    let ana = loop {
        let id = ParticipantId::new(common::random::uuid());
        let token = world.controller.register(world.meeting, id, 1, vec![]).await.expect("registered");
        let mut ana = Client::new(world.dial(TransportLimits::SIGNALING).await, id);
        if ana.session.close_reason().is_none() && ana.try_hello(&token).await {
            break ana;
        }
        assert!(began.elapsed() < PATIENCE, "the place stays taken");
    };
    assert!(ana.session.close_reason().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_handler_spends_no_token() {
    let mut world = World::with_limits(&[("max_participants", "2"), ("max_sessions", "2")]).await;
    let (ana, ben) = (world.participant(vec![]).await, world.participant(vec![]).await);
    let token = world.controller.register(world.meeting, ana.id, 2, vec![]).await.expect("registered");
    let mut second = Client::new(world.dial(TransportLimits::SIGNALING).await, ana.id);
    second.say_hello(&token).await;
    assert_eq!(second.closed().await, Code::CapacityExceeded);
    let id = ParticipantId::new(common::random::uuid());
    let refused = world.controller.register(world.meeting, id, 1, vec![]).await.expect_err("a third participant");
    assert_eq!(refused.code(), Grpc::ResourceExhausted);
    ben.session.close(0, b"");
    let began = Instant::now();
    loop {
        let mut second = Client::new(world.dial(TransportLimits::SIGNALING).await, ana.id);
        if second.try_hello(&token).await {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the place stays taken, or the token is spent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_refused_by_the_field_that_is_wrong() {
    let mut world = World::with_limits(&[("max_layers", "33"), ("max_subscriptions_per_participant", "1")]).await;
    let (id, other) = (stream_id(), stream_id());
    let ana = world.participant(vec![camera(id), camera(other)]).await;
    let check = |outcome: Result<(), tonic::Status>, code, field: &str| {
        let status = outcome.expect_err(field);
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(field), "{status}");
    };
    let microphones = |count| (0..count).map(|_| microphone(stream_id())).collect::<Vec<_>>();
    let ben = ParticipantId::new(common::random::uuid());
    let meeting = world.meeting;
    let too_many = world.controller.register(meeting, ben, 1, microphones(33)).await.map(|_| ());
    check(too_many, Grpc::InvalidArgument, "streams: 33 are over the limit of 32");
    let full = world.controller.register(meeting, ben, 1, microphones(32)).await.map(|_| ());
    check(full, Grpc::ResourceExhausted, "no more media streams");
    world.controller.register(meeting, ben, 1, microphones(31)).await.expect("there is room for these");

    let command = |destination_participant_ids: Vec<String>| RouteMediaCommand {
        source_stream_id: id.to_string(),
        meeting_id: meeting.to_string(),
        destination_participant_ids,
        ..Default::default()
    };
    let long = command(vec![ben.to_string(); 1001]);
    check(world.controller.grpc.route_media(long).await.map(|_| ()), Grpc::InvalidArgument, "destination_participant_ids: 1001");
    let odd = command(vec!["nobody".into()]);
    check(world.controller.grpc.route_media(odd).await.map(|_| ()), Grpc::InvalidArgument, "destination_participant_ids: ");
    let layer = v1::SubscriptionOptions { preferred_layer: "l".repeat(65), ..Default::default() };
    check(world.controller.route(meeting, id, ben, layer).await, Grpc::InvalidArgument, "options.preferred_layer: ");
    world.controller.route(meeting, id, ben, Default::default()).await.expect("one subscription");
    world.controller.route(meeting, id, ben, Default::default()).await.expect("the same again");
    check(world.controller.route(meeting, other, ben, Default::default()).await, Grpc::ResourceExhausted, &ben.to_string());
    drop(ana);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_not_finished_in_time_stops_its_stream() {
    let mut world = World::with_limits(&[("record_timeout_ms", "300")]).await;
    let id = stream_id();
    let publisher = world.participant(vec![camera(id)]).await;
    let viewer = world.participant(vec![]).await;
    world.route(id, &viewer, patient()).await;
    let whole = record(id, FrameKind::VideoKey, 0, 1000);
    let stream = publisher.publish(&[whole.slice(..500)]).await;
    let mut at_viewer = viewer.expect(&[whole.slice(..500)]).await;
    assert_eq!(stopped(&stream).await, Some(Code::Expired));
    assert_eq!(at_viewer.end().await, (vec![], GroupEnd::Reset(Code::StreamError)));
    // Between records a stream may rest as long as it likes.
    let records = group(id, 1, 1, 100);
    let mut stream = publisher.publish(&records[..1]).await;
    let mut at_viewer = viewer.expect(&records[..1]).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    write(&mut stream, &records[1..]).await;
    at_viewer.expect(&records[1..]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_control_messages_is_told_so_and_then_closed() {
    let mut world = World::with_limits(&[("max_control_messages", "1")]).await;
    let mut ana = world.participant(vec![]).await;
    for _ in 0..256 {
        ana.say(Say::Ping(Ping { sent_at_us: 1 })).await;
    }
    let mut pongs = 0;
    let error = loop {
        match ana.hear().await {
            Said::Pong(_) => pongs += 1,
            Said::Error(error) => break error,
            other => panic!("{other:?}"),
        }
        ana.say(Say::Ping(Ping { sent_at_us: 1 })).await;
    };
    assert!((256..270).contains(&pongs), "{pongs} pings were within the burst");
    assert_eq!(error.code(), v1::ErrorCode::RateLimited);
    for _ in 0..300 {
        if ana.session.close_reason().is_some() || !ana.try_say(Say::Ping(Ping { sent_at_us: 1 })).await {
            break;
        }
    }
    assert_eq!(ana.closed().await, Code::RateLimited);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_an_unknown_id_are_held_up_to_a_number_of_bytes() {
    let mut world = World::with_limits(&[("unknown_stream_timeout_ms", "30000")]).await;
    let publisher = world.participant(vec![]).await;
    let id = stream_id();
    let stream = publisher.publish(&[record(id, FrameKind::VideoKey, 0, 250_000)]).await;
    let mut more = within("a stream", publisher.session.open_uni()).await.expect("the session stands");
    // It may be stopped while it is still being written.
    let code = match more.write_all(&record(stream_id(), FrameKind::VideoKey, 0, 300_000)).await {
        Err(WriteError::Stopped(number)) => Code::from_number(number),
        outcome => {
            outcome.expect("the session stands");
            stopped(&more).await
        }
    };
    assert_eq!(code, Some(Code::NotFound), "over 256 KiB");
    // What was within the bound comes when its registration does.
    let viewer = world.participant(vec![]).await;
    world.controller.register(world.meeting, publisher.id, 1, vec![camera(id)]).await.expect("registered");
    world.route(id, &viewer, patient()).await;
    viewer.expect(&[record(id, FrameKind::VideoKey, 0, 250_000)]).await;
    drop(stream);
}

/// Whose windows are full cannot be told why, and need not be waited for; who only leaves media unread is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_takes_nothing_is_closed() {
    let mut world = World::with_limits(&[("stall_timeout_ms", "1000")]).await;
    let id = stream_id();
    let publisher = world.participant(vec![camera(id)]).await;
    let quick = world.participant(vec![]).await;
    let narrow = TransportLimits { receive_window: 20_000, stream_receive_window: 20_000, ..TransportLimits::SIGNALING };
    let stuck = world.participant_in(world.meeting, vec![], narrow).await;
    let wide = TransportLimits { receive_window: 4_000_000, stream_receive_window: 20_000, ..TransportLimits::SIGNALING };
    let mut listening = world.participant_in(world.meeting, vec![], wide).await;
    for viewer in [&quick, &stuck, &listening] {
        world.route(id, viewer, patient()).await;
    }
    let began = Instant::now();
    let records = group(id, 0, 0, 900_000);
    let _stream = publisher.publish(&records).await;
    quick.expect(&records).await;
    match listening.hear().await {
        Said::Error(error) => assert_eq!((error.code(), error.message.as_str()), (v1::ErrorCode::Expired, "nothing was read for too long")),
        other => panic!("{other:?}"),
    }
    assert!(began.elapsed() >= Duration::from_secs(1), "closed after {:?}", began.elapsed());
    assert_eq!(listening.closed().await, Code::Expired);
    within("the end", stuck.session.closed()).await;
    assert!(quick.session.close_reason().is_none());
}

/// A subscriber that reads nothing, until it does: its group is late by then, and the publisher is asked for a key frame, for it and at once.
#[tokio::test(flavor = "multi_thread")]
async fn who_reads_again_is_served_from_a_key_frame_that_was_asked_for() {
    let mut world = World::with_limits(&[("telemetry_interval_ms", "50")]).await;
    let id = stream_id();
    let mut publisher = world.participant(vec![camera(id)]).await;
    let wide = TransportLimits { receive_window: 4_000_000, stream_receive_window: 20_000, ..TransportLimits::SIGNALING };
    let viewer = world.participant_in(world.meeting, vec![], wide).await;
    world.route(id, &viewer, v1::SubscriptionOptions { max_latency_ms: 300, ..Default::default() }).await;
    assert_eq!(publisher.hear_key_frame_request().await, id.to_string(), "the first subscriber of a silent publisher");
    // Caught up with the first, it is no joiner any more.
    let first = group(id, 0, 0, 1_000);
    let mut stream = publisher.publish(&first).await;
    let mut late = viewer.expect(&first).await;
    write(&mut stream, &[record(id, FrameKind::VideoDelta, 1, 100_000)]).await;
    world.sees_fate(id, &viewer, "expired").await;
    // The next control message is the pong: nobody is asked for anything while nothing is read.
    publisher.say(Say::Ping(Ping { sent_at_us: 7 })).await;
    assert!(matches!(publisher.hear().await, Said::Pong(_)));
    let (part, end) = late.end().await;
    assert_eq!(end, GroupEnd::Reset(Code::Expired));
    assert!(part.len() < 100_000, "{} bytes of what was late", part.len());
    assert_eq!(publisher.hear_key_frame_request().await, id.to_string());
    let next = group(id, 2, 1, 2_000);
    write(&mut stream, &next).await;
    viewer.expect(&next).await;
}

/// What a subscriber is not sent because of the cap is told as such, and what comes in time comes.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_subscriber_is_sent_is_capped() {
    let mut world = World::with_limits(&[("telemetry_interval_ms", "50"), ("max_egress_bitrate", "64000")]).await;
    let (id, sound) = (stream_id(), stream_id());
    let publisher = world.participant(vec![camera(id), microphone(sound)]).await;
    let viewer = world.participant(vec![]).await;
    let hasty = || v1::SubscriptionOptions { max_latency_ms: 100, ..Default::default() };
    world.route(id, &viewer, hasty()).await;
    // Caught up with the first, it is no joiner any more; the second spends more than the burst of one second; the third has to wait.
    let first = group(id, 0, 0, 3_000);
    let _first = publisher.publish(&first).await;
    viewer.expect(&first).await;
    let _second = publisher.publish(&group(id, 1, 0, 30_000)).await;
    let _third = publisher.publish(&group(id, 2, 0, 30_000)).await;
    world.sees_fate(id, &viewer, "bandwidth").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_with_absurd_limits_does_not_start() {
    common::tls::install_crypto_provider();
    let authority = ClusterAuthority::generate().expect("an authority");
    let mut config = Config::default();
    config.limits.telemetry_interval = Duration::ZERO;
    let identity = authority.issue(&config.node_id, NodeKind::MediaHandler).expect("a node certificate");
    let certificate = Certificate::self_signed(&["127.0.0.1".into()]).expect("a certificate");
    match media_handler::start(config, identity, certificate).await.map(|_| ()) {
        Err(StartError::Config(error)) => assert!(error.to_string().contains("limits.telemetry_interval_ms = 0"), "{error}"),
        other => panic!("{other:?}"),
    }
}
