//! HTTP/2 and HTTP/1.1 over TLS for an axum router; every answer says where HTTP/3 is (RFC 7838).

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::ConnectInfo;
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::config::LimitsConfig;

/// ALPN of both, the better first.
pub const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// A day: a client that was told of HTTP/3 may remember it so long.
const ALTERNATIVE_LIFE_SECONDS: u32 = 24 * 3600;
/// Waits after accept failed, for want of descriptors as a rule: they come back when a connection ends.
const ACCEPT_BACKOFF: std::time::Duration = std::time::Duration::from_millis(100);
/// HTTP/2 pings to a connection, so that one whose peer is gone is closed.
const KEEP_ALIVE_INTERVAL: std::time::Duration = std::time::Duration::from_secs(20);
/// Received and not yet read, one HTTP/2 stream and one connection, bytes.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// Fields in the head of an HTTP/1.1 request.
const HEADERS_MAX: usize = 100;

/// What a connection is served by.
#[derive(Clone)]
pub struct Served {
    /// The router.
    pub router: Router,
    /// TLS with [`ALPN`].
    pub tls: TlsAcceptor,
    /// UDP port that clients reach HTTP/3 at.
    pub http3_port: u16,
    /// See [`LimitsConfig`].
    pub limits: LimitsConfig,
}

/// Accepts connections until `stop`.
pub async fn serve(listener: TcpListener, served: Served, stop: CancellationToken, tasks: TaskTracker) {
    let connections = Arc::new(Semaphore::new(served.limits.connections));
    let handshakes = Arc::new(Semaphore::new(served.limits.handshakes));
    let builder = builder(&served.limits);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no TCP connection was accepted");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        // Dropping the stream refuses it.
        let (Ok(connection), Ok(handshake)) = (connections.clone().try_acquire_owned(), handshakes.clone().try_acquire_owned()) else {
            metrics::counter!("dark_tower_handshakes_total", "path" => "tcp", "outcome" => "refused").increment(1);
            continue;
        };
        let (served, builder, stop) = (served.clone(), builder.clone(), stop.clone());
        tasks.spawn(async move {
            let _connection = connection;
            // Small answers should not wait for an acknowledgement; failing to say so costs only time.
            let _ = stream.set_nodelay(true);
            match tokio::time::timeout(served.limits.handshake_timeout, served.tls.accept(stream)).await {
                Ok(Ok(stream)) => {
                    drop(handshake);
                    serve_connection(stream, remote, served, builder, stop).await;
                }
                Ok(Err(error)) => tracing::debug!(%remote, %error, "no TLS connection"),
                Err(_) => tracing::debug!(%remote, "no TLS connection: the handshake took too long"),
            }
        });
    }
}

fn builder(limits: &LimitsConfig) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    let head_bytes = usize::try_from(limits.head_bytes).unwrap_or(usize::MAX);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.read_timeout)
        // hyper refuses less than 8 KiB.
        .max_buf_size(head_bytes.max(8 * 1024))
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.requests_per_connection)
        .max_header_list_size(limits.head_bytes)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(limits.read_timeout);
    builder
}

async fn serve_connection(
    stream: tokio_rustls::server::TlsStream<TcpStream>,
    remote: SocketAddr,
    served: Served,
    builder: Builder<TokioExecutor>,
    stop: CancellationToken,
) {
    let alternative = format!("h3=\":{}\"; ma={ALTERNATIVE_LIFE_SECONDS}", served.http3_port);
    let alternative = HeaderValue::from_str(&alternative).expect("a number makes a header value");
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (router, alternative) = (served.router.clone(), alternative.clone());
        async move {
            request.extensions_mut().insert(ConnectInfo(remote));
            let mut response = router.oneshot(request.map(axum::body::Body::new)).await?;
            response.headers_mut().insert(header::ALT_SVC, alternative);
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut stopping = false;
    loop {
        tokio::select! {
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%remote, %error, "a TCP connection ended");
                }
                return;
            }
        }
    }
}
