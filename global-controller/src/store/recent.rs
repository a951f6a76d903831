//! Meetings as they were a moment ago, so that those who only look at one need not wait for the database each time.
//!
//! In: what the database said, and which meetings this process changes. Out: a meeting as it was less than [`LIFE`] ago, and never as it was before
//! a change of this process that has been answered. What other processes change is seen once the life is over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common_core::{MeetingId, Recent};
use global_controller_core::MeetingCode;

use super::{Meeting, MeetingKey};

/// Half of the two seconds after which everybody knows of an end.
const LIFE: Duration = Duration::from_secs(1);
/// Meetings that are kept: more than are looked at within a second, about 700 bytes each.
const MEETINGS_MAX: usize = 8192;

/// See the module.
pub struct RecentMeetings(Mutex<State>);

struct State {
    meetings: Recent<MeetingId, (Instant, Arc<Meeting>)>,
    /// A code stands for one meeting for good.
    codes: Recent<MeetingCode, MeetingId>,
    /// Changes so far: what was read before the last one may be older than that.
    changes: u64,
}

/// Says what is read from now on: only what was not changed meanwhile is kept.
pub struct Reading(u64);

/// A change of a meeting that is under way. However it ends, the meeting is read anew afterwards.
pub struct Changing<'a> {
    meetings: &'a RecentMeetings,
    id: MeetingId,
}

impl RecentMeetings {
    /// None so far.
    pub fn new() -> Self {
        Self(Mutex::new(State { meetings: Recent::new(MEETINGS_MAX), codes: Recent::new(MEETINGS_MAX), changes: 0 }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked, so what is found is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A meeting, if it was read less than [`LIFE`] before `now`; else what to show when it has been read.
    pub fn find(&self, key: MeetingKey, now: Instant) -> Result<Arc<Meeting>, Reading> {
        let mut state = self.state();
        let id = match key {
            MeetingKey::Id(id) => Some(id),
            MeetingKey::Code(code) => state.codes.find(&code).copied(),
        };
        let found = id.and_then(|id| state.meetings.find(&id).cloned());
        match found {
            Some((read_at, meeting)) if now.saturating_duration_since(read_at) < LIFE => Ok(meeting),
            _ => Err(Reading(state.changes)),
        }
    }

    /// Keeps what the database said to whoever began to ask at `began`.
    pub fn note(&self, reading: &Reading, began: Instant, meeting: &Arc<Meeting>) {
        let mut state = self.state();
        if state.changes == reading.0 {
            state.meetings.note(meeting.id, (began, meeting.clone()));
            state.codes.note(meeting.code, meeting.id);
        }
    }

    /// To be held while a meeting is changed.
    pub fn changing(&self, id: MeetingId) -> Changing<'_> {
        Changing { meetings: self, id }
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        let mut state = self.meetings.state();
        state.changes += 1;
        state.meetings.forget(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ANONYMOUS_TENANT, Assignment, Settings, Status};
    use super::*;

    fn meeting(number: u8) -> Arc<Meeting> {
        Arc::new(Meeting {
            id: MeetingId::from_bytes([number; 16]),
            code: MeetingCode::from_random(number.into()),
            tenant: ANONYMOUS_TENANT,
            host: None,
            display_name: "a".into(),
            settings: Settings { max_participants: 1, recording_enabled: false, enable_e2e_encryption: false, require_auth: false },
            status: Status::Scheduled,
            region: "eu".into(),
            created_at: 0,
            ended_at: None,
            assignment: Assignment {
                controller: "mc-1".parse().expect("a node id"),
                start_number: 1,
                controller_url: String::new(),
                epoch: 1,
                reason: String::new(),
                assigned_at: 0,
            },
        })
    }

    /// Reads a meeting as the store does: from memory, or from the database, which `said` this.
    fn read(recent: &RecentMeetings, key: MeetingKey, now: Instant, said: &Arc<Meeting>) -> bool {
        match recent.find(key, now) {
            Ok(found) => {
                assert_eq!(&found, said);
                true
            }
            Err(reading) => {
                recent.note(&reading, now, said);
                false
            }
        }
    }

    #[test]
    fn a_meeting_is_known_for_a_second_by_both_its_names() {
        let (recent, now, said) = (RecentMeetings::new(), Instant::now(), meeting(1));
        let check = |key: MeetingKey, millis: u64, known: bool| {
            assert_eq!(read(&recent, key, now + Duration::from_millis(millis), &said), known, "{key:?} {millis}");
        };
        check(MeetingKey::Code(said.code), 0, false);
        check(MeetingKey::Code(said.code), 1, true);
        check(MeetingKey::Id(said.id), 999, true);
        check(MeetingKey::Id(said.id), 1000, false);
        check(MeetingKey::Id(meeting(2).id), 1000, false);
    }

    #[test]
    fn a_change_is_seen_at_once() {
        let (recent, now, [one, other]) = (RecentMeetings::new(), Instant::now(), [1, 2].map(meeting));
        let [key, others] = [&one, &other].map(|meeting| MeetingKey::Id(meeting.id));
        read(&recent, key, now, &one);
        read(&recent, others, now, &other);
        drop(recent.changing(one.id));
        assert!(read(&recent, others, now, &other), "nobody changed it");
        assert!(!read(&recent, key, now, &one), "it is read anew");
        assert!(read(&recent, key, now, &one));
    }

    /// The database answered before the change, and the answer is noted after it.
    #[test]
    fn what_a_change_overtakes_is_not_kept() {
        let (recent, now, said) = (RecentMeetings::new(), Instant::now(), meeting(1));
        let key = MeetingKey::Id(said.id);
        let Err(reading) = recent.find(key, now) else { panic!("nothing was read yet") };
        drop(recent.changing(said.id));
        recent.note(&reading, now, &said);
        assert!(recent.find(key, now).is_err());
    }
}
