//! Who is in the meeting and what they publish: a snapshot, then changes applied in order. A pure function of what came.
//!
//! In: snapshots and changes, already converted to words. Out: events that say what is different now. Never does I/O.

use std::collections::BTreeMap;
use std::sync::Arc;

use common_core::media::MediaStream;
use common_core::{ParticipantId, StreamId};

use crate::event::Event;

/// Participants that are known at a time: more than any meeting may hold. More are left out.
pub const PARTICIPANTS_MAX: usize = 2_000;
/// Media streams that are known of one participant: twice as many as the contract allows (DESIGN section 4). More are left out.
pub const STREAMS_MAX: usize = 64;

/// Someone in the meeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// Kept across resumes.
    pub participant_id: ParticipantId,
    /// As they gave it; may hold anything printable, so escape it before a terminal or a page.
    pub name: String,
    /// "host" or "attendee".
    pub role: String,
    /// Account; empty for a guest.
    pub user_id: String,
    /// Milliseconds since the epoch, by the server's clock.
    pub joined_at_ms: u64,
    /// As they say.
    pub is_muted: bool,
    /// As they say.
    pub is_video_on: bool,
    /// What they publish.
    pub streams: BTreeMap<StreamId, MediaStream>,
}

impl Participant {
    /// Somebody of whom nothing is known but the id: unmuted and without a picture, as everybody is taken to be.
    pub fn unknown(participant_id: ParticipantId) -> Self {
        Self {
            participant_id,
            name: String::new(),
            role: String::new(),
            user_id: String::new(),
            joined_at_ms: 0,
            is_muted: false,
            is_video_on: false,
            streams: BTreeMap::new(),
        }
    }
}

/// Why somebody left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaveReason {
    /// By themselves.
    Voluntary,
    /// A host removed them.
    Kicked,
    /// They did not come back within the reconnection window.
    ConnectionLost,
    /// Everybody left: the meeting is over.
    MeetingEnded,
}

impl LeaveReason {
    /// The contract's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Voluntary => "VOLUNTARY",
            Self::Kicked => "KICKED",
            Self::ConnectionLost => "CONNECTION_LOST",
            Self::MeetingEnded => "MEETING_ENDED",
        }
    }
}

/// What a participant says about themselves; what is absent stays.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StateUpdate {
    /// Whether their sound is off.
    pub is_muted: Option<bool>,
    /// Whether their picture is on.
    pub is_video_on: Option<bool>,
    /// 0 to 1, on starting and stopping to speak.
    pub audio_level: Option<f32>,
}

/// One change, in the server's order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    Joined(Participant),
    Left { participant_id: ParticipantId, reason: LeaveReason },
    Published(MediaStream),
    Unpublished { participant_id: ParticipantId, stream_id: StreamId },
    State { participant_id: ParticipantId, update: StateUpdate },
}

/// Everybody else in the meeting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// Shared, so that a snapshot costs little in a large meeting.
    participants: BTreeMap<ParticipantId, Arc<Participant>>,
}

impl Roster {
    /// A roster out of a snapshot.
    pub(crate) fn new(snapshot: impl IntoIterator<Item = Participant>) -> Self {
        let participants =
            snapshot.into_iter().take(PARTICIPANTS_MAX).map(|participant| (participant.participant_id, Arc::new(participant)));
        Self { participants: participants.collect() }
    }

    /// Everybody, by id.
    pub fn participants(&self) -> impl Iterator<Item = &Participant> {
        self.participants.values().map(Arc::as_ref)
    }

    /// One participant.
    pub fn participant(&self, id: ParticipantId) -> Option<&Participant> {
        self.participants.get(&id).map(Arc::as_ref)
    }

    /// Every media stream of everybody.
    pub fn streams(&self) -> impl Iterator<Item = &MediaStream> {
        self.participants.values().flat_map(|participant| participant.streams.values())
    }

    /// The media stream that a frame's id belongs to: its own id, or a layer's.
    pub fn stream_of_frame(&self, id: StreamId) -> Option<&MediaStream> {
        self.streams().find(|stream| stream.stream_id == id || stream.frame_ids().contains(&id))
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.participants.len()
    }

    /// Whether nobody else is here.
    pub fn is_empty(&self) -> bool {
        self.participants.is_empty()
    }

    /// Applies one change. A change about somebody who is not here changes nothing and gives no event.
    pub(crate) fn apply(&mut self, change: Change) -> Option<Event> {
        match change {
            Change::Joined(participant) => {
                if self.participants.len() >= PARTICIPANTS_MAX && !self.participants.contains_key(&participant.participant_id) {
                    return None;
                }
                self.participants.insert(participant.participant_id, Arc::new(participant.clone()));
                Some(Event::ParticipantJoined(participant))
            }
            Change::Left { participant_id, reason } => {
                self.participants.remove(&participant_id)?;
                Some(Event::ParticipantLeft { participant_id, reason })
            }
            Change::Published(stream) => {
                let participant = Arc::make_mut(self.participants.get_mut(&stream.participant_id)?);
                if participant.streams.len() >= STREAMS_MAX && !participant.streams.contains_key(&stream.stream_id) {
                    return None;
                }
                participant.streams.insert(stream.stream_id, stream.clone());
                Some(Event::StreamPublished(stream))
            }
            Change::Unpublished { participant_id, stream_id } => {
                Arc::make_mut(self.participants.get_mut(&participant_id)?).streams.remove(&stream_id)?;
                Some(Event::StreamUnpublished { participant_id, stream_id })
            }
            Change::State { participant_id, update } => {
                let participant = Arc::make_mut(self.participants.get_mut(&participant_id)?);
                participant.is_muted = update.is_muted.unwrap_or(participant.is_muted);
                participant.is_video_on = update.is_video_on.unwrap_or(participant.is_video_on);
                Some(Event::StateChanged { participant_id, update })
            }
        }
    }

    /// A new snapshot replaces everything, absences included. The events are those that lead from the old roster to the
    /// new one, in this order: who left, what was unpublished, who came, what was published, what state changed.
    pub(crate) fn replace(&mut self, snapshot: impl IntoIterator<Item = Participant>) -> Vec<Event> {
        let new = Self::new(snapshot);
        let mut changes = Vec::new();
        for participant_id in self.participants.keys().filter(|id| !new.participants.contains_key(id)) {
            changes.push(Change::Left { participant_id: *participant_id, reason: LeaveReason::ConnectionLost });
        }
        let both = || new.participants.values().filter_map(|after| Some((self.participants.get(&after.participant_id)?, after)));
        for (before, after) in both() {
            let changed = before.streams.values().filter(|stream| after.streams.get(&stream.stream_id) != Some(stream));
            changes
                .extend(changed.map(|stream| Change::Unpublished { participant_id: before.participant_id, stream_id: stream.stream_id }));
        }
        for after in new.participants.values().filter(|it| !self.participants.contains_key(&it.participant_id)) {
            changes.push(Change::Joined(after.as_ref().clone()));
        }
        for (before, after) in both() {
            let changed = after.streams.values().filter(|stream| before.streams.get(&stream.stream_id) != Some(stream));
            changes.extend(changed.cloned().map(Change::Published));
        }
        for (before, after) in both().filter(|(a, b)| (a.is_muted, a.is_video_on) != (b.is_muted, b.is_video_on)) {
            let update = StateUpdate {
                is_muted: (before.is_muted != after.is_muted).then_some(after.is_muted),
                is_video_on: (before.is_video_on != after.is_video_on).then_some(after.is_video_on),
                audio_level: None,
            };
            changes.push(Change::State { participant_id: after.participant_id, update });
        }
        let events = changes.into_iter().filter_map(|change| self.apply(change)).collect();
        // Names, roles and times have no event of their own.
        *self = new;
        events
    }
}

#[cfg(test)]
mod tests {
    use common_core::media::StreamType;
    use proptest::prelude::*;

    use super::*;

    fn participant(id: u8, streams: &[u8], is_muted: bool) -> Participant {
        let participant_id = ParticipantId::from_bytes([id; 16]);
        Participant {
            participant_id,
            name: format!("p{id}"),
            role: "attendee".into(),
            user_id: String::new(),
            joined_at_ms: 0,
            is_muted,
            is_video_on: false,
            streams: streams.iter().map(|stream| (StreamId::from_bytes([*stream; 16]), stream_of(id, *stream))).collect(),
        }
    }

    fn stream_of(id: u8, stream: u8) -> MediaStream {
        MediaStream {
            stream_id: StreamId::from_bytes([stream; 16]),
            participant_id: ParticipantId::from_bytes([id; 16]),
            stream_type: StreamType::Audio,
            codec: "Opus".into(),
            max_bitrate: 0,
            video: None,
            sample_rate: 48_000,
            channels: 2,
        }
    }

    fn snapshot() -> impl Strategy<Value = Vec<Participant>> {
        let one = (0_u8..6, prop::collection::btree_set(0_u8..4, 0..3), any::<bool>());
        prop::collection::vec(one, 0..6).prop_map(|all| {
            let each = all.into_iter().map(|(id, streams, muted)| {
                let streams: Vec<u8> = streams.into_iter().map(|stream| id * 10 + stream).collect();
                participant(id, &streams, muted)
            });
            Roster::new(each).participants().cloned().collect()
        })
    }

    /// The change that an event tells of.
    fn change(event: Event) -> Change {
        match event {
            Event::ParticipantJoined(participant) => Change::Joined(participant),
            Event::ParticipantLeft { participant_id, reason } => Change::Left { participant_id, reason },
            Event::StreamPublished(stream) => Change::Published(stream),
            Event::StreamUnpublished { participant_id, stream_id } => Change::Unpublished { participant_id, stream_id },
            Event::StateChanged { participant_id, update } => Change::State { participant_id, update },
            other => panic!("a roster does not say {other:?}"),
        }
    }

    proptest! {
        /// Whoever only follows the events of a resume ends with the roster of the new snapshot.
        #[test]
        fn events_of_a_replacement_lead_to_the_snapshot(before in snapshot(), after in snapshot()) {
            let mut roster = Roster::new(before.clone());
            let mut follower = Roster::new(before);
            for event in roster.replace(after.clone()) {
                prop_assert!(follower.apply(change(event)).is_some(), "every event changes something");
            }
            prop_assert_eq!(&roster, &Roster::new(after.clone()));
            prop_assert_eq!(&follower, &roster);
            prop_assert!(roster.replace(after).is_empty(), "the same snapshot again is no news");
        }
    }

    #[test]
    fn changes_about_strangers_change_nothing() {
        let mut roster = Roster::new([participant(1, &[10], false)]);
        let before = roster.clone();
        let stranger = ParticipantId::from_bytes([9; 16]);
        for change in [
            Change::Left { participant_id: stranger, reason: LeaveReason::Voluntary },
            Change::Published(stream_of(9, 90)),
            Change::Unpublished { participant_id: stranger, stream_id: StreamId::from_bytes([10; 16]) },
            Change::State { participant_id: stranger, update: StateUpdate { is_muted: Some(true), ..Default::default() } },
        ] {
            assert_eq!(roster.apply(change), None);
        }
        assert_eq!(roster, before);
    }
}
