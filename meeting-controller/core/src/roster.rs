//! Who is in the meeting: participants, the session each is on, and the windows of those whose session is lost.

use std::collections::{BTreeMap, BTreeSet};

use common_core::grant::Role;
use common_core::{Generation, Moment, ParticipantId};

use crate::message::{Capabilities, SessionKey};
use crate::rate::RateWindow;

/// Where a participant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// On this session.
    On(SessionKey),
    /// Lost, and expected back until then.
    Lost(Moment),
}

/// One participant.
#[derive(Debug)]
pub(crate) struct Member {
    pub participant_id: ParticipantId,
    pub name: String,
    pub role: Role,
    pub subject: String,
    pub is_account: bool,
    pub joined_at_ms: u64,
    /// In the order of joins.
    pub number: u64,
    pub capabilities: Capabilities,
    pub auto_subscribe: bool,
    pub is_muted: bool,
    pub is_video_on: bool,
    pub generation: Generation,
    pub presence: Presence,
    pub messages: RateWindow,
    pub audio_levels: RateWindow,
    pub resumes: RateWindow,
    /// Whether the last audio level that was passed on was over 0.
    pub is_speaking: bool,
}

/// All participants. A member is on at most one session, and a session has at most one member.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    members: BTreeMap<ParticipantId, Member>,
    by_session: BTreeMap<SessionKey, ParticipantId>,
    windows: BTreeSet<(Moment, ParticipantId)>,
}

impl Roster {
    /// Somebody new, whose presence must be on a session.
    pub fn add(&mut self, member: Member) {
        if let Presence::On(session) = member.presence {
            self.by_session.insert(session, member.participant_id);
        }
        self.members.insert(member.participant_id, member);
    }

    /// Moves a participant; returns the session it was on.
    pub fn set_presence(&mut self, participant_id: ParticipantId, presence: Presence) -> Option<SessionKey> {
        let member = self.members.get_mut(&participant_id)?;
        let before = std::mem::replace(&mut member.presence, presence);
        if let Presence::On(session) = presence {
            self.by_session.insert(session, participant_id);
        }
        if let Presence::Lost(until) = presence {
            self.windows.insert((until, participant_id));
        }
        match before {
            Presence::On(session) => {
                if presence != before {
                    self.by_session.remove(&session);
                }
                Some(session)
            }
            Presence::Lost(until) => {
                if presence != before {
                    self.windows.remove(&(until, participant_id));
                }
                None
            }
        }
    }

    /// For good.
    pub fn remove(&mut self, participant_id: ParticipantId) -> Option<Member> {
        let member = self.members.remove(&participant_id)?;
        match member.presence {
            Presence::On(session) => self.by_session.remove(&session).is_some(),
            Presence::Lost(until) => self.windows.remove(&(until, participant_id)),
        };
        Some(member)
    }

    /// By id.
    pub fn find(&self, participant_id: ParticipantId) -> Option<&Member> {
        self.members.get(&participant_id)
    }

    /// By id.
    pub fn find_mut(&mut self, participant_id: ParticipantId) -> Option<&mut Member> {
        self.members.get_mut(&participant_id)
    }

    /// Who is on this session.
    pub fn on_session(&self, session: SessionKey) -> Option<ParticipantId> {
        self.by_session.get(&session).copied()
    }

    /// The session a participant is on.
    pub fn session_of(&self, participant_id: ParticipantId) -> Option<SessionKey> {
        match self.members.get(&participant_id)?.presence {
            Presence::On(session) => Some(session),
            Presence::Lost(_) => None,
        }
    }

    /// Sessions of everyone but one.
    pub fn sessions_but(&self, participant_id: ParticipantId) -> Vec<SessionKey> {
        self.by_session.iter().filter(|(_, who)| **who != participant_id).map(|(session, _)| *session).collect()
    }

    /// Everyone, by id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// Everyone, in the order of joins.
    pub fn by_arrival(&self) -> Vec<&Member> {
        let mut members: Vec<&Member> = self.members.values().collect();
        members.sort_by_key(|member| member.number);
        members
    }

    /// Participants, lost ones included.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// When the next window ends.
    pub fn deadline(&self) -> Option<Moment> {
        self.windows.first().map(|(until, _)| *until)
    }

    /// Whose window is over, first over first.
    pub fn overdue(&self, now: Moment) -> Vec<ParticipantId> {
        self.windows.iter().take_while(|(until, _)| *until <= now).map(|(_, who)| *who).collect()
    }
}
