//! Placement: what each new meeting and each join cost a global controller beside its store.

use std::hint::black_box;

use common_core::{MeetingId, NodeId};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use global_controller_core::placement::{Candidate, ControllerCapacity, Health, Wish};
use global_controller_core::ranking::{HandlerCandidate, HandlerCapacity};
use global_controller_core::{place, rank_handlers};

/// Nodes in the cluster: a start, a company, a provider.
const NODES: [usize; 3] = [10, 100, 1000];
const REGIONS: [&str; 3] = ["eu", "us", "ap"];
/// Handlers that a join's answer names.
const HANDLERS_NAMED: usize = 3;

fn ids(nodes: usize) -> Vec<NodeId> {
    (0..nodes).map(|number| format!("node-{number}").parse().expect("a node id")).collect()
}

/// Every tenth is degraded; loads differ.
fn health(number: usize) -> Health {
    if number % 10 == 9 { Health::Degraded } else { Health::Healthy }
}

fn load(number: usize) -> u32 {
    u32::try_from(number * 37 % 90).expect("below 90")
}

fn controllers(ids: &[NodeId]) -> Vec<Candidate<'_>> {
    let candidate = |(number, id)| Candidate {
        id,
        region: REGIONS[number % REGIONS.len()],
        health: health(number),
        live: true,
        draining: false,
        unanswering: false,
        capacity: ControllerCapacity { meetings_max: 100, meetings: load(number), participants_max: 1000, participants: load(number) * 10 },
    };
    ids.iter().enumerate().map(candidate).collect()
}

fn handlers(ids: &[NodeId]) -> Vec<HandlerCandidate<'_>> {
    let candidate = |(number, id)| HandlerCandidate {
        id,
        region: REGIONS[number % REGIONS.len()],
        health: health(number),
        live: true,
        draining: false,
        capacity: HandlerCapacity { participants_max: 100, participants: load(number) },
    };
    ids.iter().enumerate().map(candidate).collect()
}

fn placement(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("placement");
    let meeting = MeetingId::from_bytes([7; 16]);
    for nodes in NODES {
        let ids = ids(nodes);
        let (controllers, handlers) = (controllers(&ids), handlers(&ids));
        let wish = Wish { meeting, region: Some("eu") };
        group.bench_with_input(BenchmarkId::new("place", nodes), &controllers, |bencher, controllers| {
            let mut seed = 0_u64;
            bencher.iter(|| {
                seed = seed.wrapping_add(1);
                place(black_box(controllers), &wish, seed)
            });
        });
        group.bench_with_input(BenchmarkId::new("rank_handlers", nodes), &handlers, |bencher, handlers| {
            bencher.iter(|| rank_handlers(black_box(handlers), meeting, "eu", HANDLERS_NAMED));
        });
    }
    group.finish();
}

criterion_group!(benches, placement);
criterion_main!(benches);
