//! Random publishers, subscribers and networks against a small model of what must hold whatever happens.

use proptest::prelude::*;

use crate::model::{Op, World};

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0..2usize, 0..3u8, 0..4000u32, any::<bool>(), any::<bool>())
            .prop_map(|(ingress, kind, payload, ends, discardable)| Op::Record { ingress, kind, payload, ends, discardable }),
        6 => (0..2usize, 1..3000usize).prop_map(|(ingress, bytes)| Op::Bytes { ingress, bytes }),
        1 => (0..2usize).prop_map(|ingress| Op::EndIngress { ingress }),
        3 => (0..600u64).prop_map(|millis| Op::Wait { millis }),
        2 => (0..3usize, 0..2usize, 0..3u32).prop_map(|(subscriber, stream, priority)| Op::Subscribe { subscriber, stream, priority }),
        1 => (0..3usize, 0..2usize).prop_map(|(subscriber, stream)| Op::Unsubscribe { subscriber, stream }),
        1 => (0..3usize).prop_map(|subscriber| Op::Hello { subscriber }),
        1 => (0..3usize).prop_map(|subscriber| Op::EndSession { subscriber }),
        8 => (0..3usize, 0..9000usize, 0..8u8).prop_map(|(subscriber, capacity, mood)| Op::Run { subscriber, capacity, mood }),
        1 => Just(Op::Wait { millis: 5_000 }),
        1 => Just(Op::Republish),
    ];
    prop::collection::vec(op, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// Each record has exactly one fate per subscription, and each group stream is a true copy of its group.
    #[test]
    fn every_record_has_one_fate_and_every_stream_is_a_copy(ops in ops()) {
        let mut world = World::begin();
        for op in ops {
            world.does(op);
        }
        world.settles();
    }
}
