//! Starts the parts and stops them: bound listeners, the registry, the rounds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use common::admin::{self, Readiness};
use common::config::{ConfigError, Validate};
use common::parts::Parts;
use common::quic::EndpointError;
use common::shutdown::Shutdown;
use common::tls::{Holder, IdentityFiles, LiveCertificate, LiveIdentity, NodeKind, PublicSource, TlsError, Upkeep};
use common::{Secret, grpc};
use global_controller_core::{Rules, Scopes};
use proto::cluster::cluster_admin_server::ClusterAdminServer;
use proto::cluster::cluster_registry_server::ClusterRegistryServer;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use crate::admin::{AdminError, NewClient, create_client};
use crate::app::App;
use crate::cluster::{Cluster, LiveNodes};
use crate::config::{Config, PublicConfig};
use crate::credentials::{HashError, Hasher};
use crate::events::{self, Reports};
use crate::keys::{LoadKeysError, SigningKeys};
use crate::listen::{self, Bound, tcp};
use crate::registry::{Lease, Registry};
use crate::status::Admin;
use crate::store::{self, Store, StoreError};
use crate::webhooks::{AuthorityError, Caller, Worker};

/// What is under way may take this long to end in order.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a start waits for the store's server. A supervisor starts the process again after that.
const STORE_PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks for it.
const STORE_RETRY: Duration = Duration::from_millis(500);
/// Calls under way at once on one node's connection: a heartbeat and a registration, with room for retries.
const CALLS_PER_NODE: u32 = 16;
/// The largest message of a node: a heartbeat with 50,000 meetings, or 256 events with all that clients may say of their streams.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A view that nobody touched for this long means that this process was frozen (DESIGN section 6).
const FREEZE: Duration = Duration::from_secs(2);

/// Why a global controller does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The public listeners.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The public certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The registry's listener or its TLS.
    #[error("cannot serve the registry: {0}")]
    Registry(#[from] grpc::ServeError),
    /// The folder of the store's file.
    #[error("cannot make the folder {path}: {source}")]
    Folder {
        /// Which.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store's server.
    #[error("the store was not available for {} seconds: {reason}", patience.as_secs())]
    StoreAway {
        /// How long it was waited for.
        patience: Duration,
        /// By the last try.
        reason: String,
    },
    /// The signing keys.
    #[error(transparent)]
    Keys(#[from] LoadKeysError),
    /// The hashing of secrets.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The authority for webhooks.
    #[error(transparent)]
    Webhooks(#[from] AuthorityError),
}

/// Why a global controller ended other than asked to.
#[derive(Debug, Error)]
pub enum RunError {
    /// It should not start like this.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A certificate cannot be read or made.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The endpoint for operators.
    #[error(transparent)]
    Admin(#[from] std::io::Error),
}

/// What an application authenticates with. The secret is nowhere else: only its hash is kept.
#[derive(Clone, Debug)]
pub struct ClientCredentials {
    /// `client_id`
    pub client_id: String,
    /// `client_secret`
    pub client_secret: Secret,
}

/// A global controller that answers.
pub struct Running {
    app: Arc<App>,
    parts: Parts,
    public_address: SocketAddr,
    public_url: String,
    grpc_address: SocketAddr,
    endpoint: quinn::Endpoint,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Starts with `identity` towards the cluster and `certificate` towards clients; returns once every listener is bound.
pub async fn start(
    config: Config,
    identity: impl Into<LiveIdentity>,
    certificate: impl Into<LiveCertificate>,
) -> Result<Running, StartError> {
    start_beside(config, identity, certificate, Router::new()).await
}

/// [`start`], with the routes of `beside` on the public listeners as well. Nothing that surrounds our own requests surrounds these: no limits, no
/// log, no metrics. A benchmark compares our handlers with bare ones so.
pub async fn start_beside(
    config: Config,
    identity: impl Into<LiveIdentity>,
    certificate: impl Into<LiveCertificate>,
    beside: Router,
) -> Result<Running, StartError> {
    let (identity, certificate) = (identity.into(), certificate.into());
    let store = await_store(&config).await?;
    let keys = Arc::new(SigningKeys::load(store.as_ref(), &config.tokens).await?);
    let heard = 2 * (config.cluster.sweep_interval + config.cluster.heartbeat_interval);
    if config.tokens.key_activation < heard {
        tracing::warn!(
            key_activation_ms = config.tokens.key_activation.as_millis(),
            "a new signing key may sign before every node has heard of it; it should wait at least {} ms",
            heard.as_millis()
        );
    }
    let hasher = Hasher::new(&config.limits)?;
    let rules = Rules { lease: config.cluster.lease, grace: config.cluster.grace, freeze: FREEZE, ..Rules::default() };
    let cluster = Arc::new(Cluster::new(identity.clone(), rules, config.cluster.call_timeout));

    let Bound { endpoint, listener, address: public_address } = listen::bind(config.public.bind, &certificate, &config.limits).await?;
    let public_url = public_url(&config.public, public_address);
    let caller = Caller::new(&config.webhooks)?;
    let lease = Lease { interval: config.cluster.heartbeat_interval, lease: config.cluster.lease };
    let limits = config.limits;
    let app = Arc::new(App::new(config, &public_url, store.clone(), cluster.clone(), keys.clone(), hasher));
    // Before the first request: a restart lets nobody in again.
    app.note_revoked().await?;
    let (stop, tasks, parts) = (app.stopping.clone(), TaskTracker::new(), Parts::default());
    let registry = Registry::new(cluster, keys, lease, Reports::new(store.clone(), app.bell.clone()), store.clone());
    let services = (registry, Admin::new(app.clone()));
    let grpc_address = serve_registry(services, &identity, app.config.cluster.grpc_bind, stop.clone(), (&tasks, parts.clone())).await?;
    let router = crate::http::router(app.clone()).merge(beside);
    let serves = listen::http3::serve(endpoint.clone(), router.clone(), limits, stop.clone(), tasks.clone());
    tasks.spawn(parts.clone().watch("the HTTP/3 listener", stop.clone(), serves));
    let tls = TlsAcceptor::from(Arc::new(certificate.server_config(&tcp::ALPN)?));
    let alternative = tcp::alternative(port_of(&public_url).unwrap_or(public_address.port()));
    let served = tcp::Served { router, tls: Some((tls, alternative)), limits };
    let serves = tcp::serve(listener, served, stop.clone(), tasks.clone());
    tasks.spawn(parts.clone().watch("the TCP listener", stop.clone(), serves));
    tasks.spawn(app.clone().pulse(stop.clone()));
    tasks.spawn(parts.clone().watch("the rounds", stop.clone(), app.clone().sweep(stop.clone())));
    tasks.spawn(app.clone().follow(stop.clone()));
    tasks.spawn(events::make_rounds(app.clone(), stop.clone()));
    tasks.spawn(Worker::new(store, app.bell.clone(), app.config.webhooks.clone(), caller).work(stop.clone()));
    tracing::info!(node = %app.config.node_id, %public_address, public_url, %grpc_address, "global controller answers");
    Ok(Running { app, parts, public_address, public_url, grpc_address, endpoint, stop, tasks })
}

impl Running {
    /// What must be so for this process to be ready.
    pub fn readiness(&self) -> Vec<Readiness> {
        let (app, parts) = (self.app.clone(), self.parts.clone());
        vec![Readiness::new("store", move || app.store_state()), Readiness::new("global-controller parts", move || parts.check())]
    }

    /// Where the registry answers.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Where the API answers, UDP and TCP.
    pub fn public_address(&self) -> SocketAddr {
        self.public_address
    }

    /// How clients reach the API.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// How many nodes are registered and live.
    pub fn live_nodes(&self) -> LiveNodes {
        self.app.cluster.live_nodes()
    }

    /// Serves the public router, and `beside`, without TLS on a further listener, within the same limits as the public ones: for a browser on this
    /// machine. Ends with everything else.
    pub fn serve_plain(&self, listener: TcpListener, beside: Router) {
        let served = tcp::Served { router: crate::http::router(self.app.clone()).merge(beside), tls: None, limits: self.app.config.limits };
        self.tasks.spawn(tcp::serve(listener, served, self.stop.clone(), self.tasks.clone()));
    }

    /// Makes an API client with a tenant of its own.
    pub async fn create_client(&self, name: &str, scopes: Scopes) -> Result<ClientCredentials, AdminError> {
        let wanted = NewClient { name: name.to_owned(), scopes, rate_limit: None, tenant: None };
        let (client, client_secret) = create_client(self.app.store.as_ref(), wanted).await?;
        Ok(ClientCredentials { client_id: client.id, client_secret })
    }

    /// Whether these are the credentials of an API client that may do all that `scopes` names.
    pub async fn accepts(&self, credentials: &ClientCredentials, scopes: &Scopes) -> Result<bool, AdminError> {
        let client = self.app.store.api_client(&credentials.client_id).await?;
        let client = client.filter(|client| client.revoked_at.is_none() && scopes.is_within(&client.scopes));
        let (here, stored) = (self.public_address.ip(), client.map(|client| client.secret_hash));
        Ok(self.app.hasher.verify(here, credentials.client_secret.clone(), stored).await?)
    }

    /// Shuts an API client out for good, its tokens included; false: there is none of this id.
    pub async fn revoke_client(&self, id: &str) -> Result<bool, AdminError> {
        Ok(self.app.revoke_client(id).await?)
    }

    /// Ends in order: no new connections, what is under way is finished, at most three seconds.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(STOP_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!("some requests were not finished in time");
        }
        // H3_NO_ERROR (RFC 9114 section 8.1).
        self.endpoint.close(quinn::VarInt::from_u32(0x100), b"");
        // Lets the last packets out; a peer that does not answer must not hold us.
        let _ = tokio::time::timeout(Duration::from_millis(100), self.endpoint.wait_idle()).await;
    }
}

/// Runs a global controller by its configuration until `shutdown`.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), RunError> {
    config.validate()?;
    let metrics = common::telemetry::init_metrics();
    let (cluster, public) = (&config.cluster, &config.public);
    let files = IdentityFiles { certificate: cluster.certificate.clone(), key: cluster.key.clone(), authority: cluster.authority.clone() };
    let holder = Holder { id: config.node_id.clone(), kind: NodeKind::GlobalController };
    let source = PublicSource::configured(public.certificate.as_deref(), public.key.as_deref(), &public.names, public.self_signed_life)?;
    let (upkeep, identity) = Upkeep::of_node(files, holder, source)?;
    let admin_listener = admin::bind(config.admin_bind).await?;
    // A start may wait for the store's server, and who is asked to end meanwhile has nothing to put in order.
    let running = tokio::select! {
        started = start(config, identity, upkeep.certificate()) => started?,
        () = shutdown.drain.cancelled() => return Ok(()),
    };
    let readiness = [running.readiness(), upkeep.readiness()].concat();
    tokio::spawn(upkeep.run(shutdown.now.clone()));
    let stop_admin = CancellationToken::new();
    let admin_router = admin::router(metrics, readiness);
    let admin_task = tokio::spawn(admin::serve(admin_listener, admin_router, stop_admin.clone()));
    tokio::select! {
        () = shutdown.drain.cancelled() => {}
        () = shutdown.now.cancelled() => return Ok(()),
    }
    tokio::select! {
        () = running.stop() => {}
        () = shutdown.now.cancelled() => {}
    }
    stop_admin.cancel();
    // Its end is ours as well; how it went has no consequence any more.
    let _ = tokio::time::timeout(STOP_TIMEOUT, admin_task).await;
    Ok(())
}

/// The store by its configuration, if it is there.
pub(crate) async fn open_store(config: &Config) -> Result<Arc<dyn Store>, StartError> {
    let limits = store::Limits { connections: config.store.connections, timeout: config.store.timeout };
    if let Some(url) = &config.store.url {
        return Ok(Arc::new(store::postgres::open(url, limits).await?));
    }
    let path = &config.store.path;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        tokio::fs::create_dir_all(folder).await.map_err(|source| StartError::Folder { path: folder.into(), source })?;
    }
    Ok(Arc::new(store::sqlite::open(path, limits).await?))
}

/// Waits for a server that is not there yet, as when a whole machine room comes back; anything else ends the start at once.
async fn await_store(config: &Config) -> Result<Arc<dyn Store>, StartError> {
    let deadline = tokio::time::Instant::now() + STORE_PATIENCE;
    let mut tries = tokio::time::interval(STORE_RETRY);
    tries.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tries.tick().await;
        match open_store(config).await {
            Err(StartError::Store(StoreError::Unavailable(reason))) if config.store.url.is_some() => {
                if tokio::time::Instant::now() >= deadline {
                    return Err(StartError::StoreAway { patience: STORE_PATIENCE, reason });
                }
                tracing::warn!(reason, "the store is not available; trying again");
            }
            other => return other,
        }
    }
}

async fn serve_registry(
    (registry, admin): (Registry, Admin),
    identity: &LiveIdentity,
    address: SocketAddr,
    stop: CancellationToken,
    (tasks, parts): (&TaskTracker, Parts),
) -> Result<SocketAddr, StartError> {
    let listener = grpc::Listener::bind(address, identity).await?;
    let bound = listener.local_addr();
    let service = ClusterRegistryServer::new(registry).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let routes = Routes::new(service).add_service(ClusterAdminServer::new(admin).max_decoding_message_size(MESSAGE_BYTES_MAX));
    tasks.spawn(parts.watch("the gRPC server", stop.clone(), listener.serve(routes, CALLS_PER_NODE, stop)));
    Ok(bound)
}

/// How clients reach the API: as configured, else by the bound address, or by name if that is every address there is.
fn public_url(config: &PublicConfig, bound: SocketAddr) -> String {
    match &config.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None if bound.ip().is_unspecified() => {
            let name = config.names.first().map_or("localhost", String::as_str);
            format!("https://{name}:{}", bound.port())
        }
        None => format!("https://{bound}"),
    }
}

/// The port of an `https` URL.
fn port_of(url: &str) -> Option<u16> {
    let uri: ::http::Uri = url.parse().ok()?;
    Some(uri.port_u16().unwrap_or(443))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_url_can_be_dialled() {
        let check = |url: Option<&str>, bound: &str, expected: &str| {
            let config = PublicConfig { url: url.map(Into::into), ..PublicConfig::default() };
            assert_eq!(public_url(&config, bound.parse().expect("an address")), expected);
        };
        check(None, "127.0.0.1:8443", "https://127.0.0.1:8443");
        check(None, "0.0.0.0:8443", "https://localhost:8443");
        check(Some("https://meet.example.com/"), "0.0.0.0:8443", "https://meet.example.com");
        assert_eq!((port_of("https://meet.example.com"), port_of("https://a:8443"), port_of("not a url")), (Some(443), Some(8443), None));
    }
}
