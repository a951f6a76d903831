//! One frame id as it comes in: its newest groups, who listens, how steadily it arrives.
//!
//! In: records and bytes by ingress QUIC stream. Out: group numbers. Decides where a group starts and ends, and what is kept.

use std::collections::VecDeque;

use common_core::{FrameHeader, FrameKind, MeetingId, Moment, ParticipantId, StreamId};

use crate::arena::Key;
use crate::group::{Group, Record};
use crate::hub::Taking;
use crate::key_frames::KeyFrames;
use crate::limits::Limits;
use crate::subscription::Subscription;

/// A media stream's layer, or the media stream itself when it has one layer.
#[derive(Debug)]
pub struct Source {
    pub(crate) frame_id: StreamId,
    pub(crate) meeting: MeetingId,
    pub(crate) publisher: ParticipantId,
    pub(crate) is_audio: bool,
    /// Oldest first; the newest is the cache.
    pub(crate) groups: VecDeque<Group>,
    groups_begun: u64,
    /// The subscriptions to the media stream, whichever layer they take.
    pub(crate) listeners: Vec<Key<Subscription>>,
    pub(crate) taking: Taking,
    pub(crate) key_frames: KeyFrames,
    pub(crate) bytes_received: u64,
    /// When the newest record began, whatever became of it.
    pub(crate) last_arrival: Option<Moment>,
    jitter: Jitter,
}

/// Where a record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The first of a new group.
    NewGroup,
    /// The next of that one.
    Group(u64),
    /// Of none: its key frame is not here.
    Orphan,
}

impl Source {
    pub(crate) fn new(frame_id: StreamId, meeting: MeetingId, publisher: ParticipantId, is_audio: bool) -> Self {
        Self {
            frame_id,
            meeting,
            publisher,
            is_audio,
            groups: VecDeque::new(),
            groups_begun: 0,
            listeners: Vec::new(),
            taking: Taking::default(),
            key_frames: KeyFrames::default(),
            bytes_received: 0,
            last_arrival: None,
            jitter: Jitter::default(),
        }
    }

    /// Who publishes it.
    pub(crate) fn address(&self) -> (MeetingId, ParticipantId) {
        (self.meeting, self.publisher)
    }

    /// The group with that number; there are few, and the newest is asked for most.
    pub(crate) fn group(&self, number: u64) -> Option<&Group> {
        self.groups.iter().rev().find(|group| group.number == number)
    }

    pub(crate) fn group_mut(&mut self, number: u64) -> Option<&mut Group> {
        self.groups.iter_mut().rev().find(|group| group.number == number)
    }

    /// Where the record `header` of the ingress stream `writer` goes, which has appended to `current` last and, if
    /// `inside_frame`, goes on with a frame there.
    pub(crate) fn place(
        &self,
        writer: u64,
        current: Option<u64>,
        inside_frame: bool,
        header: &FrameHeader,
        now: Moment,
        limits: &Limits,
    ) -> Place {
        let newest = self.groups.back();
        if self.is_audio {
            return match newest {
                Some(group) if group.writer == writer && !group.closed && (inside_frame || !audio_group_is_over(group, now, limits)) => {
                    Place::Group(group.number)
                }
                _ => Place::NewGroup,
            };
        }
        if header.kind == FrameKind::VideoKey && !inside_frame {
            return Place::NewGroup;
        }
        if let Some(number) = current.filter(|number| self.group(*number).is_some_and(|group| group.writer == writer)) {
            return Place::Group(number);
        }
        let follows =
            |group: &&Group| group.last().is_some_and(|last| last.is_whole() && last.sequence.checked_add(1) == Some(header.sequence));
        newest.filter(follows).map_or(Place::Orphan, |group| Place::Group(group.number))
    }

    /// Opens the next group for `writer`; its number.
    pub(crate) fn open_group(&mut self, writer: u64, ordinal: u64, now: Moment) -> u64 {
        let number = self.groups_begun;
        self.groups_begun += 1;
        if let Some(before) = self.groups.back_mut() {
            before.cached = false;
        }
        self.groups.push_back(Group::new(number, ordinal, writer, now));
        self.key_frames.came();
        number
    }

    /// The group a joiner may start at, from its key frame on.
    pub(crate) fn join_group(&self, now: Moment, limits: &Limits) -> Option<&Group> {
        self.groups.back().filter(|group| group.cached && group.end() > 0 && fits_cache(group, now, limits))
    }

    /// Lets go of what nobody can need any more: groups that are over and read, and what all have read of a group that
    /// is too old or too big to join. `slowest` tells the first record of a group that a reader still needs.
    pub(crate) fn release(&mut self, now: Moment, limits: &Limits, mut slowest: impl FnMut(u64) -> Option<u64>) {
        let newest = self.groups.back().map(|group| group.number);
        for group in &mut self.groups {
            group.cached &= Some(group.number) == newest && fits_cache(group, now, limits);
            if !group.cached {
                let needed = if group.readers == 0 { u64::MAX } else { slowest(group.number).unwrap_or(u64::MAX) };
                // A record under way stays: its rest is still to be appended to it.
                let is_whole = group.last().is_none_or(Record::is_whole);
                group.trim(needed.min(group.end().saturating_sub(u64::from(!is_whole))));
            }
        }
        self.groups.retain(|group| group.readers > 0 || !group.closed || Some(group.number) == newest);
    }

    /// Counts a record's arrival.
    pub(crate) fn meter(&mut self, header: &FrameHeader, now: Moment) {
        self.last_arrival = Some(now);
        self.jitter.arrived(header, now);
    }

    /// Variation of the records' spacing on arrival, in milliseconds.
    pub(crate) fn jitter_ms(&self) -> u32 {
        self.jitter.millis()
    }
}

/// Whether the next record of sound begins a new group.
pub(crate) fn audio_group_is_over(group: &Group, now: Moment, limits: &Limits) -> bool {
    now.since(group.opened_at) >= limits.audio_group || now.since(group.last_arrival) >= limits.audio_silence
}

fn fits_cache(group: &Group, now: Moment, limits: &Limits) -> bool {
    now.since(group.opened_at) <= limits.join_key_age_max && group.cost() <= limits.join_group_bytes_max
}

/// Interarrival jitter as in RFC 3550 section 6.4.1, over the first records of frames.
#[derive(Debug, Default)]
struct Jitter {
    /// Arrival and timestamp of the frame before, in microseconds.
    before: Option<(u64, u64)>,
    micros: f64,
}

impl Jitter {
    fn arrived(&mut self, header: &FrameHeader, now: Moment) {
        let here = (now.as_micros(), header.timestamp_us);
        if let Some((arrival, timestamp)) = self.before {
            if timestamp == header.timestamp_us {
                return;
            }
            let spacing = (here.0 as f64 - arrival as f64) - (here.1 as f64 - timestamp as f64);
            self.micros += (spacing.abs() - self.micros) / 16.0;
        }
        self.before = Some(here);
    }

    fn millis(&self) -> u32 {
        // A float to integer cast saturates.
        (self.micros / 1000.0) as u32
    }
}
