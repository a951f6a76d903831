//! What a token says once it is verified. Signing and verifying are a shell's work (`common::token`).

use crate::id::{MeetingId, NodeId, ParticipantId};

/// What a participant may do in a meeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Owns the meeting: may kick.
    Host,
    /// Everyone else.
    Attendee,
}

impl Role {
    /// The contract's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Host => "host",
            Role::Attendee => "attendee",
        }
    }

    /// By the contract's name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "host" => Some(Role::Host),
            "attendee" | "guest" => Some(Role::Attendee),
            _ => None,
        }
    }
}

/// What a verified join token allows: one join, of one meeting, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGrant {
    /// The token's own id: spent by the join.
    pub token_id: String,
    /// The only meeting it opens.
    pub meeting_id: MeetingId,
    /// In that meeting.
    pub role: Role,
    /// The name the participant asked for at the API; empty: taken from the join request.
    pub display_name: String,
    /// The account, or a random subject for a guest: what a kick refuses.
    pub subject: String,
    /// Whether `subject` is an account, to be shown as `user_id`.
    pub is_account: bool,
    /// The participant that its holder showed to be: while that one is still in the meeting, the join takes its place.
    pub resumes: Option<ParticipantId>,
    /// Handlers that the client may be dialling already, best first.
    pub handlers: Vec<NodeId>,
    /// Seconds since the epoch.
    pub expires_at: u64,
}
