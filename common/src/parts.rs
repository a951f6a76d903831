//! Which of a process's lasting parts have ended although nobody asked them to: a listener, a server, a round.
//!
//! In: their tasks. Out: the names of the dead, for health and readiness. Never starts one again: a supervisor does that with the whole process.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// The parts of one process.
#[derive(Clone, Debug, Default)]
pub struct Parts(Arc<Mutex<BTreeSet<&'static str>>>);

impl Parts {
    /// Runs a part; if it ends or panics before `stop`, it is dead.
    pub async fn watch<F: Future>(self, part: &'static str, stop: CancellationToken, run: F) {
        // Its end is noted however it comes, a panic included.
        let _watched = Watched { parts: self, part, stop };
        run.await;
    }

    /// A part that no task watches has died.
    pub fn lose(&self, part: &'static str) {
        tracing::error!(part, "a part of this process has ended by itself");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(part);
    }

    /// Those that have died, by name.
    pub fn dead(&self) -> Vec<&'static str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// An error that names the dead.
    pub fn check(&self) -> Result<(), String> {
        let dead = self.dead();
        if dead.is_empty() { Ok(()) } else { Err(format!("ended: {}", dead.join(", "))) }
    }
}

struct Watched {
    parts: Parts,
    part: &'static str,
    stop: CancellationToken,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.stop.is_cancelled() {
            self.parts.lose(self.part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_dead_are_named_and_the_stopped_are_not() {
        let (parts, stop) = (Parts::default(), CancellationToken::new());
        let lasting = tokio::spawn(parts.clone().watch("a listener", stop.clone(), std::future::pending::<()>()));
        parts.clone().watch("a server", stop.clone(), async {}).await;
        let panics = tokio::spawn(parts.clone().watch("a round", stop.clone(), async { panic!("on purpose") }));
        assert!(panics.await.is_err());
        assert_eq!(parts.check(), Err("ended: a round, a server".to_owned()));
        stop.cancel();
        lasting.abort();
        assert!(lasting.await.is_err());
        assert_eq!(parts.dead(), ["a round", "a server"]);
    }
}
