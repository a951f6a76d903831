//! The endpoint for operators: `/healthz`, `/readyz`, `/metrics`. On an inner address, and bounded all the same: what watches a cluster
//! must not be what brings it down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at once: a few that scrape and probe, and people who look.
const CONNECTIONS_MAX: usize = 64;
/// From a connection, or the last answer on it, to the whole head of the next request: longer than probes are apart costs them a handshake.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Of a request's head; more is answered with 431.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Header fields of a request.
const HEAD_FIELDS_MAX: usize = 64;
/// For one connection altogether, which also ends those that do not read what they asked for.
const CONNECTION_LIFE: Duration = Duration::from_secs(600);
/// After a failed accept (no file descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One thing that must be so for the process to be ready: a name, and what is wrong if anything is.
#[derive(Clone)]
pub struct Readiness {
    /// Shown in the answer.
    pub name: &'static str,
    /// Cheap: asked at each request.
    pub check: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
}

impl Readiness {
    /// A named check.
    pub fn new(name: &'static str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { name, check: Arc::new(check) }
    }
}

/// The routes, for a listener of their own.
pub fn router(metrics: PrometheusHandle, readiness: Vec<Readiness>) -> Router {
    Router::new()
        // Depends on nothing outside: a process that answers is alive.
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state(Arc::new(readiness)))
        .route("/metrics", get(figures).with_state(metrics))
}

async fn figures(State(metrics): State<PrometheusHandle>) -> String {
    crate::vitals::show();
    metrics.render()
}

async fn ready(State(readiness): State<Arc<Vec<Readiness>>>) -> (StatusCode, String) {
    let (mut status, mut text) = (StatusCode::OK, String::new());
    for Readiness { name, check } in readiness.iter() {
        match check() {
            Ok(()) => text.push_str(&format!("{name}: ok\n")),
            Err(reason) => {
                status = StatusCode::SERVICE_UNAVAILABLE;
                text.push_str(&format!("{name}: {reason}\n"));
            }
        }
    }
    (status, text)
}

/// Serves `router` on `listener` until `stop`, and what is under way to its end.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let (places, tasks) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), TaskTracker::new());
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match (accepted, places.clone().try_acquire_owned()) {
            (Ok((socket, _)), Ok(place)) => {
                let served = connection(socket, router.clone(), stop.clone());
                tasks.spawn(async move {
                    if tokio::time::timeout(CONNECTION_LIFE, served).await.is_err() {
                        crate::door::count_refusal(DOOR, "life");
                    }
                    drop(place);
                });
            }
            // Closed: whoever it is comes again.
            (Ok(_), Err(_)) => crate::door::count_refusal(DOOR, "connections"),
            (Err(error), _) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

/// What the endpoint is called in metrics.
const DOOR: &str = "admin";

async fn connection(socket: TcpStream, router: Router, stop: CancellationToken) {
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX).max_headers(HEAD_FIELDS_MAX);
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(socket), TowerToHyperService::new(router)));
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection of an operator's broke off");
    }
}

/// Binds `address` and says where; an error names the address.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| std::io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Connections that say nothing take their places and no more; whoever ends one makes room.
    #[tokio::test]
    async fn the_silent_are_bounded() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, Router::new().route("/healthz", get(|| async { "ok\n" })), stop.clone()));
        let ask = async || {
            let mut socket = TcpStream::connect(address).await?;
            socket.write_all(b"GET /healthz HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        assert!(ask().await.expect("an answer").ends_with("ok\n"));
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            silent.push(TcpStream::connect(address).await.expect("a place"));
        }
        assert!(!ask().await.is_ok_and(|answer| answer.contains("200 OK")), "there are no more places");
        silent.clear();
        // The places are free once the server has seen the ends.
        while !ask().await.is_ok_and(|answer| answer.ends_with("ok\n")) {
            tokio::task::yield_now().await;
        }
        let mut long = TcpStream::connect(address).await.expect("a place");
        long.write_all(&[b'a'; HEAD_BYTES_MAX + 1]).await.expect("written");
        let mut answer = String::new();
        // A reset behind the answer is as good as an end.
        let _ = long.read_to_string(&mut answer).await;
        assert!(!answer.contains("200 OK"), "{answer}");
        stop.cancel();
        serving.await.expect("it ends");
    }
}
