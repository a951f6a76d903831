//! From a server's messages to words. What a server gets wrong is an error with its field, never a panic.

use std::collections::BTreeMap;

use common_core::ParticipantId;
use common_core::media::MediaStream;
use proto::convert::{FieldError, id, media_stream};
use proto::v1;

use crate::event::Event;
use crate::roster::{Change, LeaveReason, Participant, STREAMS_MAX, StateUpdate};

/// Longest text of a server that is taken, in bytes: names have at most 64 characters, and nothing else is longer (DESIGN section 4).
const TEXT_BYTES_MAX: usize = 1_024;
/// Longest chat message that is taken, in bytes: four times what a controller accepts.
const CHAT_BYTES_MAX: usize = 16 * 1_024;
/// Largest payload from another participant that is taken, in bytes: twice what a controller accepts, less a little.
const RELAY_BYTES_MAX: usize = 64 * 1_024;
/// Longest URL or token of a server that is taken, in bytes.
const URL_BYTES_MAX: usize = 2 * 1_024;
/// Longest hash of a certificate that is taken, in bytes: SHA-256 has half of it.
const HASH_BYTES_MAX: usize = 64;
/// Hashes of certificates that are taken: the current and the next one of each node that an answer may lead to.
const HASHES_MAX: usize = 256;
/// Causes of drops that a report may name: three times as many as the contract has.
const CAUSES_MAX: usize = 24;
/// Details of a refusal that are given to the application.
const DETAILS_MAX: usize = 16;

/// Refuses what is longer than anything the contract allows: what is kept must be bounded, whoever sends it.
fn bounded(field: &'static str, length: usize, max: usize) -> Result<(), FieldError> {
    if length > max { Err(FieldError::new(field, "is longer than the contract allows")) } else { Ok(()) }
}

/// A participant. A media stream that makes no sense is left out with a line in the log: the others are worth having.
pub(crate) fn participant(participant: v1::Participant) -> Result<Participant, FieldError> {
    let participant_id: ParticipantId = id("participant_id", &participant.participant_id)?;
    for (field, text) in [("name", &participant.name), ("role", &participant.role), ("user_id", &participant.user_id)] {
        bounded(field, text.len(), TEXT_BYTES_MAX)?;
    }
    let streams = participant.streams.into_iter().take(STREAMS_MAX).filter_map(|stream| match stream_of(participant_id, stream) {
        Ok(stream) => Some((stream.stream_id, stream)),
        Err(error) => {
            tracing::warn!(%error, %participant_id, "a media stream of the roster is left out");
            None
        }
    });
    Ok(Participant {
        participant_id,
        name: participant.name,
        role: participant.role,
        user_id: participant.user_id,
        joined_at_ms: participant.joined_at,
        is_muted: participant.is_muted,
        is_video_on: participant.is_video_on,
        streams: streams.collect(),
    })
}

/// The participants of a snapshot; one that makes no sense is left out.
pub(crate) fn participants(all: Vec<v1::Participant>) -> Vec<Participant> {
    let sound = all
        .into_iter()
        .filter_map(|one| participant(one).inspect_err(|error| tracing::warn!(%error, "a participant of the roster is left out")).ok());
    sound.collect()
}

fn stream_of(participant_id: ParticipantId, stream: v1::MediaStream) -> Result<MediaStream, FieldError> {
    bounded("codec", stream.metadata.as_ref().map_or(0, |metadata| metadata.codec.len()), TEXT_BYTES_MAX)?;
    media_stream(participant_id, &stream.stream_id, stream.stream_type, stream.metadata)
}

/// The answer to a join, whose every part is kept: cut to what the contract allows where less of it serves, refused where not.
pub(crate) fn join_response(response: v1::JoinResponse) -> Result<v1::JoinResponse, FieldError> {
    bounded("resume_token", response.resume_token.len(), URL_BYTES_MAX)?;
    let mut alternates = response.alternate_controller_urls;
    alternates.retain(|url| url.len() <= URL_BYTES_MAX);
    let meeting = response.meeting.map(|meeting| v1::MeetingInfo { display_name: cut(meeting.display_name), ..meeting });
    let media_server = response.media_server.map(media_server).transpose()?;
    Ok(v1::JoinResponse { alternate_controller_urls: alternates, meeting, media_server, ..response })
}

/// A handler and the token for it.
pub(crate) fn media_server(info: v1::MediaServerInfo) -> Result<v1::MediaServerInfo, FieldError> {
    for (field, text) in [("media_handler_url", &info.media_handler_url), ("connection_token", &info.connection_token)] {
        bounded(field, text.len(), URL_BYTES_MAX)?;
    }
    hashes(&info.certificate_hashes)?;
    Ok(info)
}

fn hashes(hashes: &[bytes::Bytes]) -> Result<(), FieldError> {
    bounded("certificate_hashes", hashes.len(), HASHES_MAX)?;
    bounded("certificate_hashes", hashes.iter().map(bytes::Bytes::len).max().unwrap_or_default(), HASH_BYTES_MAX)
}

fn reconnect(reconnect: v1::Reconnect) -> Result<v1::Reconnect, FieldError> {
    bounded("meeting_controller_url", reconnect.meeting_controller_url.len(), URL_BYTES_MAX)?;
    hashes(&reconnect.certificate_hashes)?;
    let media_server = reconnect.media_server.map(media_server).transpose()?;
    Ok(v1::Reconnect { media_server, ..reconnect })
}

/// A chat message, as an event or as the answer to what was said.
pub(crate) fn chat(chat: v1::ChatMessage) -> Result<v1::ChatMessage, FieldError> {
    bounded("content", chat.content.len(), CHAT_BYTES_MAX)?;
    for (field, text) in
        [("sender_id", &chat.sender_id), ("sender_name", &chat.sender_name), ("client_message_id", &chat.client_message_id)]
    {
        bounded(field, text.len(), TEXT_BYTES_MAX)?;
    }
    Ok(chat)
}

/// A handler's words about a media stream: the newest of each is kept.
pub(crate) fn report(report: v1::SubscriptionReport) -> v1::SubscriptionReport {
    let dropped = report.dropped.into_iter().filter(|(cause, _)| cause.len() <= TEXT_BYTES_MAX).take(CAUSES_MAX).collect();
    v1::SubscriptionReport {
        dropped,
        stream_id: cut(report.stream_id),
        wanted_layer: cut(report.wanted_layer),
        allowed_layer: cut(report.allowed_layer),
        forwarded_layer: cut(report.forwarded_layer),
        limiter: cut(report.limiter),
        last_change: cut(report.last_change),
        ..report
    }
}

/// What a refusal says besides its words.
pub(crate) fn details(details: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let fits = |(name, text): &(String, String)| name.len() <= TEXT_BYTES_MAX && text.len() <= TEXT_BYTES_MAX;
    details.into_iter().filter(fits).take(DETAILS_MAX).collect()
}

/// As much of a text as is taken.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

/// What an unasked message (or a reply that tells everybody) means.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    /// For the roster.
    Change(Change),
    /// For the application as it is.
    Event(Event),
    /// To be sorted by sequence.
    Chat(v1::ChatMessage),
    /// Go elsewhere.
    Reconnect(v1::Reconnect),
    /// Media goes elsewhere.
    MediaServer(v1::MediaServerInfo),
    /// A sign of life.
    Pong(v1::Pong),
    /// An error that answers no request.
    Error(v1::ErrorMessage),
    /// Of a later version, or an answer that nobody waits for.
    Nothing,
}

/// Sorts a message by what it is about.
pub(crate) fn heard(body: v1::server_message::Body) -> Result<Heard, FieldError> {
    use v1::server_message::Body;
    Ok(match body {
        Body::ParticipantJoined(joined) => {
            let joined = joined.participant.ok_or_else(|| FieldError::new("participant", "is missing"))?;
            Heard::Change(Change::Joined(participant(joined)?))
        }
        Body::ParticipantLeft(left) => {
            let reason = match left.reason() {
                v1::LeaveReason::Voluntary => LeaveReason::Voluntary,
                v1::LeaveReason::Kicked => LeaveReason::Kicked,
                v1::LeaveReason::ConnectionLost => LeaveReason::ConnectionLost,
                v1::LeaveReason::MeetingEnded => LeaveReason::MeetingEnded,
            };
            Heard::Change(Change::Left { participant_id: id("participant_id", &left.participant_id)?, reason })
        }
        Body::StreamPublished(published) => {
            let stream = published.stream.ok_or_else(|| FieldError::new("stream", "is missing"))?;
            Heard::Change(Change::Published(stream_of(id("participant_id", &published.participant_id)?, stream)?))
        }
        Body::StreamUnpublished(unpublished) => Heard::Change(Change::Unpublished {
            participant_id: id("participant_id", &unpublished.participant_id)?,
            stream_id: id("stream_id", &unpublished.stream_id)?,
        }),
        Body::State(state) => Heard::Change(Change::State {
            participant_id: id("participant_id", &state.participant_id)?,
            update: StateUpdate { is_muted: state.is_muted, is_video_on: state.is_video_on, audio_level: state.audio_level },
        }),
        Body::Quality(quality) => Heard::Event(Event::Quality {
            stream_id: id("stream_id", &quality.stream_id)?,
            available_bitrate: quality.available_bitrate,
            packet_loss: quality.packet_loss,
            rtt_ms: quality.rtt_ms,
        }),
        Body::Relay(relay) => {
            bounded("kind", relay.kind.len(), TEXT_BYTES_MAX)?;
            bounded("payload", relay.payload.len(), RELAY_BYTES_MAX)?;
            Heard::Event(Event::Relay { source: id("source_id", &relay.source_id)?, kind: relay.kind, payload: relay.payload })
        }
        Body::MuteRequest(request) => {
            bounded("reason", request.reason.len(), TEXT_BYTES_MAX)?;
            Heard::Event(Event::MuteRequested { microphone: request.microphone, camera: request.camera, reason: request.reason })
        }
        Body::Chat(said) => Heard::Chat(chat(said)?),
        Body::Reconnect(elsewhere) => Heard::Reconnect(reconnect(elsewhere)?),
        Body::MediaServer(info) => Heard::MediaServer(media_server(info)?),
        Body::Pong(pong) => Heard::Pong(pong),
        Body::Error(error) => Heard::Error(error),
        Body::Join(_) | Body::Ack(_) => Heard::Nothing,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    proptest! {
        /// Whatever a server sends, the client lives.
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            if let Ok(message) = v1::ServerMessage::decode(bytes.as_slice())
                && let Some(body) = message.body
            {
                let _ = heard(body);
            }
        }
    }

    /// Everything that is kept of a server's words has a bound, whatever the message's own is.
    #[test]
    fn what_is_kept_is_bounded() {
        let long = "ä".repeat(1_000_000);
        let url = || v1::MediaServerInfo { media_handler_url: long.clone(), ..Default::default() };
        let joined = join_response(v1::JoinResponse {
            alternate_controller_urls: vec![long.clone(), "https://b/wt".into()],
            meeting: Some(v1::MeetingInfo { display_name: long.clone(), ..Default::default() }),
            ..Default::default()
        });
        let joined = joined.expect("less of it serves");
        assert_eq!(joined.alternate_controller_urls, ["https://b/wt"]);
        assert_eq!(joined.meeting.map(|meeting| meeting.display_name.len()), Some(TEXT_BYTES_MAX));
        assert!(join_response(v1::JoinResponse { resume_token: long.clone(), ..Default::default() }).is_err());
        assert!(join_response(v1::JoinResponse { media_server: Some(url()), ..Default::default() }).is_err());
        assert!(chat(v1::ChatMessage { content: long.clone(), ..Default::default() }).is_err());
        assert!(chat(v1::ChatMessage { sender_name: long.clone(), ..Default::default() }).is_err());
        use v1::server_message::Body;
        for body in [
            Body::MediaServer(url()),
            Body::MediaServer(v1::MediaServerInfo { certificate_hashes: vec![Default::default(); 10_000], ..Default::default() }),
            Body::Reconnect(v1::Reconnect { meeting_controller_url: long.clone(), ..Default::default() }),
            Body::Reconnect(v1::Reconnect { certificate_hashes: vec![vec![0; 10_000].into()], ..Default::default() }),
            Body::Reconnect(v1::Reconnect { media_server: Some(url()), ..Default::default() }),
            Body::MuteRequest(v1::MuteRequest { reason: long.clone(), ..Default::default() }),
            Body::Relay(v1::RelayMessage { kind: long.clone(), ..Default::default() }),
        ] {
            assert!(heard(body).is_err());
        }
        let dropped = (0..1_000).map(|number| (number.to_string(), 1)).chain([(long.clone(), 1)]).collect();
        let told = report(v1::SubscriptionReport { last_change: long.clone(), limiter: long.clone(), dropped, ..Default::default() });
        assert_eq!((told.last_change.len(), told.limiter.len(), told.dropped.len()), (TEXT_BYTES_MAX, TEXT_BYTES_MAX, CAUSES_MAX));
        let all = (0..1_000).map(|number| (number.to_string(), String::new())).chain([(String::new(), long.clone())]);
        assert_eq!(details(all).len(), DETAILS_MAX);
    }

    #[test]
    fn a_bad_media_stream_does_not_hide_its_participant() {
        let good = v1::MediaStream {
            stream_id: "550e8400-e29b-41d4-a716-446655440000".into(),
            stream_type: v1::StreamType::Audio.into(),
            metadata: Some(v1::StreamMetadata { codec: "Opus".into(), ..Default::default() }),
            ..Default::default()
        };
        let bad = v1::MediaStream { stream_id: "nonsense".into(), ..good.clone() };
        let wire = v1::Participant {
            participant_id: "550e8400-e29b-41d4-a716-446655440001".into(),
            streams: vec![bad, good],
            ..Default::default()
        };
        assert_eq!(participant(wire.clone()).map(|it| it.streams.len()), Ok(1));
        assert_eq!(participants(vec![v1::Participant::default(), wire]).len(), 1);
    }
}
