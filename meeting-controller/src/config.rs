//! Configuration: see `common::config` for the layers. Lengths of time are whole milliseconds.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::config::{Checks, Validate, millis};
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

impl Validate for Config {
    fn check(&self, checks: &mut Checks) {
        checks.that(!self.region.trim().is_empty(), "region", "must not be empty: handlers of the same name come first");
        self.limits.check(checks);
    }
}

impl Validate for LimitsConfig {
    fn check(&self, checks: &mut Checks) {
        checks.number("limits.max_meetings", self.max_meetings, 1..=1_000_000);
        checks.number("limits.max_participants", self.max_participants, 1..=1_000_000);
        checks.number("limits.max_sessions", self.max_sessions, 1..=2_000_000);
        let participants = usize::try_from(self.max_participants).unwrap_or(usize::MAX);
        checks.that(
            self.max_sessions >= participants,
            "limits.max_sessions",
            format!("must be at least limits.max_participants, {participants}: each participant needs one, and two while it resumes"),
        );
        checks.number("limits.messages_per_window", self.messages_per_window, 1..=1_000_000);
        checks.millis("limits.rate_window_ms", self.rate_window, 100..=3_600_000);
        checks.millis("limits.join_timeout_ms", self.join_timeout, 50..=60_000);
        // Tests go below a second; nobody else should, for clients say a word only once a second.
        checks.millis("limits.silence_timeout_ms", self.silence_timeout, 100..=60_000);
        checks.millis("limits.stall_timeout_ms", self.stall_timeout, 100..=60_000);
        checks.millis("limits.reconnect_window_ms", self.reconnect_window, 0..=600_000);
        checks.millis("limits.empty_meeting_timeout_ms", self.empty_meeting_timeout, 0..=86_400_000);
        checks.millis("limits.token_leeway_ms", self.token_leeway, 0..=300_000);
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
    fn absurd_values_are_refused_by_their_keys() {
        let told = |limits: LimitsConfig| Config { limits, ..Config::default() }.validate().expect_err("it is absurd").to_string();
        let absurd = told(LimitsConfig { max_meetings: 0, silence_timeout: Duration::ZERO, max_sessions: 9, ..LimitsConfig::default() });
        assert!(absurd.contains("limits.max_meetings = 0: must be from"), "{absurd}");
        assert!(absurd.contains("limits.silence_timeout_ms = 0: must be from"), "{absurd}");
        assert!(absurd.contains("limits.max_sessions: must be at least limits.max_participants"), "{absurd}");
        assert!(Config::default().validate().is_ok());
    }

    #[test]
    fn flags_reach_every_section() {
        let flag = |path: &str, value: &str| (path.to_owned(), value.to_owned());
        let flags = [flag("node_id", "mc-9"), flag("limits.join_timeout_ms", "250"), flag("public.bind", "127.0.0.1:0")];
        let config: Config = common::config::load(None, [], flags).expect("all are known");
        assert_eq!((config.node_id.as_str(), config.limits.join_timeout), ("mc-9", Duration::from_millis(250)));
        assert!(common::config::load::<Config>(None, [], [flag("node_id", "Not One")]).is_err());
    }
}
