//! Who may be called now, so that slow targets hold up nobody else. In: wishes to call, ends of calls. Out: yes or no.
//!
//! Four bounds: over all, per API client, per webhook and per host. Who fails has a single lane until it succeeds, and so has a host whose last
//! call was slow: however many hosts somebody registers, a quarter of the lanes is the most that wait for them. Never calls anyone.

use std::collections::{BTreeMap, BTreeSet};

/// Of all lanes, one webhook or one host may take this part.
const PART: usize = 8;
/// Of all lanes, one API client may take this part, whatever it has registered.
const CLIENT_PART: usize = 4;
/// Slow hosts that are remembered; of more, some are taken for quick until their next call.
const SLOW_HOSTS_MAX: usize = 1024;

/// Whom a call is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call<W> {
    /// The API client.
    pub client: String,
    /// Its webhook.
    pub webhook: W,
    /// Where that is.
    pub host: String,
}

/// See the module.
#[derive(Debug)]
pub struct Lanes<W> {
    at_once: usize,
    each: usize,
    each_client: usize,
    taken: usize,
    clients: BTreeMap<String, usize>,
    webhooks: BTreeMap<W, Lane>,
    hosts: BTreeMap<String, usize>,
    slow_hosts: BTreeSet<String>,
}

#[derive(Debug)]
struct Lane {
    taken: usize,
    bound: usize,
}

impl<W: Ord + Clone> Lanes<W> {
    /// At most `at_once` calls.
    pub fn new(at_once: usize) -> Self {
        Self {
            at_once,
            each: (at_once / PART).max(1),
            each_client: (at_once / CLIENT_PART).max(1),
            taken: 0,
            clients: BTreeMap::new(),
            webhooks: BTreeMap::new(),
            hosts: BTreeMap::new(),
            slow_hosts: BTreeSet::new(),
        }
    }

    /// Calls that may begin now if nobody has too many.
    pub fn room(&self) -> usize {
        self.at_once.saturating_sub(self.taken)
    }

    /// Calls that one webhook may have.
    pub fn each(&self) -> usize {
        self.each
    }

    /// Calls under way.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Takes a lane, if there is one. `fails`: the last call to this webhook did.
    pub fn enter(&mut self, call: &Call<W>, fails: bool) -> bool {
        let bound = if fails { 1 } else { self.each };
        let host_bound = if self.slow_hosts.contains(&call.host) { 1 } else { self.each };
        let by_webhook = self.webhooks.get(&call.webhook).map_or(0, |lane| lane.taken);
        let by_host = self.hosts.get(&call.host).copied().unwrap_or_default();
        let by_client = self.clients.get(&call.client).copied().unwrap_or_default();
        if self.room() == 0 || by_webhook >= bound || by_host >= host_bound || by_client >= self.each_client {
            return false;
        }
        self.taken += 1;
        self.webhooks.insert(call.webhook.clone(), Lane { taken: by_webhook + 1, bound });
        self.hosts.insert(call.host.clone(), by_host + 1);
        self.clients.insert(call.client.clone(), by_client + 1);
        true
    }

    /// Gives back what [`enter`](Self::enter) took. `was_slow`: the call took long.
    pub fn leave(&mut self, call: &Call<W>, was_slow: bool) {
        self.taken = self.taken.saturating_sub(1);
        if let Some(lane) = self.webhooks.get_mut(&call.webhook) {
            lane.taken = lane.taken.saturating_sub(1);
        }
        self.webhooks.retain(|_, lane| lane.taken > 0);
        give_back(&mut self.hosts, &call.host);
        give_back(&mut self.clients, &call.client);
        if !was_slow {
            self.slow_hosts.remove(&call.host);
        } else if self.slow_hosts.len() < SLOW_HOSTS_MAX {
            self.slow_hosts.insert(call.host.clone());
        }
    }

    /// Webhooks that may not be called now, however much is due to them.
    pub fn full(&self) -> impl Iterator<Item = &W> {
        self.webhooks.iter().filter(|(_, lane)| lane.taken >= lane.bound).map(|(webhook, _)| webhook)
    }
}

fn give_back(taken: &mut BTreeMap<String, usize>, name: &str) {
    if let Some(count) = taken.get_mut(name) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            taken.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(client: usize, webhook: usize, host: impl ToString) -> Call<usize> {
        Call { client: client.to_string(), webhook, host: host.to_string() }
    }

    #[test]
    fn one_slow_target_leaves_room_for_the_others() {
        let mut lanes = Lanes::new(32);
        let slow = (0..32).filter(|_| lanes.enter(&call(1, 1, "slow"), false)).count();
        assert_eq!((slow, lanes.room(), lanes.full().copied().collect::<Vec<_>>()), (4, 28, vec![1]));
        // Another webhook to the same host shares its lanes.
        assert!(!lanes.enter(&call(2, 2, "slow"), false));
        assert!(lanes.enter(&call(2, 3, "other"), false));
        assert_eq!(lanes.full().count(), 1);
        lanes.leave(&call(1, 1, "slow"), false);
        assert!(lanes.enter(&call(2, 2, "slow"), false) && !lanes.enter(&call(1, 1, "slow"), false));
    }

    #[test]
    fn one_client_leaves_room_for_the_others_whatever_it_registers() {
        let mut lanes = Lanes::new(32);
        let taken = (0..16).flat_map(|n| [n; 8]).filter(|n| lanes.enter(&call(1, *n, n), false)).count();
        assert_eq!((taken, lanes.room()), (8, 24));
        assert!(lanes.enter(&call(2, 99, 99), false));
    }

    #[test]
    fn a_slow_host_has_one_lane_until_it_is_quick() {
        let mut lanes = Lanes::new(32);
        let (first, second) = (call(1, 1, "slow"), call(2, 2, "slow"));
        assert!(lanes.enter(&first, false));
        lanes.leave(&first, true);
        assert!(lanes.enter(&first, false) && !lanes.enter(&second, false));
        lanes.leave(&first, false);
        assert!(lanes.enter(&first, false) && lanes.enter(&second, false));
    }

    #[test]
    fn who_fails_has_one_lane() {
        let mut lanes = Lanes::new(32);
        let one = call(1, 1, "a");
        assert!(lanes.enter(&one, true) && !lanes.enter(&one, true));
        assert_eq!(lanes.full().count(), 1);
        lanes.leave(&one, false);
        assert!(lanes.enter(&one, false) && lanes.enter(&one, false));
    }

    #[test]
    fn the_sum_is_bounded_and_nothing_stays_behind() {
        let mut lanes = Lanes::new(3);
        let entered: Vec<bool> = (0..5).map(|n| lanes.enter(&call(n, n, n), false)).collect();
        assert_eq!((entered, lanes.taken()), (vec![true, true, true, false, false], 3));
        for n in 0..3 {
            lanes.leave(&call(n, n, n), false);
        }
        assert_eq!((lanes.taken(), lanes.webhooks.len(), lanes.hosts.len(), lanes.clients.len()), (0, 0, 0, 0));
    }
}
