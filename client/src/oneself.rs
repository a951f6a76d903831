//! What a participant knows of itself: name and role as its join token has them, what it has turned on, what it publishes.
//!
//! In: a token as text, what the controller granted, snapshots. Out: oneself as the others see one. Never judges a token; that is the controller's.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common_core::ParticipantId;
use proto::v1::client_message::Body;
use serde::Deserialize;

use crate::options::JoinOptions;
use crate::roster::{Participant, STREAMS_MAX};

/// Longest token that is looked into, in bytes: ours have a few hundred.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// The claims of a JWT (RFC 7519, section 3) that say who one is.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Claims {
    name: String,
    role: String,
}

/// Unchecked; none of what cannot be read.
fn claims(token: &str) -> Claims {
    let payload = token.split('.').nth(1).filter(|_| token.len() <= TOKEN_BYTES_MAX);
    let bytes = payload.and_then(|payload| URL_SAFE_NO_PAD.decode(payload).ok());
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Oneself on coming in by `options`, at this moment by this machine's clock: the token's name goes before the stated one, and who has neither
/// is called by the role, as at the controller.
pub(crate) fn oneself(id: ParticipantId, options: &JoinOptions, now_ms: u64) -> Participant {
    let Claims { name, role } = claims(&options.join_token);
    let role = if role == "host" { "host" } else { "attendee" };
    let unnamed = if role == "host" { "Host" } else { "Guest" };
    let name = [name.trim(), options.name.trim(), unnamed].into_iter().find(|name| !name.is_empty()).unwrap_or(unnamed).to_owned();
    Participant { name, role: role.to_owned(), joined_at_ms: now_ms, ..Participant::unknown(id) }
}

/// A request was granted: what it changes of oneself.
pub(crate) fn granted(me: &mut Participant, request: Option<&Body>) {
    match request {
        Some(Body::Publish(publish)) => {
            let stream = proto::convert::media_stream(me.participant_id, &publish.stream_id, publish.stream_type, publish.metadata.clone());
            // What a controller grants and the contract does not know is not shown.
            if let Ok(stream) = stream
                && me.streams.len() < STREAMS_MAX
            {
                me.streams.insert(stream.stream_id, stream);
            }
        }
        Some(Body::Unpublish(unpublish)) => me.streams.retain(|id, _| id.to_string() != unpublish.stream_id),
        Some(Body::State(state)) => {
            me.is_muted = state.is_muted.unwrap_or(me.is_muted);
            me.is_video_on = state.is_video_on.unwrap_or(me.is_video_on);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proto::v1;

    use super::*;

    fn named(claims: &str, name: &str) -> (String, String) {
        let join_token = format!("head.{}.signature", URL_SAFE_NO_PAD.encode(claims));
        let me = oneself(ParticipantId::from_bytes([1; 16]), &JoinOptions { join_token, name: name.into(), ..JoinOptions::default() }, 7);
        (me.name, me.role)
    }

    #[test]
    fn the_tokens_name_goes_first_and_nonsense_has_none() {
        let expect = |name: &str, role: &str| (name.to_owned(), role.to_owned());
        assert_eq!(named(r#"{"name":"Ana","role":"host"}"#, "Ben"), expect("Ana", "host"));
        assert_eq!(named(r#"{"name":" "}"#, " Ben "), expect("Ben", "attendee"));
        assert_eq!(named(r#"{"role":"host"}"#, ""), expect("Host", "host"));
        for claims in ["", "{", "[1]", r#"{"name":7}"#] {
            assert_eq!(named(claims, ""), expect("Guest", "attendee"), "{claims}");
        }
    }

    #[test]
    fn what_is_granted_shows() {
        let mut me = Participant::unknown(ParticipantId::from_bytes([1; 16]));
        let stream_id = "550e8400-e29b-41d4-a716-446655440000".to_owned();
        let metadata = Some(v1::StreamMetadata { codec: "Opus".into(), ..Default::default() });
        granted(&mut me, Some(&Body::Publish(v1::PublishStream { stream_id: stream_id.clone(), metadata, ..Default::default() })));
        granted(&mut me, Some(&Body::State(v1::UpdateState { is_video_on: Some(true), ..Default::default() })));
        assert_eq!((me.streams.len(), me.is_muted, me.is_video_on), (1, false, true));
        granted(&mut me, Some(&Body::Unpublish(v1::UnpublishStream { stream_id })));
        assert_eq!(me.streams.len(), 0);
    }
}
