//! Ranks the media handlers that a joining client may dial at once. In: a snapshot, the meeting, its controller's region. Out: the
//! best few, best first.
//!
//! Everyone in a meeting should dial the same handler, since that is where the meeting's media is: so the order within a region hangs on
//! the meeting (rendezvous hash), and load moves a handler back only once it is crowded.

use common_core::{MeetingId, NodeId};

use crate::hash::rendezvous;
use crate::placement::{Health, ppm};

/// Load from which a handler stands behind its neighbours: room is left for the meetings that it carries to grow.
pub const CROWDED_PPM: u64 = 800_000;

/// What a handler can carry, and carries. Zero as a maximum means that nobody more is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandlerCapacity {
    /// Participants at once.
    pub participants_max: u32,
    /// Participants now.
    pub participants: u32,
}

/// A handler as ranking sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerCandidate<'a> {
    /// Its id.
    pub id: &'a NodeId,
    /// Where it stands.
    pub region: &'a str,
    /// As its last heartbeat said.
    pub health: Health,
    /// Whether its lease holds.
    pub live: bool,
    /// Whether it is about to leave.
    pub draining: bool,
    /// As its last heartbeat said.
    pub capacity: HandlerCapacity,
}

impl HandlerCandidate<'_> {
    /// Whether a further participant may be sent there.
    pub const fn is_fit(&self) -> bool {
        self.live
            && !self.draining
            && !matches!(self.health, Health::Unhealthy)
            && self.capacity.participants < self.capacity.participants_max
    }
}

impl HandlerCandidate<'_> {
    /// Whether new participants are sent there, and if not, why not; for operators.
    pub fn verdict(&self) -> &'static str {
        let HandlerCapacity { participants_max, participants } = self.capacity;
        match self.health {
            _ if !self.live => "no: its lease has run out",
            _ if self.draining => "no: it is leaving",
            Health::Unhealthy => "no: it is unhealthy",
            _ if participants >= participants_max => "no: it is full",
            Health::Degraded => "only if no healthy one in the region can: it is degraded",
            Health::Healthy if ppm(participants, participants_max) >= CROWDED_PPM => "behind others of its region: it is crowded",
            Health::Healthy => "yes",
        }
    }
}

/// At most `at_most` fit handlers for `meeting`: of `region` first, then healthy ones, then those not crowded, then by hash.
pub fn rank_handlers<'a>(candidates: &[HandlerCandidate<'a>], meeting: MeetingId, region: &str, at_most: usize) -> Vec<&'a NodeId> {
    let mut fit: Vec<&HandlerCandidate<'a>> = candidates.iter().filter(|candidate| candidate.is_fit()).collect();
    fit.sort_by_cached_key(|candidate| {
        let crowded = ppm(candidate.capacity.participants, candidate.capacity.participants_max) >= CROWDED_PPM;
        (candidate.region != region, candidate.health, crowded, std::cmp::Reverse(rendezvous(meeting, candidate.id)), candidate.id)
    });
    fit.into_iter().take(at_most).map(|candidate| candidate.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn region_then_health_then_room() {
        let ids: Vec<NodeId> =
            ["crowded", "degraded", "fine", "full", "gone", "leaves", "other"].iter().map(|id| id.parse().expect("a node id")).collect();
        let plain = HandlerCandidate {
            id: &ids[2],
            region: "eu",
            health: Health::Healthy,
            live: true,
            draining: false,
            capacity: HandlerCapacity { participants_max: 10, participants: 1 },
        };
        let candidates = [
            HandlerCandidate { id: &ids[0], capacity: HandlerCapacity { participants_max: 10, participants: 8 }, ..plain.clone() },
            HandlerCandidate { id: &ids[1], health: Health::Degraded, ..plain.clone() },
            plain.clone(),
            HandlerCandidate { id: &ids[3], capacity: HandlerCapacity { participants_max: 10, participants: 10 }, ..plain.clone() },
            HandlerCandidate { id: &ids[4], live: false, ..plain.clone() },
            HandlerCandidate { id: &ids[5], draining: true, ..plain.clone() },
            HandlerCandidate { id: &ids[6], region: "us", ..plain.clone() },
        ];
        let ranked = |at_most| -> Vec<&str> {
            rank_handlers(&candidates, MeetingId::from_bytes([1; 16]), "eu", at_most).into_iter().map(NodeId::as_str).collect()
        };
        assert_eq!(ranked(9), ["fine", "crowded", "degraded", "other"]);
        assert_eq!(ranked(2), ["fine", "crowded"]);
    }
}
