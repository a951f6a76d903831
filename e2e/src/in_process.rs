//! A whole cluster inside the test's process: the three services with mTLS between them, as `dark-tower dev` runs them, and
//! with what a process on loopback cannot have: public URLs that lead through network paths, and short lives of tokens.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use common::tls::{Certificate, ClusterAuthority, NodeKind};
use common_core::NodeId;
use serde_json::json;
use tempfile::TempDir;

use crate::api::{Api, Invitation};
use crate::eventually;
use crate::link::{Conditions, Link};

/// How long the nodes may take to find each other; on loopback it is a few milliseconds.
const READY_LIMIT: Duration = Duration::from_secs(10);
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What is not as in production.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Paths before the public addresses of controller and handler; `None`: none.
    pub path: Option<Conditions>,
    /// Life of a join token, without leeway for clocks; `None`: the default.
    pub join_life: Option<Duration>,
    /// How long a write on signaling may be stuck; `None`: the default.
    pub stall_timeout: Option<Duration>,
    /// Pages that may open sessions; empty: all.
    pub origins: Vec<String>,
}

struct Nodes {
    front: global_controller::Running,
    controller: meeting_controller::Running,
    handler: media_handler::Running,
}

/// A running cluster. Clones share it; [`stop`](Self::stop) it by any of them.
#[derive(Clone)]
pub struct InProcess {
    /// Its API.
    pub api: Api,
    /// The path before the controller, if there is one.
    pub signaling_path: Option<Arc<Link>>,
    /// The path before the handler, if there is one.
    pub media_path: Option<Arc<Link>>,
    controller_address: SocketAddr,
    handler_address: SocketAddr,
    nodes: Arc<tokio::sync::Mutex<Option<Nodes>>>,
    _data_dir: Arc<TempDir>,
}

impl InProcess {
    /// Starts one and waits until it is ready.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        common::tls::install_crypto_provider();
        canary::watch();
        let data_dir = tempfile::tempdir()?;
        let authority = ClusterAuthority::generate()?;
        let certificate = Certificate::self_signed(&["localhost".into(), "127.0.0.1".into()])?;
        let identity = |name: &str, kind| -> anyhow::Result<_> { Ok(authority.issue(&name.parse::<NodeId>()?, kind)?) };

        let mut config =
            global_controller::config::Config { node_id: "gc-e2e".parse()?, allow_anonymous_create: true, ..Default::default() };
        config.cluster.grpc_bind = ANY_PORT;
        config.public.bind = ANY_PORT;
        config.store.path = data_dir.path().join("dark-tower.sqlite");
        // One address asks for everybody here.
        (config.rates.requests, config.rates.anonymous_joins) = (1_000_000, 1_000_000);
        if let Some(life) = options.join_life {
            config.tokens.join_life = life;
        }
        let front = global_controller::start(config, identity("gc-e2e", NodeKind::GlobalController)?, certificate.clone()).await?;
        let global_controllers = vec![front.grpc_address().to_string()];

        let media_path = path_for(options.path).await?;
        let mut config = media_handler::config::Config { node_id: "mh-e2e".parse()?, ..Default::default() };
        config.cluster.grpc_bind = ANY_PORT;
        config.public.bind = ANY_PORT;
        // One of several services of this process.
        config.forwarding.workers = 1;
        config.public.url = media_path.as_ref().map(|link| format!("https://{}/media", link.address()));
        config.cluster.global_controllers.clone_from(&global_controllers);
        let handler = media_handler::start(config, identity("mh-e2e", NodeKind::MediaHandler)?, certificate.clone()).await?;

        let signaling_path = path_for(options.path).await?;
        let mut config = meeting_controller::config::Config { node_id: "mc-e2e".parse()?, ..Default::default() };
        config.cluster.grpc_bind = ANY_PORT;
        config.public.bind = ANY_PORT;
        if let Some(timeout) = options.stall_timeout {
            config.limits.stall_timeout = timeout;
        }
        config.public.origins.clone_from(&options.origins);
        config.public.url = signaling_path.as_ref().map(|link| format!("https://{}/wt", link.address()));
        config.cluster.global_controllers = global_controllers;
        if options.join_life.is_some() {
            config.limits.token_leeway = Duration::ZERO;
        }
        let controller = meeting_controller::start(config, identity("mc-e2e", NodeKind::MeetingController)?, certificate).await?;

        for (path, address) in [(&signaling_path, controller.public_address()), (&media_path, handler.public_address())] {
            if let Some(path) = path {
                path.lead_to(address);
            }
        }
        let readiness = [front.readiness(), controller.readiness(), handler.readiness()].concat();
        eventually("the cluster is ready", READY_LIMIT, || async {
            readiness.iter().try_for_each(|it| (it.check)().map_err(|reason| format!("{}: {reason}", it.name)))
        })
        .await?;
        Ok(Self {
            api: Api::new(front.public_url())?,
            signaling_path,
            media_path,
            controller_address: controller.public_address(),
            handler_address: handler.public_address(),
            nodes: Arc::new(tokio::sync::Mutex::new(Some(Nodes { front, controller, handler }))),
            _data_dir: Arc::new(data_dir),
        })
    }

    /// An invitation that leads past the paths: for those whose distance a test does not measure.
    pub async fn invite_nearby(&self, meeting_id: &str, name: &str) -> anyhow::Result<Invitation> {
        Ok(Invitation {
            meeting_controller_url: format!("https://{}/wt", self.controller_address),
            media_url_instead: Some(format!("https://{}/media", self.handler_address)),
            ..self.api.invite(meeting_id, name).await?
        })
    }

    /// Where the controller is bound, past the paths.
    pub fn controller_address(&self) -> SocketAddr {
        self.controller_address
    }

    /// A good access token of a fresh API client.
    pub async fn access_token(&self) -> anyhow::Result<String> {
        let nodes = self.nodes.lock().await;
        let front = &nodes.as_ref().context("the cluster has been stopped")?.front;
        let client = front.create_client("e2e", global_controller::Scopes::all()).await?;
        let wish = json!({
            "grant_type": "client_credentials", "client_id": client.client_id, "client_secret": client.client_secret.expose(),
        });
        let (status, answer) = self.api.post("/api/v1/auth/token", &wish).await?;
        answer["access_token"].as_str().map(str::to_owned).with_context(|| format!("no access token ({status})"))
    }

    /// Stops every node in order.
    pub async fn stop(&self) {
        if let Some(Nodes { front, controller, handler }) = self.nodes.lock().await.take() {
            controller.stop().await;
            handler.stop().await;
            front.stop().await;
        }
    }
}

/// A path that leads nowhere yet.
async fn path_for(conditions: Option<Conditions>) -> anyhow::Result<Option<Arc<Link>>> {
    match conditions {
        Some(conditions) => Ok(Some(Arc::new(Link::start(ANY_PORT, conditions).await?))),
        None => Ok(None),
    }
}
