//! One worker for each core: a thread with a runtime of its own, a socket of the media port, a QUIC endpoint, and the sessions that the kernel
//! brings there.
//!
//! In: the port's sockets, what a session is served with. Out: sessions, each with all its tasks on one worker, so that a packet, its
//! decryption, what it leads to and the answer are one core's work; what the kernel brings to the wrong one is handed over. Never moves a session to another worker; never decides who is forwarded what:
//! the hub is everybody's.
//!
//! A worker that fails is begun anew on its socket: its sessions end, their clients are told so by the next packet they send and come back, and
//! nobody else's are touched.

use std::io;
use std::net::UdpSocket;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::door::DoorKeeper;
use common::parts::Parts;
use common::quic::Port;
use common::vitals::Counted;
use common::webtransport::{Listener, OriginPolicy};
use common_core::Moment;
use media_handler_core::ticks::Ticks;
use metrics::{counter, gauge};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::event_loop::{EventLoop, Handover};
use crate::handler::Handler;
use crate::{panics, session};

/// Between a worker's signs of life, with which it tells how busy it is.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// A worker that has given none for so long hangs, and its sessions with it.
const BEAT_AGE_MAX: Duration = Duration::from_secs(3);
/// What is left of each connection at the end is one packet.
const IDLE_TIMEOUT: Duration = Duration::from_millis(100);
/// A worker that failed so often in a row, each time sooner than [`LIFE_MIN`] after it began, would go on failing: it is not begun again.
const FAILURES_MAX: u32 = 5;
/// Longer than a session takes to stand, so that what kills each worker at once with its first clients is seen as that.
const LIFE_MIN: Duration = Duration::from_secs(10);
/// From the order to end to the end of the threads: the timeout above, and a busy machine.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// What all workers serve with.
#[derive(Clone)]
pub(crate) struct Service {
    pub handler: Arc<Handler>,
    pub server_config: quinn::ServerConfig,
    pub origins: OriginPolicy,
    /// One door: what strangers may cost, they may cost all workers together.
    pub keeper: DoorKeeper,
    pub parts: Parts,
    /// Whether each reads its socket on ticks.
    pub ticks: Ticks,
    /// Until it is cancelled newcomers are let in.
    pub accepting: CancellationToken,
}

/// What others see of a worker.
#[derive(Debug, Default)]
struct Seen {
    sessions: AtomicUsize,
    /// Visits of connections that were put off to the end of a tick.
    put_off: AtomicU64,
    /// The last sign of life, in microseconds of the handler's clock.
    beat_at: AtomicU64,
    /// Makes the worker panic at its next sign of life.
    #[cfg(test)]
    panics: std::sync::atomic::AtomicBool,
}

/// The workers of a handler. When they are dropped, they end by themselves.
pub(crate) struct Workers {
    handler: Arc<Handler>,
    seen: Vec<Arc<Seen>>,
    handovers: Vec<Handover>,
    threads: Vec<Thread>,
    accepting: CancellationToken,
    end: CancellationToken,
    /// Second handles of the sockets: the kernel knows a worker by its place among those that are open. One that died keeps its place, and
    /// the others their sessions.
    _places: Vec<UdpSocket>,
}

struct Thread {
    handle: JoinHandle<()>,
    /// Its sender goes with the thread.
    over: oneshot::Receiver<()>,
}

impl Workers {
    /// Starts one for each socket of `port`; returns when all of them serve.
    pub async fn start(port: Port, service: Service) -> io::Result<Self> {
        let configs = port.endpoint_configs();
        let places = port.sockets.iter().map(UdpSocket::try_clone).collect::<Result<_, _>>()?;
        let mut workers = Self {
            handler: service.handler.clone(),
            seen: Vec::new(),
            handovers: Handover::among(&port),
            threads: Vec::new(),
            accepting: service.accepting.clone(),
            end: CancellationToken::new(),
            _places: places,
        };
        let mut standing = Vec::new();
        for (index, (socket, config)) in port.sockets.into_iter().zip(configs).enumerate() {
            let seen = Arc::new(Seen::default());
            seen.beat_at.store(service.handler.now().as_micros(), Ordering::Relaxed);
            let (stands, stood) = oneshot::channel();
            let (over, ends) = oneshot::channel();
            let handover = workers.handovers[index].clone();
            let worker = Worker { index, service: service.clone(), seen: seen.clone(), handover, end: workers.end.clone() };
            let thread = std::thread::Builder::new().name(format!("media-{index}"));
            let handle = thread.spawn(move || {
                // Dropped last, whatever becomes of the rest.
                let _over: oneshot::Sender<()> = over;
                worker.run(socket, config, stands);
            })?;
            workers.threads.push(Thread { handle, over: ends });
            workers.seen.push(seen);
            standing.push(stood);
        }
        for stood in standing {
            stood.await.unwrap_or_else(|_| Err(io::Error::other("a media worker ended while it started")))?;
        }
        Ok(workers)
    }

    /// How many sessions each has.
    pub fn sessions(&self) -> Vec<usize> {
        self.seen.iter().map(|seen| seen.sessions.load(Ordering::Relaxed)).collect()
    }

    /// How many visits all of them have put off to the end of a tick.
    pub fn visits_put_off(&self) -> u64 {
        self.seen.iter().map(|seen| seen.put_off.load(Ordering::Relaxed)).sum()
    }

    /// How many packets have been handed over from worker to worker, and how many found no room.
    pub fn handed_over(&self) -> (u64, u64) {
        self.handovers.iter().map(Handover::totals).fold((0, 0), |sums, totals| (sums.0 + totals.0, sums.1 + totals.1))
    }

    /// A check that each has given a sign of life.
    pub fn check(&self) -> impl Fn() -> Result<(), String> + Send + Sync + use<> {
        let (handler, seen) = (self.handler.clone(), self.seen.clone());
        move || alive(handler.now(), seen.iter().map(|seen| Moment::from_micros(seen.beat_at.load(Ordering::Relaxed))))
    }

    /// Closes what is left, and waits until the threads are gone.
    pub async fn stop(mut self) {
        self.end.cancel();
        let threads = std::mem::take(&mut self.threads);
        let gone = async {
            for Thread { handle, over } in threads {
                // An error is what is waited for: the sender is gone, and the thread has nothing left to do that could take time.
                let _ = over.await;
                if handle.join().is_err() {
                    tracing::error!("a media worker panicked");
                }
            }
        };
        if tokio::time::timeout(END_TIMEOUT, gone).await.is_err() {
            tracing::warn!("a media worker did not end in time, and is left alone");
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.accepting.cancel();
        self.end.cancel();
    }
}

/// One of them, before and while it runs.
struct Worker {
    index: usize,
    service: Service,
    seen: Arc<Seen>,
    handover: Handover,
    end: CancellationToken,
}

impl Worker {
    /// A worker's lives, on its own thread: until the order to end, or until it fails too often. `stands` is told when it serves, or why it does
    /// not.
    fn run(self, socket: UdpSocket, config: quinn::EndpointConfig, stands: oneshot::Sender<io::Result<()>>) {
        let (mut stands, mut failures) = (Some(stands), Failures::default());
        loop {
            let began = Instant::now();
            let lived = self.live(&socket, &config, &mut stands);
            if self.end.is_cancelled() {
                return;
            }
            let Err(reason) = lived else { return };
            panics::count("worker");
            if failures.are_too_many(began.elapsed()) {
                tracing::error!(worker = self.index, %reason, "a media worker has failed too often and is not begun again: restart this process");
                self.service.parts.lose("a media worker");
                return;
            }
            tracing::error!(worker = self.index, %reason, "a media worker has failed and is begun anew; its sessions are over");
        }
    }

    /// One life. An error says why it is over although nobody ordered that.
    fn live(
        &self,
        socket: &UdpSocket,
        config: &quinn::EndpointConfig,
        stands: &mut Option<oneshot::Sender<io::Result<()>>>,
    ) -> Result<(), String> {
        let started = Builder::new_current_thread().enable_all().build().and_then(|runtime| {
            let entered = runtime.enter();
            let events = EventLoop::new(self.handover.clone());
            // Of the same socket: what has come meanwhile is there.
            let endpoint = endpoint(&events, socket.try_clone()?, config.clone(), self.service.server_config.clone())?;
            drop(entered);
            Ok((runtime, events, endpoint))
        });
        let (runtime, events, endpoint) = match (started, stands.take()) {
            (Ok(started), None) => started,
            (Ok(started), Some(stands)) => {
                // Who started this has given up if nobody listens.
                let _ = stands.send(Ok(()));
                started
            }
            (Err(error), Some(stands)) => {
                let _ = stands.send(Err(error));
                return Ok(());
            }
            (Err(error), None) => return Err(error.to_string()),
        };
        // Nothing of this life is used after it but what is made for tasks that may panic: the hub, and counters.
        let lived = catch_unwind(AssertUnwindSafe(|| runtime.block_on(self.serve(events, endpoint))));
        let sessions = self.seen.sessions.load(Ordering::Relaxed);
        let lived = lived.unwrap_or(Err("it panicked")).map_err(|reason| format!("{reason}, with {sessions} sessions"));
        if lived.is_err() {
            // One that fails at once must not keep a core busy. The sessions end with the runtime, behind this.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                runtime.block_on(async { drop(tokio::time::timeout(panics::RESTART_INTERVAL, self.end.cancelled()).await) });
            }));
        }
        // Tasks that are left are dropped; what they had begun on other threads is not waited for.
        runtime.shutdown_background();
        lived
    }

    async fn serve(&self, events: EventLoop, endpoint: quinn::Endpoint) -> Result<(), &'static str> {
        let _counted = Counted::this_runtime();
        let Self { index, service: Service { handler, origins, keeper, accepting, ticks, .. }, seen, handover, end } = self;
        let listener =
            Listener { endpoint: endpoint.clone(), path: "/media", origins: origins.clone(), keeper: keeper.clone(), door: "media" };
        let (serving, place, within) = (handler.clone(), seen.clone(), events.clone());
        let accepts = listener.accept(accepting.clone(), handler.tasks.clone(), move |accepted| {
            let (handler, events, place) = (serving.clone(), within.clone(), Place::taken(place.clone()));
            async move {
                let _place = place;
                session::serve(handler, events, accepted).await;
            }
        });
        let listens = handler.tasks.spawn(accepts);
        let deaf = async {
            // However it ended: nobody new can come any more.
            let _ = listens.await;
            if accepting.is_cancelled() {
                // As it was told; those who are there are served.
                std::future::pending::<()>().await;
            }
        };
        let lived = tokio::select! {
            () = beat(*index, handler, &events, seen, handover) => Err("it gives no more signs of life"),
            () = events.clone().decide(*index, *ticks) => Err("it decides no more on ticks"),
            () = deaf => Err("its listener has ended"),
            () = end.cancelled() => Ok(()),
        };
        if lived.is_ok() {
            endpoint.close(quinn::VarInt::from_u32(0), b"");
            let _ = tokio::time::timeout(IDLE_TIMEOUT, endpoint.wait_idle()).await;
        }
        lived
    }
}

/// How often a worker failed in a row.
#[derive(Debug, Default)]
struct Failures(u32);

impl Failures {
    /// Counts one more, of a life of that length; whether it is not to be begun again.
    fn are_too_many(&mut self, lived: Duration) -> bool {
        self.0 = if lived < LIFE_MIN { self.0 + 1 } else { 1 };
        self.0 > FAILURES_MAX
    }
}

/// The QUIC endpoint of a worker, within its runtime: the one place that says through what a worker reads and writes its socket, keeps its timers and
/// runs quinn's tasks.
fn endpoint(
    events: &EventLoop,
    socket: UdpSocket,
    config: quinn::EndpointConfig,
    server_config: quinn::ServerConfig,
) -> io::Result<quinn::Endpoint> {
    let runtime: Arc<dyn quinn::Runtime> = Arc::new(events.clone());
    let socket = runtime.wrap_udp_socket(socket)?;
    quinn::Endpoint::new_with_abstract_socket(config, Some(server_config), socket, runtime)
}

/// Gives signs of life, and tells how busy the worker is. Never ends.
async fn beat(index: usize, handler: &Handler, events: &EventLoop, seen: &Seen, handover: &Handover) {
    let runtime = Handle::current().metrics();
    let worker = index.to_string();
    let busy = counter!("dark_tower_media_worker_busy_milliseconds_total", "worker" => worker.clone());
    let put_off = counter!("dark_tower_media_visits_put_off_total", "worker" => worker.clone());
    let of = |outcome| counter!("dark_tower_media_packets_handed_over_total", "worker" => worker.clone(), "outcome" => outcome);
    let (passed, dropped) = (of("passed"), of("dropped"));
    let sessions = gauge!("dark_tower_media_worker_sessions", "worker" => worker);
    let mut beats = tokio::time::interval(BEAT_INTERVAL);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        #[cfg(test)]
        assert!(!seen.panics.swap(false, Ordering::Relaxed), "for a test");
        seen.beat_at.store(handler.now().as_micros(), Ordering::Relaxed);
        busy.absolute(u64::try_from(runtime.worker_total_busy_duration(0).as_millis()).unwrap_or(u64::MAX));
        let totals = handover.totals();
        passed.absolute(totals.0);
        dropped.absolute(totals.1);
        let more = events.put_off();
        put_off.increment(more);
        seen.put_off.fetch_add(more, Ordering::Relaxed);
        sessions.set(seen.sessions.load(Ordering::Relaxed) as f64);
    }
}

/// Whether each worker, by its last sign of life, is there; or the first that is not.
fn alive(now: Moment, beats: impl Iterator<Item = Moment>) -> Result<(), String> {
    for (index, age) in beats.map(|beat| now.since(beat)).enumerate() {
        if age > BEAT_AGE_MAX {
            return Err(format!("worker {index} has not been seen for {} s", age.as_secs()));
        }
    }
    Ok(())
}

/// A session's place on its worker.
struct Place(Arc<Seen>);

impl Place {
    fn taken(seen: Arc<Seen>) -> Self {
        seen.sessions.fetch_add(1, Ordering::Relaxed);
        Self(seen)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
