//! The UDP socket of one worker: read at once while the worker is idle, on ticks while it is busy.
//!
//! In: datagrams, what other workers have read for this one, the loop's tick. Out: batches of datagrams, and after each the timers that are due. On ticks the socket is not registered
//! with the kernel's event queue at all: nothing wakes the thread between two. Whether it can be written is asked only after it could not.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use quinn::udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Sleep;

use super::Shared;

pub(super) struct Socket {
    udp: Arc<UdpSocket>,
    state: UdpSocketState,
    shared: Arc<Shared>,
    reading: Mutex<Reading>,
    /// Set while the kernel takes nothing more.
    full: Mutex<Option<Arc<AsyncFd<UdpSocket>>>>,
}

/// What the task that reads knows.
struct Reading {
    /// The registration for readability, while the socket is read at once.
    registered: Option<AsyncFd<Arc<UdpSocket>>>,
    /// Whom other workers wake when they hand something over.
    reader: Option<Waker>,
    /// Whether the last batch was handed over: the socket's turn is next.
    was_handed_over: bool,
    /// Whether datagrams may be left from this tick.
    has_more: bool,
    /// Whether all of this tick was read, and timers may fire.
    is_done: bool,
    next_tick: Instant,
    sleep: Pin<Box<Sleep>>,
    sleeps_until: Option<Instant>,
    /// Timers that are due; kept for its memory.
    due: Vec<Waker>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("udp", &self.udp).finish_non_exhaustive()
    }
}

impl Socket {
    pub fn new(udp: UdpSocket, shared: Arc<Shared>) -> io::Result<Self> {
        udp.set_nonblocking(true)?;
        let state = UdpSocketState::new((&udp).into())?;
        let now = Instant::now();
        let sleep = Box::pin(tokio::time::sleep_until(now.into()));
        let reading = Reading {
            registered: None,
            reader: None,
            was_handed_over: false,
            has_more: false,
            is_done: false,
            next_tick: now,
            sleep,
            sleeps_until: Some(now),
            due: Vec::new(),
        };
        Ok(Self { udp: Arc::new(udp), state, shared, reading: Mutex::new(reading), full: Mutex::default() })
    }

    fn recv(&self, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> io::Result<Option<usize>> {
        match self.state.recv((&*self.udp).into(), bufs, meta) {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A batch of what is this worker's: read here, or by others. In turns, so that neither waits for long.
    fn try_get(
        &self,
        reading: &mut Reading,
        tick: Duration,
        now: Instant,
        context: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> io::Result<Option<usize>> {
        let handover = &self.shared.handover;
        if !reading.reader.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            handover.wakes(context.waker());
            reading.reader = Some(context.waker().clone());
        }
        if !std::mem::take(&mut reading.was_handed_over)
            && let count @ 1.. = handover.fetch(bufs, meta)
        {
            reading.was_handed_over = true;
            return Ok(Some(count));
        }
        if let Some(count) = self.try_recv(reading, tick, now, context, bufs, meta)? {
            handover.hand_over(&mut bufs[..count], &mut meta[..count]);
            return Ok(Some(count));
        }
        let count = handover.fetch(bufs, meta);
        reading.was_handed_over = count > 0;
        Ok(reading.was_handed_over.then_some(count))
    }

    /// Reads if there may be something: at once on readability, on ticks when the time has come.
    fn try_recv(
        &self,
        reading: &mut Reading,
        tick: Duration,
        now: Instant,
        context: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> io::Result<Option<usize>> {
        if tick.is_zero() {
            if reading.registered.is_none() {
                reading.registered = Some(register(self.udp.clone(), Interest::READABLE)?);
            }
            let Some(registered) = &reading.registered else { return Ok(None) };
            while let Poll::Ready(guard) = registered.poll_read_ready(context) {
                let mut guard = guard?;
                let received = self.recv(bufs, meta)?;
                // A batch that is not full was all there is; whatever comes after it makes the socket readable anew.
                if received.is_none_or(|count| count < BATCH_SIZE) {
                    guard.clear_ready();
                }
                if received.is_some() {
                    return Ok(received);
                }
            }
            return Ok(None);
        }
        if reading.registered.take().is_some() {
            // The first tick is now: what came before the change is not to wait longer for it.
            reading.next_tick = now;
        }
        if !reading.has_more {
            if now < reading.next_tick {
                return Ok(None);
            }
            reading.next_tick = next_tick(now, tick);
        }
        let received = self.recv(bufs, meta)?;
        reading.has_more = received == Some(BATCH_SIZE);
        reading.is_done = !reading.has_more;
        Ok(received)
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable { socket: self, waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let result = self.state.send((&*self.udp).into(), transmit);
        if let Err(error) = &result
            && error.kind() == io::ErrorKind::WouldBlock
        {
            let mut full = lock(&self.full);
            if full.is_none() {
                // A descriptor of its own: the kernel's event queue knows each descriptor once.
                *full = Some(Arc::new(register(self.udp.try_clone()?, Interest::WRITABLE)?));
            }
        }
        result
    }

    fn poll_recv(&self, context: &mut Context<'_>, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> Poll<io::Result<usize>> {
        let mut reading = lock(&self.reading);
        loop {
            let now = Instant::now();
            let tick = Duration::from_micros(self.shared.tick_micros.load(Ordering::Relaxed));
            if let Some(count) = self.try_get(&mut reading, tick, now, context, bufs, meta)? {
                return Poll::Ready(Ok(count));
            }
            let Reading { due, sleep, sleeps_until, next_tick, is_done, .. } = &mut *reading;
            // Once the socket was read, what is overdue is overdue; between ticks what is late may be lying there.
            if tick.is_zero() || std::mem::take(is_done) {
                self.shared.timers.fire(now, due);
                for waker in due.drain(..) {
                    waker.wake();
                }
            }
            let until = self.shared.timers.rest(context.waker(), (!tick.is_zero()).then_some(*next_tick));
            let Some(until) = until else { return Poll::Pending };
            if *sleeps_until != Some(until) {
                *sleeps_until = Some(until);
                sleep.as_mut().reset(until.into());
            }
            ready!(sleep.as_mut().poll(context));
            // For the next round: it is over, so it has to be set anew.
            *sleeps_until = None;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

type Waiting = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

/// Waits for the kernel to take more, if it did not.
struct Writable {
    socket: Arc<Socket>,
    waiting: Option<Waiting>,
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writable").finish_non_exhaustive()
    }
}

impl UdpPoller for Writable {
    fn poll_writable(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.waiting.is_none() {
            let Some(full) = lock(&this.socket.full).clone() else { return Poll::Ready(Ok(())) };
            this.waiting = Some(Box::pin(async move {
                // Its readiness is left as it is: who comes later finds it, or no registration at all.
                full.writable().await.map(|_| ())
            }));
        }
        let Some(waiting) = &mut this.waiting else { return Poll::Ready(Ok(())) };
        let result = ready!(waiting.as_mut().poll(context));
        this.waiting = None;
        *lock(&this.socket.full) = None;
        Poll::Ready(result)
    }
}

/// Ticks of all workers come together: what one reads for the subscribers of another need not wait for a second tick.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

fn next_tick(now: Instant, tick: Duration) -> Instant {
    let since = now.saturating_duration_since(*ORIGIN);
    let into = Duration::from_nanos(u64::try_from(since.as_nanos() % tick.as_nanos().max(1)).unwrap_or(0));
    now + tick - into
}

/// Has the kernel tell of readiness in one direction alone: tokio's own sockets are told of both, and each packet that leaves would wake
/// the thread.
#[expect(deprecated, reason = "its successor is unsafe because a type may change its descriptor meanwhile; a socket does not")]
fn register<T: AsRawFd>(socket: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(socket, interest)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
