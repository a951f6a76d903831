//! Configuration: see `common::config` for the layers. Lengths of time are whole milliseconds.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::config::millis;
use common::door::DoorConfig;
use common::node::Role;
use common::telemetry::LogConfig;
use common::tls::NodeKind;
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

/// See [`Role`].
#[derive(Debug)]
pub struct MeetingController;

impl Role for MeetingController {
    const NODE: NodeKind = NodeKind::MeetingController;
    const GRPC_PORT: u16 = 50052;
    const PUBLIC_PORT: u16 = 4433;
}

/// See [`common::node::ClusterConfig`].
pub type ClusterConfig = common::node::ClusterConfig<MeetingController>;
/// See [`common::node::PublicConfig`].
pub type PublicConfig = common::node::PublicConfig<MeetingController>;

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
