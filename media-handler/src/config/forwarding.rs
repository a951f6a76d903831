//! The `[forwarding]` section: how the work of forwarding is done.

use std::thread::available_parallelism;

use common::config::{Checks, Validate};
use common::quic::WORKERS_MAX;
use media_handler_core::ticks::Ticks;
use serde::Deserialize;

/// What the machine gives to forwarding.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForwardingConfig {
    /// Threads that serve media sessions, each with sessions of its own. 0: one for each core that the process may use.
    pub workers: u16,
    /// Whether a worker reads its socket on ticks.
    pub ticks: TicksConfig,
}

/// Whether records of several publishers wait a few milliseconds for each other, so that a subscriber is visited once for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TicksConfig {
    /// While a worker is busy and its visits would carry more; see `media_handler_core::ticks`.
    #[default]
    Auto,
    /// Always: for measuring.
    Always,
    /// Never: the least latency, at any cost.
    Never,
}

impl From<TicksConfig> for Ticks {
    fn from(config: TicksConfig) -> Self {
        match config {
            TicksConfig::Auto => Ticks::automatic(),
            TicksConfig::Always => Ticks::fixed(true),
            TicksConfig::Never => Ticks::fixed(false),
        }
    }
}

impl ForwardingConfig {
    /// How many workers there are: as configured, else as many as cores (by affinity, and by the quota of the control group).
    pub(crate) fn workers(&self) -> u16 {
        match self.workers {
            0 => available_parallelism().map_or(1, |cores| u16::try_from(cores.get()).unwrap_or(WORKERS_MAX).min(WORKERS_MAX)),
            workers => workers,
        }
    }
}

impl Validate for ForwardingConfig {
    fn check(&self, checks: &mut Checks) {
        checks.number("forwarding.workers", self.workers, 0..=WORKERS_MAX);
    }
}
