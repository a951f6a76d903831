//! Configuration: see `common::config` for the layers. Lengths of time are whole milliseconds.

mod forwarding;
mod limits;

use std::net::{Ipv4Addr, SocketAddr};

use common::config::{Checks, Validate};
use common::node::Role;
use common::telemetry::LogConfig;
use common::tls::NodeKind;
use common_core::NodeId;
use serde::Deserialize;

pub use forwarding::{ForwardingConfig, TicksConfig};
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
    #[serde(deserialize_with = "common::node::without_fallback")]
    pub public: PublicConfig,
    /// See [`ForwardingConfig`].
    pub forwarding: ForwardingConfig,
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
            forwarding: ForwardingConfig::default(),
            limits: LimitsConfig::default(),
        }
    }
}

/// See [`Role`].
#[derive(Debug)]
pub struct MediaHandler;

impl Role for MediaHandler {
    const NODE: NodeKind = NodeKind::MediaHandler;
    const GRPC_PORT: u16 = 50053;
    const PUBLIC_PORT: u16 = 4434;
}

/// See [`common::node::ClusterConfig`].
pub type ClusterConfig = common::node::ClusterConfig<MediaHandler>;
/// See [`common::node::PublicConfig`].
pub type PublicConfig = common::node::PublicConfig<MediaHandler>;

impl Validate for Config {
    fn check(&self, checks: &mut Checks) {
        self.forwarding.check(checks);
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
        let crowd = Config { forwarding: ForwardingConfig { workers: 257, ..ForwardingConfig::default() }, ..Config::default() };
        assert!(crowd.validate().expect_err("too many").to_string().contains("forwarding.workers = 257: must be from 0 to 256"));
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
