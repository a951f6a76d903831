//! The media frame's header, the reader of a stream of frames, and messages behind a length.

use bytes::Bytes;
use common_core::frame::PAYLOAD_BYTES_MAX;
use common_core::frame_reader::{FrameEvent, FrameReader};
use common_core::length_prefix::{LENGTH_BYTES, LengthError, LengthPrefixed};
use common_core::{FrameHeader, FrameHeaderError};

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
