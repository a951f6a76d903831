//! What participants of one meeting see of each other.

use std::time::Duration;

use proto::v1;
use proto::v1::client_message::Body as Ask;
use proto::v1::server_message::Body as Say;
use proto::v1::{ErrorCode, LeaveReason};

use crate::client::{Client, bytes_of, publish, request, subscribe};
use crate::handler::TestHandler;
use crate::world::{MEETING, World, eventually};

fn joined(say: &Say) -> Option<v1::Participant> {
    match say {
        Say::ParticipantJoined(it) => it.participant.clone(),
        _ => None,
    }
}

fn left(say: &Say) -> Option<(String, LeaveReason)> {
    match say {
        Say::ParticipantLeft(it) => Some((it.participant_id.clone(), it.reason())),
        _ => None,
    }
}

fn published(say: &Say) -> Option<String> {
    match say {
        Say::StreamPublished(it) => it.stream.as_ref().map(|stream| stream.stream_id.clone()),
        _ => None,
    }
}

/// Two meet, one publishes, the other is subscribed by itself, they chat, one leaves.
#[tokio::test]
async fn a_meeting_from_join_to_leave() {
    let world = World::start().await;
    let mut ana = world.join("Ana").await;
    assert_eq!(ana.joined.existing_participants, []);
    let server = ana.joined.media_server.clone().expect("a media server");
    assert_eq!((server.media_handler_url.as_str(), server.connection_token.as_str()), ("https://mh-1.test/media", "token-1"));
    let mut bo = world.join("Bo").await;
    assert_eq!(bo.joined.existing_participants[0].name, "Ana");
    assert_eq!(ana.event("Bo", joined).await.participant_id, bo.id);

    let stream = ana.publish().await;
    assert!(world.handler.known().routes.contains(&(stream.clone(), bo.id.clone())), "acked once the handler knows");
    assert_eq!(bo.event("a media stream", published).await, stream);
    let mut late = world.join("Late").await;
    assert_eq!(late.joined.existing_participants[0].streams[0].stream_id, stream);
    eventually("the late one's route", || world.handler.known().routes.contains(&(stream.clone(), late.id.clone()))).await;

    let said = ana.say("hello").await;
    assert_eq!((said.sequence, said.sender_name.as_str()), (1, "Ana"));
    let heard = |say: &Say| if let Say::Chat(chat) = say { Some(chat.clone()) } else { None };
    assert_eq!(bo.event("chat", heard).await, said);

    ana.done(Ask::Leave(v1::Leave {})).await;
    assert_eq!(ana.end().await.0, 0);
    assert_eq!(bo.event("Ana's leave", left).await, (ana.id.clone(), LeaveReason::Voluntary));
    eventually("no route", || world.handler.known().routes.is_empty()).await;
    late.done(Ask::Leave(v1::Leave {})).await;
    world.controller.stop().await;
}

#[tokio::test]
async fn requests_are_refused_with_the_contracts_codes() {
    let world = World::start().await;
    let (mut ana, mut bo) = (world.join("Ana").await, world.join("Bo").await);
    let stream = ana.publish().await;
    let unknown = common::random::uuid().to_string();
    assert_eq!(bo.refused(Ask::Publish(publish(&stream))).await, ErrorCode::Conflict);
    assert_eq!(bo.refused(Ask::Publish(publish("no uuid"))).await, ErrorCode::InvalidRequest);
    assert_eq!(ana.refused(subscribe(&stream)).await, ErrorCode::InvalidRequest);
    assert_eq!(bo.refused(subscribe(&unknown)).await, ErrorCode::NotFound);
    assert_eq!(bo.refused(Ask::Unpublish(v1::UnpublishStream { stream_id: stream.clone() })).await, ErrorCode::NotFound);
    bo.done(Ask::Unsubscribe(v1::UnsubscribeStream { stream_id: stream.clone() })).await;
    assert!(world.handler.known().routes.is_empty());
    assert_eq!(bo.refused(Ask::Unsubscribe(v1::UnsubscribeStream { stream_id: stream.clone() })).await, ErrorCode::NotFound);
    bo.done(subscribe(&stream)).await;
    assert_eq!(bo.refused(Ask::Kick(v1::KickParticipant { participant_id: ana.id.clone() })).await, ErrorCode::Forbidden);
    let chat = |content: String| Ask::Chat(v1::SendChat { client_message_id: "1".into(), content });
    assert_eq!(bo.refused(chat("x".repeat(4097))).await, ErrorCode::InvalidRequest);
    let relay = |target_id: &str, length| {
        Ask::Relay(v1::RelayMessage { target_id: target_id.into(), kind: "offer".into(), payload: bytes_of(length), ..Default::default() })
    };
    assert_eq!(bo.refused(relay(&unknown, 1)).await, ErrorCode::NotFound);
    assert_eq!(bo.refused(relay(&ana.id, 48 * 1024 + 1)).await, ErrorCode::InvalidRequest);
    bo.done(relay(&ana.id, 48 * 1024)).await;
    let source = ana.event("the relay", |say| if let Say::Relay(it) = say { Some(it.source_id.clone()) } else { None }).await;
    assert_eq!(source, bo.id);
    assert_eq!(ana.refused(Ask::Join(request(""))).await, ErrorCode::InvalidRequest);
    ana.done(Ask::State(v1::UpdateState { is_muted: Some(true), ..Default::default() })).await;
    let muted = |say: &Say| if let Say::State(it) = say { it.is_muted } else { None };
    assert!(bo.event("the state", muted).await);
    let pong = ana.call(Ask::Ping(v1::Ping { sent_at_us: 7 })).await;
    assert!(matches!(pong, Say::Pong(v1::Pong { sent_at_us: 7, received_at_us: 1.. })));
    let unasked = |say: &Say| if let Say::Pong(pong) = say { Some(pong.sent_at_us) } else { None };
    assert_eq!(ana.event("an unasked pong", unasked).await, 0);
}

/// A repeat by the same participant is the same message; who joins later reads what was said.
#[tokio::test]
async fn chat_is_ordered_kept_and_not_doubled() {
    let world = World::start().await;
    let mut ana = world.join("Ana").await;
    let chat = |text: &str| Ask::Chat(v1::SendChat { client_message_id: "same".into(), content: text.into() });
    let (first, again) = (ana.call(chat("one")).await, ana.call(chat("two")).await);
    assert_eq!(first, again);
    ana.say("three").await;
    let mut bo = world.dial().await;
    bo.try_join(v1::JoinRequest { chat_after_sequence: 1, ..request(&world.token("Bo")) }).await.expect("the token is good");
    assert_eq!(bo.joined.chat.iter().map(|it| (it.sequence, it.content.as_str())).collect::<Vec<_>>(), [(2, "three")]);
}

/// A kick closes signaling with FORBIDDEN, media too, and sticks.
#[tokio::test]
async fn a_kick_sticks() {
    let world = World::start().await;
    let (mut host, mut ana) = (world.join("Host").await, world.join("Ana").await);
    let unspent = world.token("Ana");
    assert_eq!(host.refused(Ask::Kick(v1::KickParticipant { participant_id: host.id.clone() })).await, ErrorCode::InvalidRequest);
    host.done(Ask::Kick(v1::KickParticipant { participant_id: ana.id.clone() })).await;
    assert_eq!(ana.end().await, (3, "removed by the host".into()));
    assert_eq!(ana.unread.back().and_then(|it| it.body.as_ref()).and_then(left), Some((ana.id.clone(), LeaveReason::Kicked)));
    assert_eq!(host.event("the leave", left).await, (ana.id.clone(), LeaveReason::Kicked));
    assert_eq!(world.handler.known().removed, [(ana.id.clone(), i32::from(ErrorCode::Forbidden))]);
    let mut again = world.dial().await;
    assert_eq!(again.join(&unspent, true).await, Err(ErrorCode::Forbidden));
    let mut back = world.dial().await;
    assert_eq!(back.resume(&ana.resume_token).await, Err(ErrorCode::Unauthorized));
}

#[tokio::test]
async fn the_end_reaches_everyone_and_is_final() {
    let mut world = World::start().await;
    let mut ana = world.join("Ana").await;
    world.end(MEETING).await;
    assert_eq!(ana.event("the end", left).await, (ana.id.clone(), LeaveReason::MeetingEnded));
    assert_eq!(ana.end().await.0, 0);
    eventually("nobody at the handler", || world.handler.known().participants.is_empty()).await;
    let mut bo = world.dial().await;
    assert_eq!(bo.join(&world.token("Bo"), true).await, Err(ErrorCode::NotFound));
    let assigned = world.assign(MEETING, Default::default()).await.map_err(|status| status.code());
    assert_eq!(assigned, Err(tonic::Code::FailedPrecondition));
}

#[tokio::test]
async fn a_full_meeting_refuses_but_takes_resumes() {
    let mut world = World::start().await;
    let other = common::random::uuid().to_string();
    world.assign(&other, proto::cluster::MeetingConfig { max_participants: 1, ..Default::default() }).await.expect("there is room");
    let token = |name: &str| {
        let claims = common::token::JoinClaims { meeting_id: other.clone(), ..world.claims(name) };
        v1::JoinRequest { meeting_id: other.clone(), ..request(&world.signer.sign_join(&claims).expect("it is signed")) }
    };
    let mut ana = world.dial().await;
    ana.try_join(token("Ana")).await.expect("there is room for one");
    let mut bo = world.dial().await;
    assert_eq!(bo.try_join(token("Bo")).await, Err(ErrorCode::CapacityExceeded));
    assert_eq!(bo.end().await.0, 7);
    let mut again = world.dial().await;
    let resume = v1::JoinRequest { meeting_id: other.clone(), resume_token: ana.resume_token.clone(), ..request("") };
    again.try_join(resume).await.expect("a resume is always admitted");
    assert_eq!((ana.end().await.0, &again.id), (12, &ana.id));
    // And so is the join token that the API gives for a resume token; of whom it names, and by the same subject alone.
    let token_for = |name: &str| {
        let claims = common::token::JoinClaims { meeting_id: other.clone(), resumes: Some(ana.id.clone()), ..world.claims(name) };
        v1::JoinRequest { meeting_id: other.clone(), ..request(&world.signer.sign_join(&claims).expect("it is signed")) }
    };
    let mut back = world.dial().await;
    back.try_join(token_for("Ana")).await.expect("she has her place");
    assert_eq!((again.end().await.0, &back.id), (12, &ana.id));
    let mut bo = world.dial().await;
    assert_eq!(bo.try_join(token_for("Bo")).await, Err(ErrorCode::CapacityExceeded));
}

/// Without a handler joins are refused and may be repeated with the same token.
#[tokio::test]
async fn a_failed_join_does_not_spend_its_token() {
    let world = World::start().await;
    world.handler.known().fails = true;
    let token = world.token("Ana");
    let mut ana = world.dial().await;
    assert_eq!(ana.join(&token, true).await, Err(ErrorCode::Unavailable));
    assert_eq!(ana.end().await, (11, "Media Server Unavailable".into()));
    world.handler.known().fails = false;
    // A sign of life from the handler clears the suspicion.
    eventually("the handler is trusted again", || world.controller.readiness().iter().all(|it| (it.check)().is_ok())).await;
    let mut again = world.dial().await;
    again.join(&token, true).await.expect("the token was given back");
}

/// A restarted handler is told everything, and clients to dial it anew; a dead one is left for another.
#[tokio::test]
async fn handlers_restart_and_die() {
    let mut world = World::start().await;
    let (mut ana, bo) = (world.join("Ana").await, world.join("Bo").await);
    let stream = ana.publish().await;
    let route = (stream, bo.id.clone());
    let reconnect = |say: &Say| if let Say::Reconnect(it) = say { it.media_server.clone() } else { None };

    *world.handler.known() = Default::default();
    world.handler.start_number = 2;
    world.list(&[]);
    assert_eq!(ana.event("a reconnect", reconnect).await.media_handler_url, world.handler.url);
    eventually("the route is back", || world.handler.known().routes.contains(&route)).await;

    let other = TestHandler::start(&world.authority, "mh-2");
    world.list(&[&other]);
    world.handler.die();
    assert_eq!(ana.event("another reconnect", reconnect).await.media_handler_url, other.url);
    eventually("the route is there too", || other.known().routes.contains(&route)).await;
    let fresh = ana.call(Ask::MediaServer(v1::RequestMediaServer { failed_url: world.handler.url.clone() })).await;
    assert!(matches!(fresh, Say::MediaServer(it) if it.media_handler_url == other.url && !it.connection_token.is_empty()));
}

#[tokio::test]
async fn telemetry_becomes_quality() {
    let world = World::start().await;
    let mut ana = world.join("Ana").await;
    let stream = ana.publish().await;
    let figure = proto::cluster::MediaTelemetry {
        stream_id: stream.clone(),
        meeting_id: MEETING.into(),
        participant_id: ana.id.clone(),
        rtt_ms: 42,
        ..Default::default()
    };
    let report = proto::cluster::TelemetryReport { streams: vec![figure] };
    eventually("somebody listens", || world.handler.reports.send(report.clone()).is_ok()).await;
    let quality = |say: &Say| if let Say::Quality(it) = say { Some((it.stream_id.clone(), it.rtt_ms)) } else { None };
    assert_eq!(ana.event("quality", quality).await, (stream, 42));
}

/// Over the limit every request is refused; who goes on is closed, and a bystander is not.
#[tokio::test]
async fn who_does_not_listen_is_closed() {
    let mut config = crate::world::config();
    config.limits.messages_per_window = 5;
    let world = World::start_with(config).await;
    let (mut ana, mut bo) = (world.join("Ana").await, world.join("Bo").await);
    for _ in 0..5 {
        assert!(matches!(ana.call(Ask::Ping(v1::Ping::default())).await, Say::Pong(_)));
    }
    for _ in 0..5 {
        assert_eq!(ana.refused(Ask::Ping(v1::Ping::default())).await, ErrorCode::RateLimited);
    }
    ana.ask(Ask::Ping(v1::Ping::default())).await;
    assert_eq!(ana.end().await.0, 9);
    assert!(matches!(bo.call(Ask::Ping(v1::Ping::default())).await, Say::Pong(_)));
}

/// The global controller alone may assign.
#[tokio::test]
async fn other_nodes_may_not_assign() {
    let world = World::start().await;
    let handler = world.authority.issue(&"mh-9".parse().expect("a node id"), common::tls::NodeKind::MediaHandler).expect("a certificate");
    let channel = common::grpc::channel(&handler, &world.controller.grpc_address().to_string(), "mc-1").expect("a channel");
    let mut stranger = proto::cluster::meeting_controller_service_client::MeetingControllerServiceClient::new(channel);
    let refused = stranger.end_meeting(proto::cluster::EndMeeting { meeting_id: MEETING.into() }).await;
    assert_eq!(refused.map(|_| ()).map_err(|status| status.code()), Err(tonic::Code::PermissionDenied));
}

#[tokio::test]
async fn further_streams_are_refused() {
    let world = World::start().await;
    let mut ana = world.join("Ana").await;
    let crate::client::Wire::WebTransport { session, .. } = &ana.wire else { panic!("it is WebTransport") };
    let session = session.clone();
    let (mut send, _receive) = session.open_bi().await.expect("a stream");
    // It may be stopped before the byte is written: the stream's own header is enough.
    let _ = send.write_all(b"x").await;
    assert_eq!(send.stopped().await.expect("the session stands"), Some(1));
    let mut uni = session.open_uni().await.expect("a stream");
    let _ = uni.write_all(b"x").await;
    assert_eq!(uni.stopped().await.expect("the session stands"), Some(1));
    assert!(matches!(ana.call(Ask::Ping(v1::Ping::default())).await, Say::Pong(_)));
    let _: &Client = &ana;
}

/// An orderly stop tells everyone to come again elsewhere, and takes no longer than it must.
#[tokio::test]
async fn a_stop_is_orderly() {
    let world = World::start().await;
    let mut ana = world.join("Ana").await;
    let mut waiting = world.dial().await;
    let handler = &world.handler;
    let began = tokio::time::Instant::now();
    world.controller.stop().await;
    // An orderly end is given up after three seconds; the rest is a busy machine's.
    assert!(began.elapsed() < Duration::from_secs(8), "it took {:?}", began.elapsed());
    assert_eq!(ana.end().await.0, 11);
    assert_eq!(waiting.end().await.0, 11);
    assert!(handler.known().participants.is_empty());
}

/// The first one's key id is the meeting's.
#[tokio::test]
async fn the_first_secret_is_the_meetings() {
    let mut world = World::start().await;
    let other = common::random::uuid().to_string();
    world.assign(&other, proto::cluster::MeetingConfig { enable_e2e_encryption: true, ..Default::default() }).await.expect("there is room");
    for (name, key, expected) in [("Ana", "one", "one"), ("Bo", "two", "one")] {
        let claims = common::token::JoinClaims { meeting_id: other.clone(), ..world.claims(name) };
        let token = world.signer.sign_join(&claims).expect("it is signed");
        let mut client = world.dial().await;
        let join = v1::JoinRequest { meeting_id: other.clone(), e2ee_key_id: key.into(), ..request(&token) };
        client.try_join(join).await.expect("the token is good");
        assert_eq!(client.joined.encryption_keys.map(|keys| keys.key_id).as_deref(), Some(expected));
    }
}
