//! The registry: who is let in, what nodes are told.

use common::tls::{ClusterAuthority, NodeKind};
use proto::cluster::{ControllerCapacity, Deregister, HandlerCapacity, Heartbeat, RegisterMediaHandler, RegisterMeetingController};
use reqwest::StatusCode;
use serde_json::json;
use tonic::Code;

use crate::world::{World, eventually};

fn controller(id: &str) -> RegisterMeetingController {
    RegisterMeetingController {
        controller_id: id.into(),
        region: "eu".into(),
        endpoint: "127.0.0.1:1".into(),
        capacity: Some(ControllerCapacity { max_meetings: 1, max_participants: 1, ..ControllerCapacity::default() }),
        public_url: "https://mc.example.com/wt".into(),
        fallback_url: "wss://mc.example.com/ws".into(),
        certificate_hashes: Vec::new(),
        version: "1".into(),
        start_number: 1,
    }
}

#[tokio::test]
async fn a_node_speaks_for_itself_alone() {
    let world = World::start(|_| {}).await;
    let identity = world.identity("mc-1", NodeKind::MeetingController);
    let mut registry = world.registry(&identity);
    let refused = registry.register_meeting_controller(controller("mc-2")).await.expect_err("another's id");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let handler = RegisterMediaHandler { handler_id: "mc-1".into(), ..RegisterMediaHandler::default() };
    assert_eq!(registry.register_media_handler(handler).await.expect_err("another kind").code(), Code::PermissionDenied);
    let beat = Heartbeat { controller_id: "mc-2".into(), ..Heartbeat::default() };
    assert_eq!(registry.heartbeat(beat).await.expect_err("another's id").code(), Code::PermissionDenied);
    let leave = Deregister { node_id: "mc-2".into(), start_number: 1 };
    assert_eq!(registry.deregister(leave).await.expect_err("another's id").code(), Code::PermissionDenied);
    registry.register_meeting_controller(controller("mc-1")).await.expect("its own");
    assert_eq!(world.global_controller.live_nodes().controllers, 1);
    // A node of another cluster does not even get to speak.
    let foreign = ClusterAuthority::generate().expect("an authority");
    let mut identity = foreign.issue(&"mc-1".parse().expect("a node id"), NodeKind::MeetingController).expect("a certificate");
    identity.authority_pem = world.identity("mc-1", NodeKind::MeetingController).authority_pem;
    assert!(world.registry(&identity).register_meeting_controller(controller("mc-1")).await.is_err());
}

#[tokio::test]
async fn registrations_are_checked_field_by_field() {
    let world = World::start(|_| {}).await;
    let mut registry = world.registry(&world.identity("mc-1", NodeKind::MeetingController));
    type Spoil = fn(&mut RegisterMeetingController);
    let cases: [(Spoil, &str); 6] = [
        (|it| it.region.clear(), "region: must not be empty"),
        (|it| it.endpoint = "nowhere".into(), "endpoint: must be host:port"),
        (|it| it.public_url = "http://mc.example.com/wt".into(), "public_url: must be a https:// URL"),
        (|it| it.fallback_url = "https://mc.example.com/ws".into(), "fallback_url: must be a wss:// URL"),
        (|it| it.certificate_hashes.push(vec![1; 31].into()), "certificate_hashes: must be at most 4 of 32 bytes each"),
        (|it| it.capacity = None, "capacity: is missing"),
    ];
    for (spoil, expected) in cases {
        let mut message = controller("mc-1");
        spoil(&mut message);
        let refused = registry.register_meeting_controller(message).await.expect_err(expected);
        assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, expected));
    }
}

#[tokio::test]
async fn heartbeats_are_answered_with_the_directory_and_the_keys() {
    let world = World::start(|_| {}).await;
    let _handler = world.handler("mh-1", "eu").await;
    let mut registry = world.registry(&world.identity("mc-1", NodeKind::MeetingController));
    let capacity = Some(ControllerCapacity::default());
    let beat = |start_number| Heartbeat { controller_id: "mc-1".into(), capacity, start_number, ..Heartbeat::default() };
    let stranger = registry.heartbeat(beat(1)).await.expect("an answer").into_inner();
    assert!(!stranger.known && stranger.handlers.is_empty());
    let registered = registry.register_meeting_controller(controller("mc-1")).await.expect("registered").into_inner();
    assert_eq!((registered.heartbeat_interval_ms, registered.lease_ms), (50, 400));
    let reply = registry.heartbeat(beat(1)).await.expect("an answer").into_inner();
    assert!(reply.known);
    assert_eq!(reply.handlers.len(), 1);
    let handler = &reply.handlers[0];
    assert_eq!((handler.handler_id.as_str(), handler.endpoint.as_str(), handler.start_number), ("mh-1", "127.0.0.1:1", 9));
    assert_eq!(handler.public_url, "https://mh-1.example.com/media");
    assert_eq!(reply.token_keys.len(), 1);
    let keys = world.get("/.well-known/jwks.json", None).await.expect(StatusCode::OK);
    assert_eq!(keys["keys"][0]["kid"], reply.token_keys[0].key_id.as_str());
    assert!(!registry.heartbeat(beat(2)).await.expect("an answer").into_inner().known, "another process of that id");
}

/// What leaves takes no new meeting; a full or unhealthy controller takes none either.
#[tokio::test]
async fn who_cannot_take_a_meeting_gets_none() {
    let (world, controller, _handler) = World::with_nodes().await;
    let create = || world.post("/api/v1/meetings", None, json!({"display_name": "Standup"}));
    let refused = |word: &'static str| {
        let create = &create;
        eventually(word, move || async move {
            let answer = create().await;
            (answer.status == StatusCode::SERVICE_UNAVAILABLE && answer.text.contains(word)).then_some(())
        })
    };
    controller.told().meetings_max = 0;
    refused("1 full").await;
    controller.told().meetings_max = 100;
    controller.told().health = proto::cluster::HealthStatus::Unhealthy;
    refused("1 unhealthy").await;
    controller.told().health = proto::cluster::HealthStatus::Degraded;
    eventually("a degraded one is better than none", || async { (create().await.status == StatusCode::CREATED).then_some(()) }).await;
    let mut registry = world.registry(&world.identity("mc-1", NodeKind::MeetingController));
    registry.deregister(Deregister { node_id: "mc-1".into(), start_number: 7 }).await.expect("it may leave");
    refused("1 draining").await;
}

/// A heartbeat that carries no capacity is refused by name, not taken for a node without room.
#[tokio::test]
async fn a_heartbeat_without_capacity_is_refused() {
    let world = World::start(|_| {}).await;
    let mut registry = world.registry(&world.identity("mh-1", NodeKind::MediaHandler));
    let beat = Heartbeat { controller_id: "mh-1".into(), capacity: Some(ControllerCapacity::default()), ..Heartbeat::default() };
    let refused = registry.heartbeat(beat).await.expect_err("it has to say");
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "handler_capacity: is missing"));
    let beat =
        Heartbeat { controller_id: "mh-1".into(), handler_capacity: Some(HandlerCapacity::default()), health: 9, ..Heartbeat::default() };
    assert_eq!(registry.heartbeat(beat).await.expect_err("no such health").code(), Code::InvalidArgument);
}
