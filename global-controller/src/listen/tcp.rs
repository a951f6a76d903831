//! TCP: accepts connections and hands each to the protocol that its client chose by TLS; every answer says where HTTP/3 is (RFC 7838). Without
//! TLS, which is for this machine alone, all speak HTTP/1.1.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use common::door::count_refusal;
use http::HeaderValue;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{http1, http2};
use crate::config::LimitsConfig;
use common::shares::{Shares, caller_address};

const HTTP2: &[u8] = b"h2";
/// ALPN of both, the better first. A client that says nothing means HTTP/1.1: HTTP/2 over TLS is chosen by ALPN (RFC 9113 section 3.2).
pub const ALPN: [&[u8]; 2] = [HTTP2, b"http/1.1"];
/// A day: a client that was told of HTTP/3 may remember it so long.
const ALTERNATIVE_LIFE_SECONDS: u32 = 24 * 3600;
/// Waits after accept failed, for want of descriptors as a rule: they come back when a connection ends.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// What a connection is served by.
#[derive(Clone)]
pub struct Served {
    /// The router.
    pub router: Router,
    /// TLS with [`ALPN`], and what says where HTTP/3 is: a field value of [`alternative`]. `None`: plain, for this machine alone.
    pub tls: Option<(TlsAcceptor, HeaderValue)>,
    /// See [`LimitsConfig`].
    pub limits: LimitsConfig,
}

/// The `alt-svc` of a server whose clients reach HTTP/3 at this UDP port.
pub fn alternative(port: u16) -> HeaderValue {
    let text = format!("h3=\":{port}\"; ma={ALTERNATIVE_LIFE_SECONDS}");
    HeaderValue::try_from(text).expect("a number makes a header value")
}

/// Accepts connections until `stop`.
pub async fn serve(listener: TcpListener, served: Served, stop: CancellationToken, tasks: TaskTracker) {
    let connections = Shares::new(served.limits.connections, served.limits.connections_per_address);
    let handshakes = Shares::new(served.limits.handshakes, served.limits.handshakes_per_address);
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
        let address = caller_address(remote.ip());
        let (place, handshake) = match (connections.take(address), handshakes.take(address)) {
            (Ok(place), Ok(handshake)) => (place, handshake),
            (place, _) => {
                if served.tls.is_some() {
                    count("refused");
                }
                count_refusal("http", if place.is_err() { "connections" } else { "handshakes" });
                continue;
            }
        };
        let (served, stop) = (served.clone(), stop.clone());
        tasks.spawn(async move {
            let _place = place;
            // Small answers should not wait for an acknowledgement; failing to say so costs only time.
            let _ = stream.set_nodelay(true);
            let Some((tls, alternative)) = served.tls.clone() else {
                drop(handshake);
                return http1::serve(stream, remote, None, served, stop).await;
            };
            let shaken = tokio::time::timeout(served.limits.handshake_timeout, tls.accept(stream)).await;
            drop(handshake);
            match shaken {
                Ok(Ok(stream)) => {
                    count("accepted");
                    serve_connection(stream, remote, alternative, served, stop).await;
                }
                Ok(Err(error)) => {
                    count("failed");
                    tracing::debug!(%remote, %error, "no TLS connection");
                }
                Err(_) => {
                    count("timeout");
                    tracing::debug!(%remote, "no TLS connection: the handshake took too long");
                }
            }
        });
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("dark_tower_handshakes_total", "path" => "tcp", "outcome" => outcome).increment(1);
}

async fn serve_connection(
    stream: tokio_rustls::server::TlsStream<TcpStream>,
    remote: SocketAddr,
    alternative: HeaderValue,
    served: Served,
    stop: CancellationToken,
) {
    if stream.get_ref().1.alpn_protocol() == Some(HTTP2) {
        http2::serve(stream, remote, alternative, served, stop).await;
    } else {
        http1::serve(stream, remote, Some(alternative), served, stop).await;
    }
}
