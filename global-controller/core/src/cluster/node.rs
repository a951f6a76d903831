//! What is known of one node.

use std::collections::BTreeMap;
use std::time::Duration;

use common_core::{MeetingId, Moment};
use thiserror::Error;

use super::NODES_MAX;
use crate::placement::{ControllerCapacity, Health};
use crate::ranking::HandlerCapacity;

/// Calls in a row that a controller has to leave unanswered before it is passed over: one may be lost with its connection.
const FAILURES_MAX: u32 = 2;
/// For how long it is passed over at first; doubles with each further failure,
const AVOID_MIN: Duration = Duration::from_secs(5);
/// up to this: a minute after it is well again it is in use again, even if nobody mended anything here.
const AVOID_MAX: Duration = Duration::from_secs(60);

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
    /// Of its process: a later one of the same id has a greater one.
    pub start_number: u64,
}

/// A node that registered. `L` is what it carries.
#[derive(Clone, Debug)]
pub struct Node<L> {
    /// What it said of itself.
    pub record: NodeRecord,
    /// How it says it is.
    pub health: Health,
    /// Why, in words; empty while it is healthy.
    pub health_reason: String,
    /// Whether it said that it leaves.
    pub draining: bool,
    /// What it carries.
    pub load: L,
    /// When it was last heard of.
    pub beat_at: Moment,
}

/// What a controller carries.
#[derive(Clone, Debug, Default)]
pub struct ControllerLoad {
    /// As its last heartbeat said.
    pub capacity: ControllerCapacity,
    /// Meetings placed there of which it is being told now: whether its next heartbeat counts them is not known.
    pub(super) telling: u32,
    /// Meetings that it has taken since its last heartbeat, which did not count them.
    pub(super) taken: u32,
    /// Meetings with someone in them, and how many.
    pub(super) meetings: BTreeMap<MeetingId, u32>,
    pub(super) calls: Calls,
}

impl ControllerLoad {
    /// Its capacity with what was placed since the last heartbeat counted in.
    pub(super) fn expected(&self) -> ControllerCapacity {
        let placed = self.telling.saturating_add(self.taken);
        ControllerCapacity { meetings: self.capacity.meetings.saturating_add(placed), ..self.capacity }
    }

    /// Whether someone is in `meeting` there.
    pub fn runs(&self, meeting: MeetingId) -> bool {
        self.meetings.contains_key(&meeting)
    }
}

/// How calls to a controller fare: one that beats but does not answer is passed over for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Calls {
    failures: u32,
    avoid_until: Option<Moment>,
}

impl Calls {
    pub(super) fn note(&mut self, now: Moment, answered: bool) {
        if answered {
            *self = Self::default();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if let Some(further) = self.failures.checked_sub(FAILURES_MAX) {
            let length = AVOID_MIN.saturating_mul(1_u32.checked_shl(further).unwrap_or(u32::MAX)).min(AVOID_MAX);
            self.avoid_until = Some(now + length);
        }
    }

    pub(super) fn is_avoided(&self, now: Moment) -> bool {
        self.avoid_until.is_some_and(|until| now < until)
    }
}

/// One heartbeat of a controller.
#[derive(Clone, Debug, Default)]
pub struct ControllerBeat {
    /// How it says it is.
    pub health: Health,
    /// Why.
    pub health_reason: String,
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
    /// Why.
    pub health_reason: String,
    /// What it carries.
    pub capacity: HandlerCapacity,
    /// As at registration, kept current.
    pub certificate_hashes: Vec<[u8; 32]>,
}

/// A later process of this id is live: this one has to yield.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a later process of this node id is live; it started as {by}")]
pub struct Superseded {
    /// Its start number.
    pub by: u64,
}

/// Why a node is not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RegisterError {
    /// [`NODES_MAX`] are there.
    #[error("{NODES_MAX} nodes of this kind are registered already")]
    TooMany,
    /// See [`Superseded`].
    #[error(transparent)]
    Superseded(#[from] Superseded),
}

/// Why a heartbeat does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BeatError {
    /// The node is not known, or is known by another start number: it has to register.
    #[error("this node is not registered")]
    MustRegister,
    /// See [`Superseded`].
    #[error(transparent)]
    Superseded(#[from] Superseded),
}
