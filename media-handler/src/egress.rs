//! Delivers to one subscriber: one task, one loop, writes that never wait.
//!
//! In: what the hub plans. Out: one unidirectional stream per group, opened, written, finished or reset. A stream that takes
//! nothing, or cannot be opened, holds up no other.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::gate::Yielded;
use common_core::{Code, Moment};
use media_handler_core::hub::{Batch, Outcome};
use media_handler_core::{End, Key};
use web_transport_quinn::{SendStream, Session, SessionError};

use crate::event_loop::{Share, Timer, first_woken, with_drivers};
use crate::handler::Handler;
use crate::path::{WINDOW_INTERVAL, send_window};
use crate::session::Visitor;

/// Steps per run of the task, so that one subscriber's burst does not keep the others waiting.
const STEPS_MAX: usize = 32;
/// Group streams that were written whole and may still be on their way, for which lateness is looked at; older ones are let be.
const LINGERING_MAX: usize = 128;
/// What a busy machine at the other end may take to acknowledge what has come in time.
const LINGERING_GRACE: Duration = Duration::from_millis(1500);
/// Between looks at those: how much later than its budget a group may be dropped.
const LINGERING_INTERVAL: Duration = Duration::from_millis(250);

type Passage = Pin<Box<dyn Future<Output = Result<(), Yielded>> + Send>>;
type Opening = Pin<Box<dyn Future<Output = Result<SendStream, SessionError>> + Send>>;

thread_local! {
    /// What the deliveries of this thread work with, one after the other: its memory stays in the cache.
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// What one run of a delivery works with.
#[derive(Default)]
struct Scratch {
    batch: Batch,
    wakes: Vec<Waker>,
}

/// The QUIC stream of one slot.
enum GroupStream {
    Absent,
    Opening(Opening),
    /// With how old what it carries may get.
    Open(SendStream, Duration),
}

/// The future that delivers until the session is gone; whoever runs it drops it then.
pub(crate) struct Egress {
    handler: Arc<Handler>,
    key: Key<media_handler_core::Session>,
    visitor: Arc<Visitor>,
    /// Whether the driver of its connection is known.
    is_driver_known: bool,
    /// What the last run left, if it had more to do.
    left: Option<Box<Scratch>>,
    streams: Vec<GroupStream>,
    /// What it has of the loop's deliveries.
    share: Share,
    timer: Option<(Moment, Timer)>,
    /// Waits at the gate, after a freeze of this process.
    passage: Option<Passage>,
    /// When QUIC's send window was fitted to the path last.
    fitted_at: Option<Moment>,
    /// Group streams that were finished, and when what they carried is late if it is not acknowledged by then.
    lingering: VecDeque<(Moment, SendStream)>,
    /// When to look at those.
    look_at: Option<Moment>,
    /// Whether QUIC took no more of a stream, and has taken nothing since: then a stream that cannot be opened waits for the path too.
    is_path_blocked: bool,
}

impl Egress {
    pub fn new(visitor: Arc<Visitor>) -> Self {
        Self {
            handler: visitor.handler.clone(),
            key: visitor.key,
            visitor,
            is_driver_known: false,
            left: None,
            share: Share::default(),
            streams: Vec::new(),
            timer: None,
            passage: None,
            fitted_at: None,
            lingering: VecDeque::new(),
            look_at: None,
            is_path_blocked: false,
        }
    }

    /// Keeps QUIC's buffer short, so that lateness is seen by the hub, which can act upon it.
    fn fit_window(&mut self, now: Moment) {
        if self.fitted_at.is_none_or(|at| now.since(at) >= WINDOW_INTERVAL) {
            self.fitted_at = Some(now);
            let connection: &quinn::Connection = &self.visitor.session;
            let path = connection.stats().path;
            connection.set_send_window(send_window(path.cwnd, path.rtt));
        }
    }

    /// Whether anything may be sent now; if not, the task is woken when it may.
    fn may_pass(&mut self, context: &mut Context<'_>) -> bool {
        if self.passage.is_none() && self.handler.gate.is_open() {
            return true;
        }
        let gate = &self.handler.gate;
        let passage = self.passage.get_or_insert_with(|| {
            let gate = gate.clone();
            Box::pin(async move { gate.passage().await })
        });
        match passage.as_mut().poll(context) {
            Poll::Pending => false,
            Poll::Ready(passed) => {
                self.passage = None;
                // A later process has taken over: this task is dropped with its session.
                passed.is_ok()
            }
        }
    }

    fn end(&mut self, slot: usize, end: End) {
        let stream = self.streams.get_mut(slot).map(|stream| std::mem::replace(stream, GroupStream::Absent));
        if let Some(GroupStream::Open(mut stream, budget)) = stream {
            // An error means that the stream is over already.
            let _ = match end {
                End::Finish => stream.finish(),
                End::Reset(code) => stream.reset(code.number()),
            };
            if end == End::Finish {
                if self.lingering.len() == LINGERING_MAX {
                    self.lingering.pop_front();
                }
                // Two round trips: one for the last bytes, one for a loss among them; and the acknowledgement is on its way back.
                let round_trip = quinn::Connection::rtt(&self.visitor.session);
                let late_at = self.handler.now() + budget + LINGERING_GRACE + 2 * round_trip;
                self.lingering.push_back((late_at, stream));
                // The others' time, if it is set, is not much later, and never sooner than the interval allows.
                self.look_at.get_or_insert(late_at);
            }
        }
    }

    /// Resets what was written whole and is late on its way: it fills QUIC's window, and fresh groups wait behind it. What is
    /// acknowledged is over, and a reset changes nothing.
    fn drop_late(&mut self, now: Moment) {
        let mut undone = 0;
        self.lingering.retain_mut(|(late_at, stream)| {
            if *late_at > now {
                return true;
            }
            undone += u64::from(stream.reset(Code::Expired.number()).is_ok());
            false
        });
        self.look_at = self.lingering.iter().map(|(late_at, _)| (*late_at).max(now + LINGERING_INTERVAL)).min();
        if undone > 0 {
            metrics::counter!("dark_tower_media_groups_undone_total").increment(undone);
        }
    }

    /// Whether the deadline has come; if not, the task is woken then.
    fn is_due(&mut self, deadline: Option<Moment>, context: &mut Context<'_>) -> bool {
        // A timer that nobody needs any more fires once, and then rests.
        let Some(at) = deadline else { return false };
        let instant = self.handler.clock.instant(at).into_std();
        match &mut self.timer {
            Some((known, timer)) if *known != at => {
                *known = at;
                timer.put_off(instant);
            }
            Some(_) => {}
            None => self.timer = Some((at, self.visitor.events.timer(instant))),
        }
        let is_due = self.timer.as_ref().is_some_and(|(_, timer)| timer.is_due(context));
        if is_due {
            self.timer = None;
        }
        is_due
    }

    /// Delivers what can be delivered now; whether there is more to do.
    fn run(&mut self, scratch: &mut Scratch, context: &mut Context<'_>) -> bool {
        let Scratch { batch, wakes } = scratch;
        let mut now = self.handler.now();
        self.fit_window(now);
        let mut again = true;
        for _ in 0..STEPS_MAX {
            let key = self.key;
            self.handler.with_wakes(wakes, |hub| hub.step(key, now, batch, context.waker(), again));
            again = false;
            self.visitor.events.count(&mut self.share, batch.records, now);
            if batch.is_empty() {
                if self.look_at.is_some_and(|at| at <= now) {
                    self.drop_late(now);
                }
                let deadline = batch.deadline.into_iter().chain(self.look_at).min();
                again = self.is_due(deadline, context);
                if again {
                    now = self.handler.now();
                    continue;
                }
                return false;
            }
            for (slot, end) in &batch.endings {
                self.end(*slot, *end);
            }
            self.write(batch, context);
        }
        true
    }

    fn write(&mut self, batch: &mut Batch, context: &mut Context<'_>) {
        let Batch { writes, chunks, .. } = batch;
        for write in writes.iter_mut() {
            if self.streams.len() <= write.slot {
                self.streams.resize_with(write.slot + 1, || GroupStream::Absent);
            }
            let stream = &mut self.streams[write.slot];
            write.outcome = match open(stream, &self.visitor.session, write.priority, write.budget, context) {
                Ok(stream) => poll_write(stream, &mut chunks[write.chunks.clone()], context),
                Err(outcome) => outcome,
            };
        }
        // A new stream's first bytes wait for the path as well: then no stream is what is lacking.
        if writes.iter().any(|write| matches!(write.outcome, Outcome::Written(_))) {
            self.is_path_blocked = false;
        }
        self.is_path_blocked |= writes.iter().any(|write| write.outcome == Outcome::Blocked);
        if self.is_path_blocked {
            for write in writes.iter_mut().filter(|write| write.outcome == Outcome::Opening) {
                write.outcome = Outcome::Blocked;
            }
        }
    }
}

impl Future for Egress {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        with_drivers(|| {
            if this.may_pass(context) {
                let mut scratch = this.left.take().or_else(|| SCRATCH.take()).unwrap_or_default();
                if this.run(&mut scratch, context) {
                    // More to do, but others first.
                    this.left = Some(scratch);
                    context.waker().wake_by_ref();
                } else {
                    SCRATCH.set(Some(scratch));
                }
                if !this.is_driver_known
                    && let Some(driver) = first_woken()
                {
                    this.visitor.driven_by(driver);
                    this.is_driver_known = true;
                }
            }
        });
        Poll::Pending
    }
}

/// The stream of a slot, opened if it can be at once.
fn open<'a>(
    stream: &'a mut GroupStream,
    session: &Session,
    priority: i32,
    budget: Duration,
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
                *stream = GroupStream::Open(opened, budget);
            }
        }
    }
    match stream {
        GroupStream::Open(stream, _) => Ok(stream),
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
