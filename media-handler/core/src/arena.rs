//! Things under small keys that go stale when the thing is removed: lookups by index, no hashing on the hot path.

use std::fmt;
use std::marker::PhantomData;

/// Where a `T` lies; a key of a removed one finds nothing, also after the place is taken again.
pub struct Key<T> {
    index: u32,
    epoch: u32,
    of: PhantomData<fn() -> T>,
}

// By hand, because derives would ask the same of `T`.
impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Key<T> {}
impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.index, self.epoch) == (other.index, other.epoch)
    }
}
impl<T> Eq for Key<T> {}
impl<T> PartialOrd for Key<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Key<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.index, self.epoch).cmp(&(other.index, other.epoch))
    }
}
impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.epoch)
    }
}

#[derive(Debug)]
struct Place<T> {
    epoch: u32,
    value: Option<T>,
}

/// A growing set of places; those of removed things are taken again first.
#[derive(Debug)]
pub struct Arena<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Arena<T> {
    /// Keeps `value`. Panics past 2³² things, which every caller's own limit is far below.
    pub fn insert(&mut self, value: T) -> Key<T> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { epoch: 0, value: None });
            u32::try_from(self.places.len() - 1).expect("callers bound what they keep far below 2^32")
        });
        let place = &mut self.places[index as usize];
        place.value = Some(value);
        Key { index, epoch: place.epoch, of: PhantomData }
    }

    /// What lies under `key`, if it is still there.
    pub fn get(&self, key: Key<T>) -> Option<&T> {
        self.places.get(key.index as usize).filter(|place| place.epoch == key.epoch)?.value.as_ref()
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        self.places.get_mut(key.index as usize).filter(|place| place.epoch == key.epoch)?.value.as_mut()
    }

    /// Takes it out.
    pub fn remove(&mut self, key: Key<T>) -> Option<T> {
        let place = self.places.get_mut(key.index as usize).filter(|place| place.epoch == key.epoch)?;
        let value = place.value.take()?;
        place.epoch = place.epoch.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    /// All of them, by place.
    pub fn iter(&self) -> impl Iterator<Item = (Key<T>, &T)> {
        (0u32..)
            .zip(&self.places)
            .filter_map(|(index, place)| Some((Key { index, epoch: place.epoch, of: PhantomData }, place.value.as_ref()?)))
    }

    /// All keys, by place.
    pub fn keys(&self) -> Vec<Key<T>> {
        self.iter().map(|(key, _)| key).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut arena = Arena::default();
        let first = arena.insert("first");
        assert_eq!(arena.remove(first), Some("first"));
        let second = arena.insert("second");
        assert_eq!((arena.get(first), arena.get(second), arena.len()), (None, Some(&"second"), 1));
        assert_eq!(arena.remove(first), None);
    }
}
