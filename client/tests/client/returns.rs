//! Losses and returns: as oneself, as somebody new, or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common_core::media::{StreamType, SubscriptionOptions};
use common_core::{Code, MeetingId, ParticipantId, StreamId};
use dark_tower_client::e2ee::{self, MeetingKeys, Secret};
use dark_tower_client::roster::StateUpdate;
use dark_tower_client::{
    ConnectionState, Event, JoinOptions, Joined, RequestError, SessionEnd, StreamDescription, TicketError, TicketSource, Why,
};
use futures_util::SinkExt;
use proto::v1::{self, client_message::Body, server_message};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::door::{ANA, CAM, Controller, Door, RESUME_TOKEN, ben, chat, join, join_with, soon};

const ANA_AGAIN: &str = "550e8400-e29b-41d4-a716-446655440009";
const NEW_TOKEN: &str = "a join token for somebody new";

/// Options with a source that counts how often it is asked, and gives tickets for `door`, or what `refusal` says.
fn options(door: &Door, refusal: Option<TicketError>) -> (JoinOptions, Arc<AtomicU32>) {
    canary::keep("join_token", NEW_TOKEN);
    let asked = Arc::new(AtomicU32::new(0));
    let (count, ticket) = (asked.clone(), door.ticket(NEW_TOKEN));
    let source = move |why: Why| {
        assert_eq!(why, Why::Rejoin);
        count.fetch_add(1, Ordering::Relaxed);
        let answer = refusal.clone().map_or_else(|| Ok(ticket.clone()), Err);
        async move { answer }
    };
    let tickets: Arc<dyn TicketSource> = Arc::new(source);
    (JoinOptions { tickets: Some(tickets), ..door.options() }, asked)
}

fn response() -> v1::JoinResponse {
    v1::JoinResponse { resume_token: RESUME_TOKEN.into(), existing_participants: vec![ben(false)], ..Default::default() }
}

/// Answers whatever is asked next, which must be `count` requests, and gives them back.
async fn grant(controller: &mut Controller, count: usize) -> Vec<Body> {
    let mut heard = Vec::new();
    for _ in 0..count {
        let message = controller.hear().await;
        controller.say(message.request_id, server_message::Body::Ack(v1::Ack {})).await;
        heard.extend(message.body);
    }
    heard
}

/// The controller does not know the resume token.
async fn refuse_resume(door: &Door) {
    let (mut controller, request_id, resume) = door.accept().await;
    assert_eq!((resume.resume_token.as_str(), resume.join_token.as_str()), (RESUME_TOKEN, ""));
    let error = proto::convert::error_message(Code::Unauthorized, "no such participant");
    controller.say(request_id, server_message::Body::Error(error)).await;
}

async fn closed(joined: &mut Joined) -> SessionEnd {
    loop {
        if let Event::Closed { end } = soon(joined.events.next()).await.expect("an end is told") {
            return end;
        }
    }
}

/// The place is lost: the client joins anew, and what it published, wanted and said about itself is said again, in the same words.
#[tokio::test]
async fn who_lost_the_place_joins_anew_and_goes_on() {
    let door = Door::open().await;
    let (options, asked) = options(&door, None);
    let (mut ana, mut controller) = join_with(&door, options, response()).await;
    let before: ParticipantId = ana.meeting.participant_id();
    let camera = StreamDescription::new(StreamType::VideoCamera, "VP8");
    let wanted: StreamId = CAM.parse().map(StreamId::new).expect("a UUID");
    let state = StateUpdate { is_muted: Some(true), is_video_on: Some(true), audio_level: None };
    let subscription = SubscriptionOptions::default();
    let acting = async {
        let publisher = ana.meeting.publish(camera.clone()).await.expect("it is granted");
        ana.meeting.subscribe(wanted, &subscription).await.expect("it is granted");
        ana.meeting.update_state(state).await.expect("it is granted");
        publisher
    };
    let (publisher, asked_for) = tokio::join!(acting, grant(&mut controller, 3));
    let meeting = ana.meeting.clone();
    let saying = tokio::spawn(async move { meeting.chat("hello").await });
    controller.hear().await;
    drop(controller);
    refuse_resume(&door).await;

    let (mut controller, request_id, join) = door.accept().await;
    assert_eq!((join.join_token.as_str(), join.resume_token.as_str()), (NEW_TOKEN, ""));
    let fresh = v1::JoinResponse { participant_id: ANA_AGAIN.into(), resume_token: "second".into(), ..response() };
    controller.say(request_id, server_message::Body::Join(fresh)).await;
    assert_eq!(grant(&mut controller, 3).await, asked_for);
    // Twice would be wrong: chat is told apart among the messages of one participant.
    assert_eq!(soon(saying).await.expect("no panic"), Err(RequestError::Interrupted));

    let now = ana.meeting.participant_id();
    assert_eq!((now.to_string().as_str(), asked.load(Ordering::Relaxed)), (ANA_AGAIN, 1));
    while soon(ana.events.next()).await != Some(Event::Rejoined { before, now }) {}
    assert_eq!(ana.meeting.state(), ConnectionState::Connected);
    assert_eq!(publisher.stream().stream_id, camera.stream_id);
}

/// What the old participant said stands in the history, though its answer was lost; what it could not say any more the new one says, sealed in the
/// new one's name.
#[tokio::test]
async fn what_was_said_is_granted_and_what_was_not_is_said_by_the_new_one() {
    let door = Door::open().await;
    let (options, _) = options(&door, None);
    let secret = Secret::generate();
    let meeting_id: MeetingId = options.meeting_id.parse().expect("a UUID");
    let keys = MeetingKeys::new(&secret, meeting_id);
    let encrypted = v1::MeetingInfo { enable_e2e_encryption: true, ..Default::default() };
    let response = v1::JoinResponse { meeting: Some(encrypted), ..response() };
    let (ana, mut controller) = join_with(&door, JoinOptions { secret: Some(secret), ..options }, response.clone()).await;
    let before = ana.meeting.participant_id();
    let meeting = ana.meeting.clone();
    let saying = tokio::spawn(async move { meeting.chat("the first").await });
    let Some(Body::Chat(first)) = controller.hear().await.body else { panic!("a chat message is said") };
    assert_eq!(e2ee::chat::open(&keys, before, &first.client_message_id, &first.content).as_deref(), Ok("the first"));
    drop(controller);
    soon(ana.meeting.state_changed(&ConnectionState::Connected)).await;
    let meeting = ana.meeting.clone();
    let saying_later = tokio::spawn(async move { meeting.chat("the second").await });
    refuse_resume(&door).await;

    let (mut controller, request_id, _) = door.accept().await;
    let stored = v1::ChatMessage {
        sequence: 7,
        sender_id: before.to_string(),
        client_message_id: first.client_message_id,
        content: first.content,
        ..Default::default()
    };
    let fresh = v1::JoinResponse { participant_id: ANA_AGAIN.into(), chat: vec![stored], ..response };
    controller.say(request_id, server_message::Body::Join(fresh)).await;
    let said = soon(saying).await.expect("no panic").expect("it stands in the history");
    assert_eq!((said.sequence, said.content.as_str()), (7, "the first"));

    let asked = controller.hear().await;
    let Some(Body::Chat(second)) = asked.body else { panic!("the other is said now") };
    let now = ana.meeting.participant_id();
    assert_ne!(now, before);
    assert_eq!(e2ee::chat::open(&keys, now, &second.client_message_id, &second.content).as_deref(), Ok("the second"));
    let stored = v1::ChatMessage { sequence: 8, sender_id: now.to_string(), ..chat(8, &second.client_message_id) };
    controller.say(asked.request_id, server_message::Body::Chat(v1::ChatMessage { content: second.content, ..stored })).await;
    assert_eq!(soon(saying_later).await.expect("no panic").map(|chat| chat.content), Ok("the second".to_owned()));
    let history: Vec<String> = ana.meeting.chat_history().into_iter().map(|chat| chat.content).collect();
    assert_eq!(history, ["the first", "the second"]);
}

/// Our old self still holds the id of our camera: it is asked for again until it is free.
#[tokio::test]
async fn an_id_that_the_old_self_holds_is_waited_for() {
    let door = Door::open().await;
    let (options, _) = options(&door, None);
    let (ana, mut controller) = join_with(&door, options, response()).await;
    let publishing = ana.meeting.publish(StreamDescription::new(StreamType::Audio, "Opus"));
    let (publisher, _) = tokio::join!(publishing, grant(&mut controller, 1));
    let _publisher = publisher.expect("it is granted");
    drop(controller);
    refuse_resume(&door).await;
    let (mut controller, request_id, _) = door.accept().await;
    let fresh = v1::JoinResponse { participant_id: ANA_AGAIN.into(), ..response() };
    controller.say(request_id, server_message::Body::Join(fresh)).await;
    for _ in 0..2 {
        let message = controller.hear().await;
        assert!(matches!(message.body, Some(Body::Publish(_))));
        let error = proto::convert::error_message(Code::Conflict, "taken");
        controller.say(message.request_id, server_message::Body::Error(error)).await;
    }
    assert!(matches!(grant(&mut controller, 1).await.as_slice(), [Body::Publish(_)]));
}

/// Removed, ended, or come in elsewhere: nobody is asked for a ticket.
#[tokio::test]
async fn who_was_sent_away_does_not_come_back() {
    for code in [Code::Forbidden, Code::Normal, Code::Moved] {
        let door = Door::open().await;
        let (options, asked) = options(&door, None);
        let (mut ana, mut controller) = join_with(&door, options, response()).await;
        let frame = CloseFrame { code: code.websocket().into(), reason: "".into() };
        controller.0.send(Message::Close(Some(frame))).await.expect("the client listens");
        assert_eq!(closed(&mut ana).await.code(), Some(code));
        assert_eq!(asked.load(Ordering::Relaxed), 0, "{code}");
    }
}

/// Told that we were removed, we stay away although the connection breaks without a code.
#[tokio::test]
async fn a_kick_counts_even_if_the_close_is_lost() {
    let door = Door::open().await;
    let (options, asked) = options(&door, None);
    let (mut ana, mut controller) = join_with(&door, options, response()).await;
    let left = v1::ParticipantLeft { participant_id: ANA.into(), reason: v1::LeaveReason::Kicked.into() };
    controller.say(0, server_message::Body::ParticipantLeft(left)).await;
    drop(controller);
    assert!(matches!(closed(&mut ana).await, SessionEnd::Lost(_)));
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_refused_ticket_is_the_end() {
    let door = Door::open().await;
    let refusal = TicketError::Refused { code: "MEETING_ENDED".into(), message: "it is over".into() };
    let (options, asked) = options(&door, Some(refusal));
    let (mut ana, controller) = join_with(&door, options, response()).await;
    drop(controller);
    refuse_resume(&door).await;
    let end = closed(&mut ana).await;
    assert_eq!((end.code(), asked.load(Ordering::Relaxed)), (Some(Code::Unauthorized), 1));
    assert!(end.to_string().contains("it is over"), "{end}");
}

/// Without a source of tickets a lost place is the end, as before.
#[tokio::test]
async fn without_tickets_a_lost_place_is_the_end() {
    let door = Door::open().await;
    let (mut ana, controller) = join(&door, response()).await;
    drop(controller);
    refuse_resume(&door).await;
    assert_eq!(closed(&mut ana).await.code(), Some(Code::Unauthorized));
    let state = soon(ana.meeting.state_changed(&ConnectionState::Connected)).await;
    assert!(matches!(state, ConnectionState::Ended(_)));
}

/// UDP does not pass: the WebSocket is dialled beside WebTransport when joining, and on the way back too, first where it stood.
#[tokio::test]
async fn the_websocket_is_tried_on_the_way_back_too() {
    let door = Door::open().await;
    // Nobody answers there: the socket is bound and never read.
    let deaf = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let main = format!("https://{}/wt", deaf.local_addr().expect("it is bound"));
    let plain = door.options();
    let options = JoinOptions {
        signaling_fallback_url: Some(plain.meeting_controller_url.clone()),
        meeting_controller_url: main,
        fallback_after: Duration::from_millis(50),
        ..plain
    };
    let (mut ana, controller) = join_with(&door, options, response()).await;
    drop(controller);
    let (mut controller, request_id, resume) = door.accept().await;
    assert_eq!(resume.resume_token, RESUME_TOKEN);
    controller.let_in(request_id, response()).await;
    while soon(ana.events.next()).await != Some(Event::Resumed) {}
}

/// What was said stands in the history, in order, each once; what a late joiner missed too.
#[tokio::test]
async fn the_history_of_chat_is_kept() {
    let door = Door::open().await;
    let (mut ana, mut controller) = join(&door, v1::JoinResponse { chat: vec![chat(1, ""), chat(2, "")], ..response() }).await;
    controller.say(0, server_message::Body::Chat(chat(2, ""))).await;
    controller.say(0, server_message::Body::Chat(chat(3, ""))).await;
    while !matches!(soon(ana.events.next()).await, Some(Event::Chat(chat)) if chat.sequence == 3) {}
    assert_eq!(ana.meeting.chat_history().iter().map(|chat| chat.sequence).collect::<Vec<_>>(), [1, 2, 3]);
}
