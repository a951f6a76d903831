//! What a global controller may see and do in a meeting.

use std::time::Duration;

use proto::cluster::{CheckResume, KickFromMeeting, ListParticipants, MeetingConfig, MeetingParticipant, RequestMute};
use proto::v1;
use proto::v1::client_message::Body as Ask;
use proto::v1::server_message::Body as Say;
use proto::v1::{ErrorCode, LeaveReason};
use tonic::Code;

use crate::world::{MEETING, World, eventually};

fn left(say: &Say) -> Option<(String, LeaveReason)> {
    match say {
        Say::ParticipantLeft(it) => Some((it.participant_id.clone(), it.reason())),
        _ => None,
    }
}

fn kick(participant_id: &str, subject: &str) -> KickFromMeeting {
    KickFromMeeting { meeting_id: MEETING.into(), participant_id: participant_id.into(), subject: subject.into() }
}

fn mute(participant_id: &str) -> RequestMute {
    let (meeting_id, participant_id) = (MEETING.into(), participant_id.into());
    RequestMute { meeting_id, participant_id, microphone: true, camera: false, reason: "it is loud".into() }
}

fn hash(token: &str) -> CheckResume {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    CheckResume { meeting_id: MEETING.into(), token_hash: digest.as_ref().to_vec().into() }
}

async fn list(world: &mut World) -> Vec<MeetingParticipant> {
    let answer = world.front.list_participants(ListParticipants { meeting_id: MEETING.into() }).await;
    answer.expect("the meeting is here").into_inner().participants
}

fn code<T>(result: Result<T, tonic::Status>) -> Code {
    result.err().map_or(Code::Ok, |status| status.code())
}

/// In the order of their joins, with what the API shows of them.
#[tokio::test]
async fn participants_are_listed() {
    let mut world = World::start().await;
    assert_eq!(list(&mut world).await, []);
    let (host, mut ana) = (world.join("Host").await, world.join("Ana").await);
    let stream = ana.publish().await;
    ana.done(Ask::State(v1::UpdateState { is_muted: Some(true), ..Default::default() })).await;
    host.vanish();
    let mut listed = list(&mut world).await;
    while listed[0].connected {
        listed = list(&mut world).await;
    }
    let shown = |it: &MeetingParticipant| {
        let participant = it.participant.clone().expect("a participant");
        (participant.name, participant.role, it.subject.clone(), it.connected, participant.is_muted, participant.streams.len())
    };
    let expected = [("Host", "host", "host", false, false, 0), ("Ana", "attendee", "ana", true, true, 1)];
    let expected = expected.map(|(name, role, subject, connected, muted, streams)| {
        (name.to_owned(), role.to_owned(), subject.to_owned(), connected, muted, streams)
    });
    assert_eq!(listed.iter().map(shown).collect::<Vec<_>>(), expected);
    assert_eq!(listed[1].participant.as_ref().map(|it| it.streams[0].stream_id.as_str()), Some(&*stream));
}

/// Everyone of the subject goes, within a second, media too; its tokens are worth nothing; others see it.
#[tokio::test]
async fn a_kick_by_the_api_sticks() {
    let mut world = World::start().await;
    let (mut host, mut twin, mut bo) = (world.join("Host").await, world.join("Host").await, world.join("Bo").await);
    let unspent = world.token("Host");
    let began = tokio::time::Instant::now();
    // The owner's too: whoever holds the API's key decides.
    let answer = world.front.kick_from_meeting(kick(&host.id, "")).await.expect("it is there").into_inner();
    assert_eq!((answer.participant_ids, answer.subject.as_str()), (vec![host.id.clone(), twin.id.clone()], "host"));
    for client in [&mut host, &mut twin] {
        assert_eq!(client.end().await, (3, "removed from this meeting".into()));
        assert_eq!(client.unread.back().and_then(|it| it.body.as_ref()).and_then(left), Some((client.id.clone(), LeaveReason::Kicked)));
    }
    let forbidden = |id: &str| (id.to_owned(), i32::from(ErrorCode::Forbidden));
    eventually("media is closed", || {
        let removed = &world.handler.known().removed;
        [&host.id, &twin.id].iter().all(|id| removed.contains(&forbidden(id)))
    })
    .await;
    // Not the ten seconds after which a session that takes nothing is given up.
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    let gone = [bo.event("a leave", left).await, bo.event("a leave", left).await];
    assert_eq!(gone, [&host.id, &twin.id].map(|id| (id.clone(), LeaveReason::Kicked)));
    assert_eq!(world.dial().await.join(&unspent, true).await, Err(ErrorCode::Forbidden));
    assert_eq!(world.dial().await.resume(&host.resume_token).await, Err(ErrorCode::Unauthorized));
    let again = world.front.kick_from_meeting(kick(&host.id, "host")).await.expect("it may be repeated").into_inner();
    assert_eq!((again.participant_ids, again.subject.as_str()), (Vec::new(), "host"));
}

/// A client that has stopped reading is closed within a second too, over either transport.
#[tokio::test]
async fn a_stuck_client_is_kicked_in_time() {
    let mut world = World::start().await;
    let mut sender = world.join("Sender").await;
    let stuck = world.join("Stuck").await;
    let crate::client::Wire::WebTransport { session, .. } = &stuck.wire else { panic!("it is WebTransport") };
    let session = session.clone();
    // More than its stream's window, and less than what may wait: the writer hangs in one of these.
    for _ in 0..60 {
        let relay = v1::RelayMessage {
            target_id: stuck.id.clone(),
            kind: "x".into(),
            payload: crate::client::bytes_of(48 * 1024),
            ..Default::default()
        };
        sender.done(Ask::Relay(relay)).await;
    }
    let began = tokio::time::Instant::now();
    world.front.kick_from_meeting(kick(&stuck.id, "")).await.expect("it is there");
    let closed = session.closed().await.to_string();
    assert!(closed.contains("code=3") && closed.contains("removed from this meeting"), "{closed}");
    // Not the ten seconds after which a session that takes nothing is given up.
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    assert!(began.elapsed() > Duration::from_millis(400), "it was stuck, and its farewell had its time: {:?}", began.elapsed());
    assert_eq!(sender.event("the leave", left).await, (stuck.id, LeaveReason::Kicked));
}

#[tokio::test]
async fn kicks_are_checked() {
    let mut world = World::start().await;
    let ana = world.join("Ana").await;
    assert_eq!(code(world.front.kick_from_meeting(kick("", "")).await), Code::InvalidArgument);
    assert_eq!(code(world.front.kick_from_meeting(kick("no uuid", "")).await), Code::InvalidArgument);
    assert_eq!(code(world.front.kick_from_meeting(kick(&ana.id, "bo")).await), Code::InvalidArgument);
    let elsewhere = KickFromMeeting { meeting_id: common::random::uuid().to_string(), ..kick("", "bo") };
    assert_eq!(code(world.front.kick_from_meeting(elsewhere).await), Code::NotFound);
    let nobody =
        world.front.kick_from_meeting(kick(&common::random::uuid().to_string(), "")).await.expect("nobody is removed").into_inner();
    assert_eq!((nobody.participant_ids, nobody.subject), (Vec::new(), String::new()));
    // Somebody who has never been here is kept out all the same.
    world.front.kick_from_meeting(kick("", "bo")).await.expect("it is allowed");
    assert_eq!(world.dial().await.join(&world.token("Bo"), true).await, Err(ErrorCode::Forbidden));
    assert_eq!(list(&mut world).await.len(), 1);
}

/// An assignment brings who was removed before, also to a meeting that is here already.
#[tokio::test]
async fn refusals_come_with_assignments() {
    let mut world = World::start().await;
    let mut ana = world.join("Ana").await;
    let config = MeetingConfig { max_participants: 1, refused_subjects: vec!["ana".into(), "bo".into()], ..Default::default() };
    world.assign(MEETING, config).await.expect("it may be repeated");
    assert_eq!(ana.end().await.0, 3);
    assert_eq!(world.dial().await.join(&world.token("Bo"), true).await, Err(ErrorCode::Forbidden));
    // What it was created with stays.
    world.join("Cleo").await;
    let dee = world.join("Dee").await;
    assert_eq!(dee.joined.meeting.map(|it| it.max_participants), Some(10));
}

/// A meeting that sleeps, and wakes, knows who stays out.
#[tokio::test]
async fn a_dormant_meeting_knows_who_stays_out() {
    let mut config = crate::world::config();
    config.limits.empty_meeting_timeout = Duration::ZERO;
    config.limits.token_leeway = Duration::ZERO;
    let mut world = World::start_with(config).await;
    let is_dormant = |result: Result<_, tonic::Status>| code::<tonic::Response<proto::cluster::ParticipantList>>(result) == Code::NotFound;
    let goes_dormant = async |world: &mut World| {
        while !is_dormant(world.front.list_participants(ListParticipants { meeting_id: MEETING.into() }).await) {}
    };
    goes_dormant(&mut world).await;
    assert_eq!(code(world.front.kick_from_meeting(kick(&common::random::uuid().to_string(), "")).await), Code::NotFound);
    world.front.kick_from_meeting(kick("", "ana")).await.expect("it is remembered");
    assert_eq!(world.dial().await.join(&world.token("Ana"), true).await, Err(ErrorCode::Forbidden));
    goes_dormant(&mut world).await;
    assert_eq!(world.dial().await.join(&world.token("Ana"), true).await, Err(ErrorCode::Forbidden));
}

/// Whoever guesses a resume token does not wake a meeting: where another has taken its room, waking would be refused for that.
#[tokio::test]
async fn a_guess_wakes_nobody() {
    let mut config = crate::world::config();
    config.limits.empty_meeting_timeout = Duration::ZERO;
    config.limits.max_meetings = 1;
    let mut world = World::start_with(config).await;
    while world.front.list_participants(ListParticipants { meeting_id: MEETING.into() }).await.is_ok() {}
    let other = common::random::uuid().to_string();
    world.assign(&other, MeetingConfig::default()).await.expect("the first one is dormant");
    let claims = common::token::JoinClaims { meeting_id: other.clone(), ..world.claims("Ana") };
    let token = world.signer.sign_join(&claims).expect("it is signed");
    let join = v1::JoinRequest { meeting_id: other, ..crate::client::request(&token) };
    let mut ana = world.dial().await;
    ana.try_join(join).await.expect("the token is good");
    assert_eq!(world.dial().await.resume("guessed").await, Err(ErrorCode::Unauthorized));
    assert_eq!(world.dial().await.join(&world.token("Bo"), true).await, Err(ErrorCode::CapacityExceeded));
}

#[tokio::test]
async fn a_participant_is_asked_to_mute() {
    let mut world = World::start().await;
    let (mut ana, mut bo) = (world.join("Ana").await, world.join("Bo").await);
    let asked = world.front.request_mute(mute(&ana.id)).await.expect("she is there").into_inner().participant.expect("a participant");
    assert_eq!((asked.subject.as_str(), asked.participant.map(|it| it.is_muted)), ("ana", Some(false)));
    let wish = |say: &Say| if let Say::MuteRequest(it) = say { Some(it.clone()) } else { None };
    let heard = ana.event("a mute request", wish).await;
    assert_eq!(heard, v1::MuteRequest { microphone: true, camera: false, reason: "it is loud".into() });
    assert!(matches!(bo.call(Ask::Ping(v1::Ping::default())).await, Say::Pong(_)));
    assert!(!bo.unread.iter().any(|message| matches!(message.body, Some(Say::MuteRequest(_)))), "nobody else is asked");
    assert_eq!(code(world.front.request_mute(RequestMute { microphone: false, ..mute(&ana.id) }).await), Code::InvalidArgument);
    assert_eq!(code(world.front.request_mute(RequestMute { reason: "x".repeat(1025), ..mute(&ana.id) }).await), Code::InvalidArgument);
    assert_eq!(code(world.front.request_mute(mute(&common::random::uuid().to_string())).await), Code::NotFound);
    let id = ana.id.clone();
    ana.vanish();
    while list(&mut world).await[0].connected {}
    assert_eq!(code(world.front.request_mute(mute(&id)).await), Code::Unavailable);
}

/// A look at a resume token tells whose it is, and uses nothing up.
#[tokio::test]
async fn resume_tokens_are_checked() {
    let mut world = World::start().await;
    let ana = world.join("Ana").await;
    let found = world.front.check_resume(hash(&ana.resume_token)).await.expect("it is good").into_inner().participant.expect("somebody");
    assert_eq!((found.subject.as_str(), found.connected), ("ana", true));
    assert_eq!(found.participant.map(|it| it.participant_id), Some(ana.id.clone()));
    assert_eq!(code(world.front.check_resume(hash("guessed")).await), Code::NotFound);
    let short = CheckResume { token_hash: vec![1; 31].into(), ..hash("") };
    assert_eq!(code(world.front.check_resume(short).await), Code::InvalidArgument);
    let mut back = world.dial().await;
    back.resume(&ana.resume_token).await.expect("it was not used up");
    assert_eq!(back.id, ana.id);
}

/// A node that is no global controller may do none of this.
#[tokio::test]
async fn other_nodes_may_not() {
    let mut world = World::start().await;
    let handler = world.authority.issue(&"mh-9".parse().expect("a node id"), common::tls::NodeKind::MediaHandler).expect("a certificate");
    let channel = common::grpc::channel(&handler, &world.controller.grpc_address().to_string(), "mc-1").expect("a channel");
    let ana = world.join("Ana").await;
    world.front = proto::cluster::meeting_controller_service_client::MeetingControllerServiceClient::new(channel);
    let codes = [
        code(world.front.list_participants(ListParticipants { meeting_id: MEETING.into() }).await),
        code(world.front.kick_from_meeting(kick(&ana.id, "")).await),
        code(world.front.request_mute(mute(&ana.id)).await),
        code(world.front.check_resume(hash(&ana.resume_token)).await),
    ];
    assert_eq!(codes, [Code::PermissionDenied; 4]);
}

/// What the meeting was created with is told to everyone who comes in, and again to who comes back.
#[tokio::test]
async fn the_meeting_introduces_itself() {
    let mut world = World::start().await;
    let other = common::random::uuid().to_string();
    let config = MeetingConfig {
        display_name: "Plans".into(),
        max_participants: 3,
        enable_e2e_encryption: true,
        recording_enabled: true,
        ..Default::default()
    };
    world.assign(&other, config).await.expect("there is room");
    let claims = common::token::JoinClaims { meeting_id: other.clone(), ..world.claims("Ana") };
    let token = world.signer.sign_join(&claims).expect("it is signed");
    let mut ana = world.dial().await;
    ana.try_join(v1::JoinRequest { meeting_id: other.clone(), ..crate::client::request(&token) }).await.expect("the token is good");
    let info = v1::MeetingInfo { display_name: "Plans".into(), max_participants: 3, enable_e2e_encryption: true, recording_enabled: true };
    assert_eq!(ana.joined.meeting, Some(info.clone()));
    let mut back = world.dial().await;
    let resume = v1::JoinRequest { meeting_id: other, resume_token: ana.resume_token.clone(), ..crate::client::request("") };
    back.try_join(resume).await.expect("it is good");
    assert_eq!(back.joined.meeting, Some(info));
}
