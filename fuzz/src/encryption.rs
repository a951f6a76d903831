//! End-to-end encryption: what a handler, a controller or a link brings is opened only if it is what somebody sealed.

use client::e2ee::sframe::{HEADER_BYTES_MAX, Header, Key, Suite, TAG_BYTES};
use client::e2ee::{MeetingKeys, Secret, chat};
use common_core::{MeetingId, ParticipantId};

/// A header that decodes stands in the bytes as it encodes. What opens is, sealed again, the very same bytes.
pub fn sframe(data: &[u8]) {
    let Ok((header, sealed)) = Header::decode(data) else { return };
    let encoded = header.encode();
    assert_eq!(encoded.as_ref(), &data[..header.length()]);
    assert!(header.length() <= HEADER_BYTES_MAX && header.length() + sealed.len() == data.len());
    let key = Key::derive(Suite::Aes256GcmSha512, header.kid, b"the base key of the fuzzer");
    if let Ok(plain) = key.open(header.ctr, b"metadata", data) {
        assert_eq!(plain.len() + TAG_BYTES, sealed.len());
        assert_eq!(key.seal(header.ctr, b"metadata", &plain), data);
    }
    assert!(key.open(header.ctr.wrapping_add(1), b"metadata", data).is_err(), "under another counter than expected");
}

/// An envelope that opens is no longer than content may be, and, sealed again with its salt, the very same text.
pub fn sealed_chat(data: &[u8]) {
    let Ok(content) = std::str::from_utf8(data) else { return };
    let keys = MeetingKeys::new(&Secret::from_bytes([7; 32]), MeetingId::from_bytes([1; 16]));
    let sender = ParticipantId::from_bytes([2; 16]);
    let Ok(words) = chat::open(&keys, sender, "1", content) else { return };
    assert!(words.len() <= chat::WORDS_BYTES_MAX);
    let salt = chat::salt_of(content).expect("what opens has a salt");
    assert_eq!(chat::seal_with(&keys, sender, "1", &words, salt).as_deref(), Ok(content));
    assert!(chat::open(&keys, sender, "2", content).is_err(), "under another message's id");
}

/// A secret that is found in a link stands there as it is written, and what is damaged is told without a word of it.
pub fn secret_link(data: &[u8]) {
    let Ok(fragment) = std::str::from_utf8(data) else { return };
    match Secret::from_fragment(fragment) {
        Ok(Some(secret)) => assert!(fragment.split('&').any(|field| field == secret.to_fragment().as_str())),
        Ok(None) => assert!(!fragment.split('&').any(|field| field.starts_with("k="))),
        Err(error) => assert!(!error.to_string().contains("k=")),
    }
}
