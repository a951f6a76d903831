//! What can happen to a meeting, and what it is told at its beginning.

use std::time::Duration;

use common_core::grant::JoinGrant;
use common_core::{Moment, ParticipantId};

use crate::credentials::{ResumeToken, TokenHash};
use crate::handler::{HandlerAnswer, HandlerFailure, OperationId};
use crate::message::{Capabilities, MuteWish, Request, SessionKey, StreamQuality};
use crate::output::EndCause;

/// What the meeting was created with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The meeting's own name, for people.
    pub display_name: String,
    /// Participants at a time, lost ones included.
    pub participants_max: usize,
    /// Whether the key id of the participants' secret is kept and told.
    pub is_end_to_end_encrypted: bool,
    /// Whether what is said and shown may be recorded: told to everyone.
    pub may_be_recorded: bool,
}

/// Lengths and rates, from configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a participant whose session is lost is expected back.
    pub reconnect_window: Duration,
    /// Messages of one participant in [`rate_window`](Self::rate_window); as many again close its session.
    pub messages_max: u32,
    /// The length of that window.
    pub rate_window: Duration,
    /// How long an empty meeting keeps its chat and its refusals.
    pub empty_timeout: Duration,
}

impl Default for Limits {
    /// DESIGN sections 4 and 7; an empty meeting outlives every join token by a factor of two.
    fn default() -> Self {
        Self {
            reconnect_window: Duration::from_secs(5),
            messages_max: 1000,
            rate_window: Duration::from_secs(60),
            empty_timeout: Duration::from_secs(600),
        }
    }
}

/// What the shell reads off the world for an input: the wall clock, and randomness for what the input may create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Microseconds since the epoch; for people, never for deadlines.
    pub unix_micros: u64,
    /// Bytes of a random (version 4) UUID.
    pub id: [u8; 16],
}

/// With what somebody asks in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A verified join token of this meeting, remembered as spent until the given instant.
    Grant(JoinGrant, Moment),
    /// A resume token.
    Resume(TokenHash),
}

/// A join request whose token is verified.
#[derive(Clone, Debug)]
pub struct Join {
    /// On which session; its answer, or refusal and close, go there.
    pub session: SessionKey,
    /// Echoed by the answer.
    pub request_id: u64,
    /// See [`Credential`].
    pub credential: Credential,
    /// Used if the grant names nobody.
    pub participant_name: String,
    /// Told to everyone.
    pub capabilities: Capabilities,
    /// All present and future media streams of others; of a resume not looked at.
    pub auto_subscribe: bool,
    /// Chat newer than this comes with the answer.
    pub chat_after_sequence: u64,
    /// Of the secret that this client holds; empty: none.
    pub e2ee_key_id: String,
    /// Handed out if the join succeeds.
    pub resume_token: ResumeToken,
    /// The participant's id, and when it joined.
    pub stamp: Stamp,
}

/// What can happen to a meeting. Whatever the input, what is due by then is done first.
#[derive(Clone, Debug)]
pub enum Input {
    /// Somebody asks in, on a session that was not heard of before.
    Join(Box<Join>),
    /// A session that was answered a join says something.
    Request {
        /// On which session.
        session: SessionKey,
        /// 0: no reply is wanted.
        request_id: u64,
        /// What.
        request: Request,
        /// For what it may create.
        stamp: Stamp,
    },
    /// A session is over without a leave: closed, or silent for too long.
    SessionEnded(SessionKey),
    /// These subjects are kept out from now on. Who of them is here, or on the way in, is removed.
    Refuse(Vec<String>),
    /// Somebody who may asks a participant to turn things off; its client decides. Who is lost, or not here, is not asked.
    AskToMute {
        /// Whom.
        participant_id: ParticipantId,
        /// What.
        wish: MuteWish,
    },
    /// A handler answered an operation.
    HandlerAnswered {
        /// Which.
        operation: OperationId,
        /// What.
        result: Result<HandlerAnswer, HandlerFailure>,
    },
    /// Operations go to another handler, or to one that has restarted, from now on: it knows nothing.
    HandlerChanged {
        /// For people.
        reason: String,
        /// Asks for a media server itself, and needs not be told.
        except: Option<SessionKey>,
    },
    /// How a media stream fares between a participant and its handler.
    Telemetry {
        /// Whose connection.
        participant_id: ParticipantId,
        /// How.
        quality: StreamQuality,
    },
    /// The meeting is over.
    End(EndCause),
    /// A deadline may have passed.
    Tick,
}
