//! HTTPS on TCP, for `/ws`: a bounded accept loop with a timeout around each handshake.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// TLS handshakes and connections without a session yet.
const PENDING_MAX: usize = 512;
/// From the first byte to the end of the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// For the request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// After a failed accept (no file descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until `stop`.
pub(crate) async fn serve(listener: TcpListener, tls: rustls::ServerConfig, router: Router, stop: CancellationToken, tasks: TaskTracker) {
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let pending = Arc::new(Semaphore::new(PENDING_MAX));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = pending.clone().try_acquire_owned() else {
            metrics::counter!("dark_tower_handshakes_total", "path" => "/ws", "outcome" => "refused").increment(1);
            continue;
        };
        let (acceptor, router, stop) = (acceptor.clone(), router.clone(), stop.clone());
        tasks.spawn(async move {
            let outcome = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await;
            let label = match &outcome {
                Ok(Ok(_)) => "accepted",
                Ok(Err(_)) => "failed",
                Err(_) => "timeout",
            };
            metrics::counter!("dark_tower_handshakes_total", "path" => "/ws", "outcome" => label).increment(1);
            if let Ok(Ok(stream)) = outcome {
                // Held until the connection is over or upgraded: strangers who only connect are bounded too.
                connection(stream, router, stop).await;
            }
            drop(permit);
        });
    }
}

async fn connection(stream: tokio_rustls::server::TlsStream<TcpStream>, router: Router, stop: CancellationToken) {
    // An error means that Nagle's algorithm stays on: slower, not wrong.
    let _ = stream.get_ref().0.set_nodelay(true);
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::select! {
        result = served => {
            if let Err(error) = result {
                tracing::debug!(%error, "an HTTPS connection broke off");
            }
        }
        () = stop.cancelled() => {}
    }
}
