//! HTTPS on TCP, for `/ws`: a bounded accept loop with a timeout around each step, and one request for each connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::{Extension, Router};
use common::door::{Arrival, DoorKeeper, Ticket, bound_buffers, count_refusal};
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What the door is called in metrics.
pub(crate) const DOOR: &str = "ws";
/// For the request's head, from the end of the TLS handshake: one packet, and a slow path.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// For the request's head: a page's cookies and what a browser says of itself are a tenth of it. More is answered with 431.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Header fields of the request's head.
const HEAD_FIELDS_MAX: usize = 100;
/// After a failed accept (no file descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: rustls::ServerConfig,
    router: Router,
    keeper: DoorKeeper,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (socket, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Arrival::Admitted(ticket) = keeper.arrive(DOOR, remote, true) else {
            count("refused");
            continue;
        };
        let visit = Visit { remote, ticket: Arc::new(ticket), router: router.clone(), stop: stop.clone() };
        tasks.spawn(visit.welcome(socket, acceptor.clone(), keeper.config().handshake_timeout));
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("dark_tower_handshakes_total", "path" => "/ws", "outcome" => outcome).increment(1);
}

/// Whoever is not upgraded has had its answer, and does not stay.
async fn one_request(mut response: Response) -> Response {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// One connection that was let in.
struct Visit {
    remote: SocketAddr,
    ticket: Arc<Ticket>,
    router: Router,
    stop: CancellationToken,
}

impl Visit {
    async fn welcome(self, socket: TcpStream, acceptor: TlsAcceptor, timeout: Duration) {
        if let Err(error) = bound_buffers(&socket) {
            tracing::debug!(%error, "the socket's buffers stay as they are");
        }
        // An error means that Nagle's algorithm stays on: slower, not wrong.
        let _ = socket.set_nodelay(true);
        let ticket = self.ticket.clone();
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(timeout, acceptor.accept(socket)) => outcome,
            () = ticket.broken_off() => return count_refusal(DOOR, "gave_way"),
        };
        match outcome {
            Ok(Ok(stream)) => {
                count("accepted");
                tokio::select! {
                    () = self.request(stream) => {}
                    () = ticket.broken_off() => count_refusal(DOOR, "gave_way"),
                }
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "no TLS");
                count("failed");
            }
            Err(_) => {
                count("timeout");
                count_refusal(DOOR, "handshake_timeout");
            }
        }
    }

    /// Until the connection is over or upgraded.
    async fn request(self, stream: tokio_rustls::server::TlsStream<TcpStream>) {
        let router = self.router.layer(Extension(ConnectInfo(self.remote))).layer(Extension(self.ticket));
        let router = router.layer(axum::middleware::map_response(one_request));
        let mut builder = Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX).max_headers(HEAD_FIELDS_MAX);
        let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).with_upgrades();
        tokio::select! {
            result = served => {
                if let Err(error) = result {
                    if error.is_timeout() {
                        count_refusal(DOOR, "head_timeout");
                    }
                    if error.is_parse_too_large() {
                        count_refusal(DOOR, "head_bytes");
                    }
                    tracing::debug!(%error, "an HTTPS connection broke off");
                }
            }
            () = self.stop.cancelled() => {}
        }
    }
}
