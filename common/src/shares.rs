//! Places of which each of many may hold a share: all together at most so many, and each of them at most so many of these.
//!
//! In: who wants a place. Out: the place, given back when it is dropped, or which of the two bounds is reached.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Which bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// That of all together.
    All,
    /// That of whoever asks.
    Own,
}

/// See the module.
#[derive(Debug)]
pub struct Shares<K: Eq + Hash>(Arc<Inner<K>>);

#[derive(Debug)]
struct Inner<K> {
    all_max: usize,
    own_max: usize,
    held: Mutex<Held<K>>,
}

#[derive(Debug)]
struct Held<K> {
    all: usize,
    /// Only those who hold a place: never more than there are places.
    own: HashMap<K, usize>,
}

/// A place, held until it is dropped.
#[derive(Debug)]
pub struct Share<K: Eq + Hash> {
    of: Arc<Inner<K>>,
    holder: K,
}

impl<K: Eq + Hash> Clone for Shares<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Clone + Eq + Hash> Shares<K> {
    /// `all_max` places, of which one may hold `own_max`.
    pub fn new(all_max: usize, own_max: usize) -> Self {
        Self(Arc::new(Inner { all_max, own_max, held: Mutex::new(Held { all: 0, own: HashMap::new() }) }))
    }

    /// A place for `holder`, at once or not at all.
    pub fn take(&self, holder: K) -> Result<Share<K>, Full> {
        let mut held = self.0.held();
        if held.all >= self.0.all_max {
            return Err(Full::All);
        }
        let own = held.own.get(&holder).copied().unwrap_or_default();
        if own >= self.0.own_max {
            return Err(Full::Own);
        }
        held.own.insert(holder.clone(), own + 1);
        held.all += 1;
        Ok(Share { of: self.0.clone(), holder })
    }
}

impl<K> Inner<K> {
    fn held(&self) -> MutexGuard<'_, Held<K>> {
        // Nothing panics while it is locked, so what is found is whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut held = self.of.held();
        held.all -= 1;
        if let Some(own) = held.own.get_mut(&self.holder) {
            *own -= 1;
            if *own == 0 {
                held.own.remove(&self.holder);
            }
        }
    }
}

/// Bits of an IPv6 address that are a customer's own choice (RFC 6177): whoever has one address has them all.
const INTERFACE_BITS: u32 = 64;

/// What of an address tells one caller from another: an IPv4 address, also one that is written as IPv6, or a /64.
pub fn caller_address(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> INTERFACE_BITS << INTERFACE_BITS)),
        IpAddr::V4(address) => IpAddr::V4(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_hold_and_places_come_back() {
        let shares = Shares::new(3, 2);
        let ana = shares.take("ana").expect("the first");
        let _ana = shares.take("ana").expect("the second");
        assert_eq!(shares.take("ana").err(), Some(Full::Own));
        let ben = shares.take("ben").expect("the third");
        assert_eq!(shares.take("cem").err(), Some(Full::All));
        assert_eq!(shares.take("ana").err(), Some(Full::All));
        drop(ben);
        assert_eq!(shares.take("ana").err(), Some(Full::Own));
        drop(ana);
        let _again = shares.take("ana").expect("her own came back");
        let held = shares.0.held();
        assert_eq!((held.all, held.own.len()), (2, 1));
    }

    #[test]
    fn who_shares_an_address() {
        let check = |address: &str, expected: &str| {
            assert_eq!(caller_address(address.parse().expect("an address")).to_string(), expected, "{address}");
        };
        check("192.0.2.7", "192.0.2.7");
        check("::ffff:192.0.2.7", "192.0.2.7");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
        check("2001:db8:1:2::", "2001:db8:1:2::");
        check("2001:db8:1:3::6", "2001:db8:1:3::");
        check("::1", "::");
    }
}
