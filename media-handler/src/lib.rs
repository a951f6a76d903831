//! The media handler's loud room: sockets, tasks, gRPC. What is forwarded to whom, and when not, is in `media-handler-core`.
//!
//! In: media sessions over WebTransport, controllers' commands. Out: groups to subscribers, telemetry to controllers,
//! heartbeats. A task reads each stream of a publisher, one task delivers to each subscriber; between them is the hub, behind
//! one lock that is never held across a wait or a write.

#![warn(missing_docs)]

pub mod config;
mod control;
mod egress;
mod grpc;
mod handler;
mod ingress;
mod panics;
mod path;
mod registry;
mod session;
mod transport;
mod upkeep;
mod waiting;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::admin::{self, Readiness};
use common::config::{ConfigError, Validate};
use common::door::DoorKeeper;
use common::quic::{EndpointError, server_config, server_endpoint};
use common::shutdown::Shutdown;
use common::telemetry::init_metrics;
use common::tls::{Certificate, LiveCertificate, LiveIdentity, NodeIdentity, TlsError};
use common::webtransport::{ALPN, Listener, OriginPolicy};
use common_core::Code;
use config::Config;
use proto::cluster::media_handler_service_server::MediaHandlerServiceServer;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use crate::handler::Handler;
use crate::registry::{LastBeat, Presentation, Registry};

/// An orderly end takes no longer.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// A heartbeat older than this means that no global controller answers: the lease.
const BEAT_AGE_MAX: Duration = Duration::from_secs(3);
/// Upkeep runs ten times a second and more; one that has not for so long hangs, and what only time brings about does not happen.
const UPKEEP_AGE_MAX: Duration = Duration::from_secs(3);

/// Sent before anything is acknowledged: the key frame that a joiner waits for, at once and not in three flights. 32 packets, as
/// large content networks have it; RFC 9002 section 7.2 suggests 10.
const INITIAL_WINDOW_BYTES: u64 = 32 * 1200;

/// Why the handler does not start.
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
    /// gRPC does not stand.
    #[error(transparent)]
    Grpc(#[from] common::grpc::ServeError),
    /// A global controller cannot be called.
    #[error(transparent)]
    Dial(#[from] common::grpc::DialError),
}

/// Why the handler's process ends badly.
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

/// A handler whose listeners stand.
pub struct Running {
    handler: Arc<Handler>,
    last_beat: Arc<LastBeat>,
    is_registering: bool,
    public_url: String,
    grpc_address: SocketAddr,
    public_address: SocketAddr,
    endpoint: quinn::Endpoint,
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
    let (identity, certificate) = (identity.into(), certificate.into());
    let (tasks, stop, accepting) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
    let grpc_listener = common::grpc::Listener::bind(config.cluster.grpc_bind, &identity).await?;
    let grpc_address = grpc_listener.local_addr();
    let mut transport = transport::BEFORE_HELLO.opening();
    let mut congestion = quinn::congestion::CubicConfig::default();
    congestion.initial_window(INITIAL_WINDOW_BYTES);
    transport.congestion_controller_factory(Arc::new(congestion));
    let endpoint = server_endpoint(config.public.bind, server_config(&certificate, &[ALPN], transport)?)?;
    let public_address = endpoint.local_addr().map_err(|source| StartError::Bind { address: config.public.bind, source })?;

    let handler = Arc::new(Handler::new(config.limits.clone(), tasks.clone()));
    let presentation = Presentation {
        node_id: config.node_id.to_string(),
        region: config.region.clone(),
        endpoint: config.cluster.grpc_advertise.clone().unwrap_or_else(|| grpc_address.to_string()),
        public_url: config.public.url.clone().unwrap_or_else(|| format!("https://{public_address}/media")),
        certificate: certificate.clone(),
        start_number: common::random::number(),
    };

    let service = grpc::Service::new(handler.clone(), presentation.public_url.clone(), certificate.clone());
    let routes = Routes::new(MediaHandlerServiceServer::new(service).max_decoding_message_size(grpc::MESSAGE_BYTES_MAX));
    tasks.spawn(grpc_listener.serve(routes, grpc::CALLS_MAX, stop.clone()));

    let origins = OriginPolicy::from_list(&config.public.origins);
    let keeper = DoorKeeper::new(config.limits.door);
    let listener = Listener { endpoint: endpoint.clone(), path: "/media", origins, keeper, door: "media" };
    let serving = handler.clone();
    tasks.spawn(listener.accept(accepting.clone(), tasks.clone(), move |accepted| session::serve(serving.clone(), accepted)));
    let (keeping, kept_until) = (handler.clone(), stop.clone());
    tasks.spawn(panics::restarted("upkeep", stop.clone(), move || upkeep::run(keeping.clone(), kept_until.clone())));

    let last_beat = Arc::new(LastBeat::default());
    for global_controller in &config.cluster.global_controllers {
        let registry = Registry::new(handler.clone(), presentation.clone(), last_beat.clone(), &identity, global_controller)?;
        tasks.spawn(registry.run(accepting.clone()));
    }
    tracing::info!(node = %config.node_id, public = %public_address, grpc = %grpc_address, "media handler started");
    Ok(Running {
        handler,
        last_beat,
        is_registering: !config.cluster.global_controllers.is_empty(),
        public_url: presentation.public_url,
        grpc_address,
        public_address,
        endpoint,
        accepting,
        stop,
    })
}

impl Running {
    /// What must be so for clients to be served.
    pub fn readiness(&self) -> Vec<Readiness> {
        let upkept = self.handler.clone();
        let upkeep = Readiness::new("media-handler upkeep", move || match upkept.since_upkeep() {
            age if age <= UPKEEP_AGE_MAX => Ok(()),
            age => Err(format!("has not run for {} s", age.as_secs())),
        });
        if !self.is_registering {
            return vec![upkeep];
        }
        let (handler, last_beat) = (self.handler.clone(), self.last_beat.clone());
        let registered = Readiness::new("media-handler registered", move || match last_beat.at() {
            Some(at) if handler.now().since(at) <= BEAT_AGE_MAX => Ok(()),
            Some(_) => Err("no global controller answers heartbeats".to_owned()),
            None => Err("not registered yet".to_owned()),
        });
        vec![upkeep, registered]
    }

    /// Where gRPC is bound.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Where UDP for clients is bound.
    pub fn public_address(&self) -> SocketAddr {
        self.public_address
    }

    /// As registered.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// Withdraws from the global controllers, ends every session with `UNAVAILABLE`, and stops.
    pub async fn stop(self) {
        self.accepting.cancel();
        self.handler.with(|hub| hub.close_all(Code::Unavailable, "this handler is going away"));
        self.stop.cancel();
        self.handler.tasks.close();
        if tokio::time::timeout(STOP_TIMEOUT, self.handler.tasks.wait()).await.is_err() {
            tracing::warn!("an orderly end took too long");
        }
        self.endpoint.close(quinn::VarInt::from_u32(0), b"");
        // What is left is one packet per connection.
        let _ = tokio::time::timeout(Duration::from_millis(100), self.endpoint.wait_idle()).await;
    }
}

/// Runs a handler until `shutdown`, with files and addresses as configured.
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

/// Under which a connection token is kept: its SHA-256, so that the token itself is nowhere but on its way.
fn token_hash(token: &str) -> media_handler_core::hub::TokenHash {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}
