//! What clients and a meeting say to each other, in words: the bodies of signaling.proto without its encoding.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use common_core::authority::{Action, Actor, Denied, Relation, permit};
use common_core::grant::Role;
use common_core::id::MessageId;
use common_core::media::{MediaStream, SubscriptionOptions};
use common_core::{Code, ParticipantId, StreamId};
use thiserror::Error;

use crate::input::Settings;

/// One connection of a participant; the shell hands out each number once in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(pub u64);

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Why a request is not done: what the client is told. Never holds a token.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The contract's number.
    pub code: Code,
    /// For people.
    pub message: String,
    /// For programs: the field at fault, what is supported.
    pub details: BTreeMap<String, String>,
}

impl Refusal {
    /// Without details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: BTreeMap::new() }
    }

    /// With one more detail.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// `INVALID_REQUEST` that names the field.
    pub fn field(field: &str, problem: impl fmt::Display) -> Self {
        Self::new(Code::InvalidRequest, format!("{field}: {problem}")).with("field", field)
    }
}

/// What a client asks for after its join.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// The meeting fills in the publisher.
    Publish(MediaStream),
    /// By the id of the media stream.
    Unpublish(StreamId),
    /// A new subscription, or new options for one that stands.
    Subscribe(StreamId, SubscriptionOptions),
    /// By the id of the media stream.
    Unsubscribe(StreamId),
    /// What this participant sees of a media stream that it subscribes to or publishes.
    Quality(StreamQuality),
    /// Answered by the [`Message::Chat`] itself.
    Chat {
        /// Of the client's making; empty: repeats are not recognised.
        client_message_id: String,
        /// 1 byte to 4 KiB.
        content: String,
    },
    /// What is `None` stays.
    State(StateChange),
    /// For good.
    Leave,
    /// Answered by [`Message::Pong`].
    Ping {
        /// The client's clock, handed back.
        sent_at_us: u64,
    },
    /// By a host.
    Kick(ParticipantId),
    /// To one participant.
    Relay {
        /// To whom.
        target: ParticipantId,
        /// "offer", "answer", "ice" or the application's own.
        kind: String,
        /// At most 48 KiB, never looked into.
        payload: Bytes,
    },
    /// A fresh connection token.
    MediaServer {
        /// Not this one again, if another will do; empty: any.
        failed_url: String,
    },
    /// What the codec could not turn into one of the above, and why.
    Invalid(Refusal),
}

impl Request {
    /// What it asks for; `None`: nothing that is known here. A request that is added says here what it does, or does not compile.
    pub const fn action(&self) -> Option<Action> {
        Some(match self {
            Request::Publish(_) => Action::Publish,
            Request::Unpublish(_) => Action::Unpublish,
            Request::Subscribe(..) => Action::Subscribe,
            Request::Unsubscribe(_) => Action::Unsubscribe,
            Request::Quality(_) => Action::ReportQuality,
            Request::Chat { .. } => Action::Chat,
            Request::State(_) => Action::ChangeState,
            Request::Leave => Action::Leave,
            Request::Ping { .. } => Action::Ping,
            Request::Kick(_) => Action::Kick,
            Request::Relay { .. } => Action::Relay,
            Request::MediaServer { .. } => Action::RequestMediaServer,
            Request::Invalid(_) => return None,
        })
    }

    /// What a session hears that nobody has joined on. What is wrong in itself is told like any other request.
    pub fn denied_to_strangers(&self) -> Denied {
        let denied = self.action().and_then(|action| permit(Actor::Stranger, action, Relation::OtherMeeting).err());
        denied.unwrap_or(Denied::NOT_JOINED)
    }

    /// The request's name, for metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Request::Publish(_) => "publish",
            Request::Unpublish(_) => "unpublish",
            Request::Subscribe(..) => "subscribe",
            Request::Unsubscribe(_) => "unsubscribe",
            Request::Quality(_) => "quality",
            Request::Chat { .. } => "chat",
            Request::State(_) => "state",
            Request::Leave => "leave",
            Request::Ping { .. } => "ping",
            Request::Kick(_) => "kick",
            Request::Relay { .. } => "relay",
            Request::MediaServer { .. } => "media_server",
            Request::Invalid(_) => "invalid",
        }
    }
}

/// One message to a client.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerMessage {
    /// Of the request it answers; 0: unasked.
    pub request_id: u64,
    /// What it says.
    pub body: Message,
}

/// What a meeting says.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// The join, or resume, succeeded.
    Joined(Box<JoinAnswer>),
    /// Somebody came.
    ParticipantJoined(Participant),
    /// Somebody, or the addressee, is gone.
    ParticipantLeft {
        /// Who.
        participant_id: ParticipantId,
        /// Why.
        reason: LeaveReason,
    },
    /// Its publisher is in it.
    StreamPublished(MediaStream),
    /// A media stream is gone.
    StreamUnpublished {
        /// Whose.
        participant_id: ParticipantId,
        /// Which.
        stream_id: StreamId,
    },
    /// How a media stream fares.
    Quality(StreamQuality),
    /// Shared by everyone it goes to.
    Chat(Arc<ChatMessage>),
    /// What changed with somebody.
    State {
        /// With whom.
        participant_id: ParticipantId,
        /// What.
        change: StateChange,
    },
    /// Done.
    Ack,
    /// Answers a ping.
    Pong {
        /// As in the ping.
        sent_at_us: u64,
        /// The controller's clock.
        received_at_us: u64,
    },
    /// Not done.
    Error(Refusal),
    /// From one participant.
    Relay {
        /// The addressee.
        target: ParticipantId,
        /// Whose.
        source: ParticipantId,
        /// As sent.
        kind: String,
        /// As sent.
        payload: Bytes,
    },
    /// The media session must be dialled anew.
    Reconnect {
        /// Where to.
        media_server: MediaServer,
        /// Why, for people.
        reason: String,
    },
    /// Answers a request for a media server.
    MediaServer(MediaServer),
    /// Somebody who may asks the addressee to turn things off.
    MuteRequest(MuteWish),
}

/// What a successful join hands out.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinAnswer {
    /// The addressee.
    pub participant_id: ParticipantId,
    /// In the order of their joins; after a resume the addressee is first.
    pub participants: Vec<Participant>,
    /// `None` only after a resume while no handler answers: the media session stays as it is.
    pub media_server: Option<MediaServer>,
    /// Of the secret that the first participant held.
    pub e2ee_key_id: Option<String>,
    /// Good once, for this participant.
    pub resume_token: crate::ResumeToken,
    /// Oldest first.
    pub chat: Vec<Arc<ChatMessage>>,
    /// After a resume: media streams still subscribed.
    pub subscriptions: Vec<StreamId>,
    /// What the meeting was created with.
    pub meeting: Settings,
}

/// A participant as others see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Participant {
    /// Kept across resumes.
    pub participant_id: ParticipantId,
    /// As others read it.
    pub name: String,
    /// In the order of publication.
    pub streams: Vec<MediaStream>,
    /// Milliseconds since the epoch.
    pub joined_at_ms: u64,
    /// As last stated; false at first.
    pub is_muted: bool,
    /// As last stated; false at first.
    pub is_video_on: bool,
    /// What it may do.
    pub role: Role,
    /// The account; empty for a guest.
    pub user_id: String,
    /// As stated in the join.
    pub capabilities: Capabilities,
}

/// What a participant's device can decode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Names as in the contract.
    pub video_codecs: Vec<String>,
    /// Names as in the contract.
    pub audio_codecs: Vec<String>,
    /// Whether it can publish layers.
    pub supports_simulcast: bool,
    /// 0: no limit.
    pub max_video_streams: u32,
}

/// Where media goes, and the key to the door.
#[derive(Clone, PartialEq, Eq)]
pub struct MediaServer {
    /// `https://…/media`.
    pub url: String,
    /// Good once.
    pub connection_token: String,
    /// SHA-256; empty under a public authority.
    pub certificate_hashes: Vec<Bytes>,
    /// Empty: none.
    pub fallback_url: String,
}

impl fmt::Debug for MediaServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MediaServer").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Why somebody left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaveReason {
    /// Of its own will.
    Voluntary,
    /// Removed by a host.
    Kicked,
    /// Not back within the reconnection window.
    ConnectionLost,
    /// With everyone.
    MeetingEnded,
}

impl LeaveReason {
    /// For logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            LeaveReason::Voluntary => "voluntary",
            LeaveReason::Kicked => "kicked",
            LeaveReason::ConnectionLost => "connection_lost",
            LeaveReason::MeetingEnded => "meeting_ended",
        }
    }
}

/// What a participant is asked to turn off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MuteWish {
    /// The microphone.
    pub microphone: bool,
    /// The camera.
    pub camera: bool,
    /// For people; may be empty.
    pub reason: String,
}

/// How a media stream fares on one connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StreamQuality {
    /// The media stream.
    pub stream_id: StreamId,
    /// Bits per second; 0: not known.
    pub available_bitrate: u32,
    /// 0 to 1.
    pub packet_loss: f32,
    /// Of the connection that carries it.
    pub rtt_ms: u32,
}

/// One line of chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatMessage {
    /// Random.
    pub message_id: MessageId,
    /// Who said it.
    pub sender_id: ParticipantId,
    /// What was said.
    pub content: String,
    /// Milliseconds since the epoch.
    pub sent_at_ms: u64,
    /// 1, 2, 3 … in the meeting.
    pub sequence: u64,
    /// The sender's name then.
    pub sender_name: String,
    /// As sent.
    pub client_message_id: String,
}

/// What changes with a participant; `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StateChange {
    /// The microphone is off.
    pub is_muted: Option<bool>,
    /// The camera is on.
    pub is_video_on: Option<bool>,
    /// 0 to 1; passed on, never stored.
    pub audio_level: Option<f32>,
}
