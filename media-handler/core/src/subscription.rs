//! One subscriber's wish for one media stream, and how far it has got: cursors into shared groups, and counted fates.
//!
//! A subscription never holds a byte. What it lags behind is pinned in the group logs, and bounded there.

use std::time::Duration;

use common_core::media::SubscriptionOptions;
use common_core::{MeetingId, Moment, ParticipantId, StreamId};

use crate::arena::Key;
use crate::fate::{Fate, Fates};
use crate::group::{Group, Position};
use crate::hub::Limiter;
use crate::key_frames::Losses;
use crate::session::Session;
use crate::source::Source;

/// Index of a group stream among those open to one subscriber.
pub type Slot = usize;

/// Why QUIC is not given more of a group for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// QUIC takes no more.
    Path,
    /// No stream can be opened for it.
    NoStream,
    /// The subscriber is sent no more in this time than [`Limits::egress_bitrate_max`](crate::Limits::egress_bitrate_max).
    Cap,
}

impl Block {
    /// What becomes of records that are late for this.
    pub const fn fate(self) -> Fate {
        match self {
            Block::Path => Fate::Expired,
            Block::NoStream => Fate::StreamLimit,
            Block::Cap => Fate::Bandwidth,
        }
    }
}

/// The QUIC stream of a group that was late, which is left open and blocked: that it can be written again is how the handler learns that
/// its subscriber takes bytes again. Nothing more is written on it. It costs nothing: what QUIC holds of it has been taken, or goes out
/// while there is nothing better.
#[derive(Debug)]
pub(crate) struct Parked {
    pub slot: Slot,
    /// Bytes that QUIC took.
    pub taken: u64,
    /// Whether it is to be tried.
    pub is_due: bool,
    /// Whether QUIC took none when it was tried last.
    pub is_blocked: bool,
}

/// How far one group has been handed over.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub group: u64,
    pub position: Position,
    /// Its QUIC stream, once it has one.
    pub slot: Option<Slot>,
    /// Why it takes no more for now, if so.
    pub blocked: Option<Block>,
    /// Whether it was blocked, and has taken nothing since.
    pub was_blocked: bool,
    /// While blocked, the memory that what it lags behind takes; counted in its session's sum as well.
    pub lag: u64,
    /// Bytes that its QUIC stream took.
    pub taken: u64,
    /// When the group became due here: age counts from the later of this and a record's arrival.
    pub due: Moment,
}

impl Cursor {
    pub fn new(group: u64, record: u64, due: Moment) -> Self {
        Self {
            group,
            position: Position { record, chunk: 0, offset: 0 },
            slot: None,
            blocked: None,
            was_blocked: false,
            lag: 0,
            taken: 0,
            due,
        }
    }

    /// Since when the oldest byte not handed over has been due.
    pub fn oldest_due(&self, group: &Group) -> Option<Moment> {
        let record = group.record(self.position.record).filter(|_| group.has_bytes(&self.position))?;
        Some(record.arrival.max(self.due))
    }

    /// What a late or ended group's missing records come to, and how many there are.
    pub fn rest(&self, group: &Group) -> u64 {
        group.end().saturating_sub(self.position.record)
    }
}

/// Which records a subscription takes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Following {
    /// None before the next group begins.
    Waiting,
    /// Those of this group, until a newer one begins.
    Group(u64),
}

/// See the module's head.
#[derive(Debug)]
pub struct Subscription {
    pub(crate) meeting: MeetingId,
    pub(crate) participant: ParticipantId,
    pub(crate) media_stream: StreamId,
    pub(crate) is_audio: bool,
    /// The layer that is forwarded.
    pub(crate) source: Key<Source>,
    pub(crate) options: SubscriptionOptions,
    pub(crate) budget: Duration,
    /// Where it is delivered; none while the subscriber has no media session.
    pub(crate) session: Option<Key<Session>>,
    pub(crate) following: Following,
    /// Oldest group first.
    pub(crate) cursors: Vec<Cursor>,
    /// Whether it is in its session's list of those with something due.
    pub(crate) is_ready: bool,
    /// Whether it is in its session's list of those with a blocked cursor.
    pub(crate) is_blocked: bool,
    /// Until then, or until it has caught up, lateness is forgiven.
    pub(crate) burst_until: Option<Moment>,
    /// While it waits for a key frame because its group was late.
    pub(crate) parked: Option<Parked>,
    /// How often it wanted a key frame because it lost its group.
    pub(crate) losses: Losses,
    pub(crate) fates: Fates,
    pub(crate) bytes_sent: u64,
    /// What its subscriber was told last.
    pub(crate) reported: Option<(Limiter, Fates)>,
    /// What it is to be told next; it is then in its session's list of those with something to tell.
    pub(crate) to_report: Option<Limiter>,
}

impl Subscription {
    /// Whether a cursor stands in `group`.
    pub(crate) fn reads(&self, group: u64) -> bool {
        self.cursors.iter().any(|cursor| cursor.group == group)
    }
}
