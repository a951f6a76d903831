//! One worker's event loop under QUIC: when its socket is read, when timers fire, in which order connections are visited.
//!
//! In: datagrams, deadlines, what the worker's tasks write. Out: fewer visits. A busy worker reads its socket on ticks, so that a
//! subscriber's connection is visited once for all that came meanwhile, acknowledgements and records of several publishers alike; an idle one
//! reads at once. Whether to tick is decided in `media_handler_core::ticks`. The socket is read before timers fire, or what waits in
//! it would look lost. What it reads for another worker it hands over. All of it belongs to one thread with a current-thread runtime; other threads may wake its tasks.

mod drivers;
mod handover;
mod load;
mod socket;
mod timers;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime};

use drivers::Deferred;
pub(crate) use drivers::{Driver, first_woken, with_drivers};
pub(crate) use handover::Handover;
use load::Deliveries;
pub(crate) use load::Share;
use socket::Socket;
pub(crate) use timers::Timer;
use timers::Timers;

/// The loop of one worker; clones are the same loop.
#[derive(Clone, Debug)]
pub(crate) struct EventLoop(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    timers: Arc<Timers>,
    deferred: Arc<Deferred>,
    /// Microseconds between reads of the socket; 0: it is read at once.
    tick_micros: AtomicU64,
    deliveries: Deliveries,
    handover: Handover,
}

impl EventLoop {
    /// Of the worker at that place. Needs the runtime of the thread that it is for.
    pub fn new(handover: Handover) -> Self {
        let deferred = Deferred::new();
        tokio::spawn(drivers::run_deferred(deferred.clone()));
        let (tick_micros, deliveries) = (AtomicU64::new(0), Deliveries::default());
        Self(Arc::new(Shared { timers: Timers::new(), deferred, tick_micros, deliveries, handover }))
    }

    /// How long the socket rests between reads from now on; zero: it is read at once.
    pub fn set_tick(&self, tick: std::time::Duration) {
        self.0.tick_micros.store(u64::try_from(tick.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.0.deferred.set_active(!tick.is_zero());
        // Whoever waits for readability has to look anew.
        self.0.timers.wake_reader();
    }

    /// How many visits of connections were put off to the end of their tick since the last call.
    pub fn put_off(&self) -> u64 {
        self.0.deferred.put_off()
    }

    /// A timer that fires after the socket was read.
    pub fn timer(&self, at: Instant) -> Timer {
        self.0.timers.timer(at)
    }
}

impl Runtime for EventLoop {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(self.timer(at))
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        drivers::spawn(future, self.0.deferred.clone());
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(Socket::new(socket, self.0.clone())?))
    }
}
