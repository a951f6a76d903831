//! Chat of an encrypted meeting: the text that travels in place of what was written.
//!
//! In: who says it, its id, the words. Out: an envelope `dte1.…` that the controller stores unread, or the words again. Each
//! message has a key of its own, by a random salt.

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common_core::ParticipantId;
use thiserror::Error;

use super::keys::MeetingKeys;
use super::sframe::{TAG_BYTES, Unopened};

/// What every envelope begins with: version 1 of it.
const PREFIX: &str = "dte1.";
/// Longest content that a controller takes, in bytes (DESIGN section 4).
const CONTENT_BYTES_MAX: usize = 4 * 1024;
const SALT_BYTES: usize = 16;
/// Salt, the header of key id 0 and counter 0, and the tag.
const OVERHEAD_BYTES: usize = SALT_BYTES + 1 + TAG_BYTES;
/// Longest message of an encrypted meeting, in bytes of UTF-8: what an envelope has room for.
pub const WORDS_BYTES_MAX: usize = (CONTENT_BYTES_MAX - PREFIX.len()) * 6 / 8 - OVERHEAD_BYTES;

/// More words than an envelope has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a chat message of {found} bytes is over the limit of {WORDS_BYTES_MAX} in an encrypted meeting")]
pub struct TooLong {
    /// Their length, in bytes of UTF-8.
    pub found: usize,
}

/// Whether there is room for these words.
pub fn check_length(words: &str) -> Result<(), TooLong> {
    if words.len() > WORDS_BYTES_MAX { Err(TooLong { found: words.len() }) } else { Ok(()) }
}

/// The envelope to send as content, with a fresh salt.
pub fn seal(keys: &MeetingKeys, sender_id: ParticipantId, client_message_id: &str, words: &str) -> Result<String, TooLong> {
    let mut salt = [0; SALT_BYTES];
    rand::fill(&mut salt).expect("the system's source of randomness does not fail after the start");
    seal_with(keys, sender_id, client_message_id, words, salt)
}

/// [`seal`] with a salt that is given: for vectors alone, for a salt must not come twice.
pub fn seal_with(
    keys: &MeetingKeys,
    sender_id: ParticipantId,
    client_message_id: &str,
    words: &str,
    salt: [u8; SALT_BYTES],
) -> Result<String, TooLong> {
    check_length(words)?;
    let sealed = keys.chat(&salt).seal(0, &metadata(sender_id, client_message_id), words.as_bytes());
    Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode([&salt[..], &sealed].concat())))
}

/// The salt of an envelope, whoever sealed it.
pub fn salt_of(content: &str) -> Option<[u8; SALT_BYTES]> {
    bytes_of(content).ok()?.first_chunk().copied()
}

fn bytes_of(content: &str) -> Result<Vec<u8>, Unopened> {
    let text = content.strip_prefix(PREFIX).filter(|_| content.len() <= CONTENT_BYTES_MAX).ok_or(Unopened)?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Unopened)
}

/// The words in an envelope; not those of another sender, message, meeting or secret, and not what is no envelope.
pub fn open(keys: &MeetingKeys, sender_id: ParticipantId, client_message_id: &str, content: &str) -> Result<String, Unopened> {
    let bytes = bytes_of(content)?;
    let (salt, sealed) = bytes.split_at_checked(SALT_BYTES).ok_or(Unopened)?;
    let plain = keys.chat(salt).open(0, &metadata(sender_id, client_message_id), sealed)?;
    String::from_utf8(plain).map_err(|_| Unopened)
}

/// What ties an envelope to its sender and message.
fn metadata(sender_id: ParticipantId, client_message_id: &str) -> Vec<u8> {
    [sender_id.as_bytes(), client_message_id.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use common_core::MeetingId;
    use proptest::prelude::*;

    use super::super::Secret;
    use super::*;

    #[test]
    fn an_envelope_of_the_longest_words_is_as_long_as_content_may_be() {
        let keys = MeetingKeys::new(&Secret::generate(), MeetingId::from_bytes([1; 16]));
        let me = ParticipantId::from_bytes([2; 16]);
        let words = "x".repeat(WORDS_BYTES_MAX);
        let content = seal(&keys, me, "1", &words).expect("it fits");
        assert_eq!((content.len(), open(&keys, me, "1", &content)), (CONTENT_BYTES_MAX, Ok(words.clone())));
        assert_ne!(seal(&keys, me, "1", &words), Ok(content), "a salt of its own each time");
        assert_eq!(seal(&keys, me, "1", &format!("{words}x")), Err(TooLong { found: 3_036 }));
    }

    proptest! {
        /// Words come back, and no other character at any place of the envelope does as well.
        #[test]
        fn words_come_back_unchanged(words in ".{0,200}", id in ".{0,40}", place: prop::sample::Index, other in "[A-Za-z0-9_.=+ ü-]") {
            let keys = MeetingKeys::new(&Secret::from_bytes([5; 32]), MeetingId::from_bytes([1; 16]));
            let me = ParticipantId::from_bytes([2; 16]);
            let content = seal(&keys, me, &id, &words).expect("it fits");
            prop_assert_eq!(open(&keys, me, &id, &content), Ok(words));
            let place = place.index(content.len());
            let changed = format!("{}{other}{}", &content[..place], &content[place + 1..]);
            if changed != content {
                prop_assert_eq!(open(&keys, me, &id, &changed), Err(Unopened));
            }
        }
    }
}
