//! `proto/vectors/frame_header.json`: the bytes that every implementation of the frame header agrees on.

use common_core::frame::PAYLOAD_BYTES_MAX;
use common_core::{FrameFlags, FrameHeader, FrameHeaderError, FrameKind};
use serde_json::Value;

const VECTORS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto/vectors/frame_header.json"));

fn vectors(list: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(VECTORS).expect("the vectors are JSON");
    file[list].as_array().expect("both lists are arrays").clone()
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap_or_else(|| panic!("{field} of {vector} is a string"))
}

fn number(vector: &Value, field: &str) -> u32 {
    vector[field].as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or_else(|| panic!("{field} of {vector} is a number"))
}

fn bytes(vector: &Value, field: &str) -> Vec<u8> {
    let hex = text(vector, field);
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("two hex digits");
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn header(vector: &Value) -> FrameHeader {
    FrameHeader {
        kind: match text(vector, "kind") {
            "audio" => FrameKind::Audio,
            "video_key" => FrameKind::VideoKey,
            "video_delta" => FrameKind::VideoDelta,
            other => panic!("{other} is no kind"),
        },
        stream_id: text(vector, "stream_id").parse().expect("a stream id"),
        timestamp_us: text(vector, "timestamp_us").parse().expect("64 bits"),
        sequence: text(vector, "sequence").parse().expect("64 bits"),
        payload_length: number(vector, "payload_length"),
        flags: FrameFlags(u16::try_from(number(vector, "flags")).expect("16 bits")),
        reserved: bytes(vector, "reserved").try_into().expect("6 bytes"),
    }
}

#[test]
fn valid_vectors_decode_and_encode() {
    let vectors = vectors("valid");
    assert!(!vectors.is_empty());
    for vector in vectors {
        let (raw, expected) = (bytes(&vector, "bytes"), header(&vector));
        assert_eq!(FrameHeader::decode(&raw, PAYLOAD_BYTES_MAX), Ok(expected), "{}", vector["name"]);
        assert_eq!(expected.encode()[..], raw[..], "{}", vector["name"]);
    }
}

#[test]
fn invalid_vectors_say_why() {
    let vectors = vectors("invalid");
    assert!(!vectors.is_empty());
    for vector in vectors {
        let error = FrameHeader::decode(&bytes(&vector, "bytes"), number(&vector, "payload_bytes_max")).expect_err("no header");
        let name = match error {
            FrameHeaderError::Truncated { .. } => "truncated",
            FrameHeaderError::Version { .. } => "version",
            FrameHeaderError::Kind { .. } => "kind",
            FrameHeaderError::Length { .. } => "length",
        };
        assert_eq!(name, text(&vector, "error"), "{}", vector["name"]);
    }
}
