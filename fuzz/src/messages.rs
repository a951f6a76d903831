//! Protobuf: what clients say on signaling and media sessions, what nodes say to each other, and the frames of a WebSocket.

use std::io::{Read, Result, Write};

use bytes::Bytes;
use common_core::length_prefix::CLIENT_MESSAGE_BYTES_MAX;
use common_core::{NodeId, ParticipantId, StreamId};
use meeting_controller::seams::{Decoded, decode};
use prost::Message;
use proto::{cluster, convert, v1};
use tokio_tungstenite::tungstenite;
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};

/// A client's message decodes to something that encodes and decodes to itself, its conversion to words answers, and the codec takes or
/// refuses it by the same rules: bytes that are no message and other versions end the session, everything else is the request's fault.
pub fn client_message(data: &[u8]) {
    let wire = v1::ClientMessage::decode(data);
    let read = decode(Bytes::copy_from_slice(data));
    match wire {
        Ok(message) => {
            settles(&message);
            match read {
                Ok((request_id, decoded)) => {
                    assert_eq!((message.version, message.request_id), (proto::VERSION, request_id));
                    let is_join = matches!(message.body, Some(v1::client_message::Body::Join(_)));
                    assert_eq!(is_join, matches!(decoded, Decoded::Join(_)));
                }
                Err((request_id, _)) => assert!(message.version != proto::VERSION && request_id == message.request_id),
            }
            convert_to_words(message);
        }
        Err(_) => assert!(read.is_err_and(|(request_id, _)| request_id == 0)),
    }
}

/// The same for the control stream of a media session, whose ids are ids or nobody's.
pub fn media_message(data: &[u8]) {
    let Ok(message) = v1::MediaClientMessage::decode(data) else { return };
    settles(&message);
    if let Some(v1::media_client_message::Body::KeyFrame(wish)) = message.body
        && let Ok(id) = wish.stream_id.parse::<StreamId>()
    {
        assert_eq!(id.to_string(), wish.stream_id, "an id has one spelling");
    }
}

/// Encoded, decoded and encoded again gives the same bytes. (Bytes, because a NaN is not equal to itself.)
fn settles<M: Message + Default>(message: &M) {
    let once = message.encode_to_vec();
    let again = M::decode(&once[..]).map(|message| message.encode_to_vec());
    assert_eq!(again, Ok(once));
}

fn settled<M: Message + Default>(data: &[u8]) -> Option<M> {
    let message = M::decode(data).ok()?;
    settles(&message);
    Some(message)
}

fn convert_to_words(message: v1::ClientMessage) {
    match message.body {
        Some(v1::client_message::Body::Publish(publish)) => convert_stream(&publish.stream_id, publish.stream_type, publish.metadata),
        Some(v1::client_message::Body::Subscribe(subscribe)) => convert_options(subscribe.options),
        _ => {}
    }
}

/// What one node says to another is decoded like anything else, and no longer than it is; what is converted keeps its bounds.
pub fn cluster_message(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 12 {
        0 => drop(settled::<cluster::RegisterMeetingController>(data)),
        1 => drop(settled::<cluster::RegisterMediaHandler>(data)),
        2 => drop(settled::<cluster::Heartbeat>(data)),
        3 => drop(settled::<cluster::HeartbeatReply>(data)),
        4 => drop(settled::<cluster::AssignMeeting>(data)),
        5 => drop(settled::<cluster::KickFromMeeting>(data)),
        6 => drop(settled::<cluster::CheckResume>(data)),
        7 => drop(settled::<cluster::Revalidate>(data)),
        8 => {
            if let Some(register) = settled::<cluster::RegisterParticipant>(data) {
                register.streams.into_iter().for_each(|stream| convert_stream(&stream.stream_id, stream.stream_type, stream.metadata));
            }
        }
        9 => {
            for destination in settled::<cluster::RouteMediaCommand>(data).into_iter().flat_map(|route| route.destinations) {
                convert_options(destination.options);
            }
        }
        10 => drop(settled::<cluster::RemoveParticipant>(data)),
        _ => {
            if let Some(report) = settled::<cluster::ReportEvents>(data) {
                let controller: NodeId = "mc-1".parse().expect("a node id");
                let count = report.events.len();
                if let Ok((events, kicked)) = global_controller::seams::report(&controller, report.events) {
                    assert_eq!(events, count, "a report is taken whole or not at all");
                    assert!(kicked.len() <= count && kicked.iter().all(|(_, subject)| (1..=512).contains(&subject.len())));
                }
            }
        }
    }
}

fn convert_stream(stream_id: &str, stream_type: i32, metadata: Option<v1::StreamMetadata>) {
    let publisher = ParticipantId::from_bytes([1; 16]);
    if let Ok(stream) = convert::media_stream(publisher, stream_id, stream_type, metadata) {
        assert!(!stream.frame_ids().is_empty());
        let wire = v1::MediaStream::from(&stream);
        let again = convert::media_stream(publisher, &wire.stream_id, wire.stream_type, wire.metadata);
        assert_eq!(again, Ok(stream));
    }
}

fn convert_options(options: Option<v1::SubscriptionOptions>) {
    if let Ok(options) = convert::subscription_options(options) {
        assert_eq!(convert::subscription_options(Some((&options).into())), Ok(options));
    }
}

/// As the controller's `/ws` sets it: what the library refuses by itself.
const FRAME_BYTES_MAX: usize = 2 * CLIENT_MESSAGE_BYTES_MAX;

/// What a WebSocket says does not depend on how its bytes arrive (in pieces of `first byte + 1`), keeps the limit, and every binary message
/// is taken or refused by the codec.
pub fn websocket(data: &[u8]) {
    let Some((cut, wire)) = data.split_first() else { return };
    let whole = read_socket(wire, wire.len().max(1));
    assert_eq!(whole, read_socket(wire, usize::from(*cut) + 1));
    for message in whole.0 {
        assert!(message.len() <= FRAME_BYTES_MAX);
        let message = Bytes::from(message);
        assert_eq!(decode(message.clone()).is_ok(), v1::ClientMessage::decode(message).is_ok_and(|it| it.version == proto::VERSION));
    }
}

/// The binary messages up to the end, a close or the first error, and how many messages came in all.
fn read_socket(wire: &[u8], piece_bytes: usize) -> (Vec<Vec<u8>>, usize) {
    let config = WebSocketConfig::default().max_message_size(Some(FRAME_BYTES_MAX)).max_frame_size(Some(FRAME_BYTES_MAX));
    let mut socket = WebSocket::from_raw_socket(Socket { wire, piece_bytes }, Role::Server, Some(config));
    let (mut messages, mut count) = (Vec::new(), 0);
    while let Ok(message) = socket.read() {
        count += 1;
        if let tungstenite::Message::Binary(bytes) = message {
            messages.push(bytes.to_vec());
        }
    }
    (messages, count)
}

/// A socket whose other end has said all this and reads everything.
struct Socket<'a> {
    wire: &'a [u8],
    piece_bytes: usize,
}

impl Read for Socket<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        let count = self.wire.len().min(self.piece_bytes).min(into.len());
        let (now, later) = self.wire.split_at(count);
        into[..count].copy_from_slice(now);
        self.wire = later;
        Ok(count)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
