//! `dark-tower status`: who is in the cluster and how, where new meetings go and why. Asks a running global controller; changes nothing.

mod show;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use common::tls::{NodeIdentity, NodeKind};
use proto::cluster::cluster_admin_client::ClusterAdminClient;
use proto::cluster::{ClusterStatus, StatusRequest};
use serde::Deserialize;

use show::Report;

use crate::output::Usage;

/// What this exits with when something in the cluster needs an operator; 1 means that it could not be found out.
pub const NEEDS_OPERATOR_EXIT_CODE: u8 = 4;
/// A global controller that takes longer to answer does not serve its nodes either.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Who is in the cluster, how they are, and where meetings go.
#[derive(Args)]
#[command(after_help = "Examples:
  dark-tower status --config /etc/dark-tower/global-controller.toml
  dark-tower status --json --global-controller gc.internal:50051 --certificate ops.pem --key ops.key --authority cluster.pem

The certificate has to be an operator's (`dark-tower certs issue`) or a global controller's.
Exits with 0 if all is well, with 4 if something needs an operator (a node is lost, unhealthy or degraded, nobody takes new
meetings, the store is away), with 1 if that cannot be found out, with 2 for wrong usage.")]
pub struct StatusArgs {
    /// The configuration of a node: its [cluster] says what is not said here.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the global controller's gRPC is.
    #[arg(long, value_name = "HOST:PORT")]
    global_controller: Option<String>,
    /// A certificate of an operator or a global controller, PEM.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The cluster's authority, PEM.
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
    /// How many of the newest assignments are shown.
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    meetings: u32,
    /// Prints JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// What of a node's configuration matters here; the rest is the node's.
#[derive(Default, Deserialize)]
struct Configured {
    #[serde(default)]
    cluster: Cluster,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cluster {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    authority: Option<PathBuf>,
    grpc_bind: Option<SocketAddr>,
    global_controllers: Vec<String>,
}

impl Cluster {
    /// The first global controller that a node registers with; of a global controller itself, where it listens.
    fn global_controller(&self) -> Option<String> {
        let bound = || {
            self.grpc_bind.map(|mut address| {
                if address.ip().is_unspecified() {
                    address.set_ip(if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
                }
                address.to_string()
            })
        };
        self.global_controllers.first().cloned().or_else(bound)
    }
}

/// Does what was asked for.
pub async fn run(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let report = Report::from(ask(&args).await?);
    let text = if args.json { serde_json::to_string_pretty(&report)? + "\n" } else { report.to_string() };
    crate::output::print(&text)?;
    Ok(if report.needs_operator.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NEEDS_OPERATOR_EXIT_CODE) })
}

async fn ask(args: &StatusArgs) -> anyhow::Result<ClusterStatus> {
    let configured: Configured = match &args.config {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            toml::from_str(&text).with_context(|| format!("cannot understand {}", path.display()))?
        }
        None => Configured::default(),
    };
    let cluster = configured.cluster;
    let file = |flag: &Option<PathBuf>, configured: &Option<PathBuf>, name: &str| {
        let missing = || Usage(format!("--{name} is needed, or --config with the configuration of a node that has one"));
        flag.clone().or_else(|| configured.clone()).ok_or_else(missing)
    };
    let certificate = file(&args.certificate, &cluster.certificate, "certificate")?;
    let key = file(&args.key, &cluster.key, "key")?;
    let authority = file(&args.authority, &cluster.authority, "authority")?;
    let endpoint = args.global_controller.clone().or_else(|| cluster.global_controller());
    let missing = || Usage("--global-controller is needed, or --config with the configuration of a node that names one".to_owned());
    let endpoint = endpoint.ok_or_else(missing)?;
    let identity = NodeIdentity::load(&certificate, &key, &authority)?;
    let channel = common::grpc::channel(identity, &endpoint, NodeKind::GlobalController.certificate_name())?;
    let mut client = ClusterAdminClient::new(channel);
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.status(StatusRequest { meetings_max: args.meetings })).await;
    let answer = answer.with_context(|| format!("the global controller at {endpoint} does not answer"))?;
    match answer {
        Ok(status) => Ok(status.into_inner()),
        Err(status) => anyhow::bail!("the global controller at {endpoint}: {:?}: {}", status.code(), status.message()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node says where it registers, a global controller where it listens.
    #[test]
    fn a_configuration_says_whom_to_ask() {
        let check = |text: &str, expected: Option<&str>| {
            let configured: Configured = toml::from_str(text).expect("TOML");
            assert_eq!(configured.cluster.global_controller().as_deref(), expected, "{text}");
        };
        check("node_id = \"gc-1\"", None);
        check("[cluster]\ngrpc_bind = \"0.0.0.0:50051\"", Some("127.0.0.1:50051"));
        check("[cluster]\ngrpc_bind = \"[::]:50051\"", Some("[::1]:50051"));
        check(
            "[cluster]\ngrpc_bind = \"0.0.0.0:50052\"\nglobal_controllers = [\"gc.internal:50051\"]\n[limits]\nx = 1",
            Some("gc.internal:50051"),
        );
    }
}
