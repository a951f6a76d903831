//! Configuration: see `common::config` for the layers. Lengths of time are whole milliseconds.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use common::config::millis;
use common::door::DoorConfig;
use common::telemetry::LogConfig;
use common_core::NodeId;
use common_core::frame::PAYLOAD_BYTES_MAX;
use serde::Deserialize;

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

/// Capacities, rates and lengths of time.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Who is let in at all. See [`DoorConfig`].
    pub door: DoorConfig,
    /// Participants registered at a time.
    pub max_participants: u32,
    /// Media sessions, hello said or not.
    pub max_sessions: usize,
    /// Largest payload of a record, in bytes.
    pub max_payload_bytes: u32,
    /// What one media session may send, in bits per second; more is read later.
    pub max_ingress_bitrate: u64,
    /// From the session to its hello.
    #[serde(rename = "hello_timeout_ms", deserialize_with = "millis::deserialize")]
    pub hello_timeout: Duration,
    /// How long frames of an unknown id are held, from the hello on.
    #[serde(rename = "unknown_stream_timeout_ms", deserialize_with = "millis::deserialize")]
    pub unknown_stream_timeout: Duration,
    /// How long an unspent connection token is good.
    #[serde(rename = "token_life_ms", deserialize_with = "millis::deserialize")]
    pub token_life: Duration,
    /// A subscriber that takes nothing is closed after this.
    #[serde(rename = "stall_timeout_ms", deserialize_with = "millis::deserialize")]
    pub stall_timeout: Duration,
    /// Between reports to controllers.
    #[serde(rename = "telemetry_interval_ms", deserialize_with = "millis::deserialize")]
    pub telemetry_interval: Duration,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let core = media_handler_core::Limits::default();
        Self {
            door: DoorConfig::default(),
            max_participants: 10_000,
            // Twice the participants: each may hold two while it moves.
            max_sessions: 20_000,
            max_payload_bytes: PAYLOAD_BYTES_MAX,
            // Several times what the best camera and a screen together take.
            max_ingress_bitrate: 100_000_000,
            hello_timeout: Duration::from_secs(10),
            unknown_stream_timeout: Duration::from_secs(2),
            token_life: core.token_life,
            stall_timeout: core.stall_max,
            telemetry_interval: Duration::from_secs(1),
        }
    }
}

impl LimitsConfig {
    /// What the forwarding itself keeps to.
    pub(crate) fn core(&self) -> media_handler_core::Limits {
        media_handler_core::Limits {
            participants_max: usize::try_from(self.max_participants).unwrap_or(usize::MAX),
            token_life: self.token_life,
            stall_max: self.stall_timeout,
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_reach_every_section() {
        let flag = |path: &str, value: &str| (path.to_owned(), value.to_owned());
        let flags = [flag("node_id", "mh-9"), flag("limits.hello_timeout_ms", "250"), flag("public.bind", "127.0.0.1:0")];
        let config: Config = common::config::load(None, [], flags).expect("all are known");
        assert_eq!((config.node_id.as_str(), config.limits.hello_timeout), ("mh-9", Duration::from_millis(250)));
        assert!(common::config::load::<Config>(None, [], [flag("node_id", "Not One")]).is_err());
    }
}
