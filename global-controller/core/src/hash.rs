//! Two small functions that must give the same number in every build: a decision is replayed from its inputs.

use common_core::{MeetingId, NodeId};

/// One step of SplitMix64 (Steele, Lea, Flood 2014): spreads a seed over all 64 bits.
pub(crate) const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The weight of `node` for `meeting` in rendezvous hashing: the greatest wins, and a node that leaves moves only its own.
pub(crate) fn rendezvous(meeting: MeetingId, node: &NodeId) -> u64 {
    // FNV-1a, then mixed, since FNV alone leaves the high bits of short inputs close together.
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = meeting.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    mix(node.as_str().as_bytes().iter().fold(hash, fnv))
}
