//! One media session from its first stream to its end: who it is, what its client says, what it is told.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::webtransport::Accepted;
use common_core::Code;
use media_handler_core::{Control, Key};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use web_transport_quinn::Session;

use crate::control::{ControlStream, Ending, Speaker};
use crate::egress::Egress;
use crate::handler::Handler;
use crate::ingress;

/// How long a close may take to be delivered.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A client's session, as its streams' tasks see it.
pub(crate) struct Visitor {
    pub handler: Arc<Handler>,
    pub key: Key<media_handler_core::Session>,
    session: Session,
    said_hello: watch::Sender<bool>,
    ended: CancellationToken,
    /// A reason to close that a stream's task found.
    closing: watch::Sender<Option<(Code, &'static str)>>,
    /// When what was read so far would have come at the highest rate that is allowed.
    paced_until: Mutex<Instant>,
}

impl Visitor {
    pub fn has_said_hello(&self) -> bool {
        *self.said_hello.borrow()
    }

    /// Resolves when the session is over.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    pub fn close(&self, code: Code, reason: &'static str) {
        self.closing.send_replace(Some((code, reason)));
    }

    /// What the path to the client carries, in bits per second: a congestion window a round trip.
    pub fn estimated_bitrate(&self) -> u32 {
        crate::path::available_bitrate(&quinn::Connection::stats(&self.session).path)
    }

    /// Waits as long as `bytes` take at the highest rate that a session is allowed; a burst of a second passes at once. Each of
    /// the `records` begun costs some bytes more, so that empty ones are not for nothing.
    pub async fn pace(&self, bytes: usize, records: usize) {
        const BURST: Duration = Duration::from_secs(1);
        const RECORD_BYTES: usize = 1024;
        let bytes = bytes + RECORD_BYTES * records;
        let rate = self.handler.limits.max_ingress_bitrate.max(1);
        let length = Duration::from_secs_f64(bytes as f64 * 8.0 / rate as f64);
        let now = Instant::now();
        let until = {
            let mut paced_until = self.paced_until.lock().unwrap_or_else(PoisonError::into_inner);
            *paced_until = (*paced_until).max(now) + length;
            *paced_until
        };
        if let Some(at) = until.checked_sub(BURST).filter(|at| *at > now) {
            tokio::time::sleep_until(at).await;
        }
    }
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
pub(crate) async fn serve(handler: Arc<Handler>, accepted: Accepted) {
    // The ticket is held until the session is over.
    let Accepted { session, remote, ticket: _ticket } = accepted;
    let key = handler.with(|hub| (hub.session_count() < handler.limits.max_sessions).then(|| hub.open_session()));
    let Some(key) = key else {
        common::webtransport::close(&session, Code::CapacityExceeded, "this handler serves no more sessions");
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, session.closed()).await;
        return;
    };
    handler.keep_path(key, quinn::Connection::clone(&session));
    let visitor = Arc::new(Visitor {
        handler: handler.clone(),
        key,
        session: session.clone(),
        said_hello: watch::Sender::new(false),
        ended: CancellationToken::new(),
        closing: watch::Sender::new(None),
        paced_until: Mutex::new(Instant::now()),
    });
    let departure = Departure(visitor.clone());
    // One control stream is expected; room for one more, which is an error.
    let (control, controls) = mpsc::channel(1);
    let accepting = handler.tasks.spawn(accept_streams(visitor.clone(), control));
    let ending = talk(&visitor, controls).await;
    if let Some(Ending { code, reason }) = ending {
        tracing::debug!(%remote, %code, reason, "a media session is closed");
        metrics::counter!("dark_tower_media_sessions_closed_total", "code" => code.name()).increment(1);
        common::webtransport::close(&session, code, &reason);
    }
    drop(departure);
    accepting.abort();
    // Past the timeout the client notices by itself.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, session.closed()).await;
}

/// Accepts the client's streams, each with a task of its own; QUIC's stream limits bound how many there are.
async fn accept_streams(visitor: Arc<Visitor>, control: mpsc::Sender<ControlStream>) {
    let one_way = async {
        while let Ok(stream) = visitor.session.accept_uni().await {
            visitor.handler.tasks.spawn(ingress::serve(visitor.clone(), stream, None, control.clone()));
        }
    };
    let both_ways = async {
        while let Ok((send, stream)) = visitor.session.accept_bi().await {
            visitor.handler.tasks.spawn(ingress::serve(visitor.clone(), stream, Some(send), control.clone()));
        }
    };
    tokio::join!(one_way, both_ways);
}

/// Hello, then control messages both ways. `Some` if the session is to be closed from here.
async fn talk(visitor: &Arc<Visitor>, mut controls: mpsc::Receiver<ControlStream>) -> Option<Ending> {
    let greeting = async {
        let stream = controls.recv().await?;
        Some(Speaker::greet(visitor, stream).await)
    };
    let timeout = visitor.handler.limits.hello_timeout;
    let greeted = tokio::select! {
        greeted = tokio::time::timeout(timeout, greeting) => greeted,
        ending = orders(visitor) => return Some(ending),
        _ = visitor.session.closed() => return None,
    };
    let speaker = match greeted {
        Ok(Some(Ok(speaker))) => speaker,
        Ok(Some(Err(ending))) => return ending,
        Ok(None) => return None,
        Err(_) => return Some(Ending::new(Code::Unauthorized, "no hello came in time")),
    };
    visitor.said_hello.send_replace(true);
    crate::TRANSPORT.grow(&visitor.session);
    visitor.handler.changed();
    let delivery = visitor.handler.tasks.spawn(Egress::new(visitor.handler.clone(), visitor.key, visitor.session.clone()));
    let ending = tokio::select! {
        ending = speaker.talk(visitor, &mut controls) => ending,
        _ = visitor.session.closed() => None,
    };
    delivery.abort();
    ending
}

/// Orders to close that come before the hello.
async fn orders(visitor: &Visitor) -> Ending {
    let mut closing = visitor.closing.subscribe();
    let from_streams = async {
        // The sender lives as long as the visitor.
        let order = closing.wait_for(Option::is_some).await.ok().and_then(|order| *order);
        order.map_or_else(|| Ending::new(Code::Normal, ""), |(code, reason)| Ending::new(code, reason))
    };
    tokio::select! {
        ending = from_streams => ending,
        ending = close_order(visitor) => ending,
    }
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
