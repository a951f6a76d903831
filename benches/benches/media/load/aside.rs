//! One subscriber beside those that are counted: it reads for a while, and then leaves everything unread. In: its link. Out: when it was closed.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::dial::{Link, Receive};

/// See the module.
pub struct Aside {
    closed_after: Arc<OnceLock<f64>>,
}

impl Aside {
    /// Reads what comes over `link` for so many seconds from now. Its control stream is read on.
    pub fn begin(link: Link, reads_for: f64) -> Self {
        let stops_at = Instant::now() + Duration::from_secs_f64(reads_for);
        let closed_after = Arc::new(OnceLock::new());
        let (noted, watched) = (closed_after.clone(), link.clone());
        tokio::spawn(async move {
            watched.closed().await;
            // It is set once, here.
            let _ = noted.set(stops_at.elapsed().as_secs_f64());
        });
        tokio::spawn(async move {
            let mut groups = JoinSet::new();
            let reading = async {
                while let Ok(stream) = link.accept().await {
                    groups.spawn(read(stream, stops_at));
                }
            };
            // An error means that it is time to stop.
            let _ = tokio::time::timeout_at(stops_at.into(), reading).await;
            // The streams are kept, unread and unstopped.
            while groups.join_next().await.is_some() {}
        });
        Self { closed_after }
    }

    /// Seconds from its last read to its close.
    pub fn closed_after(&self) -> Option<f64> {
        self.closed_after.get().copied()
    }
}

async fn read(mut stream: Receive, stops_at: Instant) {
    let mut chunks = [const { Bytes::new() }; 32];
    let reading = async { while let Ok(Some(_)) = stream.read(&mut chunks).await {} };
    if tokio::time::timeout_at(stops_at.into(), reading).await.is_err() {
        std::future::pending::<()>().await;
    }
}
