//! Who is in the cluster, by their registrations and heartbeats. In: what nodes say, with the moment it came. Out: who is live, what they
//! carry, who takes part in how many meetings.
//!
//! A node is live until its lease runs out, judged by this process's own monotonic moments. For a while after a start or a freeze of this
//! process nobody is judged at all: then it is we who were away. Never calls anyone.

use std::collections::BTreeMap;
use std::time::Duration;

use common_core::{MeetingId, Moment, NodeId};
use thiserror::Error;

use crate::placement::{Candidate, ControllerCapacity, Health};
use crate::ranking::{HandlerCandidate, HandlerCapacity};

/// Nodes of one kind that are kept: far over any cluster, so that a mad certificate cannot fill the memory.
pub const NODES_MAX: usize = 4096;

/// The lengths that decide who is live.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// A node is lost when it was silent for this long.
    pub lease: Duration,
    /// Nobody is lost for this long after a start or a freeze of this process.
    pub grace: Duration,
    /// The view was not touched for this long: this process froze.
    pub freeze: Duration,
    /// A lost node is forgotten when it was silent for this long.
    pub forget: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            // Two heartbeats may be lost on the way, a third may not (DESIGN section 6).
            lease: Duration::from_secs(3),
            grace: Duration::from_secs(6),
            freeze: Duration::from_secs(2),
            // Long enough to read in an operator's view what became of it.
            forget: Duration::from_secs(60),
        }
    }
}

/// What a node says of itself when it registers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeRecord {
    /// Where it stands.
    pub region: String,
    /// `host:port` of its gRPC.
    pub endpoint: String,
    /// For clients.
    pub public_url: String,
    /// For clients without UDP; empty: none.
    pub fallback_url: String,
    /// SHA-256 of its self-signed certificates, current and next; empty under a public authority.
    pub certificate_hashes: Vec<[u8; 32]>,
    /// Of its program.
    pub version: String,
    /// Differs after each start of the process.
    pub start_number: u64,
}

/// A node that registered. `L` is what it carries.
#[derive(Clone, Debug)]
pub struct Node<L> {
    /// What it said of itself.
    pub record: NodeRecord,
    /// How it says it is.
    pub health: Health,
    /// Whether it said that it leaves.
    pub draining: bool,
    /// What it carries.
    pub load: L,
    beat_at: Moment,
}

/// What a controller carries.
#[derive(Clone, Debug, Default)]
pub struct ControllerLoad {
    /// As its last heartbeat said.
    pub capacity: ControllerCapacity,
    /// Meetings placed there since that heartbeat.
    placed: u32,
    /// Meetings with someone in them, and how many.
    meetings: BTreeMap<MeetingId, u32>,
}

impl ControllerLoad {
    /// Its capacity with what was placed since the last heartbeat counted in.
    fn expected(&self) -> ControllerCapacity {
        ControllerCapacity { meetings: self.capacity.meetings.saturating_add(self.placed), ..self.capacity }
    }

    /// Whether someone is in `meeting` there.
    pub fn runs(&self, meeting: MeetingId) -> bool {
        self.meetings.contains_key(&meeting)
    }
}

/// One heartbeat of a controller.
#[derive(Clone, Debug, Default)]
pub struct ControllerBeat {
    /// How it says it is.
    pub health: Health,
    /// What it carries.
    pub capacity: ControllerCapacity,
    /// Meetings with someone in them.
    pub meetings: BTreeMap<MeetingId, u32>,
    /// As at registration, kept current.
    pub certificate_hashes: Vec<[u8; 32]>,
}

/// One heartbeat of a handler.
#[derive(Clone, Debug, Default)]
pub struct HandlerBeat {
    /// How it says it is.
    pub health: Health,
    /// What it carries.
    pub capacity: HandlerCapacity,
    /// As at registration, kept current.
    pub certificate_hashes: Vec<[u8; 32]>,
}

/// Why a node is not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RegisterError {
    /// [`NODES_MAX`] are there.
    #[error("{NODES_MAX} nodes of this kind are registered already")]
    TooMany,
}

/// The node that sent this heartbeat is not known, or is known by another start number: it has to register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MustRegister;

/// What is known of a controller to which a meeting was assigned.
#[derive(Debug)]
pub enum Standing<'a> {
    /// Its lease holds, and it stays.
    Live(&'a Node<ControllerLoad>),
    /// It was never heard of, and it is too early to say that it is gone: wait a moment.
    Unsettled,
    /// It is lost, leaving or unknown: place the meeting anew.
    Gone,
}

/// The cluster as this global controller sees it.
#[derive(Debug)]
pub struct ClusterView {
    rules: Rules,
    controllers: BTreeMap<NodeId, Node<ControllerLoad>>,
    handlers: BTreeMap<NodeId, Node<HandlerCapacity>>,
    touched_at: Moment,
    grace_until: Moment,
}

impl ClusterView {
    /// A view that starts to listen now.
    pub fn new(rules: Rules, now: Moment) -> Self {
        Self { rules, controllers: BTreeMap::new(), handlers: BTreeMap::new(), touched_at: now, grace_until: now + rules.grace }
    }

    /// Notes that this process is awake; to be called at each heartbeat and at least once a second.
    pub fn touch(&mut self, now: Moment) {
        if now.since(self.touched_at) > self.rules.freeze {
            self.grace_until = now + self.rules.grace;
        }
        self.touched_at = self.touched_at.max(now);
    }

    /// Forgets nodes that have been lost for long; returns which.
    pub fn forget_lost(&mut self, now: Moment) -> Vec<NodeId> {
        let stale = |beat_at: Moment, grace_until: Moment, forget| now.since(beat_at) > forget && now > grace_until;
        let mut forgotten = Vec::new();
        let (grace_until, forget) = (self.grace_until, self.rules.forget);
        self.controllers.retain(|id, node| keep(!stale(node.beat_at, grace_until, forget), id, &mut forgotten));
        self.handlers.retain(|id, node| keep(!stale(node.beat_at, grace_until, forget), id, &mut forgotten));
        forgotten
    }

    /// A controller registers, for the first time or again. What an earlier process of that id carried is forgotten.
    pub fn register_controller(
        &mut self,
        now: Moment,
        id: NodeId,
        record: NodeRecord,
        capacity: ControllerCapacity,
    ) -> Result<(), RegisterError> {
        self.touch(now);
        let same = self.controllers.remove(&id).filter(|node| node.record.start_number == record.start_number);
        let meetings = same.map(|node| node.load.meetings).unwrap_or_default();
        register(&mut self.controllers, id, record, now, ControllerLoad { capacity, placed: 0, meetings })
    }

    /// A handler registers, for the first time or again.
    pub fn register_handler(
        &mut self,
        now: Moment,
        id: NodeId,
        record: NodeRecord,
        capacity: HandlerCapacity,
    ) -> Result<(), RegisterError> {
        self.touch(now);
        register(&mut self.handlers, id, record, now, capacity)
    }

    /// A controller's heartbeat.
    pub fn beat_controller(&mut self, now: Moment, id: &NodeId, start_number: u64, beat: ControllerBeat) -> Result<(), MustRegister> {
        self.touch(now);
        let node = known(&mut self.controllers, id, start_number)?;
        node.beat_at = now;
        node.health = beat.health;
        node.record.certificate_hashes = beat.certificate_hashes;
        node.load = ControllerLoad { capacity: beat.capacity, placed: 0, meetings: beat.meetings };
        Ok(())
    }

    /// A handler's heartbeat.
    pub fn beat_handler(&mut self, now: Moment, id: &NodeId, start_number: u64, beat: HandlerBeat) -> Result<(), MustRegister> {
        self.touch(now);
        let node = known(&mut self.handlers, id, start_number)?;
        node.beat_at = now;
        node.health = beat.health;
        node.record.certificate_hashes = beat.certificate_hashes;
        node.load = beat.capacity;
        Ok(())
    }

    /// A node says that it leaves: nothing new goes there, while its heartbeats still count. Another process's word changes nothing.
    pub fn deregister(&mut self, id: &NodeId, start_number: u64) {
        if let Ok(node) = known(&mut self.controllers, id, start_number) {
            node.draining = true;
        }
        if let Ok(node) = known(&mut self.handlers, id, start_number) {
            node.draining = true;
        }
    }

    /// A meeting was placed on `id`: it counts until the next heartbeat tells.
    pub fn note_placed(&mut self, id: &NodeId) {
        if let Some(node) = self.controllers.get_mut(id) {
            node.load.placed = node.load.placed.saturating_add(1);
        }
    }

    /// Whether new joins may go to the controller to which their meeting was assigned when its start number was `start_number`.
    pub fn standing(&self, now: Moment, id: &NodeId, start_number: u64) -> Standing<'_> {
        match self.controllers.get(id) {
            Some(node) if node.record.start_number != start_number || node.draining || !self.is_live(now, node.beat_at) => Standing::Gone,
            Some(node) => Standing::Live(node),
            None if now <= self.grace_until => Standing::Unsettled,
            None => Standing::Gone,
        }
    }

    /// A controller by its id, live or not.
    pub fn controller(&self, id: &NodeId) -> Option<&Node<ControllerLoad>> {
        self.controllers.get(id)
    }

    /// A handler by its id, live or not.
    pub fn handler(&self, id: &NodeId) -> Option<&Node<HandlerCapacity>> {
        self.handlers.get(id)
    }

    /// The snapshot that [`place`](crate::place) reads.
    pub fn controller_candidates(&self, now: Moment) -> Vec<Candidate<'_>> {
        self.controllers
            .iter()
            .map(|(id, node)| Candidate {
                id,
                region: &node.record.region,
                health: node.health,
                live: self.is_live(now, node.beat_at),
                draining: node.draining,
                capacity: node.load.expected(),
            })
            .collect()
    }

    /// The snapshot that [`rank_handlers`](crate::rank_handlers) reads.
    pub fn handler_candidates(&self, now: Moment) -> Vec<HandlerCandidate<'_>> {
        self.handlers
            .iter()
            .map(|(id, node)| HandlerCandidate {
                id,
                region: &node.record.region,
                health: node.health,
                live: self.is_live(now, node.beat_at),
                draining: node.draining,
                capacity: node.load,
            })
            .collect()
    }

    /// The live handlers that stay, for the controllers' directory.
    pub fn directory(&self, now: Moment) -> impl Iterator<Item = (&NodeId, &Node<HandlerCapacity>)> {
        self.handlers.iter().filter(move |(_, node)| self.is_live(now, node.beat_at) && !node.draining)
    }

    /// The live controllers, draining ones included.
    pub fn live_controllers(&self, now: Moment) -> impl Iterator<Item = (&NodeId, &Node<ControllerLoad>)> {
        self.controllers.iter().filter(move |(_, node)| self.is_live(now, node.beat_at))
    }

    /// How many take part in `meeting`, by the last heartbeats of live controllers.
    pub fn participant_count(&self, now: Moment, meeting: MeetingId) -> u32 {
        self.live_controllers(now).filter_map(|(_, node)| node.load.meetings.get(&meeting)).sum()
    }

    /// Which controllers have someone in which meetings.
    pub fn running(&self, now: Moment) -> impl Iterator<Item = (&NodeId, MeetingId)> {
        self.live_controllers(now).flat_map(|(id, node)| node.load.meetings.keys().map(move |meeting| (id, *meeting)))
    }

    /// Whether it is known who is live: not for a while after a start or a freeze of this process.
    pub fn is_settled(&self, now: Moment) -> bool {
        now > self.grace_until
    }

    fn is_live(&self, now: Moment, beat_at: Moment) -> bool {
        now.since(beat_at) <= self.rules.lease || now <= self.grace_until
    }
}

fn keep(keep: bool, id: &NodeId, forgotten: &mut Vec<NodeId>) -> bool {
    if !keep {
        forgotten.push(id.clone());
    }
    keep
}

fn register<L>(nodes: &mut BTreeMap<NodeId, Node<L>>, id: NodeId, record: NodeRecord, now: Moment, load: L) -> Result<(), RegisterError> {
    if nodes.len() >= NODES_MAX && !nodes.contains_key(&id) {
        return Err(RegisterError::TooMany);
    }
    nodes.insert(id, Node { record, health: Health::Healthy, draining: false, load, beat_at: now });
    Ok(())
}

fn known<'a, L>(nodes: &'a mut BTreeMap<NodeId, Node<L>>, id: &NodeId, start_number: u64) -> Result<&'a mut Node<L>, MustRegister> {
    nodes.get_mut(id).filter(|node| node.record.start_number == start_number).ok_or(MustRegister)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    fn id(text: &str) -> NodeId {
        text.parse().expect("a node id")
    }

    fn record(start_number: u64) -> NodeRecord {
        NodeRecord { region: "eu".into(), start_number, ..NodeRecord::default() }
    }

    /// A view long after its start, with one controller that beat at second 100.
    fn settled() -> ClusterView {
        let mut view = ClusterView::new(Rules::default(), at(0));
        for second in 0..100 {
            view.touch(at(second));
        }
        view.register_controller(at(100), id("mc-1"), record(1), ControllerCapacity::default()).expect("there is room");
        view
    }

    #[test]
    fn a_lease_runs_out_after_three_seconds() {
        let mut view = settled();
        for second in 101..=104 {
            view.touch(at(second));
        }
        assert!(matches!(view.standing(at(103), &id("mc-1"), 1), Standing::Live(_)));
        assert!(matches!(view.standing(at(104), &id("mc-1"), 1), Standing::Gone));
        assert_eq!(view.beat_controller(at(104), &id("mc-1"), 1, ControllerBeat::default()), Ok(()));
        assert!(matches!(view.standing(at(105), &id("mc-1"), 1), Standing::Live(_)));
    }

    /// After a start we do not know who is there; after a freeze we do not know who still is.
    #[test]
    fn nobody_is_lost_while_we_were_away() {
        let mut view = ClusterView::new(Rules::default(), at(0));
        assert!(matches!(view.standing(at(6), &id("mc-1"), 1), Standing::Unsettled));
        assert!(matches!(view.standing(at(7), &id("mc-1"), 1), Standing::Gone));
        let mut woken = settled();
        woken.touch(at(115));
        assert!(matches!(woken.standing(at(121), &id("mc-1"), 1), Standing::Live(_)));
        for second in 116..123 {
            woken.touch(at(second));
        }
        assert!(matches!(woken.standing(at(122), &id("mc-1"), 1), Standing::Gone));
        view.touch(at(1));
    }

    #[test]
    fn another_process_of_the_same_id_has_to_register() {
        let mut view = settled();
        assert_eq!(view.beat_controller(at(101), &id("mc-1"), 2, ControllerBeat::default()), Err(MustRegister));
        assert_eq!(view.beat_controller(at(101), &id("mc-2"), 1, ControllerBeat::default()), Err(MustRegister));
        view.register_controller(at(101), id("mc-1"), record(2), ControllerCapacity::default()).expect("there is room");
        assert!(matches!(view.standing(at(101), &id("mc-1"), 1), Standing::Gone));
        assert!(matches!(view.standing(at(101), &id("mc-1"), 2), Standing::Live(_)));
    }

    /// What is leaving takes nothing new, and still counts who is in.
    #[test]
    fn a_draining_controller_still_counts() {
        let mut view = settled();
        let meeting = MeetingId::from_bytes([1; 16]);
        let beat = ControllerBeat { meetings: BTreeMap::from([(meeting, 3)]), ..ControllerBeat::default() };
        view.deregister(&id("mc-1"), 9);
        assert!(matches!(view.standing(at(100), &id("mc-1"), 1), Standing::Live(_)));
        view.deregister(&id("mc-1"), 1);
        assert_eq!(view.beat_controller(at(101), &id("mc-1"), 1, beat), Ok(()));
        assert!(matches!(view.standing(at(101), &id("mc-1"), 1), Standing::Gone));
        assert_eq!(view.participant_count(at(101), meeting), 3);
        assert_eq!(view.running(at(101)).count(), 1);
        assert!(view.controller_candidates(at(101)).iter().all(|candidate| candidate.draining));
    }

    #[test]
    fn what_was_placed_counts_until_the_next_heartbeat() {
        let mut view = settled();
        let meetings = |view: &ClusterView| view.controller_candidates(at(101))[0].capacity.meetings;
        view.note_placed(&id("mc-1"));
        view.note_placed(&id("mc-1"));
        assert_eq!(meetings(&view), 2);
        assert_eq!(view.beat_controller(at(101), &id("mc-1"), 1, ControllerBeat::default()), Ok(()));
        assert_eq!(meetings(&view), 0);
    }

    #[test]
    fn the_long_lost_are_forgotten() {
        let mut view = settled();
        for second in 101..=170 {
            view.touch(at(second));
        }
        assert_eq!(view.forget_lost(at(160)), []);
        assert_eq!(view.forget_lost(at(170)), [id("mc-1")]);
        assert!(view.controller(&id("mc-1")).is_none());
    }
}
