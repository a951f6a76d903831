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
mod member;
mod node;
mod outbox;
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
use common::admin::Readiness;
use common::config::{ConfigError, Validate};
use common::door::DoorKeeper;
use common::gate::Gate;
use common::membership::{Membership, Presentation, start_number};
use common::node::Setup;
use common::parts::Parts;
use common::quic::{EndpointError, TransportLimits, server_config, server_endpoint};
use common::shutdown::Shutdown;
use common::tls::{LiveCertificate, LiveIdentity, TlsError};
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
use crate::member::Registered;
use crate::node::{Node, Surroundings};
use crate::reports::{Reporter, Reports};

/// An orderly end takes no longer.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// Attempts to find a port that is free for UDP and TCP alike, when any will do.
const PORT_ATTEMPTS: usize = 16;

/// Why the controller does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The configuration has values that make no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
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
pub type RunError = common::node::RunError<StartError>;

/// A controller whose listeners stand.
pub struct Running {
    node: Arc<Node>,
    presentation: Presentation,
    membership: Membership,
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
    config.validate()?;
    let (identity, certificate) = (identity.into(), certificate.into());
    let (tasks, stop, accepting) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
    let grpc_listener = common::grpc::Listener::bind(config.cluster.grpc_bind, &identity).await?;
    let grpc_address = grpc_listener.local_addr();
    let (endpoint, tcp, public_address) = bind_public(config.public.bind, &certificate).await?;

    let (gate, parts, start_number) = (Arc::new(Gate::default()), Parts::default(), start_number());
    let of_process = (start_number, gate.clone());
    let handlers = Handlers::new(identity.clone(), config.region.clone(), of_process, (stop.clone(), tasks.clone()));
    let global_controllers = &config.cluster.global_controllers;
    if global_controllers.is_empty() {
        tracing::warn!("cluster.global_controllers is empty: this node registers nowhere, and nobody is sent here");
    }
    let reports = Reports::new(!global_controllers.is_empty());
    let surroundings = Surroundings {
        stopping: accepting.clone(),
        tasks: tasks.clone(),
        gate: gate.clone(),
        parts: parts.clone(),
        certificate: certificate.clone(),
    };
    let node = Node::new(config.limits.clone(), handlers, reports.clone(), surroundings);
    let origins = OriginPolicy::from_list(&config.public.origins);
    let presentation = Presentation {
        node_id: config.node_id.clone(),
        region: config.region.clone(),
        endpoint: config.cluster.grpc_advertise.clone().unwrap_or_else(|| grpc_address.to_string()),
        public_url: config.public.url.clone().unwrap_or_else(|| format!("https://{public_address}/wt")),
        fallback_url: config.public.fallback_url.clone().unwrap_or_else(|| format!("wss://{public_address}/ws")),
        certificate: certificate.clone(),
        start_number,
    };

    let service = MeetingControllerServiceServer::new(grpc::Service { node: node.clone() });
    let routes = Routes::new(service.max_decoding_message_size(grpc::MESSAGE_BYTES_MAX));
    let serves = grpc_listener.serve(routes, grpc::CALLS_MAX, stop.clone());
    tasks.spawn(parts.clone().watch("the gRPC server", stop.clone(), serves));

    // One for both doors: whoever comes by the one has no further share of the other.
    let keeper = DoorKeeper::new(config.limits.door);
    let listener = Listener { endpoint: endpoint.clone(), path: "/wt", origins: origins.clone(), keeper: keeper.clone(), door: "wt" };
    let serving = node.clone();
    let accepts = listener.accept(accepting.clone(), tasks.clone(), move |accepted| webtransport::serve(serving.clone(), accepted));
    tasks.spawn(parts.clone().watch("the WebTransport listener", accepting.clone(), accepts));
    let router = websocket::router(node.clone(), origins.clone());
    let accepts = door::serve(tcp, certificate.server_config(&[b"http/1.1"])?, router, keeper, accepting.clone(), tasks.clone());
    tasks.spawn(parts.clone().watch("the WebSocket listener", accepting.clone(), accepts));

    let reporter = Reporter::new(reports, (config.node_id.clone(), start_number), &identity, global_controllers, gate.clone())?;
    // Until the very end: it reports what the end of this node does to its meetings.
    tasks.spawn(reporter.run(stop.clone()));
    let member = Arc::new(Registered(node.clone()));
    let membership = Membership::start(presentation.clone(), member, gate, &identity, global_controllers)?;
    let (superseded, no_more, stopped) = (membership.clone(), accepting.clone(), stop.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = superseded.superseded() => no_more.cancel(),
            () = stopped.cancelled() => {}
        }
    });
    tracing::info!(node = %config.node_id, public = %public_address, grpc = %grpc_address, "meeting controller started");
    Ok(Running { node, presentation, membership, origins, grpc_address, public_address, endpoint, accepting, stop, tasks })
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
        let (keys, handlers) = (self.node.clone(), self.node.clone());
        let mut checks = self.membership.readiness("meeting-controller registered", "meeting-controller health");
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

    /// Resolves when a later process of this node id has taken over: nothing more is said then, and [`stop`](Self::stop) is what is left to do.
    pub async fn superseded(&self) {
        self.membership.superseded().await;
    }

    /// Withdraws from the global controllers, ends every session with `UNAVAILABLE`, withdraws from handlers, and stops.
    pub async fn stop(self) {
        // First, so that whoever comes back through the API is not sent here again.
        self.membership.leave().await;
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

impl common::node::Service for Running {
    fn readiness(&self) -> Vec<Readiness> {
        self.readiness()
    }

    async fn superseded(&self) {
        self.superseded().await;
    }

    async fn stop(self) {
        self.stop().await;
    }
}

/// Runs a controller until `shutdown`, or until a later process of its node id takes over, with files and addresses as configured.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), RunError> {
    let (node_id, cluster, public) = (config.node_id.clone(), config.cluster.clone(), config.public.clone());
    let setup = Setup { node_id: &node_id, admin_bind: config.admin_bind, cluster: &cluster, public: &public };
    common::node::run(setup, shutdown, async |identity, certificate| start(config, identity, certificate).await).await
}
