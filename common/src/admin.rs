//! The endpoint for operators: `/healthz`, `/readyz`, `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

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

/// Serves `router` on `listener` until `stop`.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// Binds `address` and says where; an error names the address.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| std::io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
}
