//! What the fuzzers (`fuzz/`) reach of this crate's parsers of hostile bytes. Nothing else uses it, and it is no part of the crate's face.
//!
//! In: bytes. Out: what the parser made of them, in types that a fuzzer can compare.

use axum::http::{HeaderValue, Uri};
use common_core::{MeetingId, NodeId};
use proto::cluster::MeetingEvent;
use serde_json::Value;

use crate::events::report;
use crate::http::{body, idempotency, meetings, query};
use crate::listen::http1::framing::Framing;
use crate::listen::http3::frames::Frames;
use crate::store::MeetingKey;
use crate::webhooks::target;

/// A JSON body, or the refusal's words.
pub fn json(bytes: &[u8]) -> Result<Value, String> {
    body::tree::read(bytes).map_err(|problem| problem.to_string())
}

/// HTTP/1.1 as it arrives in pieces: whether a head is open at the end, or how many bytes may pass and with which status it is refused.
pub fn framing<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<bool, (usize, u16)> {
    let (mut framing, mut passed) = (Framing::default(), 0);
    for piece in pieces {
        framing.take(piece).map_err(|(at, refusal)| (passed + at, refusal.status))?;
        passed += piece.len();
    }
    Ok(framing.is_in_head())
}

/// Frames of an HTTP/3 stream as it arrives in pieces; false: one claims to be longer than `bytes_max`.
pub fn frames<'a>(is_request: bool, bytes_max: u64, pieces: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let mut frames = if is_request { Frames::of_request(bytes_max) } else { Frames::of_unidirectional(bytes_max) };
    pieces.into_iter().all(|piece| frames.take(piece).is_ok())
}

/// The parameters `limit` and `user_id` of a query, or the refusal's words.
pub fn query(uri: &Uri) -> Result<[Option<String>; 2], String> {
    query::parameters(uri, ["limit", "user_id"]).map_err(|error| error.message().to_owned())
}

/// A whole number of a query.
pub fn whole_number(text: &str, least: u64, most: u64) -> Option<u64> {
    query::whole_number("limit", text, least, most).ok()
}

/// What names a meeting in a path, as it is written.
pub fn meeting_key(asked: &str) -> Option<String> {
    meetings::key_of(asked).map(|key| match key {
        MeetingKey::Id(id) => id.to_string(),
        MeetingKey::Code(code) => code.to_string(),
    })
}

/// The `Idempotency-Key` of a request with these headers.
pub fn idempotency_key(values: &[HeaderValue]) -> Result<Option<&str>, String> {
    idempotency::text_of(values).map_err(|error| error.message().to_owned())
}

/// The URL of a webhook as it is called, and whether its host is outside as far as its name tells.
pub fn webhook_target(text: &str, allow_private: bool) -> Result<(String, bool), &'static str> {
    target::parse_target(text, allow_private).map(|url| (url.to_string(), target::leads_outside(&url)))
}

/// What a controller reports: how many events, and who stays out of which meeting.
pub fn report(controller: &NodeId, events: Vec<MeetingEvent>) -> Result<(usize, Vec<(MeetingId, String)>), String> {
    let reported = report::read(controller, 1, events, 1_700_000_000_000).map_err(|error| error.to_string())?;
    Ok((reported.events.len(), reported.kicked))
}
