//! Where the first message of a control stream begins.
//!
//! "0x00 control (4-byte length + protobuf, ≤ 64 KiB)" can be read in two ways, and clients of both kinds exist: a byte 0x00 of
//! its own before the length, as ours write it, or the length's own first byte, which is 0x00 whenever a message is within its
//! limit, just as a media stream's first byte is the header's version. The first message tells them apart: it is a hello,
//! and begins with field 1, the version.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use common_core::length_prefix::{CLIENT_MESSAGE_BYTES_MAX, LENGTH_BYTES};
use web_transport_quinn::RecvStream;

/// A length and then nothing for so long is no hello on its way: it is judged as it stands.
const REST_TIMEOUT: Duration = Duration::from_millis(500);
/// Field 1 of type varint, and the version spoken here: how every message begins.
const MESSAGE_START: [u8; 2] = [0x08, 0x01];
/// The longest of the two beginnings that have to be seen.
const NEEDED: usize = LENGTH_BYTES + MESSAGE_START.len();

/// Bytes of the stream from its first message's length on; `None` if the stream ended before that was clear.
pub(super) async fn read(stream: &mut RecvStream, first: Bytes) -> Option<Bytes> {
    let mut start = BytesMut::from(first);
    while start.len() < NEEDED && may_be_bare(&start) {
        let next = stream.read_chunk(usize::MAX, true);
        let chunk = if start.len() < LENGTH_BYTES {
            next.await.ok()?
        } else {
            match tokio::time::timeout(REST_TIMEOUT, next).await {
                Ok(chunk) => chunk.ok()?,
                Err(_) => break,
            }
        };
        match chunk {
            Some(chunk) => start.extend_from_slice(&chunk.bytes),
            None => break,
        }
    }
    let start = start.freeze();
    // Four zeros alone are a length of 0, which the reader of messages refuses.
    Some(if is_bare(&start) || start.as_ref() == [0; LENGTH_BYTES] { start } else { start.slice(1..) })
}

/// Whether the stream begins with a length, and no byte before it.
fn is_bare(start: &[u8]) -> bool {
    start.len() >= NEEDED && may_be_bare(start) && start[LENGTH_BYTES..NEEDED] == MESSAGE_START
}

/// Whether what came so far leaves that open.
fn may_be_bare(start: &[u8]) -> bool {
    let Some(length) = start.first_chunk::<LENGTH_BYTES>() else { return true };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    // Four zeros are either a bare length of 0 or the byte 0x00 and a short length; which of the two shows in the next byte.
    (length == 0 && start.len() == LENGTH_BYTES) || (1..=CLIENT_MESSAGE_BYTES_MAX).contains(&length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common_core::length_prefix::LengthPrefixed;
    use prost::Message as _;
    use proto::v1::media_client_message::Body;
    use proto::v1::{MediaClientMessage, MediaHello};

    fn hello(token_bytes: usize) -> Bytes {
        let body = Body::Hello(MediaHello { connection_token: "t".repeat(token_bytes), datagrams: true });
        LengthPrefixed::frame(&MediaClientMessage { version: 1, body: Some(body) }.encode_to_vec())
    }

    #[test]
    fn both_readings_of_the_contract_are_told_apart() {
        for token_bytes in [0, 43, 200, 300, 520, 2000, 60_000] {
            let bare = hello(token_bytes);
            assert!(is_bare(&bare), "{token_bytes} bytes of token, bare");
            let prefixed = [&[0], &bare[..]].concat();
            assert!(!is_bare(&prefixed), "{token_bytes} bytes of token behind a byte 0x00");
        }
    }

    #[test]
    fn what_is_over_the_limit_is_not_waited_for() {
        assert!(!may_be_bare(&[0, 0xff, 0xff, 0xff]));
        assert!(!may_be_bare(&[0, 0, 0, 0, 0]));
        assert!(may_be_bare(&[0, 0, 0, 0]) && may_be_bare(&[0, 0, 0]) && may_be_bare(&[0, 1, 0, 0]));
    }
}
