//! What participants say and do to each other: chat, state, relay, leaving, removing.

use std::time::Duration;

use bytes::Bytes;
use common_core::id::MessageId;
use common_core::{Code, Moment, ParticipantId};

use super::{Meeting, Stamp};
use crate::handler::{Purpose, Reply};
use crate::message::{ChatMessage, LeaveReason, Message, Refusal, StateChange};
use crate::rate::Verdict;
use crate::roster::Presence;

/// One line of chat, in bytes of UTF-8 (DESIGN section 4).
const CHAT_BYTES_MAX: usize = 4 * 1024;
/// A client's id of a line of chat; a UUID has 36.
const CLIENT_MESSAGE_ID_BYTES_MAX: usize = 64;
/// A relayed payload (DESIGN section 4).
const RELAY_BYTES_MAX: usize = 48 * 1024;
/// The kind of a relayed payload; "answer" has 6.
const RELAY_KIND_BYTES_MAX: usize = 64;
/// Audio levels of one participant that are passed on in a second (DESIGN section 4).
const AUDIO_LEVELS_MAX: u32 = 2;

impl Meeting {
    pub(super) fn say(&mut self, reply: Reply, sender_id: ParticipantId, client_message_id: String, content: String, stamp: Stamp) {
        if let Some(message) = self.chat.repeated(sender_id, &client_message_id) {
            self.answer(reply, Message::Chat(message));
            return;
        }
        if content.is_empty() || content.len() > CHAT_BYTES_MAX {
            self.refuse(reply, Refusal::field("content", format!("1 to {CHAT_BYTES_MAX} bytes are needed")));
            return;
        }
        if client_message_id.len() > CLIENT_MESSAGE_ID_BYTES_MAX {
            self.refuse(reply, Refusal::field("client_message_id", format!("at most {CLIENT_MESSAGE_ID_BYTES_MAX} bytes")));
            return;
        }
        let sender_name = self.roster.find(sender_id).map(|member| member.name.clone()).unwrap_or_default();
        let message = self.chat.append(ChatMessage {
            message_id: MessageId::from_bytes(stamp.id),
            sender_id,
            content,
            sent_at_ms: stamp.unix_micros / 1000,
            sequence: 0,
            sender_name,
            client_message_id,
        });
        // Who wants no reply reads the line as everyone else does: chat has no holes.
        self.send(vec![reply.session], reply.request_id, Message::Chat(message.clone()));
        self.tell_others(sender_id, Message::Chat(message));
    }

    /// Audio levels over the rate are dropped without a word, as a client may stop and start to speak within a second.
    /// The end of a speech always passes, so that nobody seems to speak for ever.
    pub(super) fn change_state(&mut self, now: Moment, reply: Reply, participant_id: ParticipantId, mut change: StateChange) {
        if change.audio_level.is_some_and(|level| !(0.0..=1.0).contains(&level)) {
            self.refuse(reply, Refusal::field("audio_level", "a number from 0 to 1 is needed"));
            return;
        }
        let Some(member) = self.roster.find_mut(participant_id) else { return };
        let falls_silent = change.audio_level == Some(0.0) && member.is_speaking;
        if change.audio_level.is_some()
            && !falls_silent
            && member.audio_levels.count(now, AUDIO_LEVELS_MAX, Duration::from_secs(1)) != Verdict::Serve
        {
            change.audio_level = None;
        }
        member.is_speaking = change.audio_level.map_or(member.is_speaking, |level| level > 0.0);
        member.is_muted = change.is_muted.unwrap_or(member.is_muted);
        member.is_video_on = change.is_video_on.unwrap_or(member.is_video_on);
        self.answer(reply, Message::Ack);
        if change != StateChange::default() {
            self.tell_others(participant_id, Message::State { participant_id, change });
        }
    }

    pub(super) fn relay(&mut self, reply: Reply, source: ParticipantId, target: ParticipantId, kind: String, payload: Bytes) {
        if payload.len() > RELAY_BYTES_MAX {
            self.refuse(reply, Refusal::field("payload", format!("at most {RELAY_BYTES_MAX} bytes")));
        } else if kind.len() > RELAY_KIND_BYTES_MAX {
            self.refuse(reply, Refusal::field("kind", format!("at most {RELAY_KIND_BYTES_MAX} bytes")));
        } else if let Some(session) = self.roster.session_of(target) {
            self.send(vec![session], 0, Message::Relay { target, source, kind, payload });
            self.answer(reply, Message::Ack);
        } else {
            // Nothing is kept for who is away: the sender decides whether to say it again.
            self.refuse(reply, Refusal::new(Code::Unavailable, "this participant is reconnecting"));
        }
    }

    pub(super) fn leave(&mut self, reply: Reply, participant_id: ParticipantId) {
        self.answer(reply, Message::Ack);
        self.close(reply.session, Code::Normal, "left");
        self.depart(participant_id, LeaveReason::Voluntary, Code::Normal, "left");
    }

    /// Removes a participant and everyone else of its subject, who stays out. The host's own subject is not shut out:
    /// of several devices of one host only the named one goes.
    pub(super) fn kick(&mut self, reply: Reply, host: ParticipantId, target: ParticipantId) {
        let (Some(kicker), Some(member)) = (self.roster.find(host), self.roster.find(target)) else { return };
        if member.subject == kicker.subject {
            self.remove(target, REMOVED, Purpose::Acknowledge(reply));
            return;
        }
        let subject = member.subject.clone();
        self.refuse_subject(&subject, REMOVED);
        let same_subject = |other: &&crate::roster::Member| other.subject == subject && other.participant_id != target;
        let others: Vec<ParticipantId> = self.roster.members().filter(same_subject).map(|other| other.participant_id).collect();
        for other in others {
            self.remove(other, REMOVED, Purpose::Quiet);
        }
        self.remove(target, REMOVED, Purpose::AcknowledgeStored(reply));
    }

    /// Ends a participant's session and media, and tells everyone that it was removed.
    pub(super) fn remove(&mut self, participant_id: ParticipantId, why: &'static str, purpose: Purpose) {
        if let Some(Presence::On(session)) = self.roster.find(participant_id).map(|member| member.presence) {
            self.send(vec![session], 0, Message::ParticipantLeft { participant_id, reason: LeaveReason::Kicked });
            self.close(session, Code::Forbidden, why);
        }
        self.depart_with(participant_id, LeaveReason::Kicked, Code::Forbidden, why, purpose);
    }
}

/// What somebody reads who was kicked.
const REMOVED: &str = "removed by the host";
