//! What every decoder of hostile bytes must hold, as one function per decoder.
//!
//! In: any bytes. Out: nothing; a broken promise is a panic. `make fuzz` feeds these functions with libFuzzer, and
//! `tests/replay` with the committed corpus, so that what a fuzzer once found stays found on any toolchain.

#![warn(missing_docs)]

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use common::token::{TokenSigner, TokenVerifier};
use common_core::frame::PAYLOAD_BYTES_MAX;
use common_core::frame_reader::{FrameEvent, FrameReader};
use common_core::length_prefix::{LENGTH_BYTES, LengthError, LengthPrefixed};
use common_core::{FrameHeader, FrameHeaderError, ParticipantId};
use prost::Message;
use proto::{convert, v1};

/// A target's name and what it does with bytes; the name is also that of its corpus folder and its fuzzer.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 5] = [
    ("frame_header", frame_header),
    ("frame_reader", frame_reader),
    ("length_prefix", length_prefix),
    ("client_message", client_message),
    ("token", token),
];

/// A header that decodes stands in the bytes exactly as it encodes.
pub fn frame_header(data: &[u8]) {
    match FrameHeader::decode(data, PAYLOAD_BYTES_MAX) {
        Ok(header) => {
            assert_eq!(header.encode()[..], data[..common_core::FRAME_HEADER_BYTES]);
            assert!(header.payload_length <= PAYLOAD_BYTES_MAX);
        }
        Err(error) => assert_eq!(matches!(error, FrameHeaderError::Truncated { .. }), data.len() < common_core::FRAME_HEADER_BYTES),
    }
}

/// A stream read whole and the same stream read in pieces of `first byte + 1` bytes say the same, in the very bytes.
pub fn frame_reader(data: &[u8]) {
    let Some((cut, wire)) = data.split_first() else { return };
    let whole = read_frames(wire, wire.len().max(1));
    assert_eq!(whole, read_frames(wire, usize::from(*cut) + 1));
    let (bytes, _) = whole;
    assert_eq!(bytes, wire[..bytes.len()]);
}

/// The bytes of all events in order, and how often what happened.
fn read_frames(wire: &[u8], piece_bytes: usize) -> (Vec<u8>, FramesRead) {
    let (mut reader, mut bytes, mut read) = (FrameReader::new(PAYLOAD_BYTES_MAX), Vec::new(), FramesRead::default());
    for piece in wire.chunks(piece_bytes) {
        reader.push(Bytes::copy_from_slice(piece));
        loop {
            match reader.next_event() {
                Ok(Some(FrameEvent::Begin { raw, .. })) => {
                    read.begun += 1;
                    bytes.extend_from_slice(&raw);
                }
                Ok(Some(FrameEvent::Payload(payload))) => bytes.extend_from_slice(&payload),
                Ok(Some(FrameEvent::End)) => read.ended += 1,
                Ok(None) => break,
                Err(error) => {
                    read.error = Some(error);
                    return (bytes, read);
                }
            }
        }
    }
    (bytes, read)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct FramesRead {
    begun: usize,
    ended: usize,
    error: Option<FrameHeaderError>,
}

/// Messages keep within the limit, stand in the bytes as they were sent, and do not depend on how they arrive (in pieces
/// of `first byte + 1` bytes).
pub fn length_prefix(data: &[u8]) {
    // Small, so that a short input reaches both sides of the limit.
    const LIMIT: usize = 300;
    let Some((cut, wire)) = data.split_first() else { return };
    let whole = read_messages(wire, wire.len().max(1), LIMIT);
    assert_eq!(whole, read_messages(wire, usize::from(*cut) + 1, LIMIT));
    let sent: Vec<u8> = whole.0.iter().flat_map(|message| LengthPrefixed::frame(message)).collect();
    assert_eq!(sent, wire[..sent.len()]);
    assert!(whole.0.iter().all(|message| (1..=LIMIT).contains(&message.len())));
    // Nothing that is whole is held back.
    assert!(whole.1.is_some() || wire.len() - sent.len() < LENGTH_BYTES + LIMIT);
}

fn read_messages(wire: &[u8], piece_bytes: usize, limit: usize) -> (Vec<Bytes>, Option<LengthError>) {
    let (mut decoder, mut messages) = (LengthPrefixed::new(limit), Vec::new());
    for piece in wire.chunks(piece_bytes) {
        decoder.push(piece);
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
    }
    (messages, None)
}

/// A client's message, of signaling or media control, decodes to something that encodes and decodes to itself, and its
/// conversion to words answers.
pub fn client_message(data: &[u8]) {
    if let Ok(message) = v1::ClientMessage::decode(data) {
        settles(&message);
        convert_to_words(message);
    }
    if let Ok(message) = v1::MediaClientMessage::decode(data) {
        settles(&message);
    }
}

/// Encoded, decoded and encoded again gives the same bytes. (Bytes, because a NaN is not equal to itself.)
fn settles<M: Message + Default>(message: &M) {
    let once = message.encode_to_vec();
    let again = M::decode(&once[..]).map(|message| message.encode_to_vec());
    assert_eq!(again, Ok(once));
}

fn convert_to_words(message: v1::ClientMessage) {
    match message.body {
        Some(v1::client_message::Body::Publish(publish)) => {
            let publisher = ParticipantId::from_bytes([1; 16]);
            if let Ok(stream) = convert::media_stream(publisher, &publish.stream_id, publish.stream_type, publish.metadata) {
                assert!(!stream.frame_ids().is_empty());
                let wire = v1::MediaStream::from(&stream);
                let again = convert::media_stream(publisher, &wire.stream_id, wire.stream_type, wire.metadata);
                assert_eq!(again, Ok(stream));
            }
        }
        Some(v1::client_message::Body::Subscribe(subscribe)) => {
            if let Ok(options) = convert::subscription_options(subscribe.options) {
                assert_eq!(convert::subscription_options(Some((&options).into())), Ok(options));
            }
        }
        _ => {}
    }
}

/// The key that no input can sign with: made afresh in each process, known by the name that the seeds use.
static VERIFIER: LazyLock<TokenVerifier> = LazyLock::new(|| {
    let signer = TokenSigner::from_pkcs8(&TokenSigner::generate_pkcs8()).expect("a fresh key serves");
    TokenVerifier::new([("seed", &signer.public_key()[..])], Duration::from_secs(5))
});

/// No text is a token of a key that nobody signed with.
pub fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    assert!(VERIFIER.verify_join(text).is_err(), "a join token was forged");
    assert!(VERIFIER.verify_access(text).is_err(), "an access token was forged");
}
