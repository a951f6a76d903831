//! What a meeting controller's and a media handler's process have in common: the sections `[cluster]` and `[public]` of their configuration, and
//! their life from the first file that is read to the last that is said.

use std::marker::PhantomData;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use common_core::NodeId;
use serde::Deserialize;
use thiserror::Error;

use crate::admin::{self, Readiness};
use crate::config::millis;
use crate::shutdown::Shutdown;
use crate::telemetry::init_metrics;
use crate::tls::{Holder, IdentityFiles, LiveCertificate, LiveIdentity, NodeKind, PublicSource, SELF_SIGNED_LIFE, TlsError, Upkeep};

/// What a process exits with that a later one of its node id has superseded: a supervisor that started it again would supersede that one in
/// turn, and so on for ever (systemd: `RestartPreventExitStatus=3`).
pub const SUPERSEDED_EXIT_CODE: u8 = 3;

/// Which service a process is: what its configuration says where nothing is said.
pub trait Role: 'static {
    /// What its certificate says it is.
    const NODE: NodeKind;
    /// Of its gRPC.
    const GRPC_PORT: u16;
    /// Of its listener for clients.
    const PUBLIC_PORT: u16;
}

/// The cluster: what this node shows, whom it believes, where it registers.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, bound = "R: Role")]
pub struct ClusterConfig<R> {
    /// gRPC for other nodes.
    pub grpc_bind: SocketAddr,
    /// `host:port` told to the others; default: the bound address.
    pub grpc_advertise: Option<String>,
    /// This node's certificate, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The cluster's authority, PEM.
    pub authority: PathBuf,
    /// `host:port` of each global controller's gRPC; empty: this node registers nowhere.
    pub global_controllers: Vec<String>,
    #[serde(skip)]
    role: PhantomData<R>,
}

impl<R> Clone for ClusterConfig<R> {
    fn clone(&self) -> Self {
        Self {
            grpc_bind: self.grpc_bind,
            grpc_advertise: self.grpc_advertise.clone(),
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            authority: self.authority.clone(),
            global_controllers: self.global_controllers.clone(),
            role: PhantomData,
        }
    }
}

impl<R: Role> Default for ClusterConfig<R> {
    fn default() -> Self {
        Self {
            grpc_bind: SocketAddr::from((Ipv4Addr::UNSPECIFIED, R::GRPC_PORT)),
            grpc_advertise: None,
            certificate: "/etc/dark-tower/node.pem".into(),
            key: "/etc/dark-tower/node.key".into(),
            authority: "/etc/dark-tower/cluster.pem".into(),
            global_controllers: Vec::new(),
            role: PhantomData,
        }
    }
}

/// What clients see.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, bound = "R: Role")]
pub struct PublicConfig<R> {
    /// UDP for WebTransport; of a controller also TCP for WebSocket on the same port.
    pub bind: SocketAddr,
    /// Default: `https://{bound address}`, and the service's path.
    pub url: Option<String>,
    /// Of a controller; default: `wss://{bound address}/ws`.
    pub fallback_url: Option<String>,
    /// PEM chain; without it a self-signed certificate is made.
    pub certificate: Option<PathBuf>,
    /// PEM key of the chain.
    pub key: Option<PathBuf>,
    /// Names in the self-signed certificate.
    pub names: Vec<String>,
    /// How long each self-signed certificate lives.
    #[serde(rename = "self_signed_life_ms", deserialize_with = "millis::deserialize")]
    pub self_signed_life: Duration,
    /// Pages that may open a session; empty: all.
    pub origins: Vec<String>,
    #[serde(skip)]
    role: PhantomData<R>,
}

impl<R> Clone for PublicConfig<R> {
    fn clone(&self) -> Self {
        Self {
            bind: self.bind,
            url: self.url.clone(),
            fallback_url: self.fallback_url.clone(),
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            names: self.names.clone(),
            self_signed_life: self.self_signed_life,
            origins: self.origins.clone(),
            role: PhantomData,
        }
    }
}

impl<R: Role> Default for PublicConfig<R> {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::UNSPECIFIED, R::PUBLIC_PORT)),
            url: None,
            fallback_url: None,
            certificate: None,
            key: None,
            names: vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()],
            self_signed_life: SELF_SIGNED_LIFE,
            origins: Vec::new(),
            role: PhantomData,
        }
    }
}

/// For the section of a service that has no door besides WebTransport: `fallback_url` is refused like any key that is not known.
pub fn without_fallback<'de, D: serde::Deserializer<'de>, R: Role>(deserializer: D) -> Result<PublicConfig<R>, D::Error> {
    let public = PublicConfig::<R>::deserialize(deserializer)?;
    if public.fallback_url.is_some() {
        return Err(serde::de::Error::unknown_field("fallback_url", &["bind", "url", "certificate", "key", "names", "origins"]));
    }
    Ok(public)
}

/// Files and addresses that a process is started with.
pub struct Setup<'a, R> {
    /// As in its certificate.
    pub node_id: &'a NodeId,
    /// `/healthz`, `/readyz`, `/metrics`.
    pub admin_bind: SocketAddr,
    /// Whose certificate it shows to other nodes.
    pub cluster: &'a ClusterConfig<R>,
    /// Whose certificate it shows to clients.
    pub public: &'a PublicConfig<R>,
}

/// A service that runs.
pub trait Service: Send {
    /// What must be so for clients to be served.
    fn readiness(&self) -> Vec<Readiness>;
    /// Resolves when a later process of its node id has taken over.
    fn superseded(&self) -> impl Future<Output = ()> + Send;
    /// Ends in order.
    fn stop(self) -> impl Future<Output = ()> + Send;
}

/// Why a process ends badly.
#[derive(Debug, Error)]
pub enum RunError<E: std::error::Error> {
    /// It did not start.
    #[error(transparent)]
    Start(E),
    /// A certificate cannot be read.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The operators' endpoint cannot be opened.
    #[error(transparent)]
    Admin(#[from] std::io::Error),
    /// A later process of this node id has taken over.
    #[error("a later process of this node id has taken over; see that no two processes share a certificate")]
    Superseded,
}

impl<E: std::error::Error> RunError<E> {
    /// For the process's exit.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Superseded => SUPERSEDED_EXIT_CODE,
            Self::Start(_) | Self::Tls(_) | Self::Admin(_) => 1,
        }
    }
}

/// Runs a service until `shutdown`, or until it is superseded.
pub async fn run<S: Service, E: std::error::Error, R: Role>(
    setup: Setup<'_, R>,
    shutdown: Shutdown,
    start: impl AsyncFnOnce(LiveIdentity, LiveCertificate) -> Result<S, E>,
) -> Result<(), RunError<E>> {
    let Setup { node_id, admin_bind, cluster, public } = setup;
    let files = IdentityFiles { certificate: cluster.certificate.clone(), key: cluster.key.clone(), authority: cluster.authority.clone() };
    let holder = Holder { id: node_id.clone(), kind: R::NODE };
    let source = PublicSource::configured(public.certificate.as_deref(), public.key.as_deref(), &public.names, public.self_signed_life)?;
    let (upkeep, identity) = Upkeep::of_node(files, holder, source)?;
    let metrics = init_metrics();
    let admin_listener = admin::bind(admin_bind).await?;
    let running = start(identity, upkeep.certificate()).await.map_err(RunError::Start)?;
    let router = admin::router(metrics, [running.readiness(), upkeep.readiness()].concat());
    tokio::spawn(upkeep.run(shutdown.now.clone()));
    let serving = tokio::spawn(admin::serve(admin_listener, router, shutdown.now.clone()));
    let outcome = tokio::select! {
        () = shutdown.drain.cancelled() => Ok(()),
        () = shutdown.now.cancelled() => return Ok(()),
        () = running.superseded() => Err(RunError::Superseded),
    };
    tokio::select! {
        () = running.stop() => {}
        () = shutdown.now.cancelled() => {}
    }
    serving.abort();
    outcome
}
