//! A bounded map of what was needed lately, for what can be found out again.
//!
//! In: keys and values. Out: the values of keys that were asked for or put in since as many others as half of it holds. In constant time, without
//! a list to keep in order: two halves, of which the older is dropped as a whole when the younger is full.

use std::collections::HashMap;
use std::hash::Hash;

/// See the module.
#[derive(Clone, Debug)]
pub struct Recent<K, V> {
    half: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    /// Holds at most `entries_max`, and at least the half of it that was needed last.
    pub fn new(entries_max: usize) -> Self {
        Self { half: (entries_max / 2).max(1), young: HashMap::new(), old: HashMap::new() }
    }

    /// The value of `key`, needed again.
    pub fn find(&mut self, key: &K) -> Option<&V> {
        if !self.young.contains_key(key) {
            let (key, value) = self.old.remove_entry(key)?;
            self.note(key, value);
        }
        self.young.get(key)
    }

    /// Puts `value` in, in place of what was there.
    pub fn note(&mut self, key: K, value: V) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    /// Drops `key`.
    pub fn forget(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    /// How many it holds.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_stays_and_the_bound_holds() {
        let mut recent = Recent::new(8);
        recent.note(0, "zero");
        for number in 1..100 {
            recent.note(number, "another");
            assert_eq!(recent.find(&0), Some(&"zero"), "it is asked for each time");
            assert!(recent.len() <= 8);
        }
        // Half of the bound is there for certain.
        assert_eq!([97, 98, 99].map(|number| recent.find(&number).is_some()), [true; 3]);
        assert_eq!(recent.find(&1), None);
    }

    #[test]
    fn the_last_value_counts_and_what_is_forgotten_is_gone() {
        let mut recent = Recent::new(2);
        recent.note("a", 1);
        recent.note("b", 2);
        recent.note("a", 3);
        assert_eq!(recent.find(&"a"), Some(&3));
        assert_eq!(recent.len(), 2);
        recent.forget(&"a");
        recent.forget(&"b");
        assert!(recent.is_empty() && recent.find(&"a").is_none());
    }
}
