//! Who may be called now, so that one slow target holds up nobody else. In: wishes to call, ends of calls. Out: yes or no.
//!
//! Three bounds: over all, per caller's wish (a webhook) and per host. Who fails has a single lane until it succeeds. Never calls anyone.

use std::collections::BTreeMap;

/// See the module.
#[derive(Debug)]
pub struct Lanes<W> {
    at_once: usize,
    each: usize,
    taken: usize,
    webhooks: BTreeMap<W, Lane>,
    hosts: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Lane {
    taken: usize,
    bound: usize,
}

/// Of all lanes, one webhook or one host may take this part: eight slow ones have to come together before anybody waits.
const PART: usize = 8;

impl<W: Ord + Clone> Lanes<W> {
    /// At most `at_once` calls.
    pub fn new(at_once: usize) -> Self {
        Self { at_once, each: (at_once / PART).max(1), taken: 0, webhooks: BTreeMap::new(), hosts: BTreeMap::new() }
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

    /// Takes a lane, if there is one for this webhook and host. `fails`: the last call to it did.
    pub fn enter(&mut self, webhook: &W, host: &str, fails: bool) -> bool {
        let bound = if fails { 1 } else { self.each };
        let by_webhook = self.webhooks.get(webhook).map_or(0, |lane| lane.taken);
        let by_host = self.hosts.get(host).copied().unwrap_or_default();
        if self.room() == 0 || by_webhook >= bound || by_host >= self.each {
            return false;
        }
        self.taken += 1;
        self.webhooks.insert(webhook.clone(), Lane { taken: by_webhook + 1, bound });
        self.hosts.insert(host.to_owned(), by_host + 1);
        true
    }

    /// Gives back what [`enter`](Self::enter) took.
    pub fn leave(&mut self, webhook: &W, host: &str) {
        self.taken = self.taken.saturating_sub(1);
        if let Some(lane) = self.webhooks.get_mut(webhook) {
            lane.taken = lane.taken.saturating_sub(1);
        }
        self.webhooks.retain(|_, lane| lane.taken > 0);
        if let Some(taken) = self.hosts.get_mut(host) {
            *taken = taken.saturating_sub(1);
        }
        self.hosts.retain(|_, taken| *taken > 0);
    }

    /// Webhooks that may not be called now, however much is due to them.
    pub fn full(&self) -> impl Iterator<Item = &W> {
        self.webhooks.iter().filter(|(_, lane)| lane.taken >= lane.bound).map(|(webhook, _)| webhook)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_target_leaves_room_for_the_others() {
        let mut lanes = Lanes::new(32);
        let slow = (0..32).filter(|_| lanes.enter(&1, "slow.example", false)).count();
        assert_eq!((slow, lanes.room(), lanes.full().copied().collect::<Vec<_>>()), (4, 28, vec![1]));
        // Another webhook to the same host shares its lanes.
        assert!(!lanes.enter(&2, "slow.example", false));
        assert!(lanes.enter(&3, "other.example", false));
        assert_eq!(lanes.full().count(), 1);
        lanes.leave(&1, "slow.example");
        assert!(lanes.enter(&2, "slow.example", false) && !lanes.enter(&1, "slow.example", false));
    }

    #[test]
    fn who_fails_has_one_lane() {
        let mut lanes = Lanes::new(32);
        assert!(lanes.enter(&1, "a.example", true) && !lanes.enter(&1, "a.example", true));
        assert_eq!(lanes.full().count(), 1);
        lanes.leave(&1, "a.example");
        assert!(lanes.enter(&1, "a.example", false) && lanes.enter(&1, "a.example", false));
    }

    #[test]
    fn the_sum_is_bounded_and_nothing_stays_behind() {
        let mut lanes = Lanes::new(3);
        let hosts: Vec<String> = (0..5).map(|n| format!("{n}.example")).collect();
        let entered: Vec<bool> = (0..5).map(|n: usize| lanes.enter(&n, &hosts[n], false)).collect();
        assert_eq!((entered, lanes.taken()), (vec![true, true, true, false, false], 3));
        for (n, host) in hosts.iter().enumerate().take(3) {
            lanes.leave(&n, host);
        }
        assert_eq!((lanes.taken(), lanes.webhooks.len(), lanes.hosts.len()), (0, 0, 0));
    }
}
