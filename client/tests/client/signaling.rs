//! What the client does with answers, events, losses and closes.

use common_core::Code;
use common_core::media::StreamType;
use dark_tower_client::roster::{LeaveReason, StateUpdate};
use dark_tower_client::{Client, ConnectionState, Event, JoinError, RequestError, SessionEnd, StreamDescription};
use futures_util::SinkExt;
use proto::v1::{self, client_message, server_message};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::door::{ANA, BEN, CAM, Door, RESUME_TOKEN, ben, chat, join, soon};

#[tokio::test]
async fn the_roster_follows_the_events() {
    let door = Door::open().await;
    let response = v1::JoinResponse { existing_participants: vec![ben(false)], chat: vec![chat(1, ""), chat(2, "")], ..Default::default() };
    let (mut ana, mut controller) = join(&door, response).await;
    assert_eq!(ana.meeting.roster().len(), 1);

    // What makes no sense is left out, and the session lives.
    controller.0.send(Message::Binary(vec![0xff; 20].into())).await.expect("the client listens");
    let nonsense = v1::ParticipantJoined { participant: Some(v1::Participant { participant_id: "?".into(), ..Default::default() }) };
    controller.say(0, server_message::Body::ParticipantJoined(nonsense)).await;
    let stream = v1::MediaStream {
        stream_id: CAM.into(),
        stream_type: v1::StreamType::VideoCamera.into(),
        metadata: Some(v1::StreamMetadata { codec: "VP9".into(), ..Default::default() }),
        ..Default::default()
    };
    let published = v1::StreamPublished { participant_id: BEN.into(), stream: Some(stream) };
    controller.say(0, server_message::Body::StreamPublished(published)).await;
    let left = v1::ParticipantLeft { participant_id: BEN.into(), reason: v1::LeaveReason::Kicked.into() };
    controller.say(0, server_message::Body::ParticipantLeft(left)).await;

    for sequence in [1, 2] {
        assert!(matches!(soon(ana.events.next()).await, Some(Event::Chat(chat)) if chat.sequence == sequence));
    }
    assert!(matches!(soon(ana.events.next()).await, Some(Event::StreamPublished(stream)) if stream.stream_id.to_string() == CAM));
    assert!(matches!(soon(ana.events.next()).await, Some(Event::ParticipantLeft { reason: LeaveReason::Kicked, .. })));
    assert!(ana.meeting.roster().is_empty());
}

/// The connection breaks while a chat message is unanswered: the client comes back by itself, takes absences from the new
/// snapshot, repeats the message under the same id, and tells each message once.
#[tokio::test]
async fn a_loss_costs_nothing_that_was_said() {
    let door = Door::open().await;
    let response = v1::JoinResponse {
        existing_participants: vec![ben(false)],
        resume_token: RESUME_TOKEN.into(),
        chat: vec![chat(1, "")],
        ..Default::default()
    };
    let (mut ana, mut controller) = join(&door, response).await;
    let meeting = ana.meeting.clone();
    let saying = tokio::spawn(async move { meeting.chat("hello").await });
    let Some(client_message::Body::Chat(said)) = controller.hear().await.body else { panic!("a chat message is said") };
    drop(controller);

    let (mut controller, request_id, resume) = door.accept().await;
    assert_eq!((resume.resume_token.as_str(), resume.join_token.as_str(), resume.chat_after_sequence), (RESUME_TOKEN, "", 1));
    let myself = v1::Participant { participant_id: ANA.into(), ..Default::default() };
    let response = v1::JoinResponse {
        existing_participants: vec![myself],
        resume_token: "second".into(),
        chat: vec![chat(2, &said.client_message_id)],
        ..Default::default()
    };
    controller.let_in(request_id, response).await;
    let again = controller.hear().await;
    let Some(client_message::Body::Chat(repeated)) = again.body else { panic!("the message is repeated") };
    assert_eq!(repeated, said);
    controller.say(again.request_id, server_message::Body::Chat(chat(2, &said.client_message_id))).await;
    assert_eq!(soon(saying).await.expect("no panic").map(|chat| chat.sequence), Ok(2));

    let mut events = Vec::new();
    controller.say(0, server_message::Body::Chat(chat(3, ""))).await;
    while !matches!(events.last(), Some(Event::Chat(chat)) if chat.sequence == 3) {
        events.push(soon(ana.events.next()).await.expect("the meeting goes on"));
    }
    let told: Vec<String> = events
        .iter()
        .map(|event| match event {
            Event::Chat(chat) => format!("chat {}", chat.sequence),
            Event::Reconnecting { .. } => "reconnecting".into(),
            Event::Resumed => "resumed".into(),
            Event::ParticipantLeft { .. } => "Ben left".into(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, ["chat 1", "reconnecting", "Ben left", "chat 2", "resumed", "chat 3"]);
}

/// Oneself is what was granted of what was asked, and what the controller says after a return.
#[tokio::test]
async fn oneself_is_what_was_granted() {
    let door = Door::open().await;
    let response = v1::JoinResponse { resume_token: RESUME_TOKEN.into(), ..Default::default() };
    let (ana, mut controller) = join(&door, response.clone()).await;
    let me = ana.meeting.me();
    assert_eq!((me.participant_id.to_string().as_str(), me.name.as_str(), me.role.as_str()), (ANA, "Ana", "attendee"));
    let mut seen = ana.meeting.watch_me();
    let meeting = ana.meeting.clone();
    let asking = tokio::spawn(async move {
        let microphone = meeting.publish(StreamDescription::new(StreamType::Audio, "Opus")).await;
        let state = StateUpdate { is_video_on: Some(true), ..Default::default() };
        (microphone.expect("it is granted"), meeting.update_state(state).await, meeting.kick(meeting.participant_id()).await)
    });
    for _ in 0..2 {
        let asked = controller.hear().await;
        controller.say(asked.request_id, server_message::Body::Ack(v1::Ack {})).await;
    }
    let asked = controller.hear().await;
    controller.say(asked.request_id, server_message::Body::Error(proto::convert::error_message(Code::Forbidden, "no"))).await;
    let (microphone, state, kick) = soon(asking).await.expect("no panic");
    assert_eq!((state, kick.map_err(|error| error.code())), (Ok(()), Err(Some(Code::Forbidden))));
    soon(seen.wait_for(|me| me.is_video_on)).await.expect("it is told");
    assert!(ana.meeting.me().streams.contains_key(&microphone.stream().stream_id));

    drop(controller);
    let (mut controller, request_id, _) = door.accept().await;
    let myself = v1::Participant { participant_id: ANA.into(), name: "Ana B".into(), role: "host".into(), ..Default::default() };
    controller.let_in(request_id, v1::JoinResponse { existing_participants: vec![myself], ..response }).await;
    let me = soon(seen.wait_for(|me| me.role == "host")).await.expect("it is told").clone();
    assert_eq!((me.name.as_str(), ana.meeting.roster().len()), ("Ana B", 0));
}

#[tokio::test]
async fn a_refusal_is_told_with_its_code() {
    let door = Door::open().await;
    let client = Client::new().expect("a UDP port is free");
    let (joined, ()) = tokio::join!(client.join(door.options()), async {
        let (mut controller, request_id, _) = door.accept().await;
        let error = proto::convert::error_message(Code::Unauthorized, "the token\nis spent");
        controller.say(request_id, server_message::Body::Error(error)).await;
    });
    match joined {
        Err(JoinError::Refused { code: Code::Unauthorized, message }) => assert_eq!(message, "the token\\nis spent"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a refused client is not in"),
    }
}

/// A controller in a hurry closes without a message: the code says the same.
#[tokio::test]
async fn a_close_before_the_answer_is_a_refusal() {
    let door = Door::open().await;
    let client = Client::new().expect("a UDP port is free");
    let (joined, ()) = tokio::join!(client.join(door.options()), async {
        let (mut controller, ..) = door.accept().await;
        let frame = CloseFrame { code: Code::Unavailable.websocket().into(), reason: "try\nagain".into() };
        controller.0.send(Message::Close(Some(frame))).await.expect("the client listens");
    });
    match joined {
        Err(JoinError::Refused { code: Code::Unavailable, message }) => assert_eq!(message, "try\\nagain"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a refused client is not in"),
    }
}

/// A close that is meant is the end: no resume, requests fail, and the last event says why.
#[tokio::test]
async fn a_kick_is_final() {
    let door = Door::open().await;
    let (mut ana, mut controller) = join(&door, v1::JoinResponse::default()).await;
    let meeting = ana.meeting.clone();
    let saying = tokio::spawn(async move { meeting.chat("hello").await });
    controller.hear().await;
    let frame = CloseFrame { code: Code::Forbidden.websocket().into(), reason: "removed".into() };
    controller.0.send(Message::Close(Some(frame))).await.expect("the client listens");
    assert_eq!(soon(saying).await.expect("no panic"), Err(RequestError::Ended));
    let end = SessionEnd::closed(Code::Forbidden.number(), "removed");
    assert_eq!(soon(ana.events.next()).await, Some(Event::Closed { end }));
    assert_eq!(soon(ana.events.next()).await, None);
    assert!(soon(ana.records.next()).await.is_none());
    soon(ana.meeting.leave()).await;
    assert_eq!(ana.meeting.state(), ConnectionState::Ended(SessionEnd::closed(Code::Forbidden.number(), "removed")));
}

/// Nothing comes, not even the pong of each second: a second session is dialled besides; the first to stand wins.
#[tokio::test]
async fn silence_is_answered_by_a_second_session() {
    let door = Door::open().await;
    let (mut ana, silent) = join(&door, v1::JoinResponse { resume_token: RESUME_TOKEN.into(), ..Default::default() }).await;
    let (mut controller, request_id, resume) = door.accept().await;
    assert_eq!(resume.resume_token, RESUME_TOKEN);
    controller.let_in(request_id, v1::JoinResponse::default()).await;
    assert!(matches!(soon(ana.events.next()).await, Some(Event::Reconnecting { .. })));
    assert_eq!(soon(ana.events.next()).await, Some(Event::Resumed));
    drop(silent);

    // Leaving is said on the new session.
    let meeting = ana.meeting.clone();
    let leaving = tokio::spawn(async move { meeting.leave().await });
    let leave = controller.hear().await;
    assert!(matches!(leave.body, Some(client_message::Body::Leave(_))));
    controller.say(leave.request_id, server_message::Body::Ack(v1::Ack {})).await;
    soon(leaving).await.expect("no panic");
}

/// A ping asks for an answer, by its number, and the answer's way is measured.
#[tokio::test]
async fn the_round_trip_is_measured() {
    let door = Door::open().await;
    let (mut ana, mut controller) = join(&door, v1::JoinResponse::default()).await;
    let (number, ping) = controller.hear_ping().await;
    assert_ne!(number, 0, "what has no number gets no answer");
    controller.say(number, server_message::Body::Pong(v1::Pong { sent_at_us: ping.sent_at_us, received_at_us: 1 })).await;
    controller.say(0, server_message::Body::Chat(chat(1, ""))).await;
    assert!(matches!(soon(ana.events.next()).await, Some(Event::Chat(_))));
    assert_eq!(ana.meeting.round_trip().is_some(), ping.sent_at_us > 0);
    assert_eq!(ana.meeting.stats().round_trip, ana.meeting.round_trip());
}
