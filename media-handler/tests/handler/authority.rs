//! Who may do what on a media session: records, key-frame requests and hellos are answered as the table of `common_core::authority` says, and
//! another meeting's id as nobody's.

use std::time::{Duration, Instant};

use common::quic::TransportLimits;
use common_core::authority::{Action, Actor, Denied, Relation, permit};
use common_core::{Code, FrameKind, MeetingId, StreamId};
use proto::cluster::RemoveParticipant;
use proto::v1::media_client_message::Body as Say;
use proto::v1::media_server_message::Body as Said;
use proto::v1::{ErrorMessage, RequestKeyFrame};

use crate::client::{Client, record, stopped};
use crate::world::{World, camera, stream_id};

fn said_by(denied: &Denied) -> ErrorMessage {
    ErrorMessage { code: denied.code.number().try_into().expect("a small number"), message: denied.reason.into(), ..Default::default() }
}

/// Sends a record under this id. What is allowed reaches `subscriber`; for what is not, the code that stopped it, and after how long.
async fn send(client: &Client, id: StreamId) -> (Option<Code>, Duration) {
    let began = Instant::now();
    let stream = client.publish(&[record(id, FrameKind::VideoKey, 0, 10)]).await;
    (stopped(&stream).await, began.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_taken_from_their_publisher_alone() {
    // Longer than a busy machine takes to refuse at once.
    const HOLD: Duration = Duration::from_secs(3);
    let mut world = World::with_limits(&[("unknown_stream_timeout_ms", "3000")]).await;
    let (own, others, far) = (stream_id(), stream_id(), stream_id());
    let me = world.participant(vec![camera(own)]).await;
    let bo = world.participant(vec![camera(others)]).await;
    let elsewhere = MeetingId::new(common::random::uuid());
    let cy = world.participant_in(elsewhere, vec![camera(far)], TransportLimits::SIGNALING).await;
    let wim = world.participant_in(elsewhere, vec![], TransportLimits::SIGNALING).await;
    world.route(own, &bo, Default::default()).await;
    world.route(others, &me, Default::default()).await;
    world.controller.route(elsewhere, far, wim.id, Default::default()).await.expect("routed");

    let denied = |relation| permit(Actor::MEDIA, Action::SendMedia, relation).err().map(|denied| denied.code);
    let (code, took) = send(&me, others).await;
    assert_eq!(
        (code, took < HOLD),
        (denied(Relation::SameMeeting), true),
        "another participant's id is refused at once, not after {took:?}"
    );
    for (what, id) in [("nobody's", stream_id()), ("another meeting's", far)] {
        let (code, took) = send(&me, id).await;
        eprintln!("a record under {what} id: {code:?} after {took:?}");
        assert_eq!((code, took >= HOLD), (denied(Relation::OtherMeeting), true), "{what} id is held, and refused after {took:?}");
    }
    // Their own arrive, byte for byte, and nothing else has.
    assert_eq!(denied(Relation::Own), None);
    for (publisher, id, subscriber) in [(&me, own, &bo), (&bo, others, &me), (&cy, far, &wim)] {
        let records = [record(id, FrameKind::VideoKey, 7, 99)];
        let _stream = publisher.publish(&records).await;
        subscriber.expect(&records).await;
    }
}

/// Ids are unique in a meeting: the same one in two of them is two media streams, and neither meeting notices.
#[tokio::test(flavor = "multi_thread")]
async fn one_id_in_two_meetings_is_two_media_streams() {
    let mut world = World::begin().await;
    let (id, elsewhere) = (stream_id(), MeetingId::new(common::random::uuid()));
    let (ana, bo) = (world.participant(vec![camera(id)]).await, world.participant(vec![]).await);
    let cy = world.participant_in(elsewhere, vec![camera(id)], TransportLimits::SIGNALING).await;
    let dee = world.participant_in(elsewhere, vec![], TransportLimits::SIGNALING).await;
    world.route(id, &bo, Default::default()).await;
    world.controller.route(elsewhere, id, dee.id, Default::default()).await.expect("routed");
    for (sequence, publisher, subscriber) in [(1, &ana, &bo), (2, &cy, &dee)] {
        let records = [record(id, FrameKind::VideoKey, sequence, 50)];
        let _stream = publisher.publish(&records).await;
        subscriber.expect(&records).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn key_frames_are_asked_for_by_subscribers_alone() {
    let mut world = World::begin().await;
    let (own, taken, left, far) = (stream_id(), stream_id(), stream_id(), stream_id());
    let mut me = world.participant(vec![camera(own)]).await;
    let mut bo = world.participant(vec![camera(taken), camera(left)]).await;
    let elsewhere = MeetingId::new(common::random::uuid());
    let _cy = world.participant_in(elsewhere, vec![camera(far)], TransportLimits::SIGNALING).await;
    world.route(taken, &me, Default::default()).await;
    let mut asked = async |id: String| {
        me.say(Say::KeyFrame(RequestKeyFrame { stream_id: id })).await;
        match me.hear().await {
            Said::Error(error) => error,
            other => panic!("it is denied, and was answered {other:?}"),
        }
    };
    let denied = |relation| said_by(&permit(Actor::MEDIA, Action::RequestKeyFrame, relation).expect_err("it is denied"));
    for id in [own, left] {
        assert_eq!(asked(id.to_string()).await, denied(Relation::SameMeeting));
    }
    for id in [far.to_string(), stream_id().to_string(), "no id".to_owned()] {
        assert_eq!(asked(id.clone()).await, denied(Relation::OtherMeeting), "{id}");
    }
    assert_eq!(permit(Actor::MEDIA, Action::RequestKeyFrame, Relation::Own), Ok(()));
    me.say(Say::KeyFrame(RequestKeyFrame { stream_id: taken.to_string() })).await;
    assert_eq!(bo.hear_key_frame_request().await, taken.to_string());
}

/// A token that nobody made, one that is spent, and that of somebody who was removed open as much as each other: nothing.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_opened_by_good_tokens_alone() {
    let mut world = World::begin().await;
    let (mut spender, gone) = (world.stranger().await, world.stranger().await);
    let spent = world.controller.register(world.meeting, spender.id, 1, vec![]).await.expect("registered");
    spender.hello(&spent).await;
    let void = world.controller.register(world.meeting, gone.id, 1, vec![]).await.expect("registered");
    let remove = RemoveParticipant {
        participant_id: gone.id.to_string(),
        meeting_id: world.meeting.to_string(),
        generation: 1,
        ..Default::default()
    };
    world.controller.grpc.remove_participant(remove).await.expect("removed");
    let denied = permit(Actor::Stranger, Action::OpenMediaSession, Relation::OtherMeeting).expect_err("it is denied");
    for (what, token) in [("nobody's", "AAAA"), ("an empty one", ""), ("a spent one", &*spent), ("a void one", &*void)] {
        let mut thief = world.stranger().await;
        thief.say_hello(token).await;
        match thief.hear().await {
            Said::Error(error) => assert_eq!(error, said_by(&denied), "{what}"),
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!(thief.closed().await, denied.code, "{what}");
    }
    assert!(spender.session.close_reason().is_none(), "whose token was shown again has not noticed");
}
