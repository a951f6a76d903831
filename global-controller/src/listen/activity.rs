//! Whether a connection that can carry many requests carries any: looked at now and then, and closed when it does nothing for anyone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Of one connection.
#[derive(Debug, Default)]
pub struct Activity {
    under_way: AtomicUsize,
    begun: AtomicU64,
}

/// A request under way.
#[derive(Debug)]
pub struct UnderWay(Arc<Activity>);

impl Activity {
    /// A request begins; it is under way until what is returned is dropped.
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Looks at an [`Activity`] at intervals.
#[derive(Debug, Default)]
pub struct Watch {
    begun: u64,
    sent: u64,
}

impl Watch {
    /// Whether nothing was under way since the last look. `sent`: what has left for the peer so far; answers may leave long after they
    /// were given.
    pub fn is_idle(&mut self, activity: &Activity, sent: u64) -> bool {
        let begun = activity.begun.load(Ordering::Relaxed);
        let is_idle = activity.under_way.load(Ordering::Relaxed) == 0 && begun == self.begun && sent <= self.sent;
        *self = Self { begun, sent };
        is_idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_is_what_did_nothing_between_two_looks() {
        let (activity, mut watch) = (Arc::new(Activity::default()), Watch::default());
        assert!(watch.is_idle(&activity, 0), "it never began");
        let request = activity.begin();
        assert!(!watch.is_idle(&activity, 0));
        assert!(!watch.is_idle(&activity, 0), "it is still under way");
        drop(activity.begin());
        drop(request);
        assert!(!watch.is_idle(&activity, 0), "one came and went");
        assert!(!watch.is_idle(&activity, 10), "an answer still leaves");
        assert!(watch.is_idle(&activity, 10));
    }
}
