//! The vectors of RFC 9605 and our own, which the TypeScript client reads too.

use common_core::frame::PAYLOAD_BYTES_MAX;
use common_core::{FrameHeader, MeetingId, ParticipantId, StreamId};
use serde_json::Value;
use uuid::Uuid;

use super::sframe::{Header, Key, Suite};
use super::*;

const SFRAME: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/vectors/sframe.json"));
const OURS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/vectors/e2ee.json"));

/// The vectors of a list, each to be looked at by `check`.
fn each(file: &str, list: &str, check: impl Fn(&Vector)) {
    let file: Value = serde_json::from_str(file).expect("the vectors are JSON");
    let vectors = file[list].as_array().expect("each list is an array");
    assert!(!vectors.is_empty(), "{list} has vectors");
    for vector in vectors {
        check(&Vector(vector));
    }
}

struct Vector<'a>(&'a Value);

impl Vector<'_> {
    fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_else(|| panic!("{field} of {} is text", self.0))
    }

    fn bytes(&self, field: &str) -> Vec<u8> {
        let hex = self.text(field);
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("two hex digits")).collect()
    }

    fn number(&self, field: &str) -> u64 {
        self.text(field).parse().expect("a decimal number of 64 bits")
    }

    fn uuid(&self, field: &str) -> [u8; 16] {
        Uuid::parse_str(self.text(field)).expect("a UUID").into_bytes()
    }

    fn keys(&self) -> MeetingKeys {
        let secret = Secret::from_bytes(self.bytes("secret").try_into().expect("32 bytes"));
        MeetingKeys::new(&secret, MeetingId::from_bytes(self.uuid("meeting_id")))
    }

    fn name(&self) -> &str {
        self.text("name")
    }
}

#[test]
fn sframe_headers_are_those_of_the_rfc() {
    each(SFRAME, "headers", |vector| {
        let (header, bytes) = (Header { kid: vector.number("kid"), ctr: vector.number("ctr") }, vector.bytes("bytes"));
        assert_eq!(header.encode().as_ref(), bytes);
        assert_eq!(header.length(), bytes.len());
        assert_eq!(Header::decode(&bytes), Ok((header, &[][..])));
    });
    each(SFRAME, "invalid_headers", |vector| assert!(Header::decode(&vector.bytes("bytes")).is_err(), "{}", vector.name()));
}

#[test]
fn sframe_ciphertexts_are_those_of_the_rfc() {
    each(SFRAME, "ciphertexts", |vector| {
        let suite = match vector.text("suite") {
            "AES_128_GCM_SHA256_128" => Suite::Aes128GcmSha256,
            "AES_256_GCM_SHA512_128" => Suite::Aes256GcmSha512,
            other => panic!("{other} is not spoken here"),
        };
        let key = Key::derive(suite, vector.number("kid"), &vector.bytes("base_key"));
        let (ctr, metadata) = (vector.number("ctr"), vector.bytes("metadata"));
        let (plain, ciphertext) = (vector.bytes("plain"), vector.bytes("ciphertext"));
        assert_eq!(key.seal(ctr, &metadata, &plain), ciphertext, "{suite:?}");
        assert_eq!(key.open(ctr, &metadata, &ciphertext), Ok(plain), "{suite:?}");
    });
}

#[test]
fn key_ids_codes_and_links() {
    each(OURS, "secrets", |vector| {
        let keys = vector.keys();
        assert_eq!((keys.key_id(), keys.comparison_code()), (vector.text("key_id"), vector.text("comparison_code")));
        let secret = Secret::from_text(vector.text("text")).expect("a secret");
        assert_eq!((&secret.as_bytes()[..], secret.to_text().as_str()), (&vector.bytes("secret")[..], vector.text("text")));
        assert_eq!(Secret::from_fragment(&secret.to_fragment()), Ok(Some(secret)));
    });
    let fragment = |url: &str| url.split_once('#').map(|(_, fragment)| fragment.to_owned()).unwrap_or_default();
    each(OURS, "links", |vector| {
        let found = Secret::from_fragment(&fragment(vector.text("url"))).expect("a whole link");
        let expected = vector.0["secret"].is_string().then(|| vector.bytes("secret"));
        assert_eq!(found.map(|secret| secret.as_bytes().to_vec()), expected, "{}", vector.text("url"));
    });
    each(OURS, "invalid_links", |vector| {
        assert_eq!(Secret::from_fragment(&fragment(vector.text("url"))), Err(SecretError), "{}", vector.name());
    });
}

#[test]
fn records() {
    let stream = |vector: &Vector<'_>| (vector.keys(), StreamId::from_bytes(vector.uuid("stream_id")), vector.number("sequence"));
    each(OURS, "records", |vector| {
        let (keys, stream_id, sequence) = stream(vector);
        let (header, plain, payload) = (vector.bytes("header"), vector.bytes("plain"), vector.bytes("payload"));
        let decoded = FrameHeader::decode(&header, PAYLOAD_BYTES_MAX).expect("a header");
        assert_eq!((decoded.stream_id, decoded.sequence), (stream_id, sequence));
        assert_eq!(decoded.payload_length as usize, plain.len() + overhead_bytes(sequence));
        assert!(overhead_bytes(sequence) <= OVERHEAD_BYTES_MAX);
        let sealed = StreamSealer::new(&keys, stream_id).seal(header[..].try_into().expect("46 bytes"), sequence, &plain);
        assert_eq!(sealed.as_ref(), Some(&payload), "{}", vector.name());
        assert_eq!(StreamOpener::new(&keys, stream_id).open(&header, sequence, &payload), Ok(plain), "{}", vector.name());
    });
    each(OURS, "invalid_records", |vector| {
        let (keys, stream_id, sequence) = stream(vector);
        let opened = StreamOpener::new(&keys, stream_id).open(&vector.bytes("header"), sequence, &vector.bytes("payload"));
        assert_eq!(opened, Err(Unopened), "{}", vector.name());
    });
}

#[test]
fn chat_messages() {
    let said = |vector: &Vector<'_>| (vector.keys(), ParticipantId::from_bytes(vector.uuid("sender_id")));
    each(OURS, "chat", |vector| {
        let ((keys, sender), id) = (said(vector), vector.text("client_message_id"));
        let salt = vector.bytes("salt").try_into().expect("16 bytes");
        let content = chat::seal_with(&keys, sender, id, vector.text("words"), salt);
        assert_eq!(content.as_deref(), Ok(vector.text("content")), "{}", vector.name());
        assert_eq!(chat::open(&keys, sender, id, vector.text("content")).as_deref(), Ok(vector.text("words")), "{}", vector.name());
    });
    each(OURS, "invalid_chat", |vector| {
        let ((keys, sender), id) = (said(vector), vector.text("client_message_id"));
        assert_eq!(chat::open(&keys, sender, id, vector.text("content")), Err(Unopened), "{}", vector.name());
    });
}
