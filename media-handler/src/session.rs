//! One media session from its first stream to its end: who it is, what its client says, what it is told.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use common::webtransport::Accepted;
use common_core::Code;
use media_handler_core::{Control, Key, Pace};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use web_transport_quinn::Session;

use crate::control::{ControlStream, Ending, Speaker};
use crate::egress::Egress;
use crate::event_loop::{Driver, EventLoop};
use crate::handler::{Handler, Incoming, refused};
use crate::ingress;
use crate::panics::EndsSession;
use crate::transport;
use crate::waiting::Place;

/// How long a close may take to be delivered.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Streams that are accepted before the hello, each way: those that may be open then. More wait for it, in QUIC.
const EARLY_STREAMS_MAX: [u32; 2] = [transport::BEFORE_HELLO.unidirectional_streams, transport::BEFORE_HELLO.bidirectional_streams];
/// Streams that a session may open in a second, with a burst of one second: a key frame each frame on eight media streams. More are
/// accepted later, and QUIC gives no credit for others meanwhile.
const STREAMS_PER_SECOND_MAX: u64 = 250;
/// Streams that brought no record, a second in the long run, and at once. Honest publishers have hardly any, so a session that goes
/// over this floods, and is closed.
const BARREN_STREAMS_PER_SECOND_MAX: u64 = 32;
const BARREN_STREAMS_BURST: u64 = 1000;
/// What is held of frames whose ids are not known yet, all streams of a session together: four times what one may hold.
const HELD_BYTES_MAX: usize = 1024 * 1024;
/// Streams that may hold such frames: whoever moves brings them all at once.
const HOLDING_STREAMS_MAX: usize = 32;

/// What a session's streams hold of frames whose ids are not known yet.
#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    streams: usize,
}

/// A client's session, as its streams' tasks see it.
pub(crate) struct Visitor {
    pub handler: Arc<Handler>,
    pub key: Key<media_handler_core::Session>,
    pub events: EventLoop,
    pub session: Session,
    /// What drives its connection; known from the first delivery on.
    driver: OnceLock<Arc<Driver>>,
    is_publisher: AtomicBool,
    said_hello: watch::Sender<bool>,
    ended: CancellationToken,
    /// A reason to close that a stream's task found.
    closing: watch::Sender<Option<(Code, &'static str)>>,
    /// What its participant sends; known from the hello on.
    incoming: OnceLock<Arc<Incoming>>,
    streams: Mutex<Pace>,
    barren: Mutex<Pace>,
    held: Mutex<Held>,
}

/// One stream's part of what its session holds, until it is dropped.
pub(crate) struct Holding<'a> {
    visitor: &'a Visitor,
    bytes: usize,
}

impl Holding<'_> {
    /// Counts `bytes` more; `false` if the session holds too much.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let mut held = lock(&self.visitor.held);
        if held.bytes + bytes > HELD_BYTES_MAX {
            return false;
        }
        held.bytes += bytes;
        self.bytes += bytes;
        true
    }

    /// What this stream holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        let mut held = lock(&self.visitor.held);
        held.bytes -= self.bytes;
        held.streams -= 1;
    }
}

impl Visitor {
    pub fn has_said_hello(&self) -> bool {
        *self.said_hello.borrow()
    }

    /// Resolves once hello was said; `false` if the session is over before.
    pub async fn greeted(&self) -> bool {
        let mut said_hello = self.said_hello.subscribe();
        tokio::select! {
            // The sender lives as long as the visitor.
            _ = said_hello.wait_for(|said| *said) => true,
            () = self.ended.cancelled() => false,
        }
    }

    /// Resolves when the session is over.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Makes the driver of its connection known.
    pub fn driven_by(&self, driver: Arc<Driver>) {
        driver.set_patient(!self.is_publisher.load(Ordering::Relaxed));
        // It is the same one each time.
        let _ = self.driver.set(driver);
    }

    /// It publishes: what comes from it is for others, and waits for nothing.
    pub fn publishes(&self) {
        self.is_publisher.store(true, Ordering::Relaxed);
        if let Some(driver) = self.driver.get() {
            driver.set_patient(false);
        }
    }

    pub fn close(&self, code: Code, reason: &'static str) {
        self.closing.send_replace(Some((code, reason)));
    }

    /// Ends the session at once, without a last word: its own tasks cannot be counted on any more.
    pub fn break_off(&self) {
        common::webtransport::close(&self.session, Code::InternalError, "an error of ours");
    }

    /// What the path to the client carries, in bits per second: a congestion window a round trip.
    pub fn estimated_bitrate(&self) -> u32 {
        crate::path::available_bitrate(&quinn::Connection::stats(&self.session).path)
    }

    /// Waits as long as what was read takes at the highest rates that a participant is allowed; a burst of a second passes at once.
    pub async fn pace(&self, bytes: usize, records: usize) {
        let Some(incoming) = self.incoming.get() else { return };
        let wait = incoming.count(self.handler.now(), bytes, records);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Counts a stream that brought no record. A flood of them closes the session.
    pub fn count_barren(&self) {
        let now = self.handler.now();
        if !lock(&self.barren).admits(now) {
            refused("streams_without_records");
            self.close(Code::RateLimited, "too many streams brought nothing in too short a time");
        }
    }

    /// A part in what the session may hold of frames whose ids are not known yet; `None` if too many streams hold some.
    pub fn hold(&self) -> Option<Holding<'_>> {
        let mut held = lock(&self.held);
        if held.streams >= HOLDING_STREAMS_MAX {
            return None;
        }
        held.streams += 1;
        Some(Holding { visitor: self, bytes: 0 })
    }

    /// Waits until one more stream is within the rate, and before the hello within the number.
    async fn admit_stream(&self, early: &mut u32, early_max: u32) -> bool {
        if !self.has_said_hello() {
            *early += 1;
            if *early > early_max && !self.greeted().await {
                return false;
            }
        }
        let now = self.handler.now();
        let wait = lock(&self.streams).count(now, 1);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a session out of the hub when its task ends, however it ends.
struct Departure(Arc<Visitor>);

impl Drop for Departure {
    fn drop(&mut self) {
        let Visitor { handler, key, ended, .. } = &*self.0;
        ended.cancel();
        handler.forget_path(*key);
        let now = handler.now();
        handler.with(|hub| hub.end_session(now, *key));
    }
}

/// Serves a session until it is over.
pub(crate) async fn serve(handler: Arc<Handler>, events: EventLoop, accepted: Accepted) {
    // The ticket is held until the session is over.
    let Accepted { session, remote, ticket: _ticket } = accepted;
    let Some(place) = handler.waiting.enter(remote.ip()) else {
        refused("waiting_per_address");
        common::webtransport::close(&session, Code::CapacityExceeded, "too many sessions from this address have not said hello");
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, session.closed()).await;
        return;
    };
    let key = handler.with(|hub| hub.open_session());
    handler.keep_path(key, quinn::Connection::clone(&session));
    let visitor = Arc::new(Visitor {
        handler: handler.clone(),
        key,
        events,
        session: session.clone(),
        driver: OnceLock::new(),
        is_publisher: AtomicBool::new(false),
        said_hello: watch::Sender::new(false),
        ended: CancellationToken::new(),
        closing: watch::Sender::new(None),
        incoming: OnceLock::new(),
        streams: Mutex::new(Pace::new(STREAMS_PER_SECOND_MAX, STREAMS_PER_SECOND_MAX)),
        barren: Mutex::new(Pace::new(BARREN_STREAMS_PER_SECOND_MAX, BARREN_STREAMS_BURST)),
        held: Mutex::default(),
    });
    let _guard = EndsSession { task: "session", visitor: visitor.clone() };
    let departure = Departure(visitor.clone());
    // One control stream is expected; room for one more, which is an error.
    let (control, controls) = mpsc::channel(1);
    let accepting = AbortOnDropHandle::new(handler.tasks.spawn(accept_streams(visitor.clone(), control)));
    let ending = talk(&visitor, place, controls).await;
    // The control stream has ended; with these the groups end, and nothing is left but to close.
    drop(departure);
    drop(accepting);
    if let Some(Ending { code, reason }) = ending {
        tracing::debug!(%remote, %code, reason, "a media session is closed");
        metrics::counter!("dark_tower_media_sessions_closed_total", "code" => code.name()).increment(1);
        // Strangers are not waited for.
        if visitor.has_said_hello() {
            common::webtransport::client_goes_first(&session).await;
        }
        common::webtransport::close(&session, code, &reason);
    }
    // Neither hello nor welcome offers datagrams, so nobody reads them; QUIC has kept the newest few, and counted all.
    let datagrams = quinn::Connection::stats(&session).frame_rx.datagram;
    if datagrams > 0 {
        metrics::counter!("dark_tower_refused_total", "door" => "media", "reason" => "datagram").increment(datagrams);
    }
    // Past the timeout the client notices by itself.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, session.closed()).await;
}

/// Accepts the client's streams, each with a task of its own; QUIC's stream limits bound how many there are, a rate how often.
async fn accept_streams(visitor: Arc<Visitor>, control: mpsc::Sender<ControlStream>) {
    let [one_way_max, both_ways_max] = EARLY_STREAMS_MAX;
    let spawn = |stream, reply| {
        let (visitor, control) = (visitor.clone(), control.clone());
        let guard = EndsSession { task: "ingress", visitor: visitor.clone() };
        visitor.handler.tasks.clone().spawn(async move {
            let _guard = guard;
            ingress::serve(visitor, stream, reply, control).await;
        });
    };
    let one_way = async {
        let mut early = 0;
        while let Ok(stream) = visitor.session.accept_uni().await
            && visitor.admit_stream(&mut early, one_way_max).await
        {
            spawn(stream, None);
        }
    };
    let both_ways = async {
        let mut early = 0;
        while let Ok((send, stream)) = visitor.session.accept_bi().await
            && visitor.admit_stream(&mut early, both_ways_max).await
        {
            spawn(stream, Some(send));
        }
    };
    tokio::join!(one_way, both_ways);
}

/// Hello, then control messages both ways. `Some` if the session is to be closed from here.
async fn talk(visitor: &Arc<Visitor>, place: Place, mut controls: mpsc::Receiver<ControlStream>) -> Option<Ending> {
    let greeting = async {
        let stream = controls.recv().await?;
        Some(Speaker::greet(visitor, stream).await)
    };
    let timeout = visitor.handler.limits.hello_timeout;
    let greeted = tokio::select! {
        greeted = tokio::time::timeout(timeout, greeting) => greeted,
        ending = orders(visitor) => return Some(ending),
        ending = close_order(visitor) => return Some(ending),
        () = place.taken.cancelled() => {
            refused("waiting");
            return Some(Ending::new(Code::CapacityExceeded, "too many sessions wait for a hello, this one for the longest"));
        }
        _ = visitor.session.closed() => return None,
    };
    let (speaker, address) = match greeted {
        Ok(Some(Ok(greeted))) => greeted,
        Ok(Some(Err(ending))) => {
            refused("hello");
            return ending;
        }
        Ok(None) => return None,
        Err(_) => {
            refused("hello_timeout");
            return Some(Ending::new(Code::Unauthorized, "no hello came in time"));
        }
    };
    drop(place);
    transport::grow(&visitor.session);
    // It is set once, here.
    let _ = visitor.incoming.set(visitor.handler.incoming(address));
    visitor.said_hello.send_replace(true);
    visitor.handler.changed();
    tokio::select! {
        ending = speaker.talk(visitor, &mut controls) => ending,
        ending = orders(visitor) => Some(ending),
        _ = visitor.session.closed() => None,
    }
}

/// Begins to deliver, with the hello and not after the welcome: a client that does not read that must lag behind like any other.
/// Ends when the handle is dropped.
pub(crate) fn deliver(visitor: &Arc<Visitor>) -> AbortOnDropHandle<()> {
    let egress = Egress::new(visitor.clone());
    let guard = EndsSession { task: "egress", visitor: visitor.clone() };
    AbortOnDropHandle::new(visitor.handler.tasks.spawn(async move {
        let _guard = guard;
        egress.await;
    }))
}

/// Orders to close that come from the tasks of streams.
async fn orders(visitor: &Visitor) -> Ending {
    let mut closing = visitor.closing.subscribe();
    // The sender lives as long as the visitor.
    let order = closing.wait_for(Option::is_some).await.ok().and_then(|order| *order);
    order.map_or_else(|| Ending::new(Code::Normal, ""), |(code, reason)| Ending::new(code, reason))
}

/// The hub's order to close.
pub(crate) async fn close_order(visitor: &Visitor) -> Ending {
    let (code, reason) = poll_fn(|context| visitor.handler.with(|hub| hub.poll_close(visitor.key, context))).await;
    Ending { code, reason }
}

/// What the hub wants said or done next.
pub(crate) async fn next_control(visitor: &Visitor) -> Control {
    poll_fn(|context| visitor.handler.with(|hub| hub.poll_control(visitor.key, context))).await
}
