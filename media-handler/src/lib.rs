//! The media handler's loud room: sockets, tasks, gRPC. What is forwarded to whom, and when not, is in `media-handler-core`.
//!
//! In: media sessions over WebTransport, controllers' commands. Out: groups to subscribers, telemetry to controllers,
//! heartbeats. Sessions are divided between workers, one for each core. A task reads each stream of a publisher, one task delivers to each
//! subscriber; between them is the hub, behind one lock that is never held across a wait or a write.

#![warn(missing_docs)]

pub mod config;
mod control;
mod egress;
mod event_loop;
mod grpc;
mod handler;
mod ingress;
mod member;
mod panics;
mod path;
mod session;
pub mod transport;
mod upkeep;
mod waiting;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::admin::Readiness;
use common::config::{ConfigError, Validate};
use common::door::DoorKeeper;
use common::gate::Gate;
use common::membership::{Membership, Presentation, start_number};
use common::node::Setup;
use common::parts::Parts;
use common::quic::{EndpointError, Port};
use common::shutdown::Shutdown;
use common::tls::{LiveCertificate, LiveIdentity};
use common::webtransport::{ALPN, OriginPolicy};
use common_core::Code;
use config::Config;
use proto::cluster::media_handler_service_server::MediaHandlerServiceServer;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use crate::handler::Handler;
use crate::member::Registered;
use crate::worker::Workers;

/// An orderly end takes no longer.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// Upkeep runs ten times a second and more; one that has not for so long hangs, and what only time brings about does not happen.
const UPKEEP_AGE_MAX: Duration = Duration::from_secs(3);

/// Why the handler does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The configuration has values that make no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address is taken or not ours, or its workers do not start.
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
    /// gRPC does not stand.
    #[error(transparent)]
    Grpc(#[from] common::grpc::ServeError),
    /// A global controller cannot be called.
    #[error(transparent)]
    Dial(#[from] common::grpc::DialError),
}

/// Why the handler's process ends badly.
pub type RunError = common::node::RunError<StartError>;

/// A handler whose listeners stand.
pub struct Running {
    handler: Arc<Handler>,
    membership: Membership,
    public_url: String,
    grpc_address: SocketAddr,
    public_address: SocketAddr,
    workers: Workers,
    accepting: CancellationToken,
    stop: CancellationToken,
}

/// Binds every listener and starts serving; returns when clients and controllers can come.
pub async fn start(
    config: Config,
    identity: impl Into<LiveIdentity>,
    certificate: impl Into<LiveCertificate>,
) -> Result<Running, StartError> {
    config.validate()?;
    let port = Port::bind(config.public.bind, config.forwarding.workers())?;
    start_on(port, config, identity, certificate).await
}

/// The same on a port that stands, with a worker for each of its sockets, whatever the configuration says of that.
pub async fn start_on(
    port: Port,
    config: Config,
    identity: impl Into<LiveIdentity>,
    certificate: impl Into<LiveCertificate>,
) -> Result<Running, StartError> {
    config.validate()?;
    let (identity, certificate) = (identity.into(), certificate.into());
    let (tasks, stop, accepting) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
    let grpc_listener = common::grpc::Listener::bind(config.cluster.grpc_bind, &identity).await?;
    let grpc_address = grpc_listener.local_addr();
    let server_config = transport::server_config(&certificate, ALPN)?;
    let public_address = port.address;

    let (gate, parts) = (Arc::new(Gate::default()), Parts::default());
    let handler = Arc::new(Handler::new(config.limits.clone(), tasks.clone(), gate.clone()));
    let presentation = Presentation {
        node_id: config.node_id.clone(),
        region: config.region.clone(),
        endpoint: config.cluster.grpc_advertise.clone().unwrap_or_else(|| grpc_address.to_string()),
        public_url: config.public.url.clone().unwrap_or_else(|| format!("https://{public_address}/media")),
        fallback_url: String::new(),
        certificate: certificate.clone(),
        start_number: start_number(),
    };

    let service = grpc::Service::new(handler.clone(), presentation.public_url.clone(), certificate.clone());
    let routes = Routes::new(MediaHandlerServiceServer::new(service).max_decoding_message_size(grpc::MESSAGE_BYTES_MAX));
    let serves = grpc_listener.serve(routes, grpc::CALLS_MAX, stop.clone());
    tasks.spawn(parts.clone().watch("the gRPC server", stop.clone(), serves));

    let origins = OriginPolicy::from_list(&config.public.origins);
    let keeper = DoorKeeper::new(config.limits.door);
    let service = worker::Service {
        handler: handler.clone(),
        server_config,
        origins,
        keeper,
        parts: parts.clone(),
        ticks: config.forwarding.ticks.into(),
        accepting: accepting.clone(),
    };
    let workers = Workers::start(port, service).await.map_err(|source| StartError::Bind { address: public_address, source })?;
    let (keeping, kept_until) = (handler.clone(), stop.clone());
    tasks.spawn(panics::restarted("upkeep", stop.clone(), move || upkeep::run(keeping.clone(), kept_until.clone())));

    let member = Arc::new(Registered::new(handler.clone(), parts, certificate.clone()));
    let membership = Membership::start(presentation.clone(), member, gate, &identity, &config.cluster.global_controllers)?;
    let (superseded, no_more, stopped) = (membership.clone(), accepting.clone(), stop.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = superseded.superseded() => no_more.cancel(),
            () = stopped.cancelled() => {}
        }
    });
    let count = workers.sessions().len();
    tracing::info!(node = %config.node_id, public = %public_address, grpc = %grpc_address, workers = count, "media handler started");
    Ok(Running { handler, membership, public_url: presentation.public_url, grpc_address, public_address, workers, accepting, stop })
}

impl Running {
    /// What must be so for clients to be served.
    pub fn readiness(&self) -> Vec<Readiness> {
        let upkept = self.handler.clone();
        let upkeep = Readiness::new("media-handler upkeep", move || match upkept.since_upkeep() {
            age if age <= UPKEEP_AGE_MAX => Ok(()),
            age => Err(format!("has not run for {} s", age.as_secs())),
        });
        let mut checks = self.membership.readiness("media-handler registered", "media-handler health");
        checks.extend([upkeep, Readiness::new("media-handler workers", self.workers.check())]);
        checks
    }

    /// Where gRPC is bound.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Where UDP for clients is bound.
    pub fn public_address(&self) -> SocketAddr {
        self.public_address
    }

    /// How many media sessions each worker serves now.
    pub fn sessions_by_worker(&self) -> Vec<usize> {
        self.workers.sessions()
    }

    /// How often a subscriber's acknowledgements have waited for the end of a tick, as told about once a second.
    pub fn visits_put_off(&self) -> u64 {
        self.workers.visits_put_off()
    }

    /// How many packets workers have handed over to each other, and how many found no room.
    pub fn packets_handed_over(&self) -> (u64, u64) {
        self.workers.handed_over()
    }

    /// As registered.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// Resolves when a later process of this node id has taken over: nothing more is sent then, and [`stop`](Self::stop) is what is left to do.
    pub async fn superseded(&self) {
        self.membership.superseded().await;
    }

    /// Withdraws from the global controllers, ends every session with `UNAVAILABLE`, and stops.
    pub async fn stop(self) {
        // First, so that nobody new is sent here.
        self.membership.leave().await;
        self.accepting.cancel();
        self.handler.with(|hub| hub.close_all(Code::Unavailable, "this handler is going away"));
        self.stop.cancel();
        self.handler.tasks.close();
        if tokio::time::timeout(STOP_TIMEOUT, self.handler.tasks.wait()).await.is_err() {
            tracing::warn!("an orderly end took too long");
        }
        self.workers.stop().await;
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

/// Runs a handler until `shutdown`, or until a later process of its node id takes over, with files and addresses as configured.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), RunError> {
    let (node_id, cluster, public) = (config.node_id.clone(), config.cluster.clone(), config.public.clone());
    let setup = Setup { node_id: &node_id, admin_bind: config.admin_bind, cluster: &cluster, public: &public };
    common::node::run(setup, shutdown, async |identity, certificate| start(config, identity, certificate).await).await
}

/// Under which a connection token is kept: its SHA-256, so that the token itself is nowhere but on its way.
fn token_hash(token: &str) -> media_handler_core::hub::TokenHash {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}
