//! Handshakes under way. When there are too many, the one that has taken longest gives way to the newest: nodes are done in
//! milliseconds, and who holds a handshake open is no node.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// See the module.
pub(super) struct Pending {
    max: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// In the order of their beginning.
    handshakes: BTreeMap<u64, (IpAddr, CancellationToken)>,
    next: u64,
}

/// The place of a handshake, until it is dropped.
pub(super) struct Slot {
    of: Arc<Pending>,
    number: u64,
    /// Cancelled when it has to give way.
    pub evicted: CancellationToken,
}

impl Pending {
    /// At most `max`, which is not zero.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, held: Mutex::default() })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Nothing panics while it is locked, so what is found is whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a handshake with `address`. If all are taken, the oldest of the address that holds most gives way.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Slot {
        let mut held = self.held();
        if held.handshakes.len() >= self.max
            && let Some(oldest) = held.whose_turn_it_is()
            && let Some((_, evicted)) = held.handshakes.remove(&oldest)
        {
            evicted.cancel();
        }
        let number = held.next;
        held.next += 1;
        let evicted = CancellationToken::new();
        held.handshakes.insert(number, (address, evicted.clone()));
        drop(held);
        Slot { of: self.clone(), number, evicted }
    }
}

impl Held {
    fn whose_turn_it_is(&self) -> Option<u64> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for (address, _) in self.handshakes.values() {
            *counts.entry(*address).or_default() += 1;
        }
        let most = counts.values().max()?;
        self.handshakes.iter().find(|(_, (address, _))| counts.get(address) == Some(most)).map(|(number, _)| *number)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.of.held().handshakes.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_the_greediest_gives_way() {
        let (greedy, modest): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let pending = Pending::new(3);
        let first = pending.enter(modest);
        let second = pending.enter(greedy);
        let third = pending.enter(greedy);
        let fourth = pending.enter(modest);
        assert!(!first.evicted.is_cancelled() && second.evicted.is_cancelled() && !third.evicted.is_cancelled());
        drop(second);
        // Two of the modest one are most now.
        let _fifth = pending.enter(greedy);
        assert!(first.evicted.is_cancelled() && !third.evicted.is_cancelled() && !fourth.evicted.is_cancelled());
        drop((first, third, fourth));
        assert_eq!(pending.held().handshakes.len(), 1);
    }
}
