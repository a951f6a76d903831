//! What this node remembers of meetings that have no task: what they were created with, who stays out, which tokens are spent.
//!
//! Assigned here still, as far as a global controller knows. A meeting sleeps when it was empty for long, and after its task broke off.

use std::collections::BTreeMap;

use common_core::{MeetingId, Moment};
use meeting_controller_core::{Memory, Settings};

/// Meetings that sleep: an hour of a busy controller's, at two hundred bytes each.
const MEETINGS_MAX: usize = 100_000;
/// See [`Dormant::newest`]. Join tokens live for minutes, so those that sleep for longer are nobody's destination.
const NEWEST_MAX: usize = 5_000;
/// Subjects and tokens remembered in all of them together, at a hundred bytes each.
const ENTRIES_MAX: usize = 500_000;

/// One that sleeps.
#[derive(Debug, Default)]
pub(crate) struct Asleep {
    pub settings: Settings,
    pub memory: Memory,
}

/// All that sleep. When there are too many, the oldest are forgotten: their next assignment brings what a global controller knows of them.
#[derive(Debug, Default)]
pub(crate) struct Dormant {
    by_id: BTreeMap<MeetingId, (u64, Asleep)>,
    by_age: BTreeMap<u64, MeetingId>,
    last: u64,
    entries: usize,
}

impl Dormant {
    /// Falls asleep; what was remembered of it already stays.
    pub fn put(&mut self, now: Moment, meeting_id: MeetingId, mut asleep: Asleep) {
        if let Some(before) = self.take(meeting_id) {
            asleep.memory.absorb(before.memory);
        }
        asleep.memory.forget_expired(now);
        self.last += 1;
        self.entries += asleep.memory.len();
        self.by_age.insert(self.last, meeting_id);
        self.by_id.insert(meeting_id, (self.last, asleep));
        while self.by_id.len() > MEETINGS_MAX || (self.entries > ENTRIES_MAX && self.by_id.len() > 1) {
            let Some((_, oldest)) = self.by_age.first_key_value() else { return };
            let oldest = *oldest;
            self.take(oldest);
        }
    }

    /// Wakes, or is over.
    pub fn take(&mut self, meeting_id: MeetingId) -> Option<Asleep> {
        let (number, asleep) = self.by_id.remove(&meeting_id)?;
        self.by_age.remove(&number);
        self.entries -= asleep.memory.len();
        Some(asleep)
    }

    /// Those that fell asleep last: as many as a controller can ask about in the moment that it has after a freeze.
    pub fn newest(&self) -> impl Iterator<Item = MeetingId> {
        self.by_age.values().rev().take(NEWEST_MAX).copied()
    }

    /// Whether it sleeps here.
    pub fn contains(&self, meeting_id: MeetingId) -> bool {
        self.by_id.contains_key(&meeting_id)
    }

    /// Keeps subjects out of a meeting that sleeps; false if it does not.
    pub fn refuse(&mut self, now: Moment, meeting_id: MeetingId, subjects: &[String]) -> bool {
        let Some(mut asleep) = self.take(meeting_id) else { return false };
        asleep.memory.refuse(subjects);
        self.put(now, meeting_id, asleep);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meeting(number: usize) -> MeetingId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
        MeetingId::from_bytes(bytes)
    }

    fn with_refusals(count: usize) -> Asleep {
        let mut memory = Memory::default();
        memory.refuse(&(0..count).map(|number| number.to_string()).collect::<Vec<_>>());
        Asleep { settings: Settings::default(), memory }
    }

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut dormant = Dormant::default();
        for number in 0..=MEETINGS_MAX {
            dormant.put(Moment::ORIGIN, meeting(number), Asleep::default());
        }
        let newest: Vec<MeetingId> = dormant.newest().collect();
        assert_eq!(
            (newest.len(), newest.first()),
            (NEWEST_MAX, Some(&meeting(MEETINGS_MAX))),
            "those that were put last are asked about first"
        );
        assert_eq!([0, 1, MEETINGS_MAX].map(|number| dormant.contains(meeting(number))), [false, true, true]);
    }

    #[test]
    fn what_is_remembered_is_bounded_in_all() {
        let mut dormant = Dormant::default();
        let each = 10_000;
        for number in 0..=ENTRIES_MAX / each {
            dormant.put(Moment::ORIGIN, meeting(number), with_refusals(each));
        }
        assert_eq!([0, 1].map(|number| dormant.contains(meeting(number))), [false, true]);
        assert_eq!(dormant.entries, ENTRIES_MAX);
    }

    #[test]
    fn what_is_remembered_adds_up() {
        let mut dormant = Dormant::default();
        assert!(!dormant.refuse(Moment::ORIGIN, meeting(1), &["a".to_owned()]));
        dormant.put(Moment::ORIGIN, meeting(1), with_refusals(2));
        assert!(dormant.refuse(Moment::ORIGIN, meeting(1), &["a".to_owned()]));
        dormant.put(Moment::ORIGIN, meeting(1), with_refusals(3));
        assert_eq!(dormant.take(meeting(1)).map(|asleep| asleep.memory.len()), Some(4));
        assert_eq!(dormant.entries, 0);
    }
}
