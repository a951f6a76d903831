//! What the fuzzers (`fuzz/`) reach of this crate's codec. Nothing else uses it, and it is no part of the crate's face.
//!
//! In: bytes of one message. Out: what the codec made of them.

use bytes::Bytes;
use common_core::MeetingId;
use meeting_controller_core::{Refusal, Request, ServerMessage};

use crate::codec::{self, Body};

/// One message of a client, as the codec reads it.
#[derive(Debug)]
pub enum Decoded {
    /// A join; what of it was wrong.
    Join(Result<MeetingId, Refusal>),
    /// Something else.
    Request(Request),
}

/// The request's id and what is asked for, or the id and the refusal that ends the session.
pub fn decode(bytes: Bytes) -> Result<(u64, Decoded), (u64, Refusal)> {
    codec::decode(bytes).map(|message| {
        let decoded = match message.body {
            Body::Join(wish) => Decoded::Join(wish.map(|wish| wish.meeting_id)),
            Body::Request(request) => Decoded::Request(request),
        };
        (message.request_id, decoded)
    })
}

/// One message to a client.
pub fn encode(message: &ServerMessage) -> Bytes {
    codec::encode(message)
}
