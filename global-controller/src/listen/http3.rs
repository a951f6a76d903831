//! HTTP/3 (RFC 9114) for an axum router: h3 over quinn, a task per connection and per request.
//!
//! In: QUIC connections. Out: requests with their body streamed, answers likewise. A request that is wrong, slow or panics ends its own
//! stream; only what h3 calls an error of the connection ends that.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::{Buf, Bytes};
use h3::error::{Code, ConnectionError};
use h3::server::{RequestResolver, RequestStream};
use http::{HeaderValue, Request, Response, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::config::LimitsConfig;

/// ALPN of HTTP/3.
pub const ALPN: &[u8] = b"h3";

type Stream = RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;
type SendHalf = RequestStream<h3_quinn::SendStream<Bytes>, Bytes>;
type ReceiveHalf = RequestStream<h3_quinn::RecvStream, Bytes>;

/// How long a closing connection stays for its last packets to be acknowledged.
const LINGER: Duration = Duration::from_millis(100);

/// Accepts connections until `stop`.
pub async fn serve(endpoint: quinn::Endpoint, router: Router, limits: LimitsConfig, stop: CancellationToken, tasks: TaskTracker) {
    let connections = Arc::new(Semaphore::new(limits.connections));
    let handshakes = Arc::new(Semaphore::new(limits.handshakes));
    loop {
        let incoming = tokio::select! {
            () = stop.cancelled() => return,
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => incoming,
                None => return,
            },
        };
        let (Ok(connection), Ok(handshake)) = (connections.clone().try_acquire_owned(), handshakes.clone().try_acquire_owned()) else {
            count("refused");
            incoming.refuse();
            continue;
        };
        // With half of the places taken, only addresses that answer are let in: Retry (RFC 9000 section 8.1.2).
        if handshakes.available_permits() < limits.handshakes / 2 && !incoming.remote_address_validated() && incoming.may_retry() {
            count("retry");
            // The address was not validated and a Retry is allowed, so this cannot fail.
            let _ = incoming.retry();
            continue;
        }
        let (router, stop) = (router.clone(), stop.clone());
        tasks.spawn(async move {
            let _connection = connection;
            let remote = incoming.remote_address();
            let shaken = tokio::time::timeout(limits.handshake_timeout, async { incoming.accept()?.await }).await;
            drop(handshake);
            match shaken {
                Ok(Ok(connection)) => {
                    count("accepted");
                    serve_connection(connection, remote, router, limits, stop).await;
                }
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

async fn serve_connection(
    connection: quinn::Connection,
    remote: SocketAddr,
    router: Router,
    limits: LimitsConfig,
    stop: CancellationToken,
) {
    let mut builder = h3::server::builder();
    builder.max_field_section_size(u64::from(limits.head_bytes));
    let mut connection = match builder.build::<_, Bytes>(h3_quinn::Connection::new(connection)).await {
        Ok(connection) => connection,
        Err(error) => return tracing::debug!(%remote, %error, "HTTP/3 did not start"),
    };
    let requests = TaskTracker::new();
    let ended = tokio::select! {
        ended = accept_requests(&mut connection, remote, &router, limits, &requests) => Some(ended),
        () = stop.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            requests.close();
            finish(&mut connection, &requests).await
        }
    };
    match ended {
        // h3 reports a normal close as an error.
        Err(error) if !error.is_h3_no_error() => tracing::debug!(%remote, %error, "an HTTP/3 connection ended"),
        _ => {}
    }
}

type Connection = h3::server::Connection<h3_quinn::Connection, Bytes>;

/// Accepts requests, a task for each, until the client goes away.
async fn accept_requests(
    connection: &mut Connection,
    remote: SocketAddr,
    router: &Router,
    limits: LimitsConfig,
    requests: &TaskTracker,
) -> Result<(), ConnectionError> {
    while let Some(resolver) = connection.accept().await? {
        let router = router.clone();
        requests.spawn(async move {
            if let Err(error) = serve_request(resolver, remote, router, limits).await {
                tracing::debug!(%remote, %error, "an HTTP/3 request broke off");
            }
        });
    }
    Ok(())
}

/// Takes no further request (GOAWAY, RFC 9114 section 5.2), lets those under way finish and their last bytes leave.
async fn finish(connection: &mut Connection, requests: &TaskTracker) -> Result<(), ConnectionError> {
    connection.shutdown(0).await?;
    let finished = async {
        requests.wait().await;
        tokio::time::sleep(LINGER).await;
    };
    tokio::pin!(finished);
    loop {
        tokio::select! {
            () = &mut finished => return Ok(()),
            // Driven so that the connection moves; what is accepted past GOAWAY is dropped, and so reset.
            accepted = connection.accept() => if accepted?.is_none() { return Ok(()) },
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

async fn serve_request(
    resolver: RequestResolver<h3_quinn::Connection, Bytes>,
    remote: SocketAddr,
    router: Router,
    limits: LimitsConfig,
) -> Result<(), ServeError> {
    let (head, stream) = tokio::time::timeout(limits.read_timeout, resolver.resolve_request()).await??;
    let (mut send, receive) = Stream::split(stream);
    let (mut parts, ()) = head.into_parts();
    // There is no Host field over HTTP/3: its place is taken by the authority (RFC 9114 section 4.3.1).
    if let Some(authority) = parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok()) {
        parts.headers.entry(header::HOST).or_insert(authority);
    }
    parts.extensions.insert(ConnectInfo(remote));
    let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    let request = Request::from_parts(parts, Body::new(RequestBody { receive, length, ended: false }));
    // A router's error type is Infallible.
    let Ok(response) = router.oneshot(request).await;
    let sent = answer(&mut send, response, limits.write_timeout).await;
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
    /// By `content-length`; what really comes is bounded by whoever reads.
    length: Option<u64>,
    ended: bool,
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = h3::error::StreamError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let received = ready!(self.receive.poll_recv_data(cx));
        let frame = received.map(|data| data.map(|mut data| Frame::data(data.copy_to_bytes(data.remaining()))));
        // Trailers have no use here; h3 drops them with the stream.
        self.ended = !matches!(frame, Ok(Some(_)));
        Poll::Ready(frame.transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map(SizeHint::with_exact).unwrap_or_default()
    }
}
