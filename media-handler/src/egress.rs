//! Delivers to one subscriber: one task, one loop, writes that never wait.
//!
//! In: what the hub plans. Out: one unidirectional stream per group, opened, written, finished or reset. A stream that takes
//! nothing, or cannot be opened, holds up no other.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use common_core::Moment;
use media_handler_core::hub::{Batch, Outcome};
use media_handler_core::{End, Key};
use tokio::time::Sleep;
use web_transport_quinn::{SendStream, Session, SessionError};

use crate::handler::Handler;
use crate::path::{WINDOW_INTERVAL, send_window};

/// Steps per run of the task, so that one subscriber's burst does not keep the others waiting.
const STEPS_MAX: usize = 32;

type Opening = Pin<Box<dyn Future<Output = Result<SendStream, SessionError>> + Send>>;

/// The QUIC stream of one slot.
enum GroupStream {
    Absent,
    Opening(Opening),
    Open(SendStream),
}

/// The future that delivers until the session is gone; whoever runs it drops it then.
pub(crate) struct Egress {
    handler: Arc<Handler>,
    key: Key<media_handler_core::Session>,
    session: Session,
    batch: Batch,
    streams: Vec<GroupStream>,
    wakes: Vec<Waker>,
    timer: Option<(Moment, Pin<Box<Sleep>>)>,
    /// When QUIC's send window was fitted to the path last.
    fitted_at: Option<Moment>,
}

impl Egress {
    pub fn new(handler: Arc<Handler>, key: Key<media_handler_core::Session>, session: Session) -> Self {
        Self { handler, key, session, batch: Batch::default(), streams: Vec::new(), wakes: Vec::new(), timer: None, fitted_at: None }
    }

    /// Keeps QUIC's buffer short, so that lateness is seen by the hub, which can act upon it.
    fn fit_window(&mut self) {
        let now = self.handler.now();
        if self.fitted_at.is_none_or(|at| now.since(at) >= WINDOW_INTERVAL) {
            self.fitted_at = Some(now);
            let connection: &quinn::Connection = &self.session;
            let path = connection.stats().path;
            connection.set_send_window(send_window(path.cwnd, path.rtt));
        }
    }

    fn end(&mut self, slot: usize, end: End) {
        let stream = self.streams.get_mut(slot).map(|stream| std::mem::replace(stream, GroupStream::Absent));
        if let Some(GroupStream::Open(mut stream)) = stream {
            // An error means that the stream is over already.
            let _ = match end {
                End::Finish => stream.finish(),
                End::Reset(code) => stream.reset(code.number()),
            };
        }
    }

    /// Whether the deadline has come; if not, the task is woken then.
    fn is_due(&mut self, deadline: Option<Moment>, context: &mut Context<'_>) -> bool {
        let Some(at) = deadline else {
            self.timer = None;
            return false;
        };
        let instant = self.handler.clock.instant(at);
        let (known, sleep) = self.timer.get_or_insert_with(|| (at, Box::pin(tokio::time::sleep_until(instant))));
        if *known != at {
            *known = at;
            sleep.as_mut().reset(instant);
        }
        let is_due = sleep.as_mut().poll(context).is_ready();
        if is_due {
            self.timer = None;
        }
        is_due
    }
}

impl Future for Egress {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.fit_window();
        let mut again = true;
        for _ in 0..STEPS_MAX {
            let (key, now, batch) = (this.key, this.handler.now(), &mut this.batch);
            this.handler.with_wakes(&mut this.wakes, |hub| hub.step(key, now, batch, context.waker(), again));
            again = false;
            if this.batch.is_empty() {
                again = this.is_due(this.batch.deadline, context);
                if again {
                    continue;
                }
                return Poll::Pending;
            }
            for index in 0..this.batch.endings.len() {
                let (slot, end) = this.batch.endings[index];
                this.end(slot, end);
            }
            let Batch { writes, chunks, .. } = &mut this.batch;
            for write in writes.iter_mut() {
                if this.streams.len() <= write.slot {
                    this.streams.resize_with(write.slot + 1, || GroupStream::Absent);
                }
                let stream = &mut this.streams[write.slot];
                write.outcome = match open(stream, &this.session, write.priority, context) {
                    Ok(stream) => poll_write(stream, &mut chunks[write.chunks.clone()], context),
                    Err(outcome) => outcome,
                };
            }
            // A new stream's first bytes wait for the path as well: then no stream is what is lacking.
            if writes.iter().any(|write| write.outcome == Outcome::Blocked) {
                for write in writes.iter_mut().filter(|write| write.outcome == Outcome::Opening) {
                    write.outcome = Outcome::Blocked;
                }
            }
        }
        // More to do, but others first.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The stream of a slot, opened if it can be at once.
fn open<'a>(
    stream: &'a mut GroupStream,
    session: &Session,
    priority: i32,
    context: &mut Context<'_>,
) -> Result<&'a mut SendStream, Outcome> {
    if let GroupStream::Absent = stream {
        let session = session.clone();
        *stream = GroupStream::Opening(Box::pin(async move { session.open_uni().await }));
    }
    if let GroupStream::Opening(opening) = stream {
        match opening.as_mut().poll(context) {
            Poll::Pending => return Err(Outcome::Opening),
            Poll::Ready(Err(_)) => {
                *stream = GroupStream::Absent;
                return Err(Outcome::Stopped);
            }
            Poll::Ready(Ok(opened)) => {
                // An error means that the stream is over already: the write will tell.
                let _ = opened.set_priority(priority);
                *stream = GroupStream::Open(opened);
            }
        }
    }
    match stream {
        GroupStream::Open(stream) => Ok(stream),
        GroupStream::Absent | GroupStream::Opening(_) => Err(Outcome::Opening),
    }
}

fn poll_write(stream: &mut SendStream, chunks: &mut [bytes::Bytes], context: &mut Context<'_>) -> Outcome {
    match pin!(stream.write_chunks(chunks)).poll(context) {
        Poll::Pending => Outcome::Blocked,
        Poll::Ready(Ok(written)) => Outcome::Written(written.bytes),
        Poll::Ready(Err(_)) => Outcome::Stopped,
    }
}
