//! Where meetings go, as the store keeps it.

use common_core::{MeetingId, NodeId};
use global_controller_core::MeetingCode;

use super::UnixMillis;

/// Where new joins of a meeting go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The controller.
    pub controller: NodeId,
    /// The controller's process that was told of the meeting.
    pub start_number: u64,
    /// Its public URL at that time.
    pub controller_url: String,
    /// One more with each assignment of the meeting; the first is 1.
    pub epoch: i64,
    /// Why this one, in words.
    pub reason: String,
    /// When.
    pub assigned_at: UnixMillis,
}

/// A meeting that has not ended, and where it is assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedMeeting {
    /// Which.
    pub id: MeetingId,
    /// Its short code.
    pub code: MeetingCode,
    /// Where.
    pub assignment: Assignment,
}
