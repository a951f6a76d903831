//! How a process ends: the first signal drains, the second ends at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Two tokens: `drain` asks for an orderly end, `now` for one without.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Cancelled by the first SIGTERM or SIGINT.
    pub drain: CancellationToken,
    /// Cancelled by the second.
    pub now: CancellationToken,
}

impl Shutdown {
    /// Listens for SIGTERM and SIGINT in a task of its own.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::default();
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let heard = shutdown.clone();
        tokio::spawn(async move {
            for (token, says) in [(&heard.drain, "draining; a second signal ends at once"), (&heard.now, "ending at once")] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                tracing::info!("{says}");
                token.cancel();
            }
        });
        Ok(shutdown)
    }
}
