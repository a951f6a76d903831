//! The `[forwarding]` section: how the work of forwarding is done.

use std::thread::available_parallelism;

use common::config::{Checks, Validate};
use common::quic::WORKERS_MAX;
use serde::Deserialize;

/// What the machine gives to forwarding.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForwardingConfig {
    /// Threads that serve media sessions, each with sessions of its own. 0: one for each core that the process may use.
    pub workers: u16,
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
