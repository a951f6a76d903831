//! A whole cluster as people run it: the `dark-tower dev` process on free ports of loopback.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::process::Command;

use crate::api::Api;
use crate::process::{Process, dark_tower};

/// What `make dev` promises from the end of the build to the ready line.
const READY_LIMIT: Duration = Duration::from_secs(15);
/// What is promised from SIGTERM to the end.
pub const STOP_LIMIT: Duration = Duration::from_secs(5);
/// The last line before a cluster can be used.
pub const READY_LINE: &str = "dark-tower dev: ready";

/// The contents of `dev.json`: these fields and no other.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are the contract's (DESIGN section 2)")]
pub struct DevFile {
    pub http_url: String,
    pub https_url: String,
    pub signaling_url: String,
    pub media_url: String,
    pub admin_url: String,
    pub certificate_sha256: String,
    pub client_id: String,
    pub client_secret: String,
}

/// A running `dark-tower dev`.
pub struct Dev {
    /// What it wrote to dev.json.
    pub file: DevFile,
    /// Its API, at the plain door.
    pub api: Api,
    process: Process,
    data_dir: TempDir,
}

/// The command with every port free but those that are `fixed` (pairs of flag and port).
pub fn dev_command(data_dir: &std::path::Path, fixed: &[(&str, u16)]) -> anyhow::Result<Command> {
    let mut command = Command::new(dark_tower()?);
    command.arg("dev").arg("--data-dir").arg(data_dir);
    // One address asks for everybody here.
    command.env("DARK_TOWER__RATES__REQUESTS", "1000000").env("DARK_TOWER__RATES__ANONYMOUS_JOINS", "1000000");
    for flag in ["--http-port", "--https-port", "--signaling-port", "--media-port", "--admin-port"] {
        let port = fixed.iter().find(|(name, _)| *name == flag).map_or(0, |(_, port)| *port);
        command.arg(flag).arg(port.to_string());
    }
    Ok(command)
}

impl Dev {
    /// Starts one and waits for the ready line.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(|_| {}).await
    }

    /// The same with the rate limits that people get.
    pub async fn start_with_usual_rates() -> anyhow::Result<Self> {
        Self::start_with(|command| {
            command.env_remove("DARK_TOWER__RATES__REQUESTS").env_remove("DARK_TOWER__RATES__ANONYMOUS_JOINS");
        })
        .await
    }

    /// The same with the log that people get: what is measured is not measured beside a torrent of lines.
    pub async fn start_with_usual_log() -> anyhow::Result<Self> {
        Self::start_with(|command| {
            command.env("DARK_TOWER__LOG__FILTER", "info");
        })
        .await
    }

    async fn start_with(adjust: fn(&mut Command)) -> anyhow::Result<Self> {
        let data_dir = tempfile::tempdir()?;
        let mut command = dev_command(data_dir.path(), &[])?;
        adjust(&mut command);
        let mut process = Process::start(command, &data_dir.path().join("stderr.log"))?;
        process.line("the ready line", READY_LIMIT, |line| (line == READY_LINE).then_some(())).await?;
        let path = data_dir.path().join("dev.json");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let file: DevFile = serde_json::from_str(&text).with_context(|| format!("{} is not as agreed", path.display()))?;
        canary::keep("client_secret", &file.client_secret);
        let api = Api::new(&file.http_url)?;
        Ok(Self { file, api, process, data_dir })
    }

    /// Its process id, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Its data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.path().into()
    }

    /// What it has printed so far.
    pub fn printed(&self) -> Vec<String> {
        self.process.lines()
    }

    /// What operators read of it, which must hold no secret that this test knows.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let metrics = Api::without_pool(&self.file.admin_url)?.request(reqwest::Method::GET, "/metrics").send().await?.text().await?;
        canary::inspect("metrics", &metrics);
        Ok(metrics)
    }

    /// Sends SIGTERM and waits for the end; says how it ended and how long that took.
    pub async fn stop(mut self) -> anyhow::Result<(ExitStatus, Duration)> {
        self.metrics().await?;
        self.process.terminate()?;
        self.process.ended(STOP_LIMIT).await
    }
}
