//! HTTP/1.1 and HTTP/1.0 on one connection (RFC 9112): hyper, with an answer in words where hyper has none. A connection may become a WebSocket
//! where the router has one.

pub(crate) mod framing;
mod words;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::ConnectInfo;
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use self::framing::Refusal;
use self::words::Words;
use super::patient::Patient;
use super::tcp::Served;
use crate::config::LimitsConfig;

/// What the library takes of a head, as a multiple of the limit: what is between is refused by ourselves, in words.
pub const HEAD_LIMIT_FACTOR: u32 = 4;
/// hyper refuses to have less room for a head.
const BUFFER_BYTES_MIN: usize = 8 * 1024;
/// Fields that hyper takes; [`crate::http`] refuses a request with fewer in words.
const FIELDS_MAX: usize = 400;
/// After a refusal the rest of the request is read and dropped, so long and so much, before the connection is closed: bytes that nobody
/// read would make the kernel take the answer back (RFC 9112 section 9.6).
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
const DRAIN_BYTES_MAX: u64 = 1024 * 1024;

const TOO_SLOW: Refusal = Refusal { status: 408, message: "the request's head did not arrive in time" };

fn builder(limits: &LimitsConfig) -> Builder {
    let mut builder = Builder::new();
    let head_bytes = usize::try_from(limits.head_bytes.saturating_mul(HEAD_LIMIT_FACTOR)).unwrap_or(usize::MAX);
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.read_timeout)
        .max_buf_size(head_bytes.max(BUFFER_BYTES_MIN))
        .max_headers(FIELDS_MAX);
    builder
}

/// Serves one connection to its end, or until it becomes a WebSocket. `alternative` says where HTTP/3 is.
pub async fn serve<S>(stream: S, remote: SocketAddr, alternative: Option<HeaderValue>, served: Served, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = builder(&served.limits);
    let io = Words::new(Patient::new(stream, served.limits.write_timeout));
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (router, alternative) = (served.router.clone(), alternative.clone());
        // hyper gives the stream back only from a connection that may be moved, its service's future included.
        Box::pin(async move {
            request.extensions_mut().insert(ConnectInfo(remote));
            // Nothing behind a chunked body is taken for a request: see `framing`.
            let is_last = request.headers().contains_key(header::TRANSFER_ENCODING);
            let mut response = router.oneshot(request.map(axum::body::Body::new)).await?;
            if let Some(alternative) = alternative {
                response.headers_mut().insert(header::ALT_SVC, alternative);
            }
            if is_last {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        })
    });
    let mut connection = builder.serve_connection(TokioIo::new(io), service).with_upgrades();
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    // Else it is a WebSocket by now, and others look after it.
    let Some(parts) = connection.into_parts() else { return };
    let mut io = parts.io.into_inner();
    if let Err(error) = ended {
        tracing::debug!(%remote, %error, "an HTTP/1.1 connection ended");
        if error.is_timeout() && io.is_in_head() {
            io.refuse(TOO_SLOW);
        }
    }
    close(io).await;
}

/// Ends a connection so that the last answer arrives. Failing to is the peer's loss.
async fn close<S: AsyncRead + AsyncWrite + Unpin>(mut io: Words<S>) {
    if io.shutdown().await.is_err() || !io.has_refused() {
        return;
    }
    let mut rest = io.into_inner().take(DRAIN_BYTES_MAX);
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}
