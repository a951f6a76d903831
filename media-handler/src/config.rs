//! Configuration: see `common::config` for the layers. Lengths of time are whole milliseconds.

mod limits;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use common::config::{Checks, Validate};
use common::telemetry::LogConfig;
use common_core::NodeId;
use serde::Deserialize;

pub use limits::LimitsConfig;

/// Everything a media handler can be told.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// As in the node's certificate.
    #[serde(deserialize_with = "common::config::node_id")]
    pub node_id: NodeId,
    /// Where this node stands; meetings of the same region come here first.
    pub region: String,
    /// `/healthz`, `/readyz`, `/metrics`.
    pub admin_bind: SocketAddr,
    /// See [`LogConfig`].
    pub log: LogConfig,
    /// See [`ClusterConfig`].
    pub cluster: ClusterConfig,
    /// See [`PublicConfig`].
    pub public: PublicConfig,
    /// See [`LimitsConfig`].
    pub limits: LimitsConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node_id: "mh-1".parse().expect("it is a node id"),
            region: "default".to_owned(),
            admin_bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 9092)),
            log: LogConfig::default(),
            cluster: ClusterConfig::default(),
            public: PublicConfig::default(),
            limits: LimitsConfig::default(),
        }
    }
}

/// The cluster: what this node shows, whom it believes, where it registers.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterConfig {
    /// gRPC for controllers.
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
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            grpc_bind: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 50053)),
            grpc_advertise: None,
            certificate: "/etc/dark-tower/node.pem".into(),
            key: "/etc/dark-tower/node.key".into(),
            authority: "/etc/dark-tower/cluster.pem".into(),
            global_controllers: Vec::new(),
        }
    }
}

/// What clients see.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PublicConfig {
    /// UDP for WebTransport.
    pub bind: SocketAddr,
    /// Default: `https://{bound address}/media`.
    pub url: Option<String>,
    /// PEM chain; without it a self-signed certificate is made.
    pub certificate: Option<PathBuf>,
    /// PEM key of the chain.
    pub key: Option<PathBuf>,
    /// Names in the self-signed certificate.
    pub names: Vec<String>,
    /// Pages that may open a session; empty: all.
    pub origins: Vec<String>,
}

impl Default for PublicConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 4434)),
            url: None,
            certificate: None,
            key: None,
            names: vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()],
            origins: Vec::new(),
        }
    }
}

impl Validate for Config {
    fn check(&self, checks: &mut Checks) {
        self.limits.check(checks);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn absurd_values_are_refused_by_their_keys() {
        let told = |limits: LimitsConfig| Config { limits, ..Config::default() }.validate().expect_err("it is absurd").to_string();
        let absurd = told(LimitsConfig { telemetry_interval: Duration::ZERO, max_sessions: 9, ..LimitsConfig::default() });
        assert!(absurd.contains("limits.telemetry_interval_ms = 0: must be from"), "{absurd}");
        assert!(absurd.contains("limits.max_sessions: must be at least limits.max_participants"), "{absurd}");
        assert!(Config::default().validate().is_ok());
    }

    #[test]
    fn flags_reach_every_section() {
        let flag = |path: &str, value: &str| (path.to_owned(), value.to_owned());
        let flags = [flag("node_id", "mh-9"), flag("limits.hello_timeout_ms", "250"), flag("public.bind", "127.0.0.1:0")];
        let config: Config = common::config::load(None, [], flags).expect("all are known");
        assert_eq!((config.node_id.as_str(), config.limits.hello_timeout), ("mh-9", Duration::from_millis(250)));
        assert!(common::config::load::<Config>(None, [], [flag("node_id", "Not One")]).is_err());
    }
}
