//! Who is in the cluster, by their registrations and heartbeats. In: what nodes say, with the moment it came. Out: who is live, what they
//! carry, who takes part in how many meetings.
//!
//! A node is live until its lease runs out, judged by this process's own monotonic moments. For a while after a start or a freeze of this
//! process nobody is judged at all: then it is we who were away. Of two processes of one id the later one is the node; the earlier one is told
//! to yield for as long as the later one is live. Never calls anyone.

mod node;

use std::collections::BTreeMap;
use std::time::Duration;

use common_core::{MeetingId, Moment, NodeId};

use crate::placement::{Candidate, ControllerCapacity, Health};
use crate::ranking::{HandlerCandidate, HandlerCapacity};
pub use node::{BeatError, ControllerBeat, ControllerLoad, HandlerBeat, Node, NodeRecord, RegisterError, Superseded};

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

/// What is known of a controller to which a meeting was assigned.
#[derive(Debug)]
pub enum Standing<'a> {
    /// Its lease holds, and it stays.
    Live(&'a Node<ControllerLoad>),
    /// It was never heard of, and it is too early to say that it is gone: wait a moment.
    Unsettled,
    /// It is lost, leaving or unknown, or another process than it was: place the meeting anew.
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
        self.yields(now, self.controllers.get(&id), record.start_number)?;
        let same = self.controllers.get(&id).filter(|node| node.record.start_number == record.start_number);
        let load = same.map(|node| ControllerLoad { capacity, ..node.load.clone() });
        register(&mut self.controllers, id, record, now, load.unwrap_or_else(|| ControllerLoad { capacity, ..ControllerLoad::default() }))
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
        self.yields(now, self.handlers.get(&id), record.start_number)?;
        register(&mut self.handlers, id, record, now, capacity)
    }

    /// A controller's heartbeat.
    pub fn beat_controller(&mut self, now: Moment, id: &NodeId, start_number: u64, beat: ControllerBeat) -> Result<(), BeatError> {
        self.touch(now);
        self.yields(now, self.controllers.get(id), start_number)?;
        let node = known(&mut self.controllers, id, start_number).ok_or(BeatError::MustRegister)?;
        node.beat_at = now;
        (node.health, node.health_reason) = (beat.health, beat.health_reason);
        node.record.certificate_hashes = beat.certificate_hashes;
        // What it is being told of may have reached it before this heartbeat left or not: it counts until the call is over.
        node.load = ControllerLoad {
            capacity: beat.capacity,
            telling: node.load.telling,
            taken: 0,
            meetings: beat.meetings,
            calls: node.load.calls,
        };
        Ok(())
    }

    /// A handler's heartbeat.
    pub fn beat_handler(&mut self, now: Moment, id: &NodeId, start_number: u64, beat: HandlerBeat) -> Result<(), BeatError> {
        self.touch(now);
        self.yields(now, self.handlers.get(id), start_number)?;
        let node = known(&mut self.handlers, id, start_number).ok_or(BeatError::MustRegister)?;
        node.beat_at = now;
        (node.health, node.health_reason) = (beat.health, beat.health_reason);
        node.record.certificate_hashes = beat.certificate_hashes;
        node.load = beat.capacity;
        Ok(())
    }

    /// Whether a controller's process has to yield.
    pub fn controller_yields(&self, now: Moment, id: &NodeId, start_number: u64) -> Result<(), Superseded> {
        self.yields(now, self.controllers.get(id), start_number)
    }

    /// An earlier process than the known one yields while that is live and stays. Once its lease is over or it has left, an earlier one is let
    /// in: its clock was set back.
    fn yields<L>(&self, now: Moment, known: Option<&Node<L>>, start_number: u64) -> Result<(), Superseded> {
        match known {
            Some(node) if node.record.start_number > start_number && !node.draining && self.is_live(now, node.beat_at) => {
                Err(Superseded { by: node.record.start_number })
            }
            _ => Ok(()),
        }
    }

    /// A node says that it leaves: nothing new goes there, while its heartbeats still count. Another process's word changes nothing.
    pub fn deregister(&mut self, id: &NodeId, start_number: u64) {
        if let Some(node) = known(&mut self.controllers, id, start_number) {
            node.draining = true;
        }
        if let Some(node) = known(&mut self.handlers, id, start_number) {
            node.draining = true;
        }
    }

    /// A meeting was placed on `id`, which is being told: it counts at once.
    pub fn note_placed(&mut self, id: &NodeId) {
        if let Some(node) = self.controllers.get_mut(id) {
            node.load.telling = node.load.telling.saturating_add(1);
        }
    }

    /// The call about what was [placed](Self::note_placed) is over. A meeting that was taken counts until the next heartbeat does.
    pub fn note_told(&mut self, id: &NodeId, taken: bool) {
        if let Some(node) = self.controllers.get_mut(id) {
            node.load.telling = node.load.telling.saturating_sub(1);
            node.load.taken = node.load.taken.saturating_add(u32::from(taken));
        }
    }

    /// A call to a controller was answered, or was not: whoever beats but does not answer is passed over for a while. Returns whether that
    /// changed.
    pub fn note_call(&mut self, now: Moment, id: &NodeId, answered: bool) -> bool {
        let Some(node) = self.controllers.get_mut(id) else { return false };
        let before = node.load.calls.is_avoided(now);
        node.load.calls.note(now, answered);
        before != node.load.calls.is_avoided(now)
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

    /// All controllers, live or not, by id.
    pub fn controllers(&self) -> impl Iterator<Item = (&NodeId, &Node<ControllerLoad>)> {
        self.controllers.iter()
    }

    /// All handlers, live or not, by id.
    pub fn handlers(&self) -> impl Iterator<Item = (&NodeId, &Node<HandlerCapacity>)> {
        self.handlers.iter()
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
                unanswering: node.load.calls.is_avoided(now),
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

    /// Whether a node that was last heard of at `beat_at` counts as there.
    pub fn is_live(&self, now: Moment, beat_at: Moment) -> bool {
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
    // Who registers again while it leaves still leaves.
    let draining = nodes.get(&id).is_some_and(|node| node.draining && node.record.start_number == record.start_number);
    nodes.insert(id, Node { record, health: Health::Healthy, health_reason: String::new(), draining, load, beat_at: now });
    Ok(())
}

fn known<'a, L>(nodes: &'a mut BTreeMap<NodeId, Node<L>>, id: &NodeId, start_number: u64) -> Option<&'a mut Node<L>> {
    nodes.get_mut(id).filter(|node| node.record.start_number == start_number)
}

#[cfg(test)]
mod tests;
