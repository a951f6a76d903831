//! WebTransport sessions: a bounded accept loop, and messages behind a length on streams.
//!
//! The accept loop is our own because the library's keeps an unbounded set of pending handshakes. What the library reads before a session
//! stands it bounds itself: SETTINGS and unknown frames of 64 KiB, HEADERS of 16 KiB also when decoded (no dynamic table), and later
//! capsules of 64 KiB. It does not bound how many frames it skips: that is done here, by time and bytes.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use crate::door::{Arrival, DoorKeeper, Ticket, count_refusal};
use bytes::Bytes;
use common_core::Code;
use common_core::length_prefix::{LengthError, LengthPrefixed};
use http::StatusCode;
use quinn::Incoming;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use web_transport_quinn::{ReadError, RecvStream, Request, SendStream, Session, WriteError};

/// The protocol that QUIC must agree on for WebTransport (RFC 9114).
pub const ALPN: &[u8] = b"h3";
/// How much of a message stream is read at a time.
const READ_BYTES_MAX: usize = 64 * 1024;
/// Up to here a message and its length are written in one.
const SMALL_BYTES_MAX: usize = 16 * 1024;
/// How long a refusal may take to reach its client before the connection is dropped.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a client that knows that its session is over has to close it: a round trip around the world, and a busy page's next turn. With
/// the farewell before, a session that is ended is over well within a second.
const CLIENT_GOES_FIRST: Duration = Duration::from_millis(250);

/// What a client may send, in all packets together, until its CONNECT request is there: a handshake with SETTINGS and the largest HEADERS
/// is a third of it.
const CONNECT_BYTES_MAX: u64 = 128 * 1024;
/// Between two looks at how much it was.
const CONNECT_LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Who may open a session from a browser. A request without `Origin` is a native client, which needs its token all the same.
#[derive(Clone, Debug, Default)]
pub enum OriginPolicy {
    /// Every page.
    #[default]
    Any,
    /// Pages of these origins (`https://meet.example`), compared to the letter.
    Only(Vec<String>),
}

impl OriginPolicy {
    /// Any when the list is empty or has `*`, else only those listed.
    pub fn from_list(origins: &[String]) -> Self {
        if origins.is_empty() || origins.iter().any(|origin| origin == "*") { Self::Any } else { Self::Only(origins.to_vec()) }
    }

    /// Whether a request with this `Origin` header is let in.
    pub fn allows(&self, origin: Option<&str>) -> bool {
        match (self, origin) {
            (Self::Any, _) | (Self::Only(_), None) => true,
            (Self::Only(list), Some(origin)) => list.iter().any(|allowed| allowed == origin),
        }
    }
}

/// A session that stands, and where it came from.
pub struct Accepted {
    /// The session.
    pub session: Session,
    /// By the first packet; a client's address may change.
    pub remote: SocketAddr,
    /// Its place at the door; to be kept until the session is over.
    pub ticket: Ticket,
}

/// What an accept loop serves.
pub struct Listener {
    /// Where connections arrive; its ALPN must be [`ALPN`].
    pub endpoint: quinn::Endpoint,
    /// The one path that is served, such as `/wt`.
    pub path: &'static str,
    /// See [`OriginPolicy`].
    pub origins: OriginPolicy,
    /// Who is let in.
    pub keeper: DoorKeeper,
    /// What the door is called in metrics: `wt`, `media`.
    pub door: &'static str,
}

impl Listener {
    /// Accepts until `stop`, one task per session running `serve`. Returns when the loop has ended; the sessions' tasks
    /// go on in `tasks`.
    pub async fn accept<F, S>(self, stop: CancellationToken, tasks: TaskTracker, serve: F)
    where
        F: Fn(Accepted) -> S + Clone + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let count = |outcome| metrics::counter!("dark_tower_handshakes_total", "path" => self.path, "outcome" => outcome).increment(1);
        loop {
            let incoming = tokio::select! {
                () = stop.cancelled() => return,
                incoming = self.endpoint.accept() => match incoming {
                    Some(incoming) => incoming,
                    None => return,
                },
            };
            // An address that cannot be asked to prove itself is taken for proven: it has shown a token of ours.
            let is_proven = incoming.remote_address_validated() || !incoming.may_retry();
            let ticket = match self.keeper.arrive(self.door, incoming.remote_address(), is_proven) {
                Arrival::Admitted(ticket) => ticket,
                Arrival::MustProve => {
                    count("retry");
                    // The address was not validated and a Retry is allowed, so this cannot fail.
                    let _ = incoming.retry();
                    continue;
                }
                Arrival::Refused(refusal) => {
                    count("refused");
                    tracing::debug!(remote = %incoming.remote_address(), ?refusal, "turned away");
                    incoming.refuse();
                    continue;
                }
            };
            let newcomer = Newcomer { path: self.path, door: self.door, origins: self.origins.clone(), ticket };
            let (timeout, serve) = (self.keeper.config().handshake_timeout, serve.clone());
            tasks.spawn(async move {
                if let Some(accepted) = newcomer.enter(incoming, timeout).await {
                    serve(accepted).await;
                }
            });
        }
    }
}

/// Somebody who was let in to begin a handshake.
struct Newcomer {
    path: &'static str,
    door: &'static str,
    origins: OriginPolicy,
    ticket: Ticket,
}

impl Newcomer {
    /// The session, if one comes to stand within `timeout` and before this one has to give way.
    async fn enter(self, incoming: Incoming, timeout: Duration) -> Option<Accepted> {
        let (path, remote) = (self.path, incoming.remote_address());
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(timeout, handshake(incoming, self.path, &self.origins)) => outcome.unwrap_or(Err(HandshakeError::Timeout)),
            () = self.ticket.broken_off() => Err(HandshakeError::GaveWay),
        };
        let (label, session) = match outcome {
            Ok(session) => ("accepted", Some(session)),
            Err(error) => {
                tracing::debug!(%remote, %error, "no session");
                if let Some(reason) = error.refusal() {
                    count_refusal(self.door, reason);
                }
                (if matches!(error, HandshakeError::Timeout) { "timeout" } else { "failed" }, None)
            }
        };
        metrics::counter!("dark_tower_handshakes_total", "path" => path, "outcome" => label).increment(1);
        let session = session?;
        self.ticket.stands();
        Some(Accepted { session, remote, ticket: self.ticket })
    }
}

#[derive(Debug, Error)]
enum HandshakeError {
    #[error(transparent)]
    Connection(#[from] quinn::ConnectionError),
    #[error(transparent)]
    Http(#[from] web_transport_quinn::ServerError),
    #[error("the path {0} is not served here")]
    Path(String),
    #[error("the origin {0} is not on the list")]
    Origin(String),
    #[error("{0} bytes came before the CONNECT request")]
    Greedy(u64),
    #[error("handshake and CONNECT took too long")]
    Timeout,
    #[error("it was the oldest under way when there was no room")]
    GaveWay,
}

impl HandshakeError {
    /// For metrics, if it was refused and did not just fail.
    fn refusal(&self) -> Option<&'static str> {
        match self {
            Self::Connection(_) => None,
            Self::Http(_) => Some("http3"),
            Self::Path(_) => Some("path"),
            Self::Origin(_) => Some("origin"),
            Self::Greedy(_) => Some("connect_bytes"),
            Self::Timeout => Some("handshake_timeout"),
            Self::GaveWay => Some("gave_way"),
        }
    }
}

async fn handshake(incoming: Incoming, path: &str, origins: &OriginPolicy) -> Result<Session, HandshakeError> {
    // Our SETTINGS leave with the server's first flight (0.5-RTT data, RFC 9001 section 5.7) and save the client a round
    // trip; nothing that depends on who the client is goes out before its CONNECT request, which ends the handshake.
    let connection = match incoming.accept()?.into_0rtt() {
        Ok((connection, _accepted)) => connection,
        Err(connecting) => connecting.await?,
    };
    let request = tokio::select! {
        request = Request::accept(connection.clone()) => request?,
        bytes = too_much(&connection) => return Err(HandshakeError::Greedy(bytes)),
    };
    if request.url.path() != path {
        let found = common_core::name::escape(request.url.path(), 64);
        request.reject(StatusCode::NOT_FOUND).await?;
        refused(&connection).await;
        return Err(HandshakeError::Path(found));
    }
    let origin = request.headers.get(http::header::ORIGIN).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    if !origins.allows(origin.as_deref()) {
        request.reject(StatusCode::FORBIDDEN).await?;
        refused(&connection).await;
        return Err(HandshakeError::Origin(common_core::name::escape(&origin.unwrap_or_default(), 128)));
    }
    Ok(request.ok().await?)
}

/// Resolves when more has come than a CONNECT request takes: the library skips frames it does not know, however many.
async fn too_much(connection: &quinn::Connection) -> u64 {
    let mut looks = tokio::time::interval(CONNECT_LOOK_INTERVAL);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let bytes = connection.stats().udp_rx.bytes;
        if bytes > CONNECT_BYTES_MAX {
            return bytes;
        }
    }
}

/// Waits until the client has read its refusal and gone: dropping the connection would drop the answer with it.
async fn refused(connection: &quinn::Connection) {
    // Who stays is dropped all the same.
    let _ = tokio::time::timeout(REFUSAL_TIMEOUT, connection.closed()).await;
}

/// Resolves when the client has closed a session whose last word it has been sent, or has had its time to. Its own close is the safer one:
/// Chromium (156) may lose the page's process, or its network service with every connection of the browser, when a server closes a session
/// in the very moment in which a stream of it ends or the page closes it too. Cancel-safe.
pub async fn client_goes_first(session: &Session) {
    // Who stays is closed from here.
    let _ = tokio::time::timeout(CLIENT_GOES_FIRST, session.closed()).await;
}

/// Closes a session with a code and a reason that its client may show (at most 1024 bytes; ours are short).
pub fn close(session: &Session, code: Code, reason: &str) {
    session.close(code.number(), reason.as_bytes());
}

/// Why the next message did not come.
#[derive(Debug, Error)]
pub enum ReadMessageError {
    /// A length of 0, or over the limit.
    #[error(transparent)]
    Length(#[from] LengthError),
    /// The stream was finished inside a message.
    #[error("the stream ended inside a message")]
    Truncated,
    /// The stream or its session is gone.
    #[error(transparent)]
    Stream(#[from] ReadError),
}

/// Reads messages behind a 4-byte length from a stream. Cancel-safe: bytes of a part are kept.
pub struct MessageReader {
    stream: RecvStream,
    decoder: LengthPrefixed,
}

impl MessageReader {
    /// A reader that refuses messages over `message_bytes_max` before allocating for them. `first` are bytes of the
    /// stream that were read already.
    pub fn new(stream: RecvStream, message_bytes_max: usize, first: &[u8]) -> Self {
        let mut decoder = LengthPrefixed::new(message_bytes_max);
        decoder.push(first);
        Self { stream, decoder }
    }

    /// The next message; `None` at a clean end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadMessageError> {
        loop {
            if let Some(message) = self.decoder.next_message()? {
                return Ok(Some(message));
            }
            match self.stream.read_chunk(READ_BYTES_MAX, true).await? {
                Some(chunk) => self.decoder.push(&chunk.bytes),
                None if self.decoder.is_mid_message() => return Err(ReadMessageError::Truncated),
                None => return Ok(None),
            }
        }
    }

    /// Tells the peer to stop sending.
    pub fn stop(&mut self, code: Code) {
        // An error means that the stream is over already.
        let _ = self.stream.stop(code.number());
    }
}

/// Writes messages behind a 4-byte length to a stream. Not cancel-safe: give it a task of its own.
pub struct MessageWriter {
    stream: SendStream,
}

impl MessageWriter {
    /// Wraps a stream.
    pub fn new(stream: SendStream) -> Self {
        Self { stream }
    }

    /// Writes one message. It is copied as the send window takes it: what QUIC holds is never more than the window, however large the
    /// message that it is a part of.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), WriteError> {
        if message.len() <= SMALL_BYTES_MAX {
            return self.stream.write_all(&LengthPrefixed::frame(message)).await;
        }
        self.stream.write_all(&LengthPrefixed::prefix(message)).await?;
        self.stream.write_all(message).await
    }

    /// Ends the stream.
    pub fn finish(&mut self) {
        // An error means that the stream is over already.
        let _ = self.stream.finish();
    }

    /// Waits until the peer has acknowledged everything up to [`finish`](Self::finish), or wants no more of it: closing a
    /// session drops what is still under way.
    pub async fn delivered(&mut self) {
        // An error means that the session is gone, and nothing is under way any more.
        let _ = self.stream.stopped().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_to_the_letter() {
        let policy = OriginPolicy::from_list(&["https://meet.example".into()]);
        assert!(policy.allows(None) && policy.allows(Some("https://meet.example")));
        assert!(!policy.allows(Some("https://meet.example.evil")) && !policy.allows(Some("null")));
        assert!(OriginPolicy::from_list(&[]).allows(Some("null")));
    }
}
