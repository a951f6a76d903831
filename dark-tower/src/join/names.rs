//! Who is who in lines for people: display names with the beginning of an id, as `Ana (1a2b3c4d)`.
//!
//! In: the roster, events. Out: words that cannot move a terminal. Knows as many as the roster does.

use std::collections::BTreeMap;

use client::{Event, Participant, Roster};
use common_core::ParticipantId;
use common_core::name::{NAME_CHARS_MAX, escape};

/// Characters of an id that lines show: enough to tell the people and media streams of a meeting apart.
pub(super) const SHORT_ID_CHARS: usize = 8;

/// The beginning of an id.
pub(super) fn short(id: impl ToString) -> String {
    id.to_string().chars().take(SHORT_ID_CHARS).collect()
}

/// A stranger's name for a line.
pub(super) fn shown_name(name: &str) -> String {
    escape(name, NAME_CHARS_MAX)
}

/// Display names by id.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_id: BTreeMap<ParticipantId, String>,
}

impl Names {
    /// Oneself and everybody of the roster, and nobody else.
    pub(super) fn fill(&mut self, me: &Participant, roster: &Roster) {
        self.by_id = std::iter::once(me).chain(roster.participants()).map(|it| (it.participant_id, it.name.clone())).collect();
    }

    /// To be told before the event's line: who is new in it.
    pub(super) fn before(&mut self, event: &Event) {
        if let Event::ParticipantJoined(participant) = event {
            self.by_id.insert(participant.participant_id, participant.name.clone());
        }
    }

    /// To be told after it: who is needed no more.
    pub(super) fn after(&mut self, event: &Event) {
        if let Event::ParticipantLeft { participant_id, .. } = event {
            self.by_id.remove(participant_id);
        }
    }

    /// Such as `Ana (1a2b3c4d)`.
    pub(super) fn of(&self, id: ParticipantId) -> String {
        match self.by_id.get(&id).filter(|name| !name.is_empty()) {
            Some(name) => format!("{} ({})", shown_name(name), short(id)),
            None => format!("somebody ({})", short(id)),
        }
    }

    /// The display name alone, if it is known.
    pub(super) fn plain(&self, id: ParticipantId) -> Option<&str> {
        self.by_id.get(&id).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use client::roster::LeaveReason;

    use super::*;

    /// Names stand until after the line that somebody has left, and no longer.
    #[test]
    fn names_come_and_go_with_people() {
        let participant_id = ParticipantId::from_bytes([0xab; 16]);
        let joined = Event::ParticipantJoined(Participant { name: "A\u{1b}[2Jna".into(), ..Participant::unknown(participant_id) });
        let left = Event::ParticipantLeft { participant_id, reason: LeaveReason::Voluntary };
        let mut names = Names::default();
        assert_eq!(names.of(participant_id), "somebody (abababab)");
        names.before(&joined);
        assert_eq!(names.of(participant_id), "A\\u{1b}[2Jna (abababab)");
        names.after(&joined);
        names.before(&left);
        assert_eq!(names.of(participant_id), "A\\u{1b}[2Jna (abababab)");
        names.after(&left);
        assert_eq!((names.of(participant_id), names.plain(participant_id)), ("somebody (abababab)".into(), None));
    }
}
