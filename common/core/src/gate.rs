//! Decides about each newcomer at a door: let in, told to prove its address first, or turned away.
//!
//! In: arrivals, handshakes that are done, departures, each with its instant. Out: verdicts with their reason. Never touches a
//! socket. All that strangers can make it hold is bounded: the handshakes under way, and a line for each address that holds a connection or came
//! within the last seconds.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Duration;

use crate::Moment;

/// Addresses remembered at once, at about a hundred bytes each. Beyond it, those who have proved nothing must do so first.
const HOLDERS_MAX: usize = 65_536;
/// Between two rounds of forgetting who came long ago.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How many seconds' worth of arrivals may come at once: an office in which everybody joins when the clock strikes.
const BURST: Duration = Duration::from_secs(2);

/// What a gate allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateLimits {
    /// Handshakes under way at once.
    pub handshakes: usize,
    /// Of these, from one address.
    pub handshakes_per_address: usize,
    /// With so many under way, addresses prove themselves first.
    pub prove_from: usize,
    /// With more arrivals than this in a second, addresses prove themselves first.
    pub prove_from_per_second: u32,
    /// Connections of one address, under way and standing.
    pub connections_per_address: usize,
    /// New connections of one address in a second, two seconds' worth at once.
    pub handshakes_per_address_per_second: u32,
    /// A handshake older than this gives way when there is no room for a new one.
    pub gives_way_after: Duration,
}

/// Why somebody is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As many handshakes as may be are under way, none of them old.
    Handshakes,
    /// The same for this address.
    AddressHandshakes,
    /// This address holds as many connections as it may.
    AddressConnections,
    /// This address comes too often.
    AddressRate,
    /// More addresses than can be remembered came within moments.
    Addresses,
}

impl Refusal {
    /// One word, for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Handshakes => "handshakes",
            Self::AddressHandshakes => "address_handshakes",
            Self::AddressConnections => "address_connections",
            Self::AddressRate => "address_rate",
            Self::Addresses => "addresses",
        }
    }
}

/// What becomes of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let in under this number, which [`Gate::left`] takes back. `gives_way` is a handshake to be broken off for it.
    Admit {
        /// Of this connection, never used again.
        number: u64,
        /// Of the one that gives way.
        gives_way: Option<u64>,
    },
    /// It must show first that packets to its address reach it (RFC 9000 section 8.1).
    Prove,
    /// Turned away.
    Refuse(Refusal),
}

/// See the module. `A` is what tells one address from another.
#[derive(Debug)]
pub struct Gate<A> {
    limits: GateLimits,
    last: u64,
    /// By number, so in the order of arrival.
    under_way: BTreeMap<u64, (Moment, A)>,
    holders: HashMap<A, Holder>,
    all: Pace,
    swept: Moment,
}

#[derive(Clone, Copy, Debug, Default)]
struct Holder {
    connections: usize,
    handshakes: usize,
    pace: Pace,
}

/// Counts arrivals against a rate: the instant at which all of them would have come at exactly that rate.
#[derive(Clone, Copy, Debug, Default)]
struct Pace(Moment);

impl Pace {
    /// Whether one more is within the rate; counts it if it is.
    fn take(&mut self, now: Moment, per_second: u32) -> bool {
        let from = self.0.max(now);
        let is_within = from.since(now) < BURST;
        if is_within {
            self.0 = from + Duration::from_secs(1) / per_second.max(1);
        }
        is_within
    }

    /// Whether half of what may come at once has come.
    fn is_half_taken(self, now: Moment) -> bool {
        self.0.since(now) >= BURST / 2
    }

    fn is_forgotten(self, now: Moment) -> bool {
        self.0 <= now
    }
}

impl<A: Copy + Eq + Hash> Gate<A> {
    /// A gate that nobody has come to.
    pub fn new(limits: GateLimits) -> Self {
        let (under_way, holders) = (BTreeMap::new(), HashMap::new());
        Self { limits, last: 0, under_way, holders, all: Pace::default(), swept: Moment::ORIGIN }
    }

    /// Somebody arrives from `address`. `is_proven`: packets to that address are known to reach it.
    pub fn arrive(&mut self, now: Moment, address: A, is_proven: bool) -> Verdict {
        let is_rush = !self.all.take(now, self.limits.prove_from_per_second);
        let has_memory = self.remembers(now, address);
        // Whoever has proved nothing may be writing another's address: it takes no more than half of what that address may.
        let is_half_taken = self
            .holders
            .get(&address)
            .is_some_and(|holder| holder.pace.is_half_taken(now) || holder.handshakes >= self.limits.handshakes_per_address.div_ceil(2));
        if !is_proven && (is_rush || !has_memory || is_half_taken || self.under_way.len() >= self.limits.prove_from) {
            return Verdict::Prove;
        }
        if !has_memory {
            return Verdict::Refuse(Refusal::Addresses);
        }
        let limits = self.limits;
        let holder = self.holders.entry(address).or_default();
        if !holder.pace.take(now, limits.handshakes_per_address_per_second) {
            return Verdict::Refuse(Refusal::AddressRate);
        }
        if holder.connections >= limits.connections_per_address {
            return Verdict::Refuse(Refusal::AddressConnections);
        }
        let (is_own_full, is_full) = (holder.handshakes >= limits.handshakes_per_address, self.under_way.len() >= limits.handshakes);
        let gives_way = if is_own_full {
            match self.oldest(now, |of| *of == address) {
                None => return Verdict::Refuse(Refusal::AddressHandshakes),
                oldest => oldest,
            }
        } else if is_full {
            match self.oldest(now, |_| true) {
                None => return Verdict::Refuse(Refusal::Handshakes),
                oldest => oldest,
            }
        } else {
            None
        };
        if let Some(number) = gives_way {
            self.stands(number);
        }
        self.last += 1;
        self.under_way.insert(self.last, (now, address));
        let holder = self.holders.entry(address).or_default();
        (holder.connections, holder.handshakes) = (holder.connections + 1, holder.handshakes + 1);
        Verdict::Admit { number: self.last, gives_way }
    }

    /// The handshake of `number` is done, or broken off; it is a connection still.
    pub fn stands(&mut self, number: u64) {
        if let Some((_, address)) = self.under_way.remove(&number)
            && let Some(holder) = self.holders.get_mut(&address)
        {
            holder.handshakes -= 1;
        }
    }

    /// The connection of `number` from `address` is over. To be told once of each that was let in.
    pub fn left(&mut self, now: Moment, number: u64, address: A) {
        self.stands(number);
        if let Some(holder) = self.holders.get_mut(&address) {
            holder.connections = holder.connections.saturating_sub(1);
            if holder.connections == 0 && holder.pace.is_forgotten(now) {
                self.holders.remove(&address);
            }
        }
    }

    /// Handshakes under way.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Whether there is a line for this address, or room for one.
    fn remembers(&mut self, now: Moment, address: A) -> bool {
        if self.holders.len() < HOLDERS_MAX || self.holders.contains_key(&address) {
            return true;
        }
        if now.since(self.swept) >= SWEEP_INTERVAL {
            self.swept = now;
            self.holders.retain(|_, holder| holder.connections > 0 || !holder.pace.is_forgotten(now));
        }
        self.holders.len() < HOLDERS_MAX
    }

    /// The longest under way of those that `is_one`, if it is old enough to give way. They are walked in the order of arrival.
    fn oldest(&self, now: Moment, is_one: impl Fn(&A) -> bool) -> Option<u64> {
        let (number, (since, _)) = self.under_way.iter().find(|(_, (_, address))| is_one(address))?;
        (now.since(*since) >= self.limits.gives_way_after).then_some(*number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: GateLimits = GateLimits {
        handshakes: 4,
        handshakes_per_address: 2,
        prove_from: 3,
        prove_from_per_second: 1000,
        connections_per_address: 3,
        handshakes_per_address_per_second: 1000,
        gives_way_after: Duration::from_secs(1),
    };

    fn at(millis: u64) -> Moment {
        Moment::ORIGIN + Duration::from_millis(millis)
    }

    fn admitted(verdict: Verdict) -> u64 {
        match verdict {
            Verdict::Admit { number, gives_way: None } => number,
            other => panic!("not simply let in: {other:?}"),
        }
    }

    #[test]
    fn an_address_has_its_share_of_handshakes_and_connections() {
        let mut gate = Gate::new(LIMITS);
        let first = admitted(gate.arrive(at(0), 'a', true));
        let second = admitted(gate.arrive(at(0), 'a', true));
        assert_eq!(gate.arrive(at(0), 'a', true), Verdict::Refuse(Refusal::AddressHandshakes));
        gate.stands(first);
        let third = admitted(gate.arrive(at(0), 'a', true));
        assert_eq!(gate.arrive(at(0), 'a', true), Verdict::Refuse(Refusal::AddressConnections));
        admitted(gate.arrive(at(0), 'b', true));
        for number in [first, second, third] {
            gate.left(at(3000), number, 'a');
        }
        assert_eq!((gate.under_way(), gate.holders.len()), (1, 1));
    }

    /// Who holds a handshake gives way to who comes; who has only just come does not.
    #[test]
    fn the_oldest_gives_way_when_there_is_no_room() {
        let mut gate = Gate::new(LIMITS);
        let held: Vec<u64> = ['a', 'a', 'b', 'b'].map(|address| admitted(gate.arrive(at(0), address, true))).into();
        assert_eq!(gate.arrive(at(999), 'c', true), Verdict::Refuse(Refusal::Handshakes));
        assert_eq!(gate.arrive(at(1000), 'c', true), Verdict::Admit { number: 5, gives_way: Some(held[0]) });
        // Of its own if it has its share.
        assert_eq!(gate.arrive(at(1000), 'b', true), Verdict::Admit { number: 6, gives_way: Some(held[2]) });
        // What has given way departs like any other.
        gate.left(at(1001), held[0], 'a');
        assert_eq!(gate.under_way(), 4);
    }

    #[test]
    fn proof_is_asked_for_under_load() {
        let mut gate = Gate::new(LIMITS);
        for address in ['a', 'b', 'c'] {
            admitted(gate.arrive(at(0), address, false));
        }
        assert_eq!(gate.arrive(at(0), 'd', false), Verdict::Prove);
        admitted(gate.arrive(at(0), 'd', true));

        let mut gate = Gate::new(GateLimits { prove_from: usize::MAX, prove_from_per_second: 2, ..LIMITS });
        for address in ['a', 'b', 'c', 'd'] {
            admitted(gate.arrive(at(0), address, false));
        }
        assert_eq!(gate.arrive(at(0), 'e', false), Verdict::Prove);
        let number = gate.last;
        gate.left(at(500), number, 'd');
        admitted(gate.arrive(at(500), 'e', false));
    }

    #[test]
    fn an_address_that_comes_too_often_is_turned_away() {
        let mut gate = Gate::new(GateLimits { handshakes_per_address_per_second: 2, ..LIMITS });
        let verdicts = (0..6).map(|_| {
            let verdict = gate.arrive(at(0), 'a', true);
            if let Verdict::Admit { number, .. } = verdict {
                gate.left(at(0), number, 'a');
            }
            verdict
        });
        let refused = verdicts.filter(|verdict| *verdict == Verdict::Refuse(Refusal::AddressRate)).count();
        assert_eq!(refused, 2);
        admitted(gate.arrive(at(0), 'b', true));
        admitted(gate.arrive(at(500), 'a', true));
    }

    /// A stranger who writes somebody else's address does not use up what that may.
    #[test]
    fn who_has_proved_nothing_leaves_half_to_who_has() {
        let mut gate =
            Gate::new(GateLimits { handshakes_per_address_per_second: 10, handshakes_per_address: 100, prove_from: 100, ..LIMITS });
        let mut come = |millis, is_proven| {
            let verdict = gate.arrive(at(millis), 'a', is_proven);
            if let Verdict::Admit { number, .. } = verdict {
                gate.left(at(millis), number, 'a');
            }
            verdict
        };
        for millis in 2000..5000 {
            come(millis, false);
        }
        assert_eq!(come(5000, false), Verdict::Prove);
        for _ in 0..10 {
            admitted(come(5000, true));
        }
        assert_eq!(come(5000, true), Verdict::Refuse(Refusal::AddressRate));

        let mut gate = Gate::new(LIMITS);
        admitted(gate.arrive(at(0), 'a', false));
        assert_eq!(gate.arrive(at(0), 'a', false), Verdict::Prove);
        admitted(gate.arrive(at(0), 'a', true));
    }

    /// Addresses that nobody proved take no room from those that somebody did.
    #[test]
    fn what_is_remembered_is_bounded() {
        let mut gate = Gate::new(GateLimits { prove_from_per_second: u32::MAX, ..LIMITS });
        for address in 0..HOLDERS_MAX + 10 {
            if let Verdict::Admit { number, .. } = gate.arrive(at(2000), address, false) {
                gate.left(at(2000), number, address);
            }
        }
        assert_eq!(gate.holders.len(), HOLDERS_MAX);
        assert_eq!(gate.arrive(at(2000), usize::MAX, false), Verdict::Prove);
        assert_eq!(gate.arrive(at(2000), usize::MAX, true), Verdict::Refuse(Refusal::Addresses));
        admitted(gate.arrive(at(5000), usize::MAX, true));
        assert_eq!(gate.holders.len(), 1);
    }
}
