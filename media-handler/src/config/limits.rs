//! The `[limits]` section: what an operator may want another value for. The others are constants beside what they bound;
//! docs/limits.md lists both.

use std::time::Duration;

use common::config::{Checks, Validate, millis};
use common::door::DoorConfig;
use common_core::frame::PAYLOAD_BYTES_MAX;
use serde::Deserialize;

/// Capacities, rates and lengths of time.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Who is let in at all. See [`DoorConfig`].
    pub door: DoorConfig,
    /// Participants registered at a time.
    pub max_participants: u32,
    /// Media sessions that have said hello.
    pub max_sessions: usize,
    /// Media sessions that have not. With one more the oldest of them makes room.
    pub max_waiting_sessions: usize,
    /// The same from one address (IPv6: /64); one more is refused.
    pub max_waiting_sessions_per_address: usize,
    /// Layers of the media streams of all participants.
    pub max_layers: usize,
    /// Subscriptions of all participants.
    pub max_subscriptions: usize,
    /// Subscriptions of one participant.
    pub max_subscriptions_per_participant: usize,
    /// Largest payload of a record, in bytes.
    pub max_payload_bytes: u32,
    /// What one participant may send, in bits per second, with a burst of one second; more is read later.
    pub max_ingress_bitrate: u64,
    /// Records one participant may send in a second, with a burst of one second; more are read later.
    pub max_ingress_records: u64,
    /// What one participant is sent, in bits per second, with a burst of one second; what is late for it has the fate `bandwidth`.
    pub max_egress_bitrate: u64,
    /// Control messages of one session in a second, in the long run.
    pub max_control_messages: u64,
    /// From the session to its hello.
    #[serde(rename = "hello_timeout_ms", deserialize_with = "millis::deserialize")]
    pub hello_timeout: Duration,
    /// How long frames of an unknown id are held, from the hello on.
    #[serde(rename = "unknown_stream_timeout_ms", deserialize_with = "millis::deserialize")]
    pub unknown_stream_timeout: Duration,
    /// From a record's first byte to its last.
    #[serde(rename = "record_timeout_ms", deserialize_with = "millis::deserialize")]
    pub record_timeout: Duration,
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
            max_sessions: core.sessions_max,
            // Each costs about 100 kB, up to 600 kB if it sends all that it may.
            max_waiting_sessions: 1_000,
            // An office or a lecture hall behind one address that comes at once: each waits for two round trips.
            max_waiting_sessions_per_address: 128,
            max_layers: core.sources_max,
            max_subscriptions: core.subscriptions_max,
            max_subscriptions_per_participant: core.subscriptions_per_participant_max,
            max_payload_bytes: PAYLOAD_BYTES_MAX,
            // Several times what the best camera in three layers and a screen together take.
            max_ingress_bitrate: 50_000_000,
            // A hundred packets of sound a second, 300 pictures, and both in pieces, several times over.
            max_ingress_records: 5_000,
            // A page of fifty pictures at the best camera's rate.
            max_egress_bitrate: core.egress_bitrate_max,
            // A key-frame request a second for every picture on a page, and pings.
            max_control_messages: 64,
            hello_timeout: Duration::from_secs(10),
            unknown_stream_timeout: Duration::from_secs(2),
            // The largest record over a megabit a second.
            record_timeout: Duration::from_secs(30),
            token_life: core.token_life,
            stall_timeout: core.stall_max,
            telemetry_interval: Duration::from_secs(1),
        }
    }
}

impl Validate for LimitsConfig {
    fn check(&self, checks: &mut Checks) {
        checks.number("limits.max_participants", self.max_participants, 1..=1_000_000);
        checks.number("limits.max_sessions", self.max_sessions, 1..=2_000_000);
        let participants = usize::try_from(self.max_participants).unwrap_or(usize::MAX);
        checks.that(
            self.max_sessions >= participants,
            "limits.max_sessions",
            format!("must be at least limits.max_participants, {participants}: each participant needs one, and two while it moves"),
        );
        checks.number("limits.max_waiting_sessions", self.max_waiting_sessions, 1..=100_000);
        checks.number("limits.max_waiting_sessions_per_address", self.max_waiting_sessions_per_address, 1..=100_000);
        checks.number("limits.max_layers", self.max_layers, 1..=10_000_000);
        checks.number("limits.max_subscriptions", self.max_subscriptions, 1..=10_000_000);
        checks.number("limits.max_subscriptions_per_participant", self.max_subscriptions_per_participant, 1..=1_000_000);
        // A sound packet with room to spare; and what the contract allows.
        checks.number("limits.max_payload_bytes", self.max_payload_bytes, 2_048..=PAYLOAD_BYTES_MAX);
        // Less than a voice call is a mistake in the unit, and so is more than a hundred gigabits.
        const BITRATES: std::ops::RangeInclusive<u64> = 64_000..=100_000_000_000;
        checks.number("limits.max_ingress_bitrate", self.max_ingress_bitrate, BITRATES);
        checks.number("limits.max_egress_bitrate", self.max_egress_bitrate, BITRATES);
        checks.number("limits.max_ingress_records", self.max_ingress_records, 50..=1_000_000);
        checks.number("limits.max_control_messages", self.max_control_messages, 1..=100_000);
        checks.millis("limits.hello_timeout_ms", self.hello_timeout, 50..=60_000);
        checks.millis("limits.unknown_stream_timeout_ms", self.unknown_stream_timeout, 10..=30_000);
        checks.millis("limits.record_timeout_ms", self.record_timeout, 100..=600_000);
        checks.millis("limits.token_life_ms", self.token_life, 50..=3_600_000);
        checks.millis("limits.stall_timeout_ms", self.stall_timeout, 100..=60_000);
        checks.millis("limits.telemetry_interval_ms", self.telemetry_interval, 10..=60_000);
    }
}

impl LimitsConfig {
    /// What the forwarding itself keeps to.
    pub(crate) fn core(&self) -> media_handler_core::Limits {
        media_handler_core::Limits {
            participants_max: usize::try_from(self.max_participants).unwrap_or(usize::MAX),
            sessions_max: self.max_sessions,
            sources_max: self.max_layers,
            subscriptions_max: self.max_subscriptions,
            subscriptions_per_participant_max: self.max_subscriptions_per_participant,
            egress_bitrate_max: self.max_egress_bitrate,
            token_life: self.token_life,
            stall_max: self.stall_timeout,
            ..Default::default()
        }
    }
}
