//! The harness of the end-to-end tests: a network path, whole clusters, independent clients, and one way of waiting.
//!
//! Loud room, for tests alone: what is here speaks to servers only as a stranger could, by their public addresses.

#![warn(missing_docs)]

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

pub mod api;
pub mod bystanders;
pub mod camera;
pub mod churn;
pub mod clip;
pub mod cluster;
pub mod ground;
pub mod hand;
pub mod in_process;
pub mod link;
pub mod mute;
pub mod nodes;
pub mod peer;
pub mod people;
pub mod postgres;
pub mod process;
pub mod raw;
pub mod search;
pub mod session;
pub mod wire;

/// Between two looks: short beside every deadline of a test, long beside a look.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Looks again and again until `look` succeeds; the one way of waiting for what no event tells. The error says `what` did
/// not come, and why not at the last look.
pub async fn eventually<T, E, F, L>(what: &str, within: Duration, mut look: F) -> anyhow::Result<T>
where
    E: Display,
    F: FnMut() -> L,
    L: Future<Output = Result<T, E>>,
{
    let deadline = Instant::now() + within;
    loop {
        let last = match tokio::time::timeout_at(deadline, look()).await {
            Ok(Ok(seen)) => return Ok(seen),
            Ok(Err(reason)) => reason.to_string(),
            Err(_) => "the last look did not return".to_owned(),
        };
        if Instant::now() + LOOK_INTERVAL > deadline {
            anyhow::bail!("not within {within:?}: {what}; at the last look: {last}");
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// `work`, which must be done by then; the error says what was not.
pub async fn within<T>(limit: Duration, what: &str, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome.map_err(|error| error.context(what.to_owned())),
        Err(_) => anyhow::bail!("not within {limit:?}: {what}"),
    }
}
