//! The protobuf dialect: signaling.proto to the meeting's words and back.
//!
//! In: bytes of one message. Out: what it asks for, or what is wrong with it. A field that is wrong is the request's fault and
//! gets its reply; bytes that are no message, or of another version, are the session's fault and end it.

use bytes::Bytes;
use common::Secret;
use common_core::authority::Denied;
use common_core::{Code, MeetingId};
use meeting_controller_core::message::{
    Capabilities, JoinAnswer, LeaveReason, MediaServer, Message, Participant, Refusal, Request, ServerMessage, StateChange, StreamQuality,
};
use meeting_controller_core::{Attendance, Settings};
use prost::Message as _;
use proto::convert::{self, FieldError};
use proto::{cluster, v1};

/// Longest URL that a client names, in bytes.
const URL_BYTES_MAX: usize = 2048;

/// One message of a client.
#[derive(Debug)]
pub(crate) struct ClientMessage {
    /// Echoed by the reply.
    pub request_id: u64,
    /// What it asks for.
    pub body: Body,
}

/// What a client asks for.
#[derive(Debug)]
pub(crate) enum Body {
    /// To be let in.
    Join(Result<Box<JoinWish>, Refusal>),
    /// Something else.
    Request(Request),
}

/// A join request before its token is verified.
#[derive(Debug)]
pub(crate) struct JoinWish {
    pub meeting_id: MeetingId,
    pub join_token: Secret,
    pub resume_token: Secret,
    pub participant_name: String,
    pub capabilities: Capabilities,
    pub auto_subscribe: bool,
    pub chat_after_sequence: u64,
    pub e2ee_key_id: String,
}

/// Decodes one message. An error ends the session, after it was told; the number is the request's id, 0 if not known.
pub(crate) fn decode(bytes: Bytes) -> Result<ClientMessage, (u64, Refusal)> {
    let message = v1::ClientMessage::decode(bytes)
        .map_err(|_| (0, Refusal::new(Code::InvalidRequest, "the bytes are no ClientMessage of signaling.proto")))?;
    if message.version != proto::VERSION {
        let text = format!("version {} is not spoken here", message.version);
        return Err((message.request_id, Refusal::new(Code::InvalidRequest, text).with("supported", proto::VERSION.to_string())));
    }
    use v1::client_message::Body as Wire;
    let request = match message.body {
        Some(Wire::Join(join)) => {
            let wish = join_wish(join).map(Box::new).map_err(refusal);
            return Ok(ClientMessage { request_id: message.request_id, body: Body::Join(wish) });
        }
        Some(body) => request(body).unwrap_or_else(|error| Request::Invalid(refusal(error))),
        None => Request::Invalid(Refusal::new(Code::InvalidRequest, "the message has no body that is known here")),
    };
    Ok(ClientMessage { request_id: message.request_id, body: Body::Request(request) })
}

fn refusal(error: FieldError) -> Refusal {
    Refusal::field(error.field, error.problem)
}

fn join_wish(join: v1::JoinRequest) -> Result<JoinWish, FieldError> {
    let capabilities = join.capabilities.unwrap_or_default();
    Ok(JoinWish {
        meeting_id: convert::id("meeting_id", &join.meeting_id)?,
        join_token: Secret::new(join.join_token),
        resume_token: Secret::new(join.resume_token),
        participant_name: join.participant_name,
        capabilities: Capabilities {
            video_codecs: capabilities.video_codecs,
            audio_codecs: capabilities.audio_codecs,
            supports_simulcast: capabilities.supports_simulcast,
            max_video_streams: capabilities.max_video_streams,
        },
        auto_subscribe: join.auto_subscribe,
        chat_after_sequence: join.chat_after_sequence,
        e2ee_key_id: join.e2ee_key_id,
    })
}

fn request(body: v1::client_message::Body) -> Result<Request, FieldError> {
    use v1::client_message::Body as Wire;
    // The meeting fills in who publishes.
    let nobody = common_core::ParticipantId::from_bytes([0; 16]);
    Ok(match body {
        Wire::Join(_) => Request::Invalid(Denied::JOINED_ALREADY.into()),
        Wire::Publish(it) => Request::Publish(convert::media_stream(nobody, &it.stream_id, it.stream_type, it.metadata)?),
        Wire::Unpublish(it) => Request::Unpublish(convert::id("stream_id", &it.stream_id)?),
        Wire::Subscribe(it) => Request::Subscribe(convert::id("stream_id", &it.stream_id)?, convert::subscription_options(it.options)?),
        Wire::Unsubscribe(it) => Request::Unsubscribe(convert::id("stream_id", &it.stream_id)?),
        Wire::Quality(it) => Request::Quality(stream_quality(&it)?),
        Wire::Chat(it) => Request::Chat { client_message_id: it.client_message_id, content: it.content },
        Wire::State(it) => Request::State(StateChange { is_muted: it.is_muted, is_video_on: it.is_video_on, audio_level: it.audio_level }),
        Wire::Leave(_) => Request::Leave,
        Wire::Ping(it) => Request::Ping { sent_at_us: it.sent_at_us },
        Wire::Kick(it) => Request::Kick(convert::id("participant_id", &it.participant_id)?),
        Wire::Relay(it) => Request::Relay { target: convert::id("target_id", &it.target_id)?, kind: it.kind, payload: it.payload },
        Wire::MediaServer(it) if it.failed_url.len() > URL_BYTES_MAX => {
            return Err(FieldError::new("failed_url", format!("at most {URL_BYTES_MAX} bytes")));
        }
        Wire::MediaServer(it) => Request::MediaServer { failed_url: it.failed_url },
    })
}

fn stream_quality(it: &v1::StreamQualityUpdate) -> Result<StreamQuality, FieldError> {
    if !(0.0..=1.0).contains(&it.packet_loss) {
        return Err(FieldError::new("packet_loss", "a number from 0 to 1 is needed"));
    }
    Ok(StreamQuality {
        stream_id: convert::id("stream_id", &it.stream_id)?,
        available_bitrate: it.available_bitrate,
        packet_loss: it.packet_loss,
        rtt_ms: it.rtt_ms,
    })
}

/// Encodes one message to a client.
pub(crate) fn encode(message: &ServerMessage) -> Bytes {
    wire(message.request_id, body(&message.body))
}

/// The pong that nobody asked for.
pub(crate) fn unasked_pong(unix_micros: u64) -> Bytes {
    wire(0, v1::server_message::Body::Pong(v1::Pong { sent_at_us: 0, received_at_us: unix_micros }))
}

/// An error, as it stands before the end of a session.
pub(crate) fn error(request_id: u64, refusal: &Refusal) -> Bytes {
    wire(request_id, v1::server_message::Body::Error(error_message(refusal)))
}

fn wire(request_id: u64, body: v1::server_message::Body) -> Bytes {
    v1::ServerMessage { version: proto::VERSION, request_id, body: Some(body) }.encode_to_vec().into()
}

fn body(message: &Message) -> v1::server_message::Body {
    use v1::server_message::Body as Wire;
    match message {
        Message::Joined(answer) => Wire::Join(join_response(answer)),
        Message::ParticipantJoined(it) => Wire::ParticipantJoined(v1::ParticipantJoined { participant: Some(participant(it)) }),
        Message::ParticipantLeft { participant_id, reason } => {
            Wire::ParticipantLeft(v1::ParticipantLeft { participant_id: participant_id.to_string(), reason: leave_reason(*reason).into() })
        }
        Message::StreamPublished(it) => {
            Wire::StreamPublished(v1::StreamPublished { participant_id: it.participant_id.to_string(), stream: Some(it.into()) })
        }
        Message::StreamUnpublished { participant_id, stream_id } => {
            Wire::StreamUnpublished(v1::StreamUnpublished { participant_id: participant_id.to_string(), stream_id: stream_id.to_string() })
        }
        Message::Quality(it) => Wire::Quality(v1::StreamQualityUpdate {
            stream_id: it.stream_id.to_string(),
            available_bitrate: it.available_bitrate,
            packet_loss: it.packet_loss,
            rtt_ms: it.rtt_ms,
        }),
        Message::Chat(it) => Wire::Chat(chat(it)),
        Message::State { participant_id, change } => Wire::State(v1::StateChanged {
            participant_id: participant_id.to_string(),
            is_muted: change.is_muted,
            is_video_on: change.is_video_on,
            audio_level: change.audio_level,
        }),
        Message::Ack => Wire::Ack(v1::Ack {}),
        Message::Pong { sent_at_us, received_at_us } => Wire::Pong(v1::Pong { sent_at_us: *sent_at_us, received_at_us: *received_at_us }),
        Message::Error(refusal) => Wire::Error(error_message(refusal)),
        Message::Relay { target, source, kind, payload } => Wire::Relay(v1::RelayMessage {
            target_id: target.to_string(),
            source_id: source.to_string(),
            kind: kind.clone(),
            payload: payload.clone(),
        }),
        Message::Reconnect { media_server, reason } => Wire::Reconnect(v1::Reconnect {
            media_server: Some(media_server_info(media_server)),
            reason: reason.clone(),
            ..Default::default()
        }),
        Message::MediaServer(it) => Wire::MediaServer(media_server_info(it)),
        Message::MuteRequest(it) => {
            Wire::MuteRequest(v1::MuteRequest { microphone: it.microphone, camera: it.camera, reason: it.reason.clone() })
        }
    }
}

/// A participant as one node tells another.
pub(crate) fn meeting_participant(it: &Attendance) -> cluster::MeetingParticipant {
    cluster::MeetingParticipant { participant: Some(participant(&it.participant)), subject: it.subject.clone(), connected: it.is_connected }
}

/// How often a client hears from the server at least.
const HEARTBEAT_INTERVAL_MS: u32 = 1000;

fn join_response(answer: &JoinAnswer) -> v1::JoinResponse {
    v1::JoinResponse {
        participant_id: answer.participant_id.to_string(),
        existing_participants: answer.participants.iter().map(participant).collect(),
        media_server: answer.media_server.as_ref().map(media_server_info),
        encryption_keys: answer.e2ee_key_id.as_ref().map(|key_id| v1::EncryptionKeys { public_key: Bytes::new(), key_id: key_id.clone() }),
        resume_token: answer.resume_token.text.clone(),
        heartbeat_interval_ms: HEARTBEAT_INTERVAL_MS,
        chat: answer.chat.iter().map(|it| chat(it)).collect(),
        alternate_controller_urls: Vec::new(),
        subscriptions: answer.subscriptions.iter().map(ToString::to_string).collect(),
        meeting: Some(meeting_info(&answer.meeting)),
    }
}

fn meeting_info(it: &Settings) -> v1::MeetingInfo {
    v1::MeetingInfo {
        display_name: it.display_name.clone(),
        max_participants: u32::try_from(it.participants_max).unwrap_or(u32::MAX),
        enable_e2e_encryption: it.is_end_to_end_encrypted,
        recording_enabled: it.may_be_recorded,
    }
}

fn participant(it: &Participant) -> v1::Participant {
    v1::Participant {
        participant_id: it.participant_id.to_string(),
        name: it.name.clone(),
        streams: it.streams.iter().map(Into::into).collect(),
        joined_at: it.joined_at_ms,
        is_muted: it.is_muted,
        is_video_on: it.is_video_on,
        role: it.role.as_str().to_owned(),
        user_id: it.user_id.clone(),
        capabilities: Some(v1::ParticipantCapabilities {
            video_codecs: it.capabilities.video_codecs.clone(),
            audio_codecs: it.capabilities.audio_codecs.clone(),
            supports_simulcast: it.capabilities.supports_simulcast,
            max_video_streams: it.capabilities.max_video_streams,
        }),
    }
}

fn media_server_info(it: &MediaServer) -> v1::MediaServerInfo {
    v1::MediaServerInfo {
        media_handler_url: it.url.clone(),
        connection_token: it.connection_token.clone(),
        certificate_hashes: it.certificate_hashes.clone(),
        fallback_url: it.fallback_url.clone(),
    }
}

fn chat(it: &meeting_controller_core::message::ChatMessage) -> v1::ChatMessage {
    v1::ChatMessage {
        message_id: it.message_id.to_string(),
        sender_id: it.sender_id.to_string(),
        content: it.content.clone(),
        sent_at_ms: it.sent_at_ms,
        sequence: it.sequence,
        sender_name: it.sender_name.clone(),
        client_message_id: it.client_message_id.clone(),
    }
}

/// As one node tells another.
pub(crate) fn leave_reason(reason: LeaveReason) -> v1::LeaveReason {
    match reason {
        LeaveReason::Voluntary => v1::LeaveReason::Voluntary,
        LeaveReason::Kicked => v1::LeaveReason::Kicked,
        LeaveReason::ConnectionLost => v1::LeaveReason::ConnectionLost,
        LeaveReason::MeetingEnded => v1::LeaveReason::MeetingEnded,
    }
}

fn error_message(refusal: &Refusal) -> v1::ErrorMessage {
    let mut message = convert::error_message(refusal.code, refusal.message.clone());
    message.details = refusal.details.clone().into_iter().collect();
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(version: u32, body: Option<v1::client_message::Body>) -> Bytes {
        v1::ClientMessage { version, request_id: 7, body }.encode_to_vec().into()
    }

    #[test]
    fn another_version_is_told_what_is_supported() {
        let (request_id, refusal) = decode(encoded(2, None)).expect_err("version 2");
        assert_eq!((request_id, refusal.code, refusal.details["supported"].as_str()), (7, Code::InvalidRequest, "1"));
        assert_eq!(decode(Bytes::from_static(&[0xff; 8])).expect_err("no protobuf").0, 0);
    }

    #[test]
    fn wrong_fields_are_the_requests_fault() {
        let check =
            |body: Option<v1::client_message::Body>, field: Option<&str>| match decode(encoded(1, body)).expect("the session lives").body {
                Body::Request(Request::Invalid(refusal)) => {
                    assert_eq!((refusal.code, refusal.details.get("field").map(String::as_str)), (Code::InvalidRequest, field));
                }
                other => panic!("{other:?}"),
            };
        use v1::client_message::Body as Wire;
        check(None, None);
        check(Some(Wire::Unpublish(v1::UnpublishStream { stream_id: "x".into() })), Some("stream_id"));
        check(Some(Wire::Kick(v1::KickParticipant { participant_id: String::new() })), Some("participant_id"));
        check(Some(Wire::Quality(v1::StreamQualityUpdate { packet_loss: f32::NAN, ..Default::default() })), Some("packet_loss"));
    }
}
