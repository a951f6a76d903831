//! What is needed to join, and what may be wished.

use std::sync::Arc;
use std::time::Duration;

use proto::v1;

use crate::e2ee::{MeetingKeys, Secret};
use crate::meeting::JoinError;
use crate::ticket::{Ticket, TicketSource};
use crate::trust::{HASH_BYTES, Trust};

/// Everything that [`join`](crate::Client::join) needs. Mostly made from an [`Admission`](crate::api::Admission).
#[derive(Clone)]
pub struct JoinOptions {
    /// The meeting (UUID); must fit the token.
    pub meeting_id: String,
    /// `https://…/wt` (WebTransport), or `wss://…/ws`.
    pub meeting_controller_url: String,
    /// `wss://…/ws`, dialled besides when the controller does not stand after [`fallback_after`](Self::fallback_after).
    pub signaling_fallback_url: Option<String>,
    /// How long the controller's URL is tried alone.
    pub fallback_after: Duration,
    /// Best first: the first is dialled while joining.
    pub media_handler_urls: Vec<String>,
    /// SHA-256 of the certificates that are believed; empty: what [`trust`](Self::trust) believes.
    pub certificate_hashes: Vec<[u8; HASH_BYTES]>,
    /// Whose certificates are believed where no hashes are given.
    pub trust: Trust,
    /// Used up by joining.
    pub join_token: String,
    /// Comes back as the participant whose [token](crate::Meeting::resume_token) this is, with its media streams and subscriptions, also
    /// into a full meeting; the join token is not used then. Empty: joins as somebody new.
    pub resume_token: String,
    /// Shown to others; empty: the token's.
    pub name: String,
    /// Subscribe to every present and future media stream of others, with default options.
    pub auto_subscribe: bool,
    /// What this client can play.
    pub capabilities: v1::ParticipantCapabilities,
    /// Chat newer than this comes as events right after joining, the newest 100 at most.
    pub chat_after_sequence: u64,
    /// Of an encrypted meeting. With it everything that is published and said is sealed, and the meeting is entered only if it asks for that and
    /// goes by the same secret; a meeting that asks for encryption is not entered without one.
    pub secret: Option<Secret>,
    /// Asked for a new ticket when this participant cannot come back any more; [`Client::join_with`](crate::Client::join_with) sets it. `None`:
    /// the meeting is then over for this client.
    pub tickets: Option<Arc<dyn TicketSource>>,
    /// How long, from a loss on, to try to come back as a new participant before giving up.
    pub rejoin_within: Duration,
    /// A request that was not answered within this fails.
    pub request_timeout: Duration,
    /// After a loss, how long to try before giving up. The server forgets a participant 5 s after it notices (DESIGN section 7).
    pub resume_within: Duration,
}

impl std::fmt::Debug for JoinOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The tokens are whose they are.
        f.debug_struct("JoinOptions")
            .field("meeting_id", &self.meeting_id)
            .field("meeting_controller_url", &self.meeting_controller_url)
            .field("media_handler_urls", &self.media_handler_urls)
            .field("is_back", &!self.resume_token.is_empty())
            .finish_non_exhaustive()
    }
}

/// Wishes without a ticket, for [`Client::join_with`](crate::Client::join_with).
impl Default for JoinOptions {
    fn default() -> Self {
        Self::new(String::new(), String::new(), String::new())
    }
}

impl JoinOptions {
    /// Options with which `join_token` admits to `meeting_id`; everything else by default.
    pub fn new(meeting_controller_url: impl Into<String>, meeting_id: impl Into<String>, join_token: impl Into<String>) -> Self {
        Self {
            meeting_id: meeting_id.into(),
            meeting_controller_url: meeting_controller_url.into(),
            signaling_fallback_url: None,
            fallback_after: Duration::from_secs(1),
            media_handler_urls: Vec::new(),
            certificate_hashes: Vec::new(),
            trust: Trust::System,
            join_token: join_token.into(),
            resume_token: String::new(),
            name: String::new(),
            auto_subscribe: true,
            capabilities: v1::ParticipantCapabilities {
                video_codecs: ["VP9", "AV1", "H264", "VP8"].map(str::to_owned).to_vec(),
                audio_codecs: vec!["Opus".to_owned()],
                supports_simulcast: false,
                max_video_streams: 0,
            },
            chat_after_sequence: 0,
            secret: None,
            tickets: None,
            rejoin_within: Duration::from_secs(120),
            request_timeout: Duration::from_secs(10),
            resume_within: Duration::from_secs(30),
        }
    }
}

impl JoinOptions {
    /// What the secret gives in this meeting.
    pub(crate) fn keys(&self) -> Result<Option<MeetingKeys>, JoinError> {
        let Some(secret) = &self.secret else { return Ok(None) };
        let meeting_id = self.meeting_id.parse().map_err(|_| JoinError::Answer("a meeting's id is a UUID".to_owned()))?;
        Ok(Some(MeetingKeys::new(secret, meeting_id)))
    }

    /// The same wishes, with the addresses and the token of `ticket`.
    #[must_use]
    pub fn with_ticket(self, ticket: Ticket) -> Self {
        Self {
            meeting_id: ticket.meeting_id,
            join_token: ticket.join_token,
            meeting_controller_url: ticket.meeting_controller_url,
            signaling_fallback_url: ticket.signaling_fallback_url,
            media_handler_urls: ticket.media_handler_urls,
            certificate_hashes: ticket.certificate_hashes,
            ..self
        }
    }

    /// The request with which to join by what these options hold: as oneself with the resume token, else by the join token. The id of the key
    /// is empty without a secret.
    pub(crate) fn join_request(&self, e2ee_key_id: &str) -> v1::JoinRequest {
        v1::JoinRequest {
            meeting_id: self.meeting_id.clone(),
            join_token: if self.resume_token.is_empty() { self.join_token.clone() } else { String::new() },
            participant_name: self.name.clone(),
            capabilities: Some(self.capabilities.clone()),
            resume_token: self.resume_token.clone(),
            auto_subscribe: self.auto_subscribe,
            chat_after_sequence: self.chat_after_sequence,
            e2ee_key_id: e2ee_key_id.to_owned(),
        }
    }

    /// Who is believed at nodes whose certificates have these hashes.
    pub(crate) fn trust_for<T: AsRef<[u8]>>(&self, hashes: &[T]) -> Trust {
        if hashes.is_empty() { self.trust.clone() } else { Trust::from_hashes(hashes) }
    }
}
