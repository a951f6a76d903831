//! Counts messages in a window that starts with the first of them.

use std::time::Duration;

use common_core::Moment;

/// What a further message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Within the limit.
    Serve,
    /// Over it.
    Refuse,
    /// As many again over it: this client does not listen.
    Close,
}

/// One participant's count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateWindow {
    began: Moment,
    count: u32,
}

impl RateWindow {
    /// An empty window.
    pub fn new(now: Moment) -> Self {
        Self { began: now, count: 0 }
    }

    /// Counts one message.
    pub fn count(&mut self, now: Moment, limit: u32, length: Duration) -> Verdict {
        if self.count == 0 || now.since(self.began) >= length {
            *self = Self::new(now);
        }
        self.count = self.count.saturating_add(1);
        if self.count <= limit {
            Verdict::Serve
        } else if self.count <= limit.saturating_mul(2) {
            Verdict::Refuse
        } else {
            Verdict::Close
        }
    }

    /// How long until the window ends.
    pub fn remaining(&self, now: Moment, length: Duration) -> Duration {
        length.saturating_sub(now.since(self.began))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_then_closes_then_forgives() {
        let (length, mut window) = (Duration::from_secs(60), RateWindow::new(Moment::ORIGIN));
        let at = |seconds| Moment::ORIGIN + Duration::from_secs(seconds);
        let verdicts: Vec<_> = (0..5).map(|_| window.count(at(1), 2, length)).collect();
        assert_eq!(verdicts, [Verdict::Serve, Verdict::Serve, Verdict::Refuse, Verdict::Refuse, Verdict::Close]);
        assert_eq!(window.remaining(at(2), length), Duration::from_secs(59));
        assert_eq!(window.count(at(61), 2, length), Verdict::Serve);
    }
}
