//! Clients of the model, and what can happen to them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common_core::grant::{JoinGrant, Role};
use common_core::media::{MediaStream, StreamType, SubscriptionOptions};
use common_core::{MeetingId, ParticipantId, StreamId};
use meeting_controller_core::message::LeaveReason;
use meeting_controller_core::{Credential, Input, Join, Message, ResumeToken, ServerMessage, SessionKey, Stamp, TokenHash};
use proptest::prelude::*;

use crate::{Fate, World};

/// What may happen next. Numbers pick among what is there.
#[derive(Clone, Debug)]
pub enum Step {
    Join { token: u8, subject: u8, auto_subscribe: bool },
    Resume { token: u8 },
    Publish { who: u8, stream: u8 },
    Unpublish { who: u8, stream: u8 },
    Subscribe { who: u8, stream: u8, priority: u8 },
    Unsubscribe { who: u8, stream: u8 },
    Chat { who: u8, id: u8 },
    Mute { who: u8, on: bool },
    Kick { who: u8, whom: u8 },
    Refuse { subject: u8 },
    AskToMute { whom: u8 },
    MediaServer { who: u8 },
    Invalid { who: u8 },
    Leave { who: u8 },
    Vanish { who: u8 },
    Answer { fate: Fate },
    Advance { millis: u16 },
    HandlerChanges,
}

/// A life of up to 80 steps; most calls go well.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fate = prop_oneof![6 => Just(Fate::Done), 1 => Just(Fate::Lost), 1 => Just(Fate::Unheard)];
    let step = prop_oneof![
        6 => (0..40u8, 0..5u8, any::<bool>()).prop_map(|(token, subject, auto_subscribe)| Step::Join { token, subject, auto_subscribe }),
        3 => any::<u8>().prop_map(|token| Step::Resume { token }),
        4 => (any::<u8>(), 0..6u8).prop_map(|(who, stream)| Step::Publish { who, stream }),
        2 => (any::<u8>(), 0..6u8).prop_map(|(who, stream)| Step::Unpublish { who, stream }),
        3 => (any::<u8>(), 0..6u8, 0..3u8).prop_map(|(who, stream, priority)| Step::Subscribe { who, stream, priority }),
        2 => (any::<u8>(), 0..6u8).prop_map(|(who, stream)| Step::Unsubscribe { who, stream }),
        2 => (any::<u8>(), 0..4u8).prop_map(|(who, id)| Step::Chat { who, id }),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(who, on)| Step::Mute { who, on }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(who, whom)| Step::Kick { who, whom }),
        1 => (0..5u8).prop_map(|subject| Step::Refuse { subject }),
        1 => any::<u8>().prop_map(|whom| Step::AskToMute { whom }),
        1 => any::<u8>().prop_map(|who| Step::MediaServer { who }),
        1 => any::<u8>().prop_map(|who| Step::Invalid { who }),
        1 => any::<u8>().prop_map(|who| Step::Leave { who }),
        2 => any::<u8>().prop_map(|who| Step::Vanish { who }),
        14 => fate.prop_map(|fate| Step::Answer { fate }),
        3 => (0..3000u16).prop_map(|millis| Step::Advance { millis }),
        1 => Just(Step::HandlerChanges),
    ];
    prop::collection::vec(step, 1..80)
}

pub fn stream(byte: u8) -> StreamId {
    StreamId::from_bytes([byte + 1; 16])
}

pub fn options(priority: u8) -> SubscriptionOptions {
    SubscriptionOptions { priority: priority.into(), ..Default::default() }
}

pub fn media_stream(byte: u8) -> MediaStream {
    MediaStream {
        stream_id: stream(byte),
        participant_id: ParticipantId::from_bytes([0; 16]),
        stream_type: StreamType::Audio,
        codec: "Opus".to_owned(),
        max_bitrate: 0,
        video: None,
        sample_rate: 0,
        channels: 0,
    }
}

/// Believes what it is told, and notices what cannot be.
#[derive(Debug, Default)]
pub struct Client {
    is_over: bool,
    pub participant_id: Option<ParticipantId>,
    last_request: u64,
    waits: BTreeSet<u64>,
    /// Others, and their media streams.
    pub sees: BTreeMap<ParticipantId, BTreeSet<StreamId>>,
    pub heard_up_to: u64,
    was_told_of_its_end: bool,
    /// Everything, in order.
    pub heard: Vec<ServerMessage>,
}

impl Client {
    pub fn is_open(&self) -> bool {
        !self.is_over
    }

    pub fn is_in(&self) -> bool {
        !self.is_over && self.participant_id.is_some()
    }

    pub fn waits_for(&self) -> usize {
        self.waits.len()
    }

    pub fn close(&mut self) {
        assert!(!self.is_over, "a session is closed once");
        self.is_over = true;
    }

    pub fn asks(&mut self) -> u64 {
        self.last_request += 1;
        self.waits.insert(self.last_request);
        self.last_request
    }

    pub fn hear(&mut self, message: &ServerMessage) {
        assert!(!self.is_over, "nothing is said after the close: {message:?}");
        assert!(!self.was_told_of_its_end, "nothing is said after the leave: {message:?}");
        if message.request_id != 0 {
            assert!(self.waits.remove(&message.request_id), "exactly one reply: {message:?}");
        }
        self.heard.push(message.clone());
        let own = self.participant_id;
        match &message.body {
            Message::Joined(answer) => {
                assert_eq!(own, None, "a session joins once");
                self.participant_id = Some(answer.participant_id);
                for participant in answer.participants.iter().filter(|it| it.participant_id != answer.participant_id) {
                    let streams = participant.streams.iter().map(|stream| stream.stream_id).collect();
                    assert_eq!(self.sees.insert(participant.participant_id, streams), None);
                }
                for chat in &answer.chat {
                    self.hear_chat(chat.sequence);
                }
            }
            Message::ParticipantJoined(participant) => {
                assert_ne!(own, Some(participant.participant_id));
                assert_eq!(self.sees.insert(participant.participant_id, BTreeSet::new()), None, "nobody comes twice");
            }
            Message::ParticipantLeft { participant_id, reason } if own == Some(*participant_id) => {
                assert!(matches!(reason, LeaveReason::Kicked | LeaveReason::MeetingEnded));
                self.was_told_of_its_end = true;
            }
            Message::ParticipantLeft { participant_id, .. } => {
                assert!(self.sees.remove(participant_id).is_some(), "who goes was there");
            }
            Message::StreamPublished(stream) => {
                let streams = self.sees.get_mut(&stream.participant_id).expect("its publisher is there");
                assert!(streams.insert(stream.stream_id), "nothing is published twice");
            }
            Message::StreamUnpublished { participant_id, stream_id } => {
                let streams = self.sees.get_mut(participant_id).expect("its publisher is there");
                assert!(streams.remove(stream_id), "what goes was there");
            }
            Message::Chat(chat) if message.request_id == 0 || chat.sequence > self.heard_up_to => self.hear_chat(chat.sequence),
            Message::Reconnect { .. } => assert!(own.is_some()),
            _ => {}
        }
    }

    fn hear_chat(&mut self, sequence: u64) {
        assert_eq!(sequence, self.heard_up_to + 1, "chat has no holes");
        self.heard_up_to = sequence;
    }
}

impl World {
    pub fn stamp(&mut self) -> Stamp {
        self.last_stamp += 1;
        let mut id = [0xee; 16];
        id[..8].copy_from_slice(&self.last_stamp.to_be_bytes());
        Stamp { unix_micros: self.now.as_micros(), id }
    }

    pub fn join(&mut self, token: u8, subject: u8, auto_subscribe: bool) {
        self.join_as(token, subject, None, auto_subscribe);
    }

    /// With a token that was given for a resume token of `resumes`.
    pub fn come_back(&mut self, token: u8, subject: u8, resumes: ParticipantId) {
        self.join_as(token, subject, Some(resumes), false);
    }

    fn join_as(&mut self, token: u8, subject: u8, resumes: Option<ParticipantId>, auto_subscribe: bool) {
        let grant = JoinGrant {
            token_id: token.to_string(),
            meeting_id: MeetingId::from_bytes([1; 16]),
            role: if subject == 0 { Role::Host } else { Role::Attendee },
            display_name: format!("Person {subject}"),
            subject: subject.to_string(),
            is_account: false,
            resumes,
            handlers: Vec::new(),
            expires_at: 0,
        };
        let until = self.now + Duration::from_secs(2);
        self.come(Credential::Grant(grant, until), auto_subscribe);
    }

    pub fn resume(&mut self, pick: u8) {
        // The newest tokens are the ones that may be good.
        let Some(at) = self.resume_tokens.len().checked_sub(1 + usize::from(pick % 6)) else { return };
        self.come(Credential::Resume(TokenHash(self.resume_tokens[at])), false);
    }

    fn come(&mut self, credential: Credential, auto_subscribe: bool) {
        self.last_session += 1;
        let session = SessionKey(self.last_session);
        let (mut client, stamp) = (Client::default(), self.stamp());
        let request_id = client.asks();
        self.clients.insert(session, client);
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&self.last_session.to_be_bytes());
        self.feed(Input::Join(Box::new(Join {
            session,
            request_id,
            credential,
            participant_name: String::new(),
            capabilities: Default::default(),
            auto_subscribe,
            chat_after_sequence: 0,
            e2ee_key_id: String::new(),
            resume_token: ResumeToken { text: String::new(), hash: TokenHash(hash) },
            stamp,
        })));
    }
}
