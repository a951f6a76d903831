//! What controllers may ask, and what becomes of sessions then.

use common::tls::NodeKind;
use common_core::{Code, MeetingId, ParticipantId};
use proto::cluster::{RemoveParticipant, RouteMediaCommand, RoutingOptions, TelemetryRequest, UnrouteMedia};
use proto::v1;
use tonic::Code as Grpc;

use crate::client::{Client, GroupEnd, group};
use crate::world::{World, camera, stream_id, within};

fn grpc_code<T>(result: Result<T, tonic::Status>) -> Grpc {
    result.map_or_else(|status| status.code(), |_| Grpc::Ok)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_speaks_for_its_own_participants() {
    let mut world = World::begin().await;
    let id = stream_id();
    let ana = world.participant(vec![camera(id)]).await;
    let meeting = world.meeting;

    let mut front = world.another_node("gc-1", NodeKind::GlobalController);
    assert_eq!(grpc_code(front.register(meeting, ana.id, 9, vec![]).await), Grpc::PermissionDenied, "not a controller");
    let mut other = world.another_node("mc-2", NodeKind::MeetingController);
    assert_eq!(grpc_code(other.register(meeting, ana.id, 1, vec![]).await), Grpc::PermissionDenied);
    assert_eq!(grpc_code(other.route(meeting, id, ana.id, Default::default()).await), Grpc::PermissionDenied);
    let remove =
        RemoveParticipant { participant_id: ana.id.to_string(), meeting_id: meeting.to_string(), generation: 1, ..Default::default() };
    assert_eq!(grpc_code(other.grpc.remove_participant(remove.clone()).await), Grpc::PermissionDenied);

    let nobody = ParticipantId::new(common::random::uuid());
    assert_eq!(grpc_code(world.controller.route(meeting, id, nobody, Default::default()).await), Grpc::NotFound);
    assert_eq!(grpc_code(world.controller.route(meeting, stream_id(), ana.id, Default::default()).await), Grpc::NotFound);
    let elsewhere = MeetingId::new(common::random::uuid());
    assert_eq!(
        grpc_code(world.controller.route(elsewhere, id, ana.id, Default::default()).await),
        Grpc::NotFound,
        "absent and another meeting's"
    );
    let same_id = vec![camera(id)];
    world
        .controller
        .register(elsewhere, nobody, 1, same_id.clone())
        .await
        .expect("ids are unique in a meeting, and mean nothing in another");
    assert_eq!(grpc_code(world.controller.register(meeting, nobody, 1, same_id).await), Grpc::AlreadyExists);
    assert_eq!(grpc_code(world.controller.register(meeting, ana.id, 0, vec![camera(id)]).await), Grpc::FailedPrecondition);

    for options in [RoutingOptions { transcode: true, ..Default::default() }, RoutingOptions { mix_audio: true, ..Default::default() }] {
        let route = RouteMediaCommand {
            source_stream_id: id.to_string(),
            meeting_id: meeting.to_string(),
            options: Some(options),
            ..Default::default()
        };
        assert_eq!(grpc_code(world.controller.grpc.route_media(route).await), Grpc::Unimplemented);
    }

    // A resume elsewhere: the higher generation takes over, and the first controller's word counts no more.
    assert_eq!(grpc_code(other.register(meeting, ana.id, 2, vec![camera(id)]).await), Grpc::Ok);
    assert_eq!(grpc_code(world.controller.grpc.remove_participant(remove).await), Grpc::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_participants_session_is_closed_with_the_code() {
    let mut world = World::begin().await;
    let ana = world.participant(vec![]).await;
    let mut remove = RemoveParticipant {
        participant_id: ana.id.to_string(),
        meeting_id: world.meeting.to_string(),
        generation: 0,
        code: v1::ErrorCode::Forbidden.into(),
        reason: "removed by the host".into(),
    };
    world.controller.grpc.remove_participant(remove.clone()).await.expect("a stale one changes nothing");
    assert!(ana.session.close_reason().is_none());
    remove.generation = 1;
    world.controller.grpc.remove_participant(remove).await.expect("removed");
    assert_eq!(ana.closed().await, Code::Forbidden);
    // A registration that was under way does not bring it back; a newer one does.
    assert_eq!(grpc_code(world.controller.register(world.meeting, ana.id, 1, vec![]).await), Grpc::FailedPrecondition);
    assert_eq!(grpc_code(world.controller.register(world.meeting, ana.id, 2, vec![]).await), Grpc::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_move_to_the_newest_session_and_a_third_ends_the_oldest() {
    let mut world = World::begin().await;
    let id = stream_id();
    let publisher = world.participant(vec![camera(id)]).await;
    let first = world.participant(vec![]).await;
    world.route(id, &first, Default::default()).await;
    let records = group(id, 0, 2, 1000);
    let _stream = publisher.publish(&records).await;
    let mut at_first = first.expect(&records).await;

    let token = world.controller.register(world.meeting, first.id, 2, vec![]).await.expect("registered");
    let mut second = Client::new(world.dial(common::quic::TransportLimits::SIGNALING).await, first.id);
    second.hello(&token).await;
    assert_eq!(at_first.end().await.1, GroupEnd::Reset(Code::Moved));
    second.expect(&records).await;
    assert!(first.session.close_reason().is_none(), "the older one stands, to publish on");

    let token = world.controller.register(world.meeting, first.id, 3, vec![]).await.expect("registered");
    let mut third = Client::new(world.dial(common::quic::TransportLimits::SIGNALING).await, first.id);
    third.hello(&token).await;
    assert_eq!(first.closed().await, Code::Moved);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unrouted_subscriber_gets_no_more() {
    let mut world = World::begin().await;
    let id = stream_id();
    let publisher = world.participant(vec![camera(id)]).await;
    let viewer = world.participant(vec![]).await;
    world.route(id, &viewer, Default::default()).await;
    let records = group(id, 0, 2, 1000);
    let _stream = publisher.publish(&records).await;
    let mut at_viewer = viewer.expect(&records).await;
    let unroute = UnrouteMedia {
        source_stream_id: id.to_string(),
        destination_participant_ids: vec![viewer.id.to_string()],
        meeting_id: world.meeting.to_string(),
    };
    world.controller.grpc.unroute_media(unroute.clone()).await.expect("unrouted");
    assert_eq!(at_viewer.end().await.1, GroupEnd::Reset(Code::Normal));
    world.controller.grpc.unroute_media(unroute).await.expect("it is idempotent");
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetry_tells_a_controller_of_its_own() {
    let mut world = World::with_limits(&[("telemetry_interval_ms", "50")]).await;
    let id = stream_id();
    let publisher = world.participant(vec![camera(id)]).await;
    let viewer = world.participant(vec![]).await;
    world.route(id, &viewer, Default::default()).await;
    let records = group(id, 0, 9, 1000);
    let _stream = publisher.publish(&records).await;
    viewer.expect(&records).await;

    let mut others =
        world.another_node("mc-2", NodeKind::MeetingController).grpc.telemetry(TelemetryRequest {}).await.expect("a stream").into_inner();
    assert!(within("a report", others.message()).await.expect("it goes on").expect("a report").streams.is_empty());
    let mut reports = world.controller.grpc.telemetry(TelemetryRequest {}).await.expect("a stream").into_inner();
    let report = within("a report", reports.message()).await.expect("it goes on").expect("a report");
    let of = |publishes| report.streams.iter().find(|stream| stream.publishes == publishes).expect("both sides are told of");
    let bytes = records.iter().map(|record| record.len() as u64).sum::<u64>();
    assert_eq!((of(true).bytes_received, of(true).participant_id.clone()), (bytes, publisher.id.to_string()));
    assert_eq!((of(false).bytes_sent, of(false).fates.get("delivered").copied()), (bytes, Some(10)));
    assert!(of(false).available_bitrate > 0);
    // The publisher's own telemetry and the viewer's name the same media stream.
    assert_eq!(of(false).stream_id, id.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_closes_every_session() {
    let mut world = World::begin().await;
    let (ana, stranger) = (world.participant(vec![]).await, world.stranger().await);
    let World { handler, .. } = world;
    within("the end", handler.stop()).await;
    assert_eq!((ana.closed().await, stranger.closed().await), (Code::Unavailable, Code::Unavailable));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_hears_what_limits_it() {
    let mut world = World::begin().await;
    let id = stream_id();
    let _publisher = world.participant(vec![camera(id)]).await;
    let mut viewer = world.participant(vec![]).await;
    world.route(id, &viewer, Default::default()).await;
    let report = viewer.hear_report().await;
    assert_eq!((report.stream_id, report.limiter.as_str()), (id.to_string(), "publisher"));
    assert!(report.estimated_bitrate > 0 && !report.last_change.is_empty());
}
