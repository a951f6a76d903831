//! Which processes of controllers are gone for good, so that what hung on them is over. In: which are live, moment by moment. Out: those that may
//! still be there.
//!
//! A process counts as there until it was missed for a whole [patience](Departures::new), and while this one has not listened for that long
//! itself: then it is we who were away. Never asks anyone.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Moment, NodeId};

/// A controller, in one of its processes: its start number.
pub type Process = (NodeId, u64);

/// See the module.
#[derive(Debug)]
pub struct Departures {
    patience: Duration,
    listening_since: Moment,
    seen: BTreeMap<Process, Moment>,
}

impl Departures {
    /// Listens from `now` on, and gives up on a process that was missed for `patience`, which is no shorter than lease and grace together.
    pub fn new(patience: Duration, now: Moment) -> Self {
        Self { patience, listening_since: now, seen: BTreeMap::new() }
    }

    /// Notes which processes are `live`; returns those that may still be there, or `None` while it is too early to say that any is gone.
    /// `settled`: whether it is known who is live; while it is not, listening begins anew.
    pub fn look(&mut self, now: Moment, settled: bool, live: impl IntoIterator<Item = Process>) -> Option<Vec<Process>> {
        self.seen.extend(live.into_iter().map(|process| (process, now)));
        if !settled {
            self.listening_since = now;
        }
        if now.since(self.listening_since) <= self.patience {
            return None;
        }
        let patience = self.patience;
        self.seen.retain(|_, seen_at| now.since(*seen_at) <= patience);
        Some(self.seen.keys().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(9);

    fn at(seconds: u64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    fn process(start_number: u64) -> Process {
        ("mc-1".parse().expect("a node id"), start_number)
    }

    #[test]
    fn nobody_is_gone_before_we_have_listened_long_enough() {
        let mut departures = Departures::new(PATIENCE, at(0));
        assert_eq!(departures.look(at(9), true, []), None);
        assert_eq!(departures.look(at(10), true, []), Some(vec![]));
        // After a freeze of ours it is not known who is live.
        assert_eq!(departures.look(at(100), false, []), None);
        assert_eq!(departures.look(at(109), true, []), None);
        assert_eq!(departures.look(at(110), true, []), Some(vec![]));
    }

    #[test]
    fn a_process_is_gone_when_it_was_missed_for_long() {
        let mut departures = Departures::new(PATIENCE, at(0));
        for second in 0..=20 {
            departures.look(at(second), true, [process(1)]);
        }
        assert_eq!(departures.look(at(29), true, []), Some(vec![process(1)]));
        assert_eq!(departures.look(at(30), true, []), Some(vec![]));
    }

    /// Its successor of the same name does not stand for it, and does not end it at once either: its last reports may be under way.
    #[test]
    fn a_successor_is_another_process() {
        let mut departures = Departures::new(PATIENCE, at(0));
        departures.look(at(20), true, [process(1)]);
        assert_eq!(departures.look(at(21), true, [process(2)]), Some(vec![process(1), process(2)]));
        assert_eq!(departures.look(at(30), true, [process(2)]), Some(vec![process(2)]));
    }
}
