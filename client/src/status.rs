//! How a meeting stands for this participant, as an application may ask or watch: state, id, transport, chat so far. Plain data.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common_core::ParticipantId;
use proto::v1;

use crate::end::SessionEnd;

/// Chat messages that are kept: as many as a person scrolls back. Each has at most 4 KiB.
pub const CHAT_KEPT_MAX: usize = 500;

/// Whether signaling stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// It stands.
    Connected,
    /// It is lost, and the client is on its way back; media may go on.
    Reconnecting,
    /// The meeting is over for this participant.
    Ended(SessionEnd),
}

/// What signaling travels on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalingTransport {
    /// QUIC.
    WebTransport,
    /// TCP, where UDP does not pass.
    WebSocket,
}

impl SignalingTransport {
    /// "webtransport" or "websocket".
    pub const fn name(self) -> &'static str {
        match self {
            Self::WebTransport => "webtransport",
            Self::WebSocket => "websocket",
        }
    }
}

/// What the session task tells handles besides events. Holds a secret, so it is never printed.
#[derive(Clone)]
pub(crate) struct Status {
    pub(crate) state: ConnectionState,
    pub(crate) participant_id: ParticipantId,
    pub(crate) resume_token: String,
    pub(crate) signaling: SignalingTransport,
    pub(crate) round_trip: Option<Duration>,
}

impl Status {
    /// A participant who has just been let in.
    pub(crate) fn new(participant_id: ParticipantId) -> Self {
        let (state, signaling) = (ConnectionState::Connected, SignalingTransport::WebTransport);
        Self { state, participant_id, resume_token: String::new(), signaling, round_trip: None }
    }
}

/// The newest chat messages, oldest first.
#[derive(Debug, Default)]
pub(crate) struct ChatLog(Mutex<VecDeque<v1::ChatMessage>>);

impl ChatLog {
    fn messages(&self) -> MutexGuard<'_, VecDeque<v1::ChatMessage>> {
        // Nothing panics while it holds the lock; if something did, the messages are still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, message: v1::ChatMessage) {
        let mut messages = self.messages();
        if messages.len() >= CHAT_KEPT_MAX {
            messages.pop_front();
        }
        messages.push_back(message);
    }

    pub(crate) fn snapshot(&self) -> Vec<v1::ChatMessage> {
        self.messages().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_messages_are_kept() {
        let log = ChatLog::default();
        for sequence in 1..=600 {
            log.push(v1::ChatMessage { sequence, ..Default::default() });
        }
        let kept = log.snapshot();
        assert_eq!((kept.len(), kept[0].sequence, kept[CHAT_KEPT_MAX - 1].sequence), (CHAT_KEPT_MAX, 101, 600));
    }
}
