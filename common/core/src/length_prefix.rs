//! Messages behind a 4-byte big-endian length: signaling and media control streams (DESIGN sections 4 and 5).
//!
//! In: bytes as they were read. Out: whole messages. A length over the limit is refused before anything is allocated for it.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// Length of the length.
pub const LENGTH_BYTES: usize = 4;
/// Largest message of a client, on signaling and media control streams alike.
pub const CLIENT_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Largest message of a server on a signaling stream.
pub const SERVER_MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why a length is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LengthError {
    /// Every message has at least its version.
    #[error("a message of length 0 has no version")]
    Empty,
    /// Over the limit.
    #[error("a message of {found} bytes is over the limit of {limit}")]
    TooLong {
        /// What the prefix says.
        found: usize,
        /// What is allowed.
        limit: usize,
    },
}

/// An incremental decoder for one stream; at most one message and one read are held.
#[derive(Debug)]
pub struct LengthPrefixed {
    message_bytes_max: usize,
    buffer: BytesMut,
}

impl LengthPrefixed {
    /// A decoder that accepts messages of 1 to `message_bytes_max` bytes.
    pub fn new(message_bytes_max: usize) -> Self {
        Self { message_bytes_max, buffer: BytesMut::new() }
    }

    /// Hands in what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, without its length; `None` when more bytes are needed.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, LengthError> {
        let Some(prefix) = self.buffer.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if length == 0 {
            return Err(LengthError::Empty);
        }
        if length > self.message_bytes_max {
            return Err(LengthError::TooLong { found: length, limit: self.message_bytes_max });
        }
        if self.buffer.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// Whether a message has begun and is not whole.
    pub fn is_mid_message(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The length to be written before `message`. Panics over 4 GiB, which no caller's limit allows.
    pub fn prefix(message: &[u8]) -> [u8; LENGTH_BYTES] {
        u32::try_from(message.len()).expect("messages are bounded far below 4 GiB by their senders").to_be_bytes()
    }

    /// `message` with its length before it. Panics as [`prefix`](Self::prefix) does.
    pub fn frame(message: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(LENGTH_BYTES + message.len());
        out.extend_from_slice(&Self::prefix(message));
        out.extend_from_slice(message);
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_messages_however_they_arrive() {
        let mut wire = LengthPrefixed::frame(b"one").to_vec();
        wire.extend_from_slice(&LengthPrefixed::frame(b"three"));
        for step in 1..wire.len() {
            let mut decoder = LengthPrefixed::new(5);
            let mut out = Vec::new();
            for piece in wire.chunks(step) {
                decoder.push(piece);
                while let Some(message) = decoder.next_message().expect("both messages are within the limit") {
                    out.push(message);
                }
            }
            assert_eq!(out, [&b"one"[..], b"three"]);
            assert!(!decoder.is_mid_message());
        }
    }

    #[test]
    fn refuses_by_the_length_alone() {
        fn check(prefix: [u8; 4], expected: LengthError) {
            let mut decoder = LengthPrefixed::new(64);
            decoder.push(&prefix);
            assert_eq!(decoder.next_message(), Err(expected));
        }
        check([0; 4], LengthError::Empty);
        check([0xff; 4], LengthError::TooLong { found: 0xffff_ffff, limit: 64 });
        check([0, 0, 0, 65], LengthError::TooLong { found: 65, limit: 64 });
    }
}
