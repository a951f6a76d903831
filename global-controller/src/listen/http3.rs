//! HTTP/3 (RFC 9114) for an axum router: h3 over quinn, a task per connection and per request.
//!
//! In: QUIC connections. Out: requests with their body streamed, answers likewise. A request that is wrong, slow or panics ends its own
//! stream; only what h3 calls an error of the connection ends that.

pub(crate) mod frames;
mod transport;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::{Buf, Bytes};
use h3::error::{Code, ConnectionError};
use h3::server::{RequestResolver, RequestStream};
use http::{HeaderValue, Method, Request, Response, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use thiserror::Error;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use self::transport::{Answers, BidiStream, RecvStream, SendStream};
use super::activity::{Activity, Watch};
use super::http1::HEAD_LIMIT_FACTOR;
use crate::config::LimitsConfig;
use common::door::count_refusal;
use common::shares::{Shares, caller_address};

/// ALPN of HTTP/3.
pub const ALPN: &[u8] = b"h3";

type Stream = RequestStream<BidiStream, Bytes>;
type SendHalf = RequestStream<SendStream, Bytes>;
type ReceiveHalf = RequestStream<RecvStream, Bytes>;
type Resolver = RequestResolver<transport::Connection, Bytes>;
type Connection = h3::server::Connection<transport::Connection, Bytes>;

/// How long a closing connection waits for the client to acknowledge the last answers.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long it then stays: the client may be told to go before it has read what it acknowledged.
const LINGER: Duration = Duration::from_millis(100);
/// Requests of one connection that may break off before their head is whole: pages that are left cancel requests, but not so many. h3 keeps
/// a few bytes for each until the connection ends.
const BROKEN_MAX: usize = 1000;

/// Accepts connections until `stop`.
pub async fn serve(endpoint: quinn::Endpoint, router: Router, limits: LimitsConfig, stop: CancellationToken, tasks: TaskTracker) {
    let connections = Shares::new(limits.connections, limits.connections_per_address);
    let handshakes = Shares::new(limits.handshakes, limits.handshakes_per_address);
    // Whoever writes another's address on its packets leaves half of the places, and half of that address's, to those who answer.
    let unproven = Shares::new(limits.handshakes / 2, limits.handshakes_per_address / 2);
    loop {
        let incoming = tokio::select! {
            () = stop.cancelled() => return,
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => incoming,
                None => return,
            },
        };
        let address = caller_address(incoming.remote_address().ip());
        let is_proven = incoming.remote_address_validated();
        let doubt = if is_proven { None } else { unproven.take(address).ok() };
        // Addresses that answer are let in beyond that: Retry (RFC 9000 section 8.1.2).
        if !is_proven && doubt.is_none() && incoming.may_retry() {
            count("retry");
            // The address was not validated and a Retry is allowed, so this cannot fail.
            let _ = incoming.retry();
            continue;
        }
        let Ok(handshake) = handshakes.take(address) else {
            count("refused");
            count_refusal("http", "handshakes");
            incoming.refuse();
            continue;
        };
        let (router, stop, connections) = (router.clone(), stop.clone(), connections.clone());
        tasks.spawn(async move {
            let remote = incoming.remote_address();
            let shaken = tokio::time::timeout(limits.handshake_timeout, async { incoming.accept()?.await }).await;
            drop((handshake, doubt));
            match shaken {
                // Only now the address is known to be the client's own: whoever borrows another's takes none of its places.
                Ok(Ok(connection)) => match connections.take(caller_address(remote.ip())) {
                    Ok(_place) => {
                        count("accepted");
                        serve_connection(connection, remote, router, limits, stop).await;
                    }
                    Err(_) => {
                        count("refused");
                        transport::close(&connection, Code::H3_EXCESSIVE_LOAD, b"too many connections");
                    }
                },
                Ok(Err(error)) => {
                    count("failed");
                    tracing::debug!(%remote, %error, "no HTTP/3 connection");
                }
                Err(_) => {
                    count("timeout");
                    tracing::debug!(%remote, "no HTTP/3 connection: the handshake took too long");
                }
            }
        });
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("dark_tower_handshakes_total", "path" => "h3", "outcome" => outcome).increment(1);
}

/// What the tasks of one connection share.
struct Shared {
    remote: SocketAddr,
    router: Router,
    limits: LimitsConfig,
    stop: CancellationToken,
    activity: Arc<Activity>,
    /// Requests that broke off before their head was whole.
    broken: AtomicUsize,
}

async fn serve_connection(quic: quinn::Connection, remote: SocketAddr, router: Router, limits: LimitsConfig, stop: CancellationToken) {
    let head_bytes_max = u64::from(limits.head_bytes.saturating_mul(HEAD_LIMIT_FACTOR));
    let answers = Answers::new(limits.requests_per_connection);
    let mut builder = h3::server::builder();
    builder.max_field_section_size(head_bytes_max);
    let transport = transport::Connection::new(quic.clone(), answers.clone(), head_bytes_max);
    // It opens streams of ours, which the client may not allow.
    let mut connection = match tokio::time::timeout(limits.handshake_timeout, builder.build(transport)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%remote, %error, "HTTP/3 did not start"),
        Err(_) => return tracing::debug!(%remote, "HTTP/3 did not start: the client allows no streams"),
    };
    let requests = TaskTracker::new();
    let shared = Shared { remote, router, limits, stop, activity: Arc::default(), broken: AtomicUsize::new(0) };
    let ended = match accept_requests(&mut connection, &quic, Arc::new(shared), &requests).await {
        Ok(()) => {
            requests.close();
            finish(&mut connection, &requests, &answers).await
        }
        Err(error) => Err(error),
    };
    match ended {
        // h3 reports a normal close as an error.
        Err(error) if !error.is_h3_no_error() => tracing::debug!(%remote, %error, "an HTTP/3 connection ended"),
        _ => {}
    }
}

/// Accepts requests, a task for each, until the client is done or does nothing, or this process stops.
async fn accept_requests(
    connection: &mut Connection,
    quic: &quinn::Connection,
    shared: Arc<Shared>,
    requests: &TaskTracker,
) -> Result<(), ConnectionError> {
    let read_timeout = shared.limits.read_timeout;
    let mut watch = Watch::default();
    let mut looks = tokio::time::interval_at(Instant::now() + read_timeout, read_timeout);
    loop {
        let resolver = tokio::select! {
            accepted = connection.accept() => match accepted? {
                Some(resolver) => resolver,
                None => return Ok(()),
            },
            () = shared.stop.cancelled() => return Ok(()),
            _ = looks.tick() => {
                if watch.is_idle(&shared.activity, quic.stats().frame_tx.stream) {
                    return Ok(());
                }
                continue;
            }
        };
        if shared.broken.load(Ordering::Relaxed) > BROKEN_MAX {
            transport::close(quic, Code::H3_EXCESSIVE_LOAD, b"too many requests were begun and not made");
            continue;
        }
        let (shared, under_way) = (shared.clone(), shared.activity.begin());
        requests.spawn(async move {
            let _under_way = under_way;
            let remote = shared.remote;
            if let Err(error) = serve_request(resolver, &shared).await {
                tracing::debug!(%remote, %error, "an HTTP/3 request broke off");
            }
        });
    }
}

/// Takes no further request (GOAWAY, RFC 9114 section 5.2), lets those under way finish and their answers arrive.
async fn finish(connection: &mut Connection, requests: &TaskTracker, answers: &Answers) -> Result<(), ConnectionError> {
    connection.shutdown(0).await?;
    let arrived = async {
        requests.wait().await;
        // A client that is gone acknowledges nothing.
        let _ = tokio::time::timeout(ACKNOWLEDGE_TIMEOUT, answers.arrived()).await;
        tokio::time::sleep(LINGER).await;
    };
    tokio::pin!(arrived);
    let mut is_drained = false;
    loop {
        tokio::select! {
            () = &mut arrived => return Ok(()),
            // Driven so that the connection moves; what is accepted past GOAWAY is dropped, and so reset. That nothing more can come
            // does not mean that everything has left.
            accepted = connection.accept(), if !is_drained => is_drained = accepted?.is_none(),
        }
    }
}

#[derive(Debug, Error)]
enum ServeError {
    #[error(transparent)]
    Stream(#[from] h3::error::StreamError),
    #[error("the client was too slow")]
    Slow(#[from] tokio::time::error::Elapsed),
    #[error("the answer broke off: {0}")]
    Answer(axum::Error),
}

async fn serve_request(resolver: Resolver, shared: &Shared) -> Result<(), ServeError> {
    let resolved = tokio::time::timeout(shared.limits.read_timeout, resolver.resolve_request()).await;
    let Ok(Ok((head, stream))) = resolved else {
        shared.broken.fetch_add(1, Ordering::Relaxed);
        return match resolved {
            Ok(Err(error)) => Err(error.into()),
            Err(slow) => Err(slow.into()),
            Ok(Ok(_)) => Ok(()),
        };
    };
    let (mut send, receive) = Stream::split(stream);
    let (mut parts, ()) = head.into_parts();
    // There is no Host field over HTTP/3: its place is taken by the authority (RFC 9114 section 4.3.1).
    if let Some(authority) = parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok()) {
        parts.headers.entry(header::HOST).or_insert(authority);
    }
    parts.extensions.insert(ConnectInfo(shared.remote));
    let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    let is_head = parts.method == Method::HEAD;
    let request = Request::from_parts(parts, Body::new(RequestBody { receive, length, received: 0, ended: false }));
    // A router's error type is Infallible.
    let Ok(response) = shared.router.clone().oneshot(request).await;
    // An answer to HEAD has the fields of an answer to GET, and no body (RFC 9110 section 9.3.2).
    let response = if is_head { response.map(|_| Body::empty()) } else { response };
    let sent = answer(&mut send, response, shared.limits.write_timeout).await;
    if sent.is_err() {
        send.stop_stream(Code::H3_INTERNAL_ERROR);
    }
    sent
}

async fn answer(send: &mut SendHalf, response: Response<Body>, write_timeout: Duration) -> Result<(), ServeError> {
    let (parts, mut body) = response.into_parts();
    tokio::time::timeout(write_timeout, send.send_response(Response::from_parts(parts, ()))).await??;
    while let Some(frame) = body.frame().await {
        match frame.map_err(ServeError::Answer)?.into_data() {
            Ok(data) => tokio::time::timeout(write_timeout, send.send_data(data)).await??,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    tokio::time::timeout(write_timeout, send.send_trailers(trailers)).await??;
                }
            }
        }
    }
    Ok(tokio::time::timeout(write_timeout, send.finish()).await??)
}

/// A request's body as it arrives.
struct RequestBody {
    receive: ReceiveHalf,
    /// By `content-length`.
    length: Option<u64>,
    received: u64,
    ended: bool,
}

/// Why there is no body.
#[derive(Debug, Error)]
enum BodyError {
    #[error(transparent)]
    Stream(#[from] h3::error::StreamError),
    /// RFC 9114 section 4.1.2.
    #[error("the body is not as long as content-length says")]
    Length,
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let received = ready!(self.receive.poll_recv_data(cx)).map(|data| data.map(|mut data| data.copy_to_bytes(data.remaining())));
        // Trailers have no use here; h3 drops them with the stream.
        self.ended = !matches!(received, Ok(Some(_)));
        if let Ok(data) = &received {
            self.received += data.as_ref().map_or(0, |data| data.len() as u64);
        }
        let is_wrong = self.length.is_some_and(|length| self.received > length || (self.ended && self.received != length));
        Poll::Ready(match received {
            Ok(_) if is_wrong => {
                self.ended = true;
                Some(Err(BodyError::Length))
            }
            Ok(data) => data.map(|data| Ok(Frame::data(data))),
            Err(error) => Some(Err(error.into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map(|length| SizeHint::with_exact(length.saturating_sub(self.received))).unwrap_or_default()
    }
}
