//! Ten thousand meetings spread over a cluster as its view sees it: within a tenth of even load, whatever the sizes and the heartbeats.

use common_core::{MeetingId, Moment, NodeId};
use global_controller_core::cluster::{ClusterView, ControllerBeat, NodeRecord, Rules};
use global_controller_core::placement::{ControllerCapacity, Wish, place};

const MEETINGS: u32 = 10_000;

/// A controller as it is, which the view learns by heartbeats.
struct Controller {
    id: NodeId,
    meetings_max: u32,
    meetings: u32,
}

struct Cluster {
    view: ClusterView,
    controllers: Vec<Controller>,
    now: Moment,
    /// Told, but not taken yet: the last so many calls are under way.
    under_way: std::collections::VecDeque<NodeId>,
}

impl Cluster {
    fn new(sizes: &[u32]) -> Self {
        let now = Moment::from_micros(100_000_000);
        let mut view = ClusterView::new(Rules::default(), now);
        let controllers: Vec<Controller> = sizes
            .iter()
            .enumerate()
            .map(|(index, size)| Controller { id: format!("mc-{index}").parse().expect("a node id"), meetings_max: *size, meetings: 0 })
            .collect();
        for controller in &controllers {
            let record = NodeRecord { region: "eu".into(), start_number: 1, ..NodeRecord::default() };
            view.register_controller(now, controller.id.clone(), record, controller.capacity()).expect("there is room");
        }
        Self { view, controllers, now, under_way: std::collections::VecDeque::new() }
    }

    fn place(&mut self, number: u32, calls_under_way: usize) {
        let meeting = MeetingId::from_bytes((u128::from(number) << 64).to_be_bytes());
        let chosen = {
            let candidates = self.view.controller_candidates(self.now);
            place(&candidates, &Wish { meeting, region: Some("eu") }, u64::from(number)).expect("there is room").controller
        };
        self.view.note_placed(&chosen);
        self.under_way.push_back(chosen);
        while self.under_way.len() > calls_under_way {
            let told = self.under_way.pop_front().expect("it is not empty");
            let controller = self.controllers.iter_mut().find(|controller| controller.id == told).expect("one of them");
            controller.meetings += 1;
            self.view.note_told(&told, true);
        }
    }

    fn beat(&mut self, index: usize) {
        let controller = &self.controllers[index];
        let beat = ControllerBeat { capacity: controller.capacity(), ..ControllerBeat::default() };
        self.view.beat_controller(self.now, &controller.id, 1, beat).expect("it is known");
    }

    /// The farthest that any controller is from even load, in percent of it.
    fn unevenness(&self) -> f64 {
        let (meetings, room): (u32, u32) =
            self.controllers.iter().fold((0, 0), |(meetings, room), it| (meetings + it.meetings, room + it.meetings_max));
        let even = f64::from(meetings) / f64::from(room);
        let off = |it: &Controller| (f64::from(it.meetings) / f64::from(it.meetings_max) / even - 1.0).abs() * 100.0;
        self.controllers.iter().map(off).fold(0.0, f64::max)
    }
}

impl Controller {
    fn capacity(&self) -> ControllerCapacity {
        ControllerCapacity { meetings_max: self.meetings_max, meetings: self.meetings, participants_max: 1_000_000, participants: 0 }
    }
}

/// Clusters of equal and of very different sizes; heartbeats after each meeting, after many, in turn or all at once, or never; calls that are
/// over at once, and calls of which dozens are under way when a heartbeat comes.
#[test]
fn load_stays_even_between_heartbeats_and_over_them() {
    let shapes: [&[u32]; 6] =
        [&[100_000; 2], &[100_000; 3], &[100_000; 10], &[100_000; 20], &[10_000, 20_000, 40_000], &[5_000, 5_000, 5_000, 50_000]];
    for sizes in shapes {
        for meetings_per_round in [37, 3000, u32::MAX] {
            for calls_under_way in [0, 40] {
                for in_turn in [true, false] {
                    let mut cluster = Cluster::new(sizes);
                    for number in 0..MEETINGS {
                        cluster.place(number, calls_under_way);
                        let nodes = sizes.len();
                        let every = if in_turn { (meetings_per_round / nodes as u32).max(1) } else { meetings_per_round };
                        if (number + 1).is_multiple_of(every) {
                            let turn = usize::try_from(number / every).expect("small") % nodes;
                            let beating = if in_turn { turn..turn + 1 } else { 0..nodes };
                            beating.for_each(|index| cluster.beat(index));
                        }
                    }
                    let off = cluster.unevenness();
                    assert!(
                        off <= 10.0,
                        "{sizes:?}, a round of heartbeats each {meetings_per_round} meetings, {calls_under_way} calls under way, in turn: {in_turn}: {off:.1} % off"
                    );
                }
            }
        }
    }
}
