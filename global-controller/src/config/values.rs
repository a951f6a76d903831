//! What the values of a configuration may be: zeros that would refuse everybody, and lengths that nobody means, are told at the start.

use std::time::Duration;

use common::config::{Checks, Validate};
use common::token::{ACCESS_LIFE_MAX, JOIN_LIFE_MAX};

use super::{ClusterConfig, Config, LimitsConfig, RatesConfig, StoreConfig, TokenConfig, WebhooksConfig};

/// An hour: nothing that a request, a node or a round waits for is longer.
const WAIT_MS_MAX: u64 = 3_600_000;
/// A year: what is kept for longer is meant for ever, and belongs into an archive.
const KEPT_MS_MAX: u64 = 365 * 24 * 3_600_000;
/// More connections, requests or callers than one process of any size serves.
const MANY: usize = 10_000_000;

impl Validate for Config {
    fn check(&self, checks: &mut Checks) {
        checks.that(!self.region.trim().is_empty(), "region", "must not be empty: nodes of the same name are placed first");
        checks.that(
            self.public.certificate.is_some() == self.public.key.is_some(),
            "public.certificate",
            "comes with public.key, or without",
        );
        self.cluster.check(checks);
        self.store.check(checks);
        self.tokens.check(checks);
        self.limits.check(checks);
        self.rates.check(checks);
        self.webhooks.check(checks);
    }
}

fn whole_millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

impl Validate for ClusterConfig {
    fn check(&self, checks: &mut Checks) {
        checks.millis("cluster.heartbeat_interval_ms", self.heartbeat_interval, 10..=60_000);
        checks.millis("cluster.lease_ms", self.lease, 10..=WAIT_MS_MAX);
        let beats = 2 * self.heartbeat_interval;
        checks.that(
            self.lease >= beats,
            "cluster.lease_ms",
            "must be at least two heartbeat_interval_ms, or one lost heartbeat loses a node",
        );
        checks.millis("cluster.grace_ms", self.grace, 0..=WAIT_MS_MAX);
        checks.millis("cluster.call_timeout_ms", self.call_timeout, 1..=WAIT_MS_MAX);
        checks.millis("cluster.sweep_interval_ms", self.sweep_interval, 10..=WAIT_MS_MAX);
    }
}

impl Validate for StoreConfig {
    fn check(&self, checks: &mut Checks) {
        checks.number("store.connections", self.connections, 1..=1000);
        checks.millis("store.timeout_ms", self.timeout, 10..=60_000);
    }
}

impl Validate for TokenConfig {
    fn check(&self, checks: &mut Checks) {
        checks.millis("tokens.access_life_ms", self.access_life, 1000..=whole_millis(ACCESS_LIFE_MAX));
        checks.millis("tokens.join_life_ms", self.join_life, 1000..=whole_millis(JOIN_LIFE_MAX));
        checks.millis("tokens.key_activation_ms", self.key_activation, 1..=WAIT_MS_MAX);
        checks.millis("tokens.leeway_ms", self.leeway, 0..=300_000);
    }
}

impl Validate for LimitsConfig {
    fn check(&self, checks: &mut Checks) {
        // The largest request that the API describes fits.
        checks.number("limits.body_bytes", self.body_bytes, 16 * 1024..=1024 * 1024 * 1024);
        checks.number("limits.head_bytes", self.head_bytes, 4 * 1024..=1024 * 1024);
        checks.number("limits.requests", self.requests, 1..=MANY);
        checks.number("limits.requests_per_connection", self.requests_per_connection, 1..=10_000);
        checks.number("limits.requests_per_address", self.requests_per_address, 1..=MANY);
        checks.number("limits.connections", self.connections, 1..=MANY);
        checks.number("limits.connections_per_address", self.connections_per_address, 1..=MANY);
        // With half of the places taken, Retry begins.
        checks.number("limits.handshakes", self.handshakes, 2..=MANY);
        checks.number("limits.handshakes_per_address", self.handshakes_per_address, 2..=MANY);
        checks.millis("limits.handshake_timeout_ms", self.handshake_timeout, 100..=WAIT_MS_MAX);
        checks.millis("limits.read_timeout_ms", self.read_timeout, 100..=WAIT_MS_MAX);
        checks.millis("limits.write_timeout_ms", self.write_timeout, 100..=WAIT_MS_MAX);
        checks.number("limits.hashes", self.hashes, 1..=1024);
        checks.number("limits.hashes_waiting", self.hashes_waiting, 1..=MANY);
        checks.number("limits.hashes_per_address", self.hashes_per_address, 1..=MANY);
    }
}

impl Validate for RatesConfig {
    fn check(&self, checks: &mut Checks) {
        checks.millis("rates.window_ms", self.window, 1000..=24 * WAIT_MS_MAX);
        checks.number("rates.requests", self.requests, 1..=u32::MAX);
        checks.number("rates.anonymous_joins", self.anonymous_joins, 1..=u32::MAX);
        checks.number("rates.callers", self.callers, 1..=MANY);
    }
}

impl Validate for WebhooksConfig {
    fn check(&self, checks: &mut Checks) {
        checks.number("webhooks.per_client", self.per_client, 1..=10_000);
        checks.number("webhooks.at_once", self.at_once, 1..=10_000);
        checks.millis("webhooks.timeout_ms", self.timeout, 100..=300_000);
        checks.millis("webhooks.retry_ms", self.retry, 10..=WAIT_MS_MAX);
        checks.millis("webhooks.retry_max_ms", self.retry_max, 10..=24 * WAIT_MS_MAX);
        checks.that(self.retry_max >= self.retry, "webhooks.retry_max_ms", "must be at least retry_ms");
        checks.millis("webhooks.give_up_ms", self.give_up, 1000..=KEPT_MS_MAX);
        checks.millis("webhooks.retention_ms", self.retention, 60_000..=KEPT_MS_MAX);
        checks.number("webhooks.feeds", self.feeds, 1..=MANY);
        checks.number("webhooks.feeds_per_caller", self.feeds_per_caller, 1..=MANY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a configuration in which `change` was made.
    fn told(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.validate().err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn absurd_values_are_told_by_their_keys_and_with_what_is_right() {
        assert_eq!(told(|_| {}), "");
        let check = |change: fn(&mut Config), expected: &str| {
            let told = told(change);
            assert!(told.contains(expected), "{told:?}, and not {expected:?}");
        };
        check(|config| config.limits.requests = 0, "limits.requests = 0: must be from 1 to");
        check(|config| config.limits.body_bytes = 10, "limits.body_bytes = 10: must be from 16384");
        check(|config| config.store.connections = 0, "store.connections = 0: must be from 1 to 1000");
        check(|config| config.tokens.access_life = 7 * ACCESS_LIFE_MAX, "tokens.access_life_ms = 604800000: must be from 1000 to 86400000");
        check(|config| config.tokens.join_life = Duration::ZERO, "tokens.join_life_ms = 0");
        check(|config| config.rates.requests = 0, "rates.requests = 0");
        check(
            |config| config.cluster.lease = config.cluster.heartbeat_interval,
            "cluster.lease_ms: must be at least two heartbeat_interval_ms",
        );
        check(|config| config.webhooks.retry_max = Duration::from_millis(20), "webhooks.retry_max_ms: must be at least retry_ms");
        check(|config| config.region = " ".to_owned(), "region: must not be empty");
        check(|config| config.public.key = Some("key.pem".into()), "public.certificate: comes with public.key");
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let told = told(|config| {
            config.limits.hashes = 0;
            config.webhooks.feeds = 0;
        });
        assert!(told.contains("limits.hashes = 0") && told.contains("webhooks.feeds = 0"), "{told}");
    }
}
