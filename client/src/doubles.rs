//! Tells records that came already: while a participant moves, two handlers deliver the same media stream (DESIGN section 5).
//!
//! In: stream ids and sequences. Out: whether the pair is new. Remembers a bounded window; what is older counts as new.

use std::collections::HashMap;

use common_core::StreamId;

/// Sequences remembered per stream id: over a minute of sound at 50 records a second.
const WINDOW: u64 = 4_096;
const WORDS: usize = 64;
/// Stream ids remembered; beyond them nothing is held to be a double. More than one can watch at a time by an order.
const STREAMS_MAX: usize = 1_024;

/// Remembers what came.
#[derive(Debug, Default)]
pub(crate) struct Doubles {
    streams: HashMap<StreamId, Window>,
}

#[derive(Debug)]
struct Window {
    newest: u64,
    /// One bit per sequence, at `sequence % WINDOW`.
    seen: [u64; WORDS],
}

impl Doubles {
    /// Whether the record is the first of its kind; remembers it.
    pub(crate) fn is_new(&mut self, stream: StreamId, sequence: u64) -> bool {
        if !self.streams.contains_key(&stream) && self.streams.len() >= STREAMS_MAX {
            return true;
        }
        let window = self.streams.entry(stream).or_insert_with(|| Window { newest: sequence, seen: [0; WORDS] });
        window.insert(sequence)
    }

    /// The media stream is gone.
    pub(crate) fn forget(&mut self, stream: StreamId) {
        self.streams.remove(&stream);
    }
}

impl Window {
    fn insert(&mut self, sequence: u64) -> bool {
        if sequence > self.newest {
            if sequence - self.newest >= WINDOW {
                self.seen = [0; WORDS];
            } else {
                for skipped in self.newest + 1..sequence {
                    let (word, bit) = place(skipped);
                    self.seen[word] &= !bit;
                }
                let (word, bit) = place(sequence);
                self.seen[word] &= !bit;
            }
            self.newest = sequence;
        } else if self.newest - sequence >= WINDOW {
            return true;
        }
        let (word, bit) = place(sequence);
        let new = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        new
    }
}

/// The word and the bit of a sequence; the remainder is below `WINDOW`, so the word is below `WORDS`.
fn place(sequence: u64) -> (usize, u64) {
    let index = sequence % WINDOW;
    (usize::try_from(index / 64).unwrap_or(0) % WORDS, 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Within the window it is a set.
        #[test]
        fn is_a_set_of_sequences(sequences in prop::collection::vec(0_u64..WINDOW, 1..500), base in 0_u64..1 << 40) {
            let mut doubles = Doubles::default();
            let mut model = HashSet::new();
            for sequence in sequences {
                let new = doubles.is_new(StreamId::from_bytes([1; 16]), base + sequence);
                prop_assert_eq!(new, model.insert(sequence));
            }
        }
    }

    #[test]
    fn a_leap_forgets_and_the_edge_of_numbers_is_no_edge() {
        let id = StreamId::from_bytes([1; 16]);
        let mut doubles = Doubles::default();
        assert!(doubles.is_new(id, 5));
        assert!(doubles.is_new(id, u64::MAX));
        assert!(!doubles.is_new(id, u64::MAX));
        assert!(doubles.is_new(id, 5), "older than the window: taken for new");
        doubles.forget(id);
        assert!(doubles.is_new(id, u64::MAX));
    }
}
