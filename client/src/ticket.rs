//! What admits to a meeting, and where a new one comes from when this participant cannot come back any more.
//!
//! A [`Ticket`] is good for one join. With a [`TicketSource`] a client that lost its place (its controller died, or the network was away
//! for longer than the server remembers a participant) comes back by itself, as a new participant.

use std::future::Future;
use std::time::Duration;

use futures_util::future::BoxFuture;
use thiserror::Error;

use crate::trust::HASH_BYTES;

/// Admits to one meeting, once. A secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The meeting (UUID).
    pub meeting_id: String,
    /// Used up by joining.
    pub join_token: String,
    /// `https://…/wt` (WebTransport), or `wss://…/ws`.
    pub meeting_controller_url: String,
    /// `wss://…/ws`, for networks that carry no UDP.
    pub signaling_fallback_url: Option<String>,
    /// Best first.
    pub media_handler_urls: Vec<String>,
    /// SHA-256 of the certificates of these nodes; empty: a public authority vouches for them.
    pub certificate_hashes: Vec<[u8; HASH_BYTES]>,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket")
            .field("meeting_id", &self.meeting_id)
            .field("meeting_controller_url", &self.meeting_controller_url)
            .finish_non_exhaustive()
    }
}

/// What a ticket is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// To join for the first time.
    Join,
    /// To come back as a new participant: the old one is lost.
    Rejoin,
}

/// Why there is no ticket.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TicketError {
    /// It will not get better: the meeting is over, the account was removed, the address is wrong.
    #[error("{message} ({code})")]
    Refused {
        /// Such as `MEETING_ENDED`.
        code: String,
        /// For people, escaped.
        message: String,
    },
    /// Perhaps later: nobody answers, or too many ask.
    #[error("{cause}")]
    Later {
        /// In words.
        cause: String,
        /// Not before this is over should it be asked again; `None`: it is not known.
        after: Option<Duration>,
    },
}

impl TicketError {
    /// Whether asking again can help.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

/// Gives tickets: asks an application's own server, or the public API ([`MeetingTickets`](crate::api::MeetingTickets)).
///
/// A closure that returns a future is one:
///
/// ```
/// use dark_tower_client::{Ticket, TicketError, TicketSource, Why};
///
/// fn tickets() -> impl TicketSource {
///     |why: Why| async move {
///         let ticket: Result<Ticket, TicketError> = ask_our_own_server(why == Why::Rejoin).await;
///         ticket
///     }
/// }
/// # async fn ask_our_own_server(_again: bool) -> Result<Ticket, TicketError> {
/// #     Err(TicketError::Later { cause: "this is an example".into(), after: None })
/// # }
/// ```
pub trait TicketSource: Send + Sync + 'static {
    /// One ticket. May be dropped at any await, and is then called again when a ticket is still needed.
    fn ticket(&self, why: Why) -> BoxFuture<'_, Result<Ticket, TicketError>>;
}

impl<S, F> TicketSource for S
where
    S: Fn(Why) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Ticket, TicketError>> + Send + 'static,
{
    fn ticket(&self, why: Why) -> BoxFuture<'_, Result<Ticket, TicketError>> {
        Box::pin(self(why))
    }
}
