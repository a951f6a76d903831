//! Placement against random clusters: what must hold whatever the snapshot.

use common_core::{MeetingId, NodeId};
use global_controller_core::placement::{Candidate, ControllerCapacity, Health, RegionMatch, Wish, place};
use global_controller_core::ranking::{HandlerCandidate, HandlerCapacity, rank_handlers};
use proptest::prelude::*;

/// A controller by its numbers: region, health, live, draining, meetings and participants of ten each.
#[derive(Clone, Debug)]
struct Sample {
    id: NodeId,
    region: String,
    health: Health,
    live: bool,
    draining: bool,
    meetings: u32,
    participants: u32,
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let health = prop_oneof![4 => Just(Health::Healthy), 1 => Just(Health::Degraded), 1 => Just(Health::Unhealthy)];
    let sample = ("[abc]", health, prop::bool::weighted(0.8), prop::bool::weighted(0.2), 0..=10u32, 0..=10u32);
    prop::collection::vec(sample, 0..12).prop_map(|all| {
        let named = |(index, (region, health, live, draining, meetings, participants)): (usize, (String, _, _, _, _, _))| Sample {
            id: format!("mc-{index}").parse().expect("a node id"),
            region,
            health,
            live,
            draining,
            meetings,
            participants,
        };
        all.into_iter().enumerate().map(named).collect()
    })
}

fn candidates(samples: &[Sample]) -> Vec<Candidate<'_>> {
    samples
        .iter()
        .map(|sample| Candidate {
            id: &sample.id,
            region: &sample.region,
            health: sample.health,
            live: sample.live,
            draining: sample.draining,
            capacity: ControllerCapacity {
                meetings_max: 10,
                meetings: sample.meetings,
                participants_max: 10,
                participants: sample.participants,
            },
        })
        .collect()
}

proptest! {
    #[test]
    fn the_choice_is_fit_and_as_near_and_healthy_as_can_be(
        samples in samples(), region in prop::option::of("[abcd]"), meeting: [u8; 16], seed: u64,
    ) {
        let snapshot = candidates(&samples);
        let wish = Wish { meeting: MeetingId::from_bytes(meeting), region: region.as_deref() };
        let fit: Vec<&Candidate<'_>> = snapshot.iter().filter(|candidate| candidate.unfit().is_none()).collect();
        match place(&snapshot, &wish, seed) {
            Err(_) => prop_assert!(fit.is_empty()),
            Ok(placement) => {
                let chosen = snapshot.iter().find(|candidate| *candidate.id == placement.controller).expect("one of them");
                prop_assert!(chosen.live && !chosen.draining && chosen.health != Health::Unhealthy && chosen.capacity.has_room());
                let near = |candidate: &Candidate<'_>| region.as_deref().is_none_or(|region| region == candidate.region);
                prop_assert_eq!(near(chosen), fit.iter().any(|candidate| near(candidate)));
                prop_assert_eq!(placement.region == RegionMatch::Elsewhere, !near(chosen));
                let as_near = |candidate: &&&Candidate<'_>| near(candidate) == near(chosen);
                prop_assert_eq!(Some(chosen.health), fit.iter().filter(as_near).map(|candidate| candidate.health).min());
            }
        }
    }

    #[test]
    fn the_same_inputs_in_any_order_give_the_same_answer(samples in samples(), meeting: [u8; 16], seed: u64) {
        let snapshot = candidates(&samples);
        let mut turned = snapshot.clone();
        turned.reverse();
        let wish = Wish { meeting: MeetingId::from_bytes(meeting), region: Some("a") };
        prop_assert_eq!(place(&snapshot, &wish, seed), place(&turned, &wish, seed));
    }

    #[test]
    fn handlers_are_ranked_alike_for_everyone_and_none_is_unfit(samples in samples(), meeting: [u8; 16], at_most in 0..5usize) {
        let all: Vec<HandlerCandidate<'_>> = samples
            .iter()
            .map(|sample| HandlerCandidate {
                id: &sample.id,
                region: &sample.region,
                health: sample.health,
                live: sample.live,
                draining: sample.draining,
                capacity: HandlerCapacity { participants_max: 10, participants: sample.participants },
            })
            .collect();
        let meeting = MeetingId::from_bytes(meeting);
        let ranked = rank_handlers(&all, meeting, "a", at_most);
        let fit: Vec<&HandlerCandidate<'_>> = all.iter().filter(|candidate| candidate.is_fit()).collect();
        prop_assert_eq!(ranked.len(), fit.len().min(at_most));
        prop_assert!(ranked.iter().all(|id| fit.iter().any(|candidate| candidate.id == *id)));
        let mut turned = all.clone();
        turned.reverse();
        prop_assert_eq!(ranked, rank_handlers(&turned, meeting, "a", at_most));
    }
}

/// Two random choices keep equal controllers within a tenth of even over ten thousand meetings.
#[test]
fn meetings_spread_evenly() {
    const MEETINGS: u32 = 10_000;
    for nodes in [2_u32, 3, 10, 20] {
        let ids: Vec<NodeId> = (0..nodes).map(|index| format!("mc-{index}").parse().expect("a node id")).collect();
        let mut carried = vec![0_u32; ids.len()];
        for number in 0..MEETINGS {
            let snapshot: Vec<Candidate<'_>> = ids
                .iter()
                .zip(&carried)
                .map(|(id, meetings)| Candidate {
                    id,
                    region: "a",
                    health: Health::Healthy,
                    live: true,
                    draining: false,
                    capacity: ControllerCapacity { meetings_max: 100_000, meetings: *meetings, participants_max: 1, participants: 0 },
                })
                .collect();
            let meeting = MeetingId::from_bytes(u128::from(number).to_be_bytes());
            let placement = place(&snapshot, &Wish { meeting, region: None }, u64::from(number)).expect("all are fit");
            let chosen = ids.iter().position(|id| *id == placement.controller).expect("one of them");
            carried[chosen] += 1;
        }
        let even = MEETINGS / nodes;
        assert!(carried.iter().all(|meetings| meetings.abs_diff(even) * 10 <= even), "{nodes} controllers carry {carried:?}");
    }
}
