//! Configuration: see `common::config` for the layers. Lengths of time are whole milliseconds.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use common::config::millis;
use common::door::DoorConfig;
use common::telemetry::LogConfig;
use common_core::NodeId;
use serde::Deserialize;

/// Everything a meeting controller can be told.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// As in the node's certificate.
    #[serde(deserialize_with = "common::config::node_id")]
    pub node_id: NodeId,
    /// Where this node stands; handlers of the same region come first.
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
            node_id: "mc-1".parse().expect("it is a node id"),
            region: "default".to_owned(),
            admin_bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 9091)),
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
    /// gRPC for the global controller.
    pub grpc_bind: SocketAddr,
    /// `host:port` told to the global controller; default: the bound address.
    pub grpc_advertise: Option<String>,
    /// This node's certificate, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The cluster's authority, PEM.
    pub authority: PathBuf,
    /// `host:port` of each global controller's gRPC.
    pub global_controllers: Vec<String>,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            grpc_bind: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 50052)),
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
    /// UDP for WebTransport, and TCP for WebSocket on the same port.
    pub bind: SocketAddr,
    /// Default: `https://{bound address}/wt`.
    pub url: Option<String>,
    /// Default: `wss://{bound address}/ws`.
    pub fallback_url: Option<String>,
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
            bind: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 4433)),
            url: None,
            fallback_url: None,
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
    /// Meetings assigned at a time.
    pub max_meetings: u32,
    /// Participants of all meetings together.
    pub max_participants: u32,
    /// Connections, joined or not.
    pub max_sessions: usize,
    /// Messages of a participant in [`rate_window`](Self::rate_window).
    pub messages_per_window: u32,
    /// The length of that window.
    #[serde(rename = "rate_window_ms", deserialize_with = "millis::deserialize")]
    pub rate_window: Duration,
    /// From the session to its join request.
    #[serde(rename = "join_timeout_ms", deserialize_with = "millis::deserialize")]
    pub join_timeout: Duration,
    /// Without a packet for this long a session is lost.
    #[serde(rename = "silence_timeout_ms", deserialize_with = "millis::deserialize")]
    pub silence_timeout: Duration,
    /// A session that takes nothing of what is written to it is closed after this.
    #[serde(rename = "stall_timeout_ms", deserialize_with = "millis::deserialize")]
    pub stall_timeout: Duration,
    /// How long a participant whose session is lost is expected back.
    #[serde(rename = "reconnect_window_ms", deserialize_with = "millis::deserialize")]
    pub reconnect_window: Duration,
    /// How long an empty meeting keeps its chat; no shorter than the life of its join tokens in any case.
    #[serde(rename = "empty_meeting_timeout_ms", deserialize_with = "millis::deserialize")]
    pub empty_meeting_timeout: Duration,
    /// How far clocks may be apart when tokens are judged.
    #[serde(rename = "token_leeway_ms", deserialize_with = "millis::deserialize")]
    pub token_leeway: Duration,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let core = meeting_controller_core::Limits::default();
        Self {
            door: DoorConfig::default(),
            max_meetings: 1000,
            max_participants: 5000,
            // Twice the participants: each may be replaced by a newer session.
            max_sessions: 10_000,
            messages_per_window: core.messages_max,
            rate_window: core.rate_window,
            join_timeout: Duration::from_secs(10),
            silence_timeout: Duration::from_secs(3),
            // As long as QUIC takes to give up a path on which nothing comes back.
            stall_timeout: Duration::from_secs(10),
            reconnect_window: core.reconnect_window,
            empty_meeting_timeout: core.empty_timeout,
            token_leeway: Duration::from_secs(30),
        }
    }
}

impl LimitsConfig {
    /// What the meeting itself keeps to.
    pub(crate) fn core(&self) -> meeting_controller_core::Limits {
        meeting_controller_core::Limits {
            reconnect_window: self.reconnect_window,
            messages_max: self.messages_per_window,
            rate_window: self.rate_window,
            empty_timeout: self.empty_meeting_timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_reach_every_section() {
        let flag = |path: &str, value: &str| (path.to_owned(), value.to_owned());
        let flags = [flag("node_id", "mc-9"), flag("limits.join_timeout_ms", "250"), flag("public.bind", "127.0.0.1:0")];
        let config: Config = common::config::load(None, [], flags).expect("all are known");
        assert_eq!((config.node_id.as_str(), config.limits.join_timeout), ("mc-9", Duration::from_millis(250)));
        assert!(common::config::load::<Config>(None, [], [flag("node_id", "Not One")]).is_err());
    }
}
