//! A controller that sends what no controller should: the client leaves it out, stays within its bounds, and goes on.

use dark_tower_client::{Client, ConnectionState, Event, JoinError, RequestError};
use futures_util::SinkExt;
use prost::Message as _;
use proto::v1::{self, server_message::Body};
use tokio_tungstenite::tungstenite::Message;

use crate::dice::Dice;
use crate::door::{ANA, Controller, Door, ben, chat, join, soon};

/// Messages of each run.
const MESSAGES: usize = 2_500;

/// Messages of a controller, good in form and senseless in content.
impl Dice {
    fn stream(&mut self) -> v1::MediaStream {
        let layer = v1::SimulcastLayer { stream_id: self.text(), ..Default::default() };
        let video = v1::VideoMetadata { simulcast_layers: vec![layer; self.roll(9)], ..Default::default() };
        let metadata = v1::StreamMetadata { codec: self.text(), video: (self.roll(2) > 0).then_some(video), ..Default::default() };
        let stream_type = i32::try_from(self.roll(7)).expect("small") - 2;
        v1::MediaStream { stream_id: self.text(), stream_type, metadata: (self.roll(3) > 0).then_some(metadata), ..Default::default() }
    }

    fn participant(&mut self) -> v1::Participant {
        let streams = (0..self.roll(4)).map(|_| self.stream()).collect();
        v1::Participant { participant_id: self.text(), name: self.text(), role: self.text(), streams, ..Default::default() }
    }

    /// Of every kind but those that end or move a session, which are asked for elsewhere.
    fn body(&mut self) -> Body {
        match self.roll(14) {
            0 => Body::ParticipantJoined(v1::ParticipantJoined { participant: (self.roll(4) > 0).then(|| self.participant()) }),
            1 => Body::ParticipantLeft(v1::ParticipantLeft {
                participant_id: self.text(),
                reason: i32::try_from(self.roll(9)).expect("small"),
            }),
            2 => Body::StreamPublished(v1::StreamPublished {
                participant_id: self.text(),
                stream: (self.roll(4) > 0).then(|| self.stream()),
            }),
            3 => Body::StreamUnpublished(v1::StreamUnpublished { participant_id: self.text(), stream_id: self.text() }),
            4 => Body::State(v1::StateChanged { participant_id: self.text(), audio_level: Some(f32::NAN), ..Default::default() }),
            5 => Body::Quality(v1::StreamQualityUpdate { stream_id: self.text(), packet_loss: f32::INFINITY, ..Default::default() }),
            6 => Body::Relay(v1::RelayMessage { source_id: self.text(), kind: self.text(), ..Default::default() }),
            7 => Body::MuteRequest(v1::MuteRequest { reason: self.text(), ..Default::default() }),
            8 => Body::Chat(v1::ChatMessage { content: self.text(), sender_id: self.text(), sequence: 0, ..Default::default() }),
            9 => Body::MediaServer(v1::MediaServerInfo {
                media_handler_url: self.text(),
                connection_token: self.text(),
                ..Default::default()
            }),
            10 => Body::Pong(v1::Pong { sent_at_us: u64::MAX, received_at_us: 0 }),
            11 => Body::Error(v1::ErrorMessage {
                code: i32::try_from(self.roll(99)).expect("small"),
                message: self.text(),
                ..Default::default()
            }),
            12 => Body::Join(v1::JoinResponse {
                participant_id: self.text(),
                existing_participants: vec![self.participant()],
                ..Default::default()
            }),
            _ => Body::Ack(v1::Ack {}),
        }
    }

    fn number(&mut self) -> u64 {
        match self.roll(4) {
            0 => 0,
            1 => u64::MAX,
            _ => u64::try_from(self.roll(50)).expect("small"),
        }
    }

    fn message(&mut self) -> Vec<u8> {
        let body = (self.roll(30) > 0).then(|| self.body());
        v1::ServerMessage { version: u32::try_from(self.roll(3)).expect("small"), request_id: self.number(), body }.encode_to_vec()
    }
}

/// Joins that are answered with nonsense.
const JOINS: usize = 150;

async fn send(controller: &mut Controller, bytes: Vec<u8>) {
    soon(controller.0.send(Message::Binary(bytes.into()))).await.expect("the client listens");
}

/// The client hears chat and can ask for things still.
async fn is_well(ana: &mut dark_tower_client::Joined, controller: &mut Controller, sequence: u64) {
    controller.say(0, Body::Chat(chat(sequence, ""))).await;
    while !matches!(soon(ana.events.next()).await, Some(Event::Chat(chat)) if chat.sequence == sequence) {}
    assert_eq!(ana.meeting.state(), ConnectionState::Connected);
}

/// Every kind of message with wrong ids, enormous numbers, absent parts and answers to nothing.
#[tokio::test]
async fn nonsense_is_left_out() {
    for seed in [1, 0x9e37_79b9_7f4a_7c15] {
        let (door, mut dice) = (Door::open().await, Dice::new(seed));
        let (mut ana, mut controller) =
            join(&door, v1::JoinResponse { existing_participants: vec![ben(false)], ..Default::default() }).await;
        for _ in 0..MESSAGES {
            let bytes = dice.message();
            send(&mut controller, bytes).await;
        }
        is_well(&mut ana, &mut controller, u64::MAX).await;
        for participant in ana.meeting.roster().participants() {
            assert!(participant.name.len() <= 1_024, "a name of {} bytes was taken", participant.name.len());
        }
    }
}

/// Answers to a join with wrong ids, addresses that lead nowhere, endless tokens, and histories out of order: refused or taken, and nothing hangs.
#[tokio::test]
async fn nonsense_in_the_answer_to_a_join() {
    let (door, mut dice) = (Door::open().await, Dice::new(11));
    let client = Client::new().expect("a UDP port is free");
    let mut let_in = 0;
    for _ in 0..JOINS {
        let info = v1::MediaServerInfo { media_handler_url: dice.text(), connection_token: dice.text(), ..Default::default() };
        let response = v1::JoinResponse {
            participant_id: if dice.roll(3) == 0 { dice.text() } else { ANA.into() },
            existing_participants: (0..dice.roll(4)).map(|_| dice.participant()).collect(),
            media_server: (dice.roll(2) == 0).then_some(info),
            encryption_keys: (dice.roll(4) == 0).then(|| v1::EncryptionKeys { key_id: dice.text(), ..Default::default() }),
            resume_token: if dice.roll(9) == 0 { "x".repeat(1_000_000) } else { dice.text() },
            heartbeat_interval_ms: u32::MAX,
            chat: (0..dice.roll(4))
                .map(|_| v1::ChatMessage { sequence: dice.number(), content: dice.text(), ..Default::default() })
                .collect(),
            alternate_controller_urls: (0..dice.roll(9)).map(|_| dice.text()).collect(),
            subscriptions: (0..dice.roll(9)).map(|_| dice.text()).collect(),
            meeting: (dice.roll(2) == 0).then(|| v1::MeetingInfo {
                display_name: dice.text(),
                enable_e2e_encryption: dice.roll(4) == 0,
                ..Default::default()
            }),
        };
        let (joined, ()) = tokio::join!(client.join(door.options()), async {
            let (mut controller, request_id, _) = door.accept().await;
            controller.say(request_id, Body::Join(response)).await;
            // Whoever does not stay says so, and is not answered.
        });
        match joined {
            Ok(joined) => {
                let_in += 1;
                assert!(joined.meeting.meeting_info().display_name.len() <= 1_024 && joined.meeting.resume_token().len() <= 2_048);
                soon(joined.meeting.close()).await;
            }
            Err(JoinError::Answer(_) | JoinError::Encryption(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert!(let_in > JOINS / 4, "only {let_in} were let in: too few to say anything");
}

/// Good messages whose bytes were turned over on the way.
#[tokio::test]
async fn damage_is_left_out() {
    let (door, mut dice) = (Door::open().await, Dice::new(7));
    let (mut ana, mut controller) = join(&door, v1::JoinResponse::default()).await;
    let mut is_over = false;
    for _ in 0..MESSAGES {
        let mut bytes = dice.message();
        dice.turn_bytes_over(&mut bytes);
        // Damage can make a message of one that moves us elsewhere, which is a reason to go.
        if soon(controller.0.send(Message::Binary(bytes.into()))).await.is_err() {
            is_over = true;
            break;
        }
    }
    if !is_over && ana.meeting.state() == ConnectionState::Connected {
        is_well(&mut ana, &mut controller, u64::MAX).await;
    }
}

/// Requests are answered with every wrong kind of answer, and by numbers that nobody asked under.
#[tokio::test]
async fn wrong_answers_are_told_as_such() {
    let (door, mut dice) = (Door::open().await, Dice::new(99));
    let (mut ana, mut controller) = join(&door, v1::JoinResponse::default()).await;
    for round in 0..200 {
        let meeting = ana.meeting.clone();
        let asking = tokio::spawn(async move {
            match round % 3 {
                0 => meeting.chat("hello").await.map(drop),
                1 => meeting.kick(meeting.participant_id()).await,
                _ => meeting.unpublish(common_core::StreamId::from_bytes([1; 16])).await,
            }
        });
        let asked = controller.hear().await;
        controller.say(asked.request_id.wrapping_add(1_000), Body::Ack(v1::Ack {})).await;
        controller.say(asked.request_id, dice.body()).await;
        // Granted, refused or of the wrong kind: it is told, and nothing waits for ever.
        let _ = soon(asking).await.expect("no panic");
    }
    is_well(&mut ana, &mut controller, u64::MAX).await;
}

/// The answer to what was said is kept like any other message: one beyond the contract's length is not.
#[tokio::test]
async fn an_answer_beyond_every_length_is_left_out() {
    let door = Door::open().await;
    let (mut ana, mut controller) = join(&door, v1::JoinResponse::default()).await;
    let meeting = ana.meeting.clone();
    let saying = tokio::spawn(async move { meeting.chat("hello").await });
    let asked = controller.hear().await;
    let answer = v1::ChatMessage { content: "x".repeat(1_000_000), ..chat(1, "") };
    controller.say(asked.request_id, Body::Chat(answer)).await;
    assert_eq!(soon(saying).await.expect("no panic"), Err(RequestError::Answer));
    is_well(&mut ana, &mut controller, 2).await;
    assert_eq!(ana.meeting.chat_history().len(), 1);
}

/// Crowds beyond every bound are cut to it.
#[tokio::test]
async fn crowds_are_bounded() {
    let door = Door::open().await;
    let (mut ana, mut controller) = join(&door, v1::JoinResponse::default()).await;
    let id = |number: u64| format!("550e8400-e29b-41d4-a716-{number:012}");
    for number in 0..2_200 {
        let participant = Some(v1::Participant { participant_id: id(number), name: "n".into(), ..Default::default() });
        controller.say(0, Body::ParticipantJoined(v1::ParticipantJoined { participant })).await;
    }
    for number in 0..200 {
        let stream = v1::MediaStream {
            stream_id: id(100_000 + number),
            metadata: Some(v1::StreamMetadata { codec: "Opus".into(), ..Default::default() }),
            ..Default::default()
        };
        controller.say(0, Body::StreamPublished(v1::StreamPublished { participant_id: id(0), stream: Some(stream) })).await;
    }
    is_well(&mut ana, &mut controller, 1).await;
    let roster = ana.meeting.roster();
    assert_eq!(roster.len(), dark_tower_client::roster::PARTICIPANTS_MAX);
    assert_eq!(roster.streams().count(), dark_tower_client::roster::STREAMS_MAX, "all are one participant's");
}
