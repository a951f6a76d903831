//! Sessions that have not said hello: counted apart from those that have, in all and by address, so that strangers cannot take the
//! places of participants.
//!
//! Whoever comes first has waited longest, and an honest client says hello in two round trips; so the oldest makes room for the newest.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::config::LimitsConfig;

/// IPv4: the address; IPv6: its first 64 bits, which is what one customer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Prefix(Ipv6Addr);

impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.to_ipv6_mapped()),
            IpAddr::V6(address) => Self(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        }
    }
}

#[derive(Debug, Default)]
struct Places {
    /// Oldest first.
    waiting: BTreeMap<u64, (Prefix, CancellationToken)>,
    by_address: BTreeMap<Prefix, usize>,
    begun: u64,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Waiting {
    places: Mutex<Places>,
    places_max: usize,
    per_address_max: usize,
}

/// One session's place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    waiting: Arc<Waiting>,
    number: u64,
    /// Cancelled when a newer session needs the place.
    pub taken: CancellationToken,
}

impl Waiting {
    pub fn new(limits: &LimitsConfig) -> Arc<Self> {
        Arc::new(Self {
            places: Mutex::default(),
            places_max: limits.max_waiting_sessions,
            per_address_max: limits.max_waiting_sessions_per_address,
        })
    }

    /// A place for a session from `address`; `None` if too many from there wait already.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let prefix = Prefix::from(address);
        let mut places = self.lock();
        if places.by_address.get(&prefix).is_some_and(|count| *count >= self.per_address_max) {
            return None;
        }
        while places.waiting.len() >= self.places_max {
            let Some(oldest) = places.waiting.keys().next().copied() else { break };
            if let Some(taken) = places.leave(oldest) {
                taken.cancel();
            }
        }
        let (number, taken) = (places.begun, CancellationToken::new());
        places.begun += 1;
        places.waiting.insert(number, (prefix, taken.clone()));
        *places.by_address.entry(prefix).or_default() += 1;
        Some(Place { waiting: self.clone(), number, taken })
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn leave(&mut self, number: u64) -> Option<CancellationToken> {
        let (prefix, taken) = self.waiting.remove(&number)?;
        if let Some(count) = self.by_address.get_mut(&prefix) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&prefix);
            }
        }
        Some(taken)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.lock().leave(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(max_waiting_sessions: usize, max_waiting_sessions_per_address: usize) -> Arc<Waiting> {
        Waiting::new(&LimitsConfig { max_waiting_sessions, max_waiting_sessions_per_address, ..LimitsConfig::default() })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_has_its_share_and_no_more() {
        let waiting = waiting(10, 2);
        let first = waiting.enter(address("2001:db8::1")).expect("there is room");
        let _second = waiting.enter(address("2001:db8::2")).expect("there is room");
        assert!(waiting.enter(address("2001:db8::ffff:3")).is_none(), "one customer's network");
        assert!(waiting.enter(address("2001:db8:0:1::1")).is_some() && waiting.enter(address("192.0.2.1")).is_some());
        drop(first);
        assert!(waiting.enter(address("2001:db8::3")).is_some());
        assert_eq!(waiting.count(), 1, "those not kept have left");
        assert_eq!(Prefix::from(address("::ffff:192.0.2.1")), Prefix::from(address("192.0.2.1")));
    }

    #[test]
    fn the_oldest_makes_room() {
        let waiting = waiting(2, 2);
        let places: Vec<Place> = (1..=3u8).filter_map(|last| waiting.enter(IpAddr::from([192, 0, 2, last]))).collect();
        assert_eq!(places.iter().map(|place| place.taken.is_cancelled()).collect::<Vec<_>>(), [true, false, false]);
        drop(places);
        assert_eq!((waiting.count(), waiting.lock().by_address.len()), (0, 0));
    }
}
