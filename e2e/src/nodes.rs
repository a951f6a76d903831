//! A cluster of several nodes, each a process of its own, from configuration files, as an operator runs it.
//!
//! In: which nodes, in which regions. Out: processes that can be restarted, killed, frozen and joined by others; their logs and
//! metrics. What is here speaks to them only by signals, configuration, and the addresses that operators and clients have.

pub mod files;
pub mod metrics;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use common::tls::{ClusterAuthority, NodeKind};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::api::Api;
use crate::eventually;
use crate::process::{Process, dark_tower};
use files::Addresses;
use metrics::Metrics;

/// From the start of a process to its `/readyz`: a heartbeat and a retry, with an unoptimised program on a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// From SIGTERM to the end (DESIGN section 7 allows a minute, for moves that these nodes need not make).
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// From SIGKILL to the end.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// A look at `/readyz` or `/metrics`; a frozen process answers never.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// A node to be: its id, what it is, where it stands.
pub type Plan<'a> = (&'a str, NodeKind, &'a str);

/// One global controller, three meeting controllers and three media handlers in two regions.
pub const SEVEN: [Plan<'static>; 7] = [
    ("gc-1", NodeKind::GlobalController, "eu"),
    ("mc-eu-1", NodeKind::MeetingController, "eu"),
    ("mc-eu-2", NodeKind::MeetingController, "eu"),
    ("mc-us-1", NodeKind::MeetingController, "us"),
    ("mh-eu-1", NodeKind::MediaHandler, "eu"),
    ("mh-eu-2", NodeKind::MediaHandler, "eu"),
    ("mh-us-1", NodeKind::MediaHandler, "us"),
];

/// One node, running or not.
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// As configured.
    pub region: String,
    /// The same in each of its lives.
    pub at: Addresses,
    config: PathBuf,
    folder: PathBuf,
    lives: usize,
    process: Option<Process>,
}

/// See the module. Every process is killed when this is dropped.
pub struct Nodes {
    /// The public API.
    pub api: Api,
    folder: TempDir,
    authority: ClusterAuthority,
    nodes: BTreeMap<String, Node>,
    http: reqwest::Client,
    /// Lines at the end of each further node's configuration, by kind.
    more: BTreeMap<&'static str, String>,
}

impl Nodes {
    /// Starts [`SEVEN`] and waits until each is ready.
    pub async fn seven() -> anyhow::Result<Self> {
        Self::start(&SEVEN, &[]).await
    }

    /// Starts `plans`, the first of which is the global controller, all at once, and waits until each is ready. `more` are lines for
    /// the configuration of every node of a kind.
    pub async fn start(plans: &[Plan<'_>], more: &[(NodeKind, &str)]) -> anyhow::Result<Self> {
        common::tls::install_crypto_provider();
        let mut nodes = Self {
            api: Api::new("")?,
            folder: tempfile::tempdir()?,
            authority: ClusterAuthority::generate()?,
            nodes: BTreeMap::new(),
            http: reqwest::Client::builder().timeout(LOOK_LIMIT).build()?,
            more: more.iter().map(|(kind, lines)| (kind.certificate_name(), (*lines).to_owned())).collect(),
        };
        for plan in plans {
            nodes.add(*plan)?;
        }
        let front = nodes.nodes.values().find(|node| node.kind == NodeKind::GlobalController).context("a global controller is needed")?;
        nodes.api = Api::new(format!("https://{}", front.at.public))?;
        for (id, ..) in plans {
            nodes.ready(id).await?;
        }
        for id in nodes.ids(NodeKind::MeetingController, None) {
            nodes.knows_handlers(&id).await?;
        }
        Ok(nodes)
    }

    /// Waits until a controller knows every handler there is: it is ready with the first one, and hears of the others with its heartbeats.
    pub async fn knows_handlers(&self, controller: &str) -> anyhow::Result<()> {
        let wanted = self.ids(NodeKind::MediaHandler, None).len();
        eventually(&format!("{controller} knows {wanted} handlers"), READY_LIMIT, || async {
            let known = self.metrics(controller).await?.sum("dark_tower_controller_handlers");
            ensure!(known == wanted as f64, "it knows {known}");
            Ok::<_, anyhow::Error>(())
        })
        .await
    }

    /// Writes the files of a further node and starts it. No other node is told of it.
    pub fn add(&mut self, (id, kind, region): Plan<'_>) -> anyhow::Result<()> {
        ensure!(!self.nodes.contains_key(id), "there is a node {id} already");
        let (folder, at) = (self.folder.path().join(id), Addresses::free()?);
        let config = self.write((id, kind, region), &folder, at)?;
        let node = Node { kind, region: region.to_owned(), at, config, folder, lives: 0, process: None };
        self.nodes.insert(id.to_owned(), node);
        self.launch(id)
    }

    fn write(&self, plan: Plan<'_>, folder: &Path, at: Addresses) -> anyhow::Result<PathBuf> {
        let more = self.more.get(plan.1.certificate_name()).map_or("", String::as_str);
        files::write(folder, &self.authority, plan, at, &self.global_controllers(), more)
    }

    /// Who signs the nodes' certificates: a test may have one that no honest operator would issue.
    pub fn authority(&self) -> &ClusterAuthority {
        &self.authority
    }

    /// The gRPC addresses that nodes register at.
    fn global_controllers(&self) -> Vec<SocketAddr> {
        self.nodes.values().filter(|node| node.kind == NodeKind::GlobalController).map(|node| node.at.grpc).collect()
    }

    /// Starts a node that does not run.
    pub fn launch(&mut self, id: &str) -> anyhow::Result<()> {
        let node = self.nodes.get_mut(id).with_context(|| format!("there is no node {id}"))?;
        ensure!(node.process.is_none(), "{id} runs already");
        node.lives += 1;
        let log = node.folder.join(format!("{}.log", node.lives));
        node.process = Some(Process::start(command(node.kind, &node.config)?, &log)?);
        Ok(())
    }

    /// A second process with the identity of `id` and ports of its own, as a mistaken operator or a slow orchestrator starts it. Its log
    /// is in the second value.
    pub fn twin(&self, id: &str) -> anyhow::Result<(Process, PathBuf)> {
        let node = self.node(id)?;
        let folder = self.folder.path().join(format!("{id}-twin"));
        let config = self.write((id, node.kind, &node.region), &folder, Addresses::free()?)?;
        let log = folder.join("1.log");
        Ok((Process::start(command(node.kind, &config)?, &log)?, log))
    }

    /// A node.
    pub fn node(&self, id: &str) -> anyhow::Result<&Node> {
        self.nodes.get(id).with_context(|| format!("there is no node {id}"))
    }

    /// A node's configuration file, for operators' commands.
    pub fn config(&self, id: &str) -> anyhow::Result<&Path> {
        Ok(&self.node(id)?.config)
    }

    /// A node's process.
    pub fn process(&self, id: &str) -> anyhow::Result<&Process> {
        self.node(id)?.process.as_ref().with_context(|| format!("{id} does not run"))
    }

    /// The ids of all nodes of a kind, in a region or in any.
    pub fn ids(&self, kind: NodeKind, region: Option<&str>) -> Vec<String> {
        let wanted = |node: &Node| node.kind == kind && region.is_none_or(|region| node.region == region);
        self.nodes.iter().filter(|(_, node)| wanted(node)).map(|(id, _)| id.clone()).collect()
    }

    /// The node whose public address is in `url`.
    pub fn at(&self, url: &str) -> anyhow::Result<String> {
        let host = |node: &Node| format!("//{}/", node.at.public);
        let found = self.nodes.iter().find(|(_, node)| url.contains(&host(node)));
        found.map(|(id, _)| id.clone()).with_context(|| format!("no node is at {url}"))
    }

    /// Waits until `/readyz` of a node says yes.
    pub async fn ready(&self, id: &str) -> anyhow::Result<()> {
        let what = format!("{id} is ready");
        let waited = eventually(&what, READY_LIMIT, || async {
            match self.readyz(id).await? {
                (200, _) => Ok(()),
                (status, text) => Err(anyhow::anyhow!("{status}: {text}")),
            }
        });
        match waited.await {
            Ok(()) => Ok(()),
            Err(error) => Err(error.context(self.last_words(id))),
        }
    }

    /// What `/readyz` of a node answers.
    pub async fn readyz(&self, id: &str) -> anyhow::Result<(u16, String)> {
        let answer = self.http.get(format!("http://{}/readyz", self.node(id)?.at.admin)).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// What `/metrics` of a node says now.
    pub async fn metrics(&self, id: &str) -> anyhow::Result<Metrics> {
        let answer = self.http.get(format!("http://{}/metrics", self.node(id)?.at.admin)).send().await?;
        Ok(Metrics::parse(&answer.error_for_status()?.text().await?))
    }

    /// Ends a node by SIGTERM; says how it ended and how long that took.
    pub async fn stop(&mut self, id: &str) -> anyhow::Result<(ExitStatus, Duration)> {
        self.process(id)?.terminate()?;
        self.ended(id, STOP_LIMIT).await
    }

    /// Ends a node by SIGKILL.
    pub async fn kill(&mut self, id: &str) -> anyhow::Result<()> {
        self.process(id)?.kill()?;
        self.ended(id, KILL_LIMIT).await.map(drop)
    }

    /// Waits until a node has ended by itself.
    pub async fn ended(&mut self, id: &str, within: Duration) -> anyhow::Result<(ExitStatus, Duration)> {
        let node = self.nodes.get_mut(id).with_context(|| format!("there is no node {id}"))?;
        let mut process = node.process.take().with_context(|| format!("{id} does not run"))?;
        process.ended(within).await
    }

    /// Starts a node again and waits until it is ready; says how long that took.
    pub async fn back(&mut self, id: &str) -> anyhow::Result<Duration> {
        let started = Instant::now();
        self.launch(id)?;
        self.ready(id).await?;
        Ok(started.elapsed())
    }

    /// Every log line of a node so far, of all its lives.
    pub fn log(&self, id: &str) -> anyhow::Result<Vec<Value>> {
        let node = self.node(id)?;
        let mut lines = Vec::new();
        for life in 1..=node.lives {
            lines.extend(read_log(&node.folder.join(format!("{life}.log")))?);
        }
        Ok(lines)
    }

    fn last_words(&self, id: &str) -> String {
        self.process(id).map(Process::last_words).unwrap_or_default()
    }
}

/// The lines of a log file that are JSON.
pub fn read_log(path: &Path) -> anyhow::Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

fn command(kind: NodeKind, config: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(dark_tower()?);
    command
        .arg(match kind {
            NodeKind::GlobalController => "global-controller",
            NodeKind::MeetingController => "meeting-controller",
            _ => "media-handler",
        })
        .arg("--config")
        .arg(config);
    Ok(command)
}
