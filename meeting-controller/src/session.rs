//! What every session goes through, whatever carries it: a join within its time, then requests, then an end.
//!
//! In: messages as they come. Out: commands to a meeting, and replies through an [`Outbox`] while there is no meeting yet.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common_core::authority::{Action, Denied, Relation, permit};
use common_core::{Code, MeetingId, Moment, NodeId};
use meeting_controller_core::message::{Refusal, SessionKey};
use meeting_controller_core::{Credential, Join, ResumeToken, TokenHash};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::actor::{Command, MeetingHandle};
use crate::codec::{self, Body, ClientMessage, JoinWish};
use crate::node::{AssignError, Node, OpenSession};
use crate::outbox::{Outbox, WeakOutbox};

/// Between two looks for signs of life.
pub(crate) const LIFE_INTERVAL: Duration = Duration::from_millis(500);
/// Between two unasked pongs (DESIGN section 4).
const PONG_INTERVAL: Duration = Duration::from_secs(1);

/// When to say an unasked pong; the first is a second away.
pub(crate) fn pongs() -> Interval {
    let mut pongs = tokio::time::interval_at(Instant::now() + PONG_INTERVAL, PONG_INTERVAL);
    pongs.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pongs
}

/// Whether there is more to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Yes.
    Read,
    /// No: the session's end is on its way through the outbox.
    Stop,
}

enum Stage {
    /// The first message has not come.
    Waiting(Outbox),
    /// A meeting has the outbox.
    Handed(MeetingHandle),
    /// Refused.
    Over,
}

/// One session's reading side.
pub(crate) struct Reader {
    node: Arc<Node>,
    open: OpenSession,
    stage: Stage,
    outbox: WeakOutbox,
    /// Until then the join must have come.
    join_due: Instant,
}

impl Reader {
    pub fn new(node: Arc<Node>, open: OpenSession, outbox: Outbox) -> Self {
        let join_due = Instant::now() + node.limits.join_timeout;
        let weak = outbox.downgrade();
        Self { node, open, stage: Stage::Waiting(outbox), outbox: weak, join_due }
    }

    pub fn key(&self) -> SessionKey {
        self.open.key
    }

    /// Whether a meeting has this session, or is about to.
    pub fn is_handed(&self) -> bool {
        matches!(self.stage, Stage::Handed(_))
    }

    /// Resolves when a join should have come and has not, or will not be answered any more. Cancel-safe.
    pub async fn join_overdue(&self) -> Refusal {
        if !matches!(self.stage, Stage::Waiting(_)) {
            return std::future::pending().await;
        }
        tokio::select! {
            () = tokio::time::sleep_until(self.join_due) => Refusal::new(Code::InvalidRequest, "no JoinRequest came in time"),
            () = self.node.stopping.cancelled() => Refusal::new(Code::Unavailable, "this controller stops; try again"),
        }
    }

    /// One message of the client.
    pub async fn message(&mut self, bytes: Bytes) -> Next {
        match codec::decode(bytes) {
            Ok(ClientMessage { request_id, body }) => self.obey(request_id, body).await,
            Err((request_id, refusal)) => self.refuse(request_id, refusal),
        }
    }

    /// Ends the session for a fault of its own: an error, then the close.
    pub fn refuse(&mut self, request_id: u64, refusal: Refusal) -> Next {
        if matches!(self.stage, Stage::Waiting(_)) {
            metrics::counter!("dark_tower_controller_joins_total", "outcome" => refusal.code.name()).increment(1);
            tracing::info!(session = %self.key(), code = %refusal.code, reason = refusal.message, "refused before joining");
        }
        // A meeting that has dropped the outbox has ended the session already.
        if let Some(outbox) = self.outbox.upgrade() {
            outbox.send(codec::error(request_id, &refusal));
            outbox.close(refusal.code, refusal.message);
        }
        if matches!(self.stage, Stage::Waiting(_)) {
            self.stage = Stage::Over;
        }
        Next::Stop
    }

    /// The client is gone, or its connection is.
    pub async fn ended(self) {
        if let Stage::Handed(meeting) = &self.stage {
            // A meeting that is over has no sessions to end.
            let _ = meeting.inbox.send(Command::SessionEnded(self.key())).await;
        }
    }

    async fn obey(&mut self, request_id: u64, body: Body) -> Next {
        match (&self.stage, body) {
            (Stage::Waiting(_), Body::Join(Ok(wish))) => match self.join(request_id, *wish) {
                Ok((meeting, command)) => self.hand_over(request_id, meeting, command).await,
                Err(refusal) => self.refuse(request_id, refusal),
            },
            (Stage::Waiting(_), Body::Join(Err(refusal))) => self.refuse(request_id, refusal),
            (Stage::Waiting(_), Body::Request(request)) => self.refuse(request_id, request.denied_to_strangers().into()),
            (Stage::Handed(meeting), body) => {
                let request = match body {
                    Body::Request(request) => request,
                    Body::Join(_) => meeting_controller_core::Request::Invalid(Denied::JOINED_ALREADY.into()),
                };
                let command = Command::Request { session: self.key(), request_id, request, stamp: self.node.stamp() };
                // Waiting here holds back this client alone. A meeting that is over closes the session by itself.
                if meeting.inbox.send(command).await.is_ok() { Next::Read } else { Next::Stop }
            }
            (Stage::Over, _) => Next::Stop,
        }
    }

    async fn hand_over(&mut self, request_id: u64, meeting: MeetingHandle, command: Command) -> Next {
        self.stage = Stage::Handed(meeting.clone());
        match meeting.inbox.send(command).await {
            Ok(()) => Next::Read,
            Err(tokio::sync::mpsc::error::SendError(command)) => {
                // Keeps the outbox within until the refusal is queued.
                let next = self.refuse(request_id, Refusal::new(Code::Unavailable, "this meeting is not here any more; try again"));
                drop(command);
                next
            }
        }
    }

    fn join(&mut self, request_id: u64, wish: JoinWish) -> Result<(MeetingHandle, Command), Refusal> {
        let (credential, handlers) = self.credential(&wish)?;
        if matches!(credential, Credential::Resume(_))
            && self.node.meeting(wish.meeting_id).is_none()
            && !self.node.has_ended(wish.meeting_id)
        {
            // Nobody is expected back in a meeting that sleeps, and whoever guesses does not wake it. One that is not here at all
            // is answered alike, so that nobody learns which meetings are.
            return Err(Denied::NO_PLACE.into());
        }
        let meeting = self.meeting(wish.meeting_id)?;
        // Who comes back has its place already.
        if matches!(&credential, Credential::Grant(grant, _) if grant.resumes.is_none()) && !self.node.has_room() {
            return Err(Refusal::new(Code::CapacityExceeded, "this controller is full; ask the API again"));
        }
        let Stage::Waiting(outbox) = &self.stage else {
            return Err(Refusal::new(Code::InvalidRequest, "this session has joined already"));
        };
        let token = common::random::token();
        let join = Join {
            session: self.key(),
            request_id,
            credential,
            participant_name: wish.participant_name,
            capabilities: wish.capabilities,
            auto_subscribe: wish.auto_subscribe,
            chat_after_sequence: wish.chat_after_sequence,
            e2ee_key_id: wish.e2ee_key_id,
            resume_token: ResumeToken { hash: hash(&token), text: token },
            stamp: self.node.stamp(),
        };
        Ok((meeting, Command::Join { join: Box::new(join), handlers, outbox: outbox.clone() }))
    }

    fn credential(&self, wish: &JoinWish) -> Result<(Credential, Vec<NodeId>), Refusal> {
        if !wish.resume_token.expose().is_empty() {
            return Ok((Credential::Resume(hash(wish.resume_token.expose())), Vec::new()));
        }
        let verifier = self.node.verifier();
        if verifier.is_empty() {
            return Err(Refusal::new(Code::Unavailable, "this controller has no keys to judge tokens with yet; try again"));
        }
        let grant = verifier.verify_join(wish.join_token.expose()).map_err(|error| Refusal::new(Code::Unauthorized, error.to_string()))?;
        let relation = if grant.meeting_id == wish.meeting_id { Relation::SameMeeting } else { Relation::OtherMeeting };
        permit(grant.role, Action::Join, relation)?;
        let (until, handlers) = (self.spent_until(grant.expires_at), grant.handlers.clone());
        Ok((Credential::Grant(grant, until), handlers))
    }

    /// When a token with this expiry is refused for its age, whatever becomes of it.
    fn spent_until(&self, expires_at: u64) -> Moment {
        let lives = Duration::from_secs(expires_at.saturating_sub(common::clock::unix_seconds()) + 1);
        self.node.clock.now() + lives + self.node.limits.token_leeway
    }

    fn meeting(&self, meeting_id: MeetingId) -> Result<MeetingHandle, Refusal> {
        let ended = || Refusal::new(Code::NotFound, "this meeting has ended");
        match self.node.wake(meeting_id) {
            Ok(Some(meeting)) => Ok(meeting),
            Ok(None) if self.node.has_ended(meeting_id) => Err(ended()),
            Ok(None) => Err(Refusal::new(Code::NotFound, "this meeting is not on this controller")),
            Err(AssignError::Ended) => Err(ended()),
            Err(error @ AssignError::Full) => Err(Refusal::new(Code::CapacityExceeded, error.to_string())),
            Err(error @ AssignError::Stopping) => Err(Refusal::new(Code::Unavailable, error.to_string())),
        }
    }
}

/// SHA-256 of a resume token's text.
fn hash(token: &str) -> TokenHash {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    TokenHash(out)
}
