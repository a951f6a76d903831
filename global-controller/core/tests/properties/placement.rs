//! Placement against random clusters: what must hold whatever the snapshot.

use common_core::{MeetingId, NodeId};
use global_controller_core::placement::{Candidate, ControllerCapacity, Health, Reason, RegionMatch, Wish, place};
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
    unanswering: bool,
    meetings: u32,
    participants: u32,
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let health = prop_oneof![4 => Just(Health::Healthy), 1 => Just(Health::Degraded), 1 => Just(Health::Unhealthy)];
    let flag = prop::bool::weighted;
    let sample = ("[abc]", health, (flag(0.8), flag(0.2), flag(0.2)), 0..=10u32, 0..=10u32);
    prop::collection::vec(sample, 0..12).prop_map(|all| {
        let named =
            |(index, (region, health, (live, draining, unanswering), meetings, participants)): (usize, (String, _, _, _, _))| Sample {
                id: format!("mc-{index}").parse().expect("a node id"),
                region,
                health,
                live,
                draining,
                unanswering,
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
            unanswering: sample.unanswering,
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
                // Whoever answers comes before whoever is near, and that before whoever is healthy.
                prop_assert_eq!(chosen.unanswering, fit.iter().all(|candidate| candidate.unanswering));
                let as_good: Vec<&&Candidate<'_>> = fit.iter().filter(|candidate| candidate.unanswering == chosen.unanswering).collect();
                let near = |candidate: &Candidate<'_>| region.as_deref().is_none_or(|region| region == candidate.region);
                prop_assert_eq!(near(chosen), as_good.iter().any(|candidate| near(candidate)));
                let as_near: Vec<&&Candidate<'_>> = as_good.into_iter().filter(|candidate| near(candidate) == near(chosen)).collect();
                prop_assert_eq!(Some(chosen.health), as_near.iter().map(|candidate| candidate.health).min());
                let equals: Vec<&&Candidate<'_>> = as_near.into_iter().filter(|candidate| candidate.health == chosen.health).collect();
                // The reason names the truth.
                let matched = match region {
                    None => RegionMatch::NoWish,
                    Some(_) if near(chosen) => RegionMatch::Wished,
                    Some(_) => RegionMatch::Elsewhere,
                };
                prop_assert_eq!(
                    (placement.region, placement.health, placement.unanswering, placement.choices),
                    (matched, chosen.health, chosen.unanswering, equals.len())
                );
                let load = |id: &NodeId| equals.iter().find(|candidate| candidate.id == id).map(|candidate| candidate.capacity.load_ppm());
                match &placement.reason {
                    Reason::OnlyChoice => prop_assert_eq!(equals.len(), 1),
                    Reason::LessLoaded { than } => prop_assert!(load(chosen.id) < load(than), "{:?} {:?}", load(chosen.id), load(than)),
                    Reason::Tie { over } => {
                        prop_assert!(over != chosen.id);
                        prop_assert_eq!(load(chosen.id), load(over));
                    }
                }
            }
        }
    }

    #[test]
    fn the_same_inputs_in_any_order_give_the_same_answer(
        (samples, order) in samples().prop_flat_map(|samples| {
            let indices: Vec<usize> = (0..samples.len()).collect();
            (Just(samples), Just(indices).prop_shuffle())
        }),
        meeting: [u8; 16], seed: u64,
    ) {
        let snapshot = candidates(&samples);
        let shuffled: Vec<Candidate<'_>> = order.iter().map(|index| snapshot[*index].clone()).collect();
        let wish = Wish { meeting: MeetingId::from_bytes(meeting), region: Some("a") };
        prop_assert_eq!(place(&snapshot, &wish, seed), place(&shuffled, &wish, seed));
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
        // The controller's region first, and in each region the healthy before the degraded.
        let ranks = |id: &&NodeId| all.iter().find(|candidate| candidate.id == *id).map(|it| (it.region != "a", it.health));
        prop_assert!(ranked.iter().map(ranks).is_sorted());
        let mut turned = all.clone();
        turned.reverse();
        prop_assert_eq!(ranked, rank_handlers(&turned, meeting, "a", at_most));
    }
}
