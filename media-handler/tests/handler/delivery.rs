//! What subscribers get: the very bytes, from a key frame on, whoever else is slow or late.

use std::time::Instant;

use bytes::Bytes;
use common::quic::TransportLimits;
use common_core::{Code, FrameKind};
use proto::v1;
use proto::v1::media_client_message::Body as Say;
use proto::v1::media_server_message::Body as Said;

use crate::client::{GroupEnd, group, record, write};
use crate::world::{World, camera, microphone, stream_id, within};

/// A budget that no machine is too slow for.
fn patient() -> v1::SubscriptionOptions {
    v1::SubscriptionOptions { max_latency_ms: 20_000, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_subscribers_get_what_was_published_byte_for_byte() {
    let mut world = World::begin().await;
    let id = stream_id();
    let publisher = world.participant(vec![camera(id)]).await;
    let viewers = [world.participant(vec![]).await, world.participant(vec![]).await];
    for viewer in &viewers {
        world.route(id, viewer, patient()).await;
    }
    let (first, second) = (group(id, 0, 3, 40_000), group(id, 4, 3, 3_700));
    let mut stream = publisher.publish(&first).await;
    let mut begun = Vec::new();
    for viewer in &viewers {
        begun.push(viewer.expect(&first).await);
    }
    // A new key frame on the same stream ends the group before it.
    write(&mut stream, &second).await;
    for (viewer, group) in viewers.iter().zip(&mut begun) {
        assert_eq!(group.end().await, (vec![], GroupEnd::Finished));
        let mut group = viewer.expect(&second).await;
        stream.finish().ok();
        assert_eq!(group.end().await, (vec![], GroupEnd::Finished));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bidirectional_stream_publishes_as_well() {
    let mut world = World::begin().await;
    let id = stream_id();
    let publisher = world.participant(vec![camera(id)]).await;
    let viewer = world.participant(vec![]).await;
    world.route(id, &viewer, patient()).await;
    let records = group(id, 0, 2, 1000);
    let (mut send, mut receive) = publisher.session.open_bi().await.expect("the session stands");
    write(&mut send, &records).await;
    let mut group = viewer.expect(&records).await;
    send.finish().expect("the stream stands");
    assert_eq!(group.end().await.1, GroupEnd::Finished);
    assert!(within("the end", receive.read_to_end(1)).await.expect("a clean end").is_empty(), "the handler says nothing on it");
}

/// The header and each piece leave before the record is whole.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_leave_as_they_come_in() {
    let mut world = World::begin().await;
    let id = stream_id();
    let publisher = world.participant(vec![camera(id)]).await;
    let viewer = world.participant(vec![]).await;
    world.route(id, &viewer, patient()).await;
    let wire = record(id, FrameKind::VideoKey, 0, 10_000);
    let mut stream = publisher.publish(&[wire.slice(..46)]).await;
    let mut group = viewer.expect(&[wire.slice(..46)]).await;
    for piece in [46..1046, 1046..5000, 5000..10_046] {
        write(&mut stream, &[wire.slice(piece.clone())]).await;
        group.expect(&[wire.slice(piece)]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn media_may_come_before_the_hello_and_before_its_registration() {
    let mut world = World::begin().await;
    let (id, later) = (stream_id(), stream_id());
    let viewer = world.participant(vec![]).await;
    let mut publisher = world.stranger().await;
    let records = group(id, 0, 2, 1000);
    let _stream = publisher.publish(&records).await;
    let token = world.controller.register(world.meeting, publisher.id, 1, vec![camera(id)]).await.expect("registered");
    world.route(id, &viewer, patient()).await;
    publisher.hello(&token).await;
    viewer.expect(&records).await;

    let records = group(later, 0, 2, 1000);
    let _stream = publisher.publish(&records).await;
    world.controller.register(world.meeting, publisher.id, 1, vec![camera(id), camera(later)]).await.expect("registered");
    // Held until now, and due to nobody yet: the cached group is what a subscriber starts at.
    world.route(later, &viewer, patient()).await;
    viewer.expect(&records).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_joiner_starts_at_the_cached_group_and_costs_no_key_frame() {
    let mut world = World::begin().await;
    let id = stream_id();
    let mut publisher = world.participant(vec![camera(id)]).await;
    let early = world.participant(vec![]).await;
    world.route(id, &early, patient()).await;
    assert_eq!(publisher.hear_key_frame_request().await, id.to_string(), "the first subscriber of a silent publisher");
    let records = group(id, 0, 5, 3_700);
    let _stream = publisher.publish(&records).await;
    early.expect(&records).await;
    let late = world.participant(vec![]).await;
    world.route(id, &late, patient()).await;
    late.expect(&records).await;
    // The next control message is the pong, so no request came before it.
    publisher.say(Say::Ping(v1::Ping { sent_at_us: 7 })).await;
    assert!(matches!(publisher.hear().await, Said::Pong(pong) if pong.sent_at_us == 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn key_frame_requests_are_merged() {
    let began = Instant::now();
    let mut world = World::begin().await;
    let id = stream_id();
    let mut publisher = world.participant(vec![camera(id)]).await;
    let mut viewers = Vec::new();
    for _ in 0..5 {
        let viewer = world.participant(vec![]).await;
        world.route(id, &viewer, patient()).await;
        viewers.push(viewer);
    }
    for viewer in &mut viewers {
        viewer.say(Say::KeyFrame(v1::RequestKeyFrame { stream_id: id.to_string() })).await;
        viewer.say(Say::Ping(v1::Ping { sent_at_us: 1 })).await;
        assert!(matches!(viewer.hear().await, Said::Pong(_)), "the request was heard");
    }
    assert_eq!(publisher.hear_key_frame_request().await, id.to_string());
    let _stream = publisher.publish(&group(id, 0, 0, 1000)).await;
    viewers[0].expect(&group(id, 0, 0, 1000)).await;
    publisher.say(Say::Ping(v1::Ping { sent_at_us: 2 })).await;
    let mut asked = 1;
    loop {
        match publisher.hear().await {
            Said::KeyFrame(_) => asked += 1,
            Said::Pong(_) => break,
            other => panic!("neither a key-frame request nor the answer: {other:?}"),
        }
    }
    // A publisher that does not answer is asked again: on a machine that is busy with other work that is this one.
    let intervals = began.elapsed().as_millis() / media_handler_core::Limits::default().key_frame_interval.as_millis();
    assert!(asked <= 1 + intervals, "five joiners and five requests cost {asked} key frames in {intervals} intervals");

    viewers[0].say(Say::KeyFrame(v1::RequestKeyFrame { stream_id: stream_id().to_string() })).await;
    assert!(matches!(viewers[0].hear().await, Said::Error(error) if error.code() == v1::ErrorCode::NotFound));
}

/// One subscriber's QUIC takes next to nothing; the other's every record comes, and the slow one goes on at a key frame.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_subscriber_harms_only_itself() {
    let mut world = World::with_limits(&[("telemetry_interval_ms", "50")]).await;
    let id = stream_id();
    let publisher = world.participant(vec![camera(id)]).await;
    let quick = world.participant(vec![]).await;
    let narrow = TransportLimits { receive_window: 20_000, stream_receive_window: 20_000, ..TransportLimits::SIGNALING };
    let slow = world.participant_in(world.meeting, vec![], narrow).await;
    world.route(id, &quick, patient()).await;
    world.route(id, &slow, v1::SubscriptionOptions { max_latency_ms: 100, ..Default::default() }).await;
    let big: Vec<Bytes> = group(id, 0, 0, 900_000);
    let mut stream = publisher.publish(&big).await;
    let mut at_quick = quick.expect(&big).await;
    // The joiner's first burst is exempt for two seconds, then what the slow one did not take is late.
    let mut at_slow = slow.accept().await;
    world.sees_fate(id, &slow, "expired").await;
    assert_eq!(at_slow.end().await.1, GroupEnd::Reset(Code::Expired));
    let (delta, next) = (record(id, FrameKind::VideoDelta, 1, 500), group(id, 2, 1, 2_000));
    write(&mut stream, std::slice::from_ref(&delta)).await;
    at_quick.expect(&[delta]).await;
    write(&mut stream, &next).await;
    quick.expect(&next).await;
    slow.expect(&next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_starts_at_the_next_record_and_its_group_ends_in_silence() {
    let mut world = World::begin().await;
    let id = stream_id();
    let publisher = world.participant(vec![microphone(id)]).await;
    let first = world.participant(vec![]).await;
    world.route(id, &first, patient()).await;
    let sound = |sequence| record(id, FrameKind::Audio, sequence, 150);
    let mut stream = publisher.publish(&[sound(0)]).await;
    let mut group = first.expect(&[sound(0)]).await;
    assert_eq!(group.end().await.1, GroupEnd::Finished, "after 60 ms without a record");
    write(&mut stream, &[sound(1)]).await;
    first.expect(&[sound(1)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_breaks_off_inside_a_frame_resets_the_group() {
    let mut world = World::begin().await;
    let id = stream_id();
    let mut publisher = world.participant(vec![camera(id)]).await;
    let viewer = world.participant(vec![]).await;
    world.route(id, &viewer, patient()).await;
    publisher.hear_key_frame_request().await;
    let key = record(id, FrameKind::VideoKey, 0, 2_000);
    let mut stream = publisher.publish(std::slice::from_ref(&key)).await;
    let mut at_viewer = viewer.expect(&[key]).await;
    write(&mut stream, &[record(id, FrameKind::VideoDelta, 1, 5_000).slice(..1000)]).await;
    at_viewer.expect(&[record(id, FrameKind::VideoDelta, 1, 5_000).slice(..1000)]).await;
    stream.reset(Code::Expired.number()).expect("the stream stands");
    assert_eq!(at_viewer.end().await.1, GroupEnd::Reset(Code::StreamError));
    assert_eq!(publisher.hear_key_frame_request().await, id.to_string());
    let next = group(id, 2, 1, 500);
    let _stream = publisher.publish(&next).await;
    viewer.expect(&next).await;
}

/// After five seconds, once, and only the picture; whoever takes it then is served from the key frame that was asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_nobody_takes_is_paused_at_its_publisher() {
    let mut world = World::begin().await;
    let (id, sound) = (stream_id(), stream_id());
    let mut publisher = world.participant(vec![camera(id), microphone(sound)]).await;
    assert_eq!(publisher.hear_layer().await, (id.to_string(), true));
    let viewer = world.participant(vec![]).await;
    world.route(id, &viewer, patient()).await;
    assert_eq!(publisher.hear_layer().await, (id.to_string(), false));
    match publisher.hear().await {
        Said::KeyFrame(request) => assert_eq!(request.stream_id, id.to_string()),
        other => panic!("{other:?}"),
    }
    let records = group(id, 0, 3, 3_700);
    publisher.publish(&records).await.finish().expect("the stream stands");
    let mut group = viewer.expect(&records).await;
    assert_eq!(group.end().await, (vec![], GroupEnd::Finished));
}
