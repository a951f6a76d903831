//! A panic ends one task. What it must not do is end it in silence: it is counted, logged with ids, and whoever depends on the task
//! is told.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::session::Visitor;

/// Before a task, or a worker, that panicked is started anew: one that panics at once must not keep a core busy.
pub(crate) const RESTART_INTERVAL: Duration = Duration::from_millis(100);

/// Lives in a session's task; when the task panics, closes that session and no other.
pub(crate) struct EndsSession {
    /// What the task does.
    pub task: &'static str,
    pub visitor: Arc<Visitor>,
}

impl Drop for EndsSession {
    fn drop(&mut self) {
        if std::thread::panicking() {
            count(self.task);
            tracing::error!(task = self.task, session = ?self.visitor.key, "a task of a media session panicked; the session is closed");
            self.visitor.break_off();
        }
    }
}

/// Runs what `start` makes until it ends; whenever it panics, again.
pub(crate) async fn restarted<F>(task: &'static str, stop: CancellationToken, start: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        match tokio::spawn(start()).await {
            Ok(()) => return,
            Err(error) if error.is_panic() => {
                count(task);
                tracing::error!(task, "a task of the handler panicked; it is started anew");
            }
            Err(_) => return,
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RESTART_INTERVAL) => {}
        }
    }
}

pub(crate) fn count(task: &'static str) {
    metrics::counter!("dark_tower_media_panics_total", "task" => task).increment(1);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn what_panics_is_started_anew() {
        let starts = Arc::new(AtomicU32::new(0));
        let counted = starts.clone();
        restarted("a test", CancellationToken::new(), move || {
            let start = counted.fetch_add(1, Ordering::Relaxed);
            async move { assert!(start == 2, "for the test") }
        })
        .await;
        assert_eq!(starts.load(Ordering::Relaxed), 3);
    }
}
