//! What waits to be written to one session: bounded, in order, ended by a close.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use common_core::Code;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Messages that may wait: a meeting of a thousand that all come at once.
const MESSAGES_MAX: usize = 1024;
/// Bytes that may wait besides the message that is being written: one largest server message.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// Something to be written.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// A message in the session's encoding.
    Message(Bytes),
    /// The end, after everything before it.
    Close {
        /// With this.
        code: Code,
        /// For people.
        reason: String,
    },
}

/// The writing end. When the last one is dropped without a close, the session ends with `INTERNAL_ERROR`.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    queue: mpsc::Sender<Outgoing>,
    bytes: Arc<AtomicUsize>,
    overflow: CancellationToken,
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct Outgoings {
    queue: mpsc::Receiver<Outgoing>,
    bytes: Arc<AtomicUsize>,
    overflow: CancellationToken,
}

/// An outbox that keeps nobody's session alive.
#[derive(Clone, Debug)]
pub(crate) struct WeakOutbox {
    queue: mpsc::WeakSender<Outgoing>,
    bytes: Arc<AtomicUsize>,
    overflow: CancellationToken,
}

/// Both ends.
pub(crate) fn outbox() -> (Outbox, Outgoings) {
    let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
    let (bytes, overflow) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
    (Outbox { queue: sender, bytes: bytes.clone(), overflow: overflow.clone() }, Outgoings { queue: receiver, bytes, overflow })
}

impl Outbox {
    /// Queues a message; one too many ends the session instead.
    pub fn send(&self, message: Bytes) {
        let length = message.len();
        let held = self.bytes.fetch_add(length, Ordering::Relaxed);
        // A message alone is let in whatever its length.
        if held > 0 && held + length > BYTES_MAX {
            self.overflow.cancel();
        } else {
            self.push(Outgoing::Message(message));
        }
    }

    /// Ends the session after what was queued before.
    pub fn close(&self, code: Code, reason: impl Into<String>) {
        self.push(Outgoing::Close { code, reason: reason.into() });
    }

    fn push(&self, outgoing: Outgoing) {
        // A closed queue means that the session is over already.
        if let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(outgoing) {
            self.overflow.cancel();
        }
    }

    /// See [`WeakOutbox`].
    pub fn downgrade(&self) -> WeakOutbox {
        WeakOutbox { queue: self.queue.downgrade(), bytes: self.bytes.clone(), overflow: self.overflow.clone() }
    }
}

impl WeakOutbox {
    /// The outbox, while somebody else keeps it.
    pub fn upgrade(&self) -> Option<Outbox> {
        Some(Outbox { queue: self.queue.upgrade()?, bytes: self.bytes.clone(), overflow: self.overflow.clone() })
    }
}

impl Outgoings {
    /// The next thing to write. Cancel-safe. A session that does not read, and one that is dropped, end here too.
    pub async fn next(&mut self) -> Outgoing {
        tokio::select! {
            biased;
            () = self.overflow.cancelled() => {
                metrics::counter!("dark_tower_controller_outbox_overflows_total").increment(1);
                Outgoing::Close { code: Code::Unavailable, reason: "this session does not read".to_owned() }
            }
            outgoing = self.queue.recv() => {
                let outgoing = outgoing.unwrap_or_else(|| Outgoing::Close {
                    code: Code::InternalError,
                    reason: "the meeting broke off".to_owned(),
                });
                if let Outgoing::Message(message) = &outgoing {
                    self.bytes.fetch_sub(message.len(), Ordering::Relaxed);
                }
                outgoing
            }
        }
    }

    /// Resolves when more was queued than may wait.
    pub fn overflow(&self) -> CancellationToken {
        self.overflow.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_message_too_many_ends_the_session() {
        let (outbox, mut outgoings) = outbox();
        for _ in 0..=MESSAGES_MAX {
            outbox.send(Bytes::from_static(b"x"));
        }
        assert!(matches!(outgoings.next().await, Outgoing::Close { code: Code::Unavailable, .. }));
    }

    #[tokio::test]
    async fn bytes_are_bounded_but_a_large_message_alone_passes() {
        let (outbox, mut outgoings) = outbox();
        let large = Bytes::from(vec![0; BYTES_MAX + 1]);
        outbox.send(large.clone());
        assert!(matches!(outgoings.next().await, Outgoing::Message(message) if message == large));
        outbox.send(large);
        outbox.send(Bytes::from_static(b"x"));
        assert!(matches!(outgoings.next().await, Outgoing::Close { code: Code::Unavailable, .. }));
    }

    #[tokio::test]
    async fn a_dropped_outbox_is_our_fault() {
        let (outbox, mut outgoings) = outbox();
        outbox.send(Bytes::from_static(b"x"));
        drop(outbox);
        assert!(matches!(outgoings.next().await, Outgoing::Message(_)));
        assert!(matches!(outgoings.next().await, Outgoing::Close { code: Code::InternalError, .. }));
    }
}
