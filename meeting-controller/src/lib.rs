//! The meeting controller's loud room: sockets, tasks, gRPC. What a meeting is and does is in `meeting-controller-core`.
//!
//! In: sessions over WebTransport and WebSocket, the global controller's commands, the handlers' answers. Out: messages to
//! clients, operations to handlers, heartbeats, reports of what happened. One task per meeting owns its state; a session is a task that reads and one
//! that writes.

#![warn(missing_docs)]

mod actor;
mod codec;
pub mod config;
mod door;
mod dormant;
mod grpc;
mod handlers;
mod node;
mod outbox;
mod registry;
mod reports;
#[doc(hidden)]
pub mod seams;
mod session;
mod websocket;
mod webtransport;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use common::admin::{self, Readiness};
use common::door::DoorKeeper;
use common::quic::{EndpointError, TransportLimits, server_config, server_endpoint};
use common::shutdown::Shutdown;
use common::telemetry::init_metrics;
use common::tls::{Certificate, LiveCertificate, LiveIdentity, NodeIdentity, TlsError};
use common::webtransport::{ALPN, Listener, OriginPolicy};
use config::Config;
use proto::cluster::HeartbeatReply;
use proto::cluster::meeting_controller_service_server::MeetingControllerServiceServer;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use crate::handlers::Handlers;
use crate::node::Node;
use crate::registry::{Presentation, Registry};
use crate::reports::{Reporter, Reports};

/// An orderly end takes no longer.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// A heartbeat older than this means that no global controller answers: the lease.
const BEAT_AGE_MAX: Duration = Duration::from_secs(3);
/// Attempts to find a port that is free for UDP and TCP alike, when any will do.
const PORT_ATTEMPTS: usize = 16;

/// Why the controller does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// QUIC does not stand.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// A certificate does not serve.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// gRPC does not stand.
    #[error(transparent)]
    Grpc(#[from] common::grpc::ServeError),
    /// A global controller cannot be called.
    #[error(transparent)]
    Dial(#[from] common::grpc::DialError),
}

/// Why the controller's process ends badly.
#[derive(Debug, Error)]
pub enum RunError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A certificate cannot be read.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The operators' endpoint cannot be opened.
    #[error(transparent)]
    Admin(#[from] std::io::Error),
}

/// A controller whose listeners stand.
pub struct Running {
    node: Arc<Node>,
    presentation: Presentation,
    is_registering: bool,
    origins: OriginPolicy,
    grpc_address: SocketAddr,
    public_address: SocketAddr,
    endpoint: quinn::Endpoint,
    accepting: CancellationToken,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Binds every listener and starts serving; returns when clients and global controllers can come.
pub async fn start(
    config: Config,
    identity: impl Into<LiveIdentity>,
    certificate: impl Into<LiveCertificate>,
) -> Result<Running, StartError> {
    let (identity, certificate) = (identity.into(), certificate.into());
    let (tasks, stop, accepting) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
    let grpc_listener = common::grpc::Listener::bind(config.cluster.grpc_bind, &identity).await?;
    let grpc_address = grpc_listener.local_addr();
    let (endpoint, tcp, public_address) = bind_public(config.public.bind, &certificate).await?;

    let handlers = Handlers::new(identity.clone(), config.region.clone(), stop.clone(), tasks.clone());
    let global_controllers = &config.cluster.global_controllers;
    let reports = Reports::new(!global_controllers.is_empty());
    let node = Node::new(config.limits.clone(), handlers, reports.clone(), accepting.clone(), tasks.clone());
    let origins = OriginPolicy::from_list(&config.public.origins);
    let presentation = Presentation {
        node_id: config.node_id.clone(),
        region: config.region.clone(),
        endpoint: config.cluster.grpc_advertise.clone().unwrap_or_else(|| grpc_address.to_string()),
        public_url: config.public.url.clone().unwrap_or_else(|| format!("https://{public_address}/wt")),
        fallback_url: config.public.fallback_url.clone().unwrap_or_else(|| format!("wss://{public_address}/ws")),
        certificate: certificate.clone(),
        start_number: common::random::number(),
    };

    let service = MeetingControllerServiceServer::new(grpc::Service { node: node.clone() });
    let routes = Routes::new(service.max_decoding_message_size(grpc::MESSAGE_BYTES_MAX));
    tasks.spawn(grpc_listener.serve(routes, grpc::CALLS_MAX, stop.clone()));

    // One for both doors: whoever comes by the one has no further share of the other.
    let keeper = DoorKeeper::new(config.limits.door);
    let listener = Listener { endpoint: endpoint.clone(), path: "/wt", origins: origins.clone(), keeper: keeper.clone(), door: "wt" };
    let serving = node.clone();
    tasks.spawn(listener.accept(accepting.clone(), tasks.clone(), move |accepted| webtransport::serve(serving.clone(), accepted)));
    let router = websocket::router(node.clone(), origins.clone());
    tasks.spawn(door::serve(tcp, certificate.server_config(&[b"http/1.1"])?, router, keeper, accepting.clone(), tasks.clone()));

    let reporter = Reporter::new(reports, (config.node_id.clone(), presentation.start_number), &identity, global_controllers)?;
    // Until the very end: it reports what the end of this node does to its meetings.
    tasks.spawn(reporter.run(stop.clone()));
    for global_controller in global_controllers {
        let registry = Registry::new(node.clone(), presentation.clone(), &identity, global_controller)?;
        tasks.spawn(registry.run(accepting.clone()));
    }
    tracing::info!(node = %config.node_id, public = %public_address, grpc = %grpc_address, "meeting controller started");
    Ok(Running {
        node,
        presentation,
        is_registering: !global_controllers.is_empty(),
        origins,
        grpc_address,
        public_address,
        endpoint,
        accepting,
        stop,
        tasks,
    })
}

async fn bind_tcp(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Bind { address, source })
}

/// UDP and TCP on one port.
async fn bind_public(address: SocketAddr, certificate: &LiveCertificate) -> Result<(quinn::Endpoint, TcpListener, SocketAddr), StartError> {
    let attempts = if address.port() == 0 { PORT_ATTEMPTS } else { 1 };
    let mut attempt = 1;
    loop {
        let tcp = bind_tcp(address).await?;
        let bound = tcp.local_addr().map_err(|source| StartError::Bind { address, source })?;
        let config = server_config(certificate, &[ALPN], TransportLimits::SIGNALING.opening())?;
        match server_endpoint(bound, config) {
            Ok(endpoint) => return Ok((endpoint, tcp, bound)),
            Err(error) if attempt == attempts => return Err(error.into()),
            // Free for TCP, taken for UDP: another one.
            Err(_) => attempt += 1,
        }
    }
}

impl Running {
    /// What must be so for clients to be served.
    pub fn readiness(&self) -> Vec<Readiness> {
        let (beats, keys, handlers) = (self.node.clone(), self.node.clone(), self.node.clone());
        let mut checks = Vec::new();
        if self.is_registering {
            checks.push(Readiness::new("meeting-controller registered", move || match beats.last_beat() {
                Some(at) if at.elapsed() <= BEAT_AGE_MAX => Ok(()),
                Some(_) => Err("no global controller answers heartbeats".to_owned()),
                None => Err("not registered yet".to_owned()),
            }));
        }
        checks.push(Readiness::new("meeting-controller token keys", move || {
            if keys.verifier().is_empty() { Err("none known yet".to_owned()) } else { Ok(()) }
        }));
        checks.push(Readiness::new("meeting-controller media handlers", move || {
            if handlers.handlers.any_healthy() { Ok(()) } else { Err("none healthy".to_owned()) }
        }));
        checks
    }

    /// Where gRPC is bound.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Where UDP and TCP for clients are bound.
    pub fn public_address(&self) -> SocketAddr {
        self.public_address
    }

    /// As registered.
    pub fn public_url(&self) -> &str {
        &self.presentation.public_url
    }

    /// As registered.
    pub fn fallback_url(&self) -> &str {
        &self.presentation.fallback_url
    }

    /// The route `/ws`, for a further listener.
    pub fn websocket_router(&self) -> Router {
        websocket::router(self.node.clone(), self.origins.clone())
    }

    /// Takes over a directory and token keys, as from a global controller's heartbeat reply.
    pub fn apply_registry(&self, reply: &HeartbeatReply) {
        self.node.apply(reply);
    }

    /// Ends every session with `UNAVAILABLE`, withdraws from handlers and global controllers, and stops.
    pub async fn stop(self) {
        self.accepting.cancel();
        let orderly = async {
            self.node.stop().await;
            self.stop.cancel();
            self.tasks.close();
            // Farewells are short; what lasts longer is a handshake of a stranger.
            let _ = tokio::time::timeout(2 * outbox::FAREWELL_TIMEOUT, self.tasks.wait()).await;
            self.endpoint.close(quinn::VarInt::from_u32(0), b"");
            self.tasks.wait().await;
        };
        if tokio::time::timeout(STOP_TIMEOUT, orderly).await.is_err() {
            tracing::warn!("an orderly end took too long");
        }
        self.stop.cancel();
        self.endpoint.close(quinn::VarInt::from_u32(0), b"");
        // What is left is one packet per connection.
        let _ = tokio::time::timeout(Duration::from_millis(100), self.endpoint.wait_idle()).await;
    }
}

/// Runs a controller until `shutdown`, with files and addresses as configured.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), RunError> {
    let cluster = &config.cluster;
    let identity = NodeIdentity::load(&cluster.certificate, &cluster.key, &cluster.authority)?;
    let public = &config.public;
    let certificate = Certificate::configured(public.certificate.as_deref(), public.key.as_deref(), &public.names)?;
    let metrics = init_metrics();
    let admin_listener = admin::bind(config.admin_bind).await?;
    let running = start(config, identity, certificate).await?;
    let router = admin::router(metrics, running.readiness());
    let serving = tokio::spawn(admin::serve(admin_listener, router, shutdown.now.clone()));
    tokio::select! {
        () = shutdown.drain.cancelled() => {}
        () = shutdown.now.cancelled() => return Ok(()),
    }
    tokio::select! {
        () = running.stop() => {}
        () = shutdown.now.cancelled() => {}
    }
    serving.abort();
    Ok(())
}
