//! What waits to be written to one session: bounded, in order, ended by a close.
//!
//! A session that does not read cannot hold up its own end: what was said before the close has a moment to leave, and is given up then.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use common::gate::{Gate, Yielded};
use common_core::Code;
use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Messages that may wait: a meeting of a thousand that all come at once.
const MESSAGES_MAX: usize = 1024;
/// Bytes that may wait, the message that is being written included: one largest server message, and what comes while it is on its way.
/// With QUIC's windows for a signaling session, a client that reads nothing costs less than 6 MiB.
const BYTES_MAX: usize = common_core::length_prefix::SERVER_MESSAGE_BYTES_MAX + 256 * 1024;

/// How long what was said last may take to arrive before a session is closed: what was said is worth a round trip or two,
/// and a kick must be over within a second.
pub(crate) const FAREWELL_TIMEOUT: Duration = Duration::from_millis(500);

/// A client that takes a message more slowly does not read: a roster of 4 MiB has eight minutes.
const BYTES_PER_SECOND_MIN: usize = 8 * 1024;

/// Resolves when `message` should have been written, if `stall_timeout` is what a short one may take.
pub(crate) fn stalled(message: &Bytes, stall_timeout: Duration) -> tokio::time::Sleep {
    tokio::time::sleep(stall_timeout + Duration::from_secs((message.len() / BYTES_PER_SECOND_MIN) as u64))
}

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
    end: Arc<End>,
}

/// What ends a session, whatever is still queued.
#[derive(Debug, Default)]
pub(crate) struct End {
    /// More was queued than may wait.
    overflow: CancellationToken,
    /// A close was queued.
    closing: CancellationToken,
    /// With what, and when its time is over.
    farewell: OnceLock<(Code, String, Instant)>,
}

impl End {
    /// Resolves when a write that is under way must be given up. Cancel-safe.
    pub async fn due(&self) {
        tokio::select! {
            () = self.overflow.cancelled() => {}
            () = self.closing.cancelled() => {
                let until = self.farewell.get().map(|(_, _, until)| *until);
                tokio::time::sleep_until(until.unwrap_or_else(Instant::now)).await;
            }
        }
    }

    /// Whether nothing more can be said but how the session ends.
    pub fn is_due(&self) -> bool {
        self.overflow.is_cancelled() || self.farewell.get().is_some_and(|(_, _, until)| *until <= Instant::now())
    }

    /// How the session ends whose writing was given up.
    pub fn verdict(&self) -> (Code, String) {
        match self.farewell.get() {
            Some((code, reason, _)) => (*code, reason.clone()),
            None => (Code::Unavailable, "this session does not read".to_owned()),
        }
    }
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct Outgoings {
    queue: mpsc::Receiver<Outgoing>,
    /// Of the message that is being written.
    writing: usize,
    /// Taken from the queue, and waiting at the gate.
    held: Option<Outgoing>,
    gate: Arc<Gate>,
    bytes: Arc<AtomicUsize>,
    end: Arc<End>,
}

/// An outbox that keeps nobody's session alive.
#[derive(Clone, Debug)]
pub(crate) struct WeakOutbox {
    queue: mpsc::WeakSender<Outgoing>,
    bytes: Arc<AtomicUsize>,
    end: Arc<End>,
}

/// Both ends. What is said waits at `gate` while this process does not know whether it may say it.
pub(crate) fn outbox(gate: Arc<Gate>) -> (Outbox, Outgoings) {
    let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
    let (bytes, end) = (Arc::new(AtomicUsize::new(0)), Arc::new(End::default()));
    (
        Outbox { queue: sender, bytes: bytes.clone(), end: end.clone() },
        Outgoings { queue: receiver, writing: 0, held: None, gate, bytes, end },
    )
}

impl Outbox {
    /// Queues a message; one too many ends the session instead.
    pub fn send(&self, message: Bytes) {
        let length = message.len();
        let held = self.bytes.fetch_add(length, Ordering::Relaxed);
        // A message alone is let in whatever its length.
        if held > 0 && held + length > BYTES_MAX {
            self.end.overflow.cancel();
        } else {
            self.push(Outgoing::Message(message));
        }
    }

    /// Ends the session after what was queued before, as far as it leaves in time.
    pub fn close(&self, code: Code, reason: impl Into<String>) {
        let reason = reason.into();
        // The first close is the one that counts.
        let _ = self.end.farewell.set((code, reason.clone(), Instant::now() + FAREWELL_TIMEOUT));
        self.end.closing.cancel();
        self.push(Outgoing::Close { code, reason });
    }

    /// Ends the session at once, without what was queued before.
    pub fn cut(&self, code: Code, reason: impl Into<String>) {
        // The first close is the one that counts.
        let _ = self.end.farewell.set((code, reason.into(), Instant::now()));
        self.end.closing.cancel();
        self.end.overflow.cancel();
    }

    fn push(&self, outgoing: Outgoing) {
        // A closed queue means that the session is over already.
        if let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(outgoing) {
            self.end.overflow.cancel();
        }
    }

    /// See [`WeakOutbox`].
    pub fn downgrade(&self) -> WeakOutbox {
        WeakOutbox { queue: self.queue.downgrade(), bytes: self.bytes.clone(), end: self.end.clone() }
    }
}

impl WeakOutbox {
    /// The outbox, while somebody else keeps it.
    pub fn upgrade(&self) -> Option<Outbox> {
        Some(Outbox { queue: self.queue.upgrade()?, bytes: self.bytes.clone(), end: self.end.clone() })
    }
}

impl Outgoings {
    /// The next thing to write; the one before has been written. Cancel-safe. A session that does not read, and one that is dropped, end
    /// here too.
    pub async fn next(&mut self) -> Outgoing {
        self.bytes.fetch_sub(std::mem::take(&mut self.writing), Ordering::Relaxed);
        tokio::select! {
            biased;
            () = self.end.overflow.cancelled() => {
                if self.end.farewell.get().is_none() {
                    metrics::counter!("dark_tower_controller_outbox_overflows_total").increment(1);
                }
                let (code, reason) = self.end.verdict();
                Outgoing::Close { code, reason }
            }
            outgoing = Self::take(&mut self.queue, &mut self.held, &self.gate) => {
                if let Outgoing::Message(message) = &outgoing {
                    self.writing = message.len();
                }
                outgoing
            }
        }
    }

    /// What is queued first, once it may leave. Cancel-safe: what was taken from the queue is held until then.
    async fn take(queue: &mut mpsc::Receiver<Outgoing>, held: &mut Option<Outgoing>, gate: &Gate) -> Outgoing {
        let next = match held.take() {
            Some(outgoing) => outgoing,
            None => queue
                .recv()
                .await
                .unwrap_or_else(|| Outgoing::Close { code: Code::InternalError, reason: "the meeting broke off".to_owned() }),
        };
        match gate.passage().now_or_never() {
            Some(Ok(())) => return next,
            Some(Err(Yielded)) => {}
            None => {
                *held = Some(next);
                if gate.passage().await.is_ok()
                    && let Some(next) = held.take()
                {
                    return next;
                }
            }
        }
        Outgoing::Close { code: Code::Unavailable, reason: "another process has taken over; join again through the API".to_owned() }
    }

    /// Whether something may leave now.
    pub fn may_speak(&self) -> bool {
        self.gate.is_open()
    }

    /// To be watched while something is written.
    pub fn end(&self) -> Arc<End> {
        self.end.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_message_too_many_ends_the_session() {
        let (outbox, mut outgoings) = outbox(Arc::default());
        for _ in 0..=MESSAGES_MAX {
            outbox.send(Bytes::from_static(b"x"));
        }
        assert!(matches!(outgoings.next().await, Outgoing::Close { code: Code::Unavailable, .. }));
    }

    #[tokio::test]
    async fn bytes_are_bounded_but_a_large_message_alone_passes() {
        let (outbox, mut outgoings) = outbox(Arc::default());
        let large = Bytes::from(vec![0; BYTES_MAX + 1]);
        outbox.send(large.clone());
        assert!(matches!(outgoings.next().await, Outgoing::Message(message) if message == large));
        // While it is being written it still counts; when it is written, the next may be as large.
        outbox.send(Bytes::from_static(b"x"));
        assert!(matches!(outgoings.next().await, Outgoing::Close { code: Code::Unavailable, .. }));

        let (outbox, mut outgoings) = super::outbox(Arc::default());
        outbox.send(large.clone());
        assert!(matches!(outgoings.next().await, Outgoing::Message(_)));
        assert!(tokio::time::timeout(FAREWELL_TIMEOUT, outgoings.next()).await.is_err());
        outbox.send(large);
        outbox.send(Bytes::from_static(b"x"));
        assert!(matches!(outgoings.next().await, Outgoing::Close { code: Code::Unavailable, .. }));
    }

    /// What was said before a close has its time; after that only the close counts, also where it did not even fit the queue.
    #[tokio::test]
    async fn a_close_has_a_deadline() {
        let (outbox, mut outgoings) = outbox(Arc::default());
        let end = outgoings.end();
        for _ in 0..MESSAGES_MAX {
            outbox.send(Bytes::from_static(b"x"));
        }
        assert!(!end.is_due());
        let began = Instant::now();
        outbox.close(Code::Forbidden, "removed");
        assert!(matches!(outgoings.next().await, Outgoing::Close { code: Code::Forbidden, .. }));

        let (outbox, outgoings) = super::outbox(Arc::default());
        outbox.close(Code::Forbidden, "removed");
        outbox.close(Code::Normal, "left");
        outgoings.end().due().await;
        assert!(began.elapsed() >= FAREWELL_TIMEOUT && outgoings.end().is_due());
        assert_eq!(outgoings.end().verdict(), (Code::Forbidden, "removed".to_owned()));
    }

    /// Who was frozen says nothing old; a session that is cut hears nothing but its end.
    #[tokio::test]
    async fn what_waits_at_the_gate_leaves_when_it_opens_or_never() {
        let gate = Arc::new(Gate::default());
        let (outbox, mut outgoings) = super::outbox(gate.clone());
        outbox.send(Bytes::from_static(b"kept"));
        assert!(matches!(outgoings.next().await, Outgoing::Message(_)));
        gate.close_for_good();
        outbox.send(Bytes::from_static(b"stale"));
        assert!(matches!(outgoings.next().await, Outgoing::Close { code: Code::Unavailable, .. }));

        let (outbox, mut outgoings) = super::outbox(Arc::default());
        outbox.send(Bytes::from_static(b"stale"));
        outbox.cut(Code::Unavailable, "moved");
        outbox.close(Code::Normal, "left");
        assert!(matches!(outgoings.next().await, Outgoing::Close { code: Code::Unavailable, reason } if reason == "moved"));
        assert!(outgoings.end().is_due());
    }

    #[tokio::test]
    async fn a_dropped_outbox_is_our_fault() {
        let (outbox, mut outgoings) = outbox(Arc::default());
        outbox.send(Bytes::from_static(b"x"));
        drop(outbox);
        assert!(matches!(outgoings.next().await, Outgoing::Message(_)));
        assert!(matches!(outgoings.next().await, Outgoing::Close { code: Code::InternalError, .. }));
    }
}
