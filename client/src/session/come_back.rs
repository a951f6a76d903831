//! The way back after a loss, in a task of its own: first as the same participant, by the resume token; when that place is lost and the application
//! gave a source of tickets, as a new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common_core::Code;
use proto::v1;
use tokio::time::Instant;

use super::controllers::Controllers;
use super::enter::{Entered, dial, enter};
use crate::backoff::{Backoff, random};
use crate::dial::Dialer;
use crate::end::SessionEnd;
use crate::meeting::JoinError;
use crate::options::JoinOptions;
use crate::signaling::PacketCount;
use crate::ticket::{TicketError, TicketSource, Why};

/// How long the old place is tried for when there is another way. A controller notices a loss after 3 s and keeps the place for 5 s more (DESIGN
/// sections 4 and 7); after that nobody knows the token.
const PLACE_KEPT: Duration = Duration::from_secs(8);
/// Joining anew is refused so often before it counts as refused for good: a token may be spent by an answer that was lost.
const REFUSALS_MAX: u32 = 3;
/// Nobody waits longer than this for a ticket before asking again, whatever the API says about when.
const TICKET_WAIT_MAX: Duration = Duration::from_secs(30);

/// A session from which nothing was heard for a while.
pub(super) struct Silent {
    pub(super) packets: PacketCount,
    /// The count when silence was noticed.
    pub(super) count: u64,
}

impl Silent {
    /// A close is no sign of life.
    fn speaks_again(&self) -> bool {
        self.packets.count() != self.count && !self.packets.is_closed()
    }
}

/// How the way back ended.
pub(super) enum Back {
    /// As the same participant.
    Resumed(Entered),
    /// As a new one, at these controllers.
    Rejoined(Entered, Controllers),
    /// Nothing was said, for the silent session speaks again.
    NotNeeded,
}

/// What the way back needs to know.
pub(super) struct WayBack {
    pub(super) dialer: Dialer,
    pub(super) options: Arc<JoinOptions>,
    pub(super) controllers: Controllers,
    /// With the resume token; empty where the place is known to be lost.
    pub(super) request: v1::JoinRequest,
    /// Set before anything is said that lets the server replace the old session.
    pub(super) committed: Arc<AtomicBool>,
    pub(super) silent: Option<Silent>,
    /// How often the session has been lost lately.
    pub(super) backoff: Backoff,
}

impl WayBack {
    /// Tries until it is let in, refused for good, or the time is over. Gives the backoff back as it is then.
    pub(super) async fn go(mut self) -> (Result<Back, SessionEnd>, Backoff) {
        let began = Instant::now();
        let back = match self.resume(began).await {
            Err(end) => match self.options.tickets.clone() {
                Some(tickets) if is_worth_rejoining(&end) => self.rejoin(tickets.as_ref(), began, end).await,
                _ => Err(end),
            },
            back => back,
        };
        (back, self.backoff)
    }

    fn speaks_again(&self) -> bool {
        self.silent.as_ref().is_some_and(Silent::speaks_again)
    }

    async fn resume(&mut self, began: Instant) -> Result<Back, SessionEnd> {
        let within = self.options.resume_within;
        let until = began + if self.options.tickets.is_some() { within.min(PLACE_KEPT) } else { within };
        let mut last = SessionEnd::lost("no attempt was made");
        while Instant::now() < until {
            tokio::time::sleep(self.backoff.next_wait(random())).await;
            let (connection, url) = match dial(&self.dialer, &self.controllers).await {
                Ok(dialled) => dialled,
                Err(error) => {
                    last = SessionEnd::lost(error);
                    continue;
                }
            };
            // The request is what replaces the old session: a controller that was frozen, and not dead, speaks again by now.
            if self.speaks_again() {
                return Ok(Back::NotNeeded);
            }
            self.committed.store(true, Ordering::Release);
            match enter(connection, url, self.request.clone()).await {
                Ok(entered) => return Ok(Back::Resumed(entered)),
                Err(error) => {
                    let is_final;
                    (last, is_final) = judge(error);
                    if is_final {
                        break;
                    }
                }
            }
        }
        Err(last)
    }

    async fn rejoin(&mut self, tickets: &dyn TicketSource, began: Instant, lost: SessionEnd) -> Result<Back, SessionEnd> {
        // Nobody has replaced the old session: should it speak again, it is worth more than a new place.
        self.committed.store(false, Ordering::Release);
        tracing::debug!(%lost, "the place is lost; joining anew");
        let until = began + self.options.rejoin_within;
        let attempts = async {
            let mut backoff = Backoff::default();
            let mut refusals = 0;
            loop {
                tokio::time::sleep(backoff.next_wait(random())).await;
                let ticket = match tickets.ticket(Why::Rejoin).await {
                    Ok(ticket) => ticket,
                    Err(TicketError::Later { cause, after }) => {
                        tracing::debug!(cause, "no ticket yet");
                        tokio::time::sleep(after.unwrap_or_default().min(TICKET_WAIT_MAX)).await;
                        continue;
                    }
                    Err(error @ TicketError::Refused { .. }) => {
                        return Err(SessionEnd::closed(Code::Unauthorized.number(), &error.to_string()));
                    }
                };
                let options = JoinOptions { resume_token: String::new(), ..(*self.options).clone() }.with_ticket(ticket);
                let controllers = Controllers::new(&options);
                let (connection, url) = match dial(&self.dialer, &controllers).await {
                    Ok(dialled) => dialled,
                    Err(error) => {
                        tracing::debug!(%error, "the controller of a new ticket does not stand");
                        continue;
                    }
                };
                if self.speaks_again() {
                    return Ok(Back::NotNeeded);
                }
                self.committed.store(true, Ordering::Release);
                let chat_after_sequence = self.request.chat_after_sequence;
                let request = v1::JoinRequest { chat_after_sequence, ..options.join_request(&self.request.e2ee_key_id) };
                match enter(connection, url, request).await {
                    Ok(entered) => return Ok(Back::Rejoined(entered, controllers)),
                    Err(error) => {
                        let (end, is_final) = judge(error);
                        refusals += u32::from(is_final);
                        if is_final && (refusals >= REFUSALS_MAX || !is_worth_rejoining(&end)) {
                            return Err(end);
                        }
                    }
                }
            }
        };
        tokio::time::timeout_at(until, attempts).await.unwrap_or(Err(lost))
    }
}

/// What a failed entry says about the place: how it ended, and whether the same token will fail again.
fn judge(error: JoinError) -> (SessionEnd, bool) {
    match error {
        JoinError::Refused { code, message } => (SessionEnd::closed(code.number(), &message), !code.worth_retrying()),
        JoinError::Ended(end) => {
            let is_final = !end.is_worth_resuming();
            (end, is_final)
        }
        // It will not fit the next time either, nor for somebody new.
        JoinError::Encryption(error) => (SessionEnd::closed(Code::InvalidRequest.number(), &error.to_string()), true),
        error => (SessionEnd::lost(error), false),
    }
}

/// Whether somebody whose place ended like this may come back as somebody new: not who was removed, whose meeting is over, who came in elsewhere,
/// or who says what the server does not understand.
pub(super) fn is_worth_rejoining(end: &SessionEnd) -> bool {
    match end {
        SessionEnd::Lost(_) => true,
        SessionEnd::Closed { .. } => end.code().is_some_and(|code| match code {
            Code::Normal | Code::Forbidden | Code::Moved | Code::InvalidRequest => false,
            Code::Unauthorized
            | Code::NotFound
            | Code::Conflict
            | Code::InternalError
            | Code::CapacityExceeded
            | Code::StreamError
            | Code::RateLimited
            | Code::Expired
            | Code::Unavailable => true,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_sent_away_stays_away() {
        assert!(is_worth_rejoining(&SessionEnd::lost("timed out")));
        for code in [Code::Normal, Code::Forbidden, Code::Moved, Code::InvalidRequest] {
            assert!(!is_worth_rejoining(&SessionEnd::closed(code.number(), "")), "{code}");
        }
        for code in [Code::Unauthorized, Code::NotFound, Code::Unavailable] {
            assert!(is_worth_rejoining(&SessionEnd::closed(code.number(), "")), "{code}");
        }
        assert!(!is_worth_rejoining(&SessionEnd::closed(999, "")));
    }

    #[test]
    fn a_failed_entry_is_final_or_not() {
        let refused = |code| judge(JoinError::Refused { code, message: String::new() }).1;
        assert!(refused(Code::Unauthorized) && refused(Code::NotFound) && !refused(Code::Unavailable) && !refused(Code::RateLimited));
        assert!(!judge(JoinError::Timeout).1);
    }
}
