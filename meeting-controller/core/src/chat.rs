//! The chat of a meeting: one order for all, kept for those who join later.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use common_core::ParticipantId;

use crate::message::ChatMessage;

/// What a joiner is handed at most (signaling.proto, `JoinRequest.chat_after_sequence`).
pub(crate) const CHAT_ANSWER_MAX: usize = 100;
/// Messages held, and recognised when repeated: at 4 KiB each, a meeting's chat holds at most 4 MiB.
const CHAT_HELD_MAX: usize = 1000;

/// Messages with sequences 1, 2, 3 …, the newest of which are held.
#[derive(Debug, Default)]
pub(crate) struct ChatLog {
    last_sequence: u64,
    held: VecDeque<Arc<ChatMessage>>,
    by_client_id: BTreeMap<(ParticipantId, String), Arc<ChatMessage>>,
}

impl ChatLog {
    /// The message that this participant sent under this id already.
    pub fn repeated(&self, sender_id: ParticipantId, client_message_id: &str) -> Option<Arc<ChatMessage>> {
        if client_message_id.is_empty() {
            return None;
        }
        self.by_client_id.get(&(sender_id, client_message_id.to_owned())).cloned()
    }

    /// Gives the message the next sequence and holds it.
    pub fn append(&mut self, mut message: ChatMessage) -> Arc<ChatMessage> {
        self.last_sequence += 1;
        message.sequence = self.last_sequence;
        let message = Arc::new(message);
        if self.held.len() == CHAT_HELD_MAX
            && let Some(oldest) = self.held.pop_front()
        {
            self.by_client_id.remove(&(oldest.sender_id, oldest.client_message_id.clone()));
        }
        self.held.push_back(message.clone());
        if !message.client_message_id.is_empty() {
            self.by_client_id.insert((message.sender_id, message.client_message_id.clone()), message.clone());
        }
        message
    }

    /// The newest messages after `sequence`, oldest first.
    pub fn after(&self, sequence: u64) -> Vec<Arc<ChatMessage>> {
        let newer = self.held.partition_point(|message| message.sequence <= sequence);
        self.held.iter().skip(newer.max(self.held.len().saturating_sub(CHAT_ANSWER_MAX))).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common_core::id::MessageId;

    fn say(log: &mut ChatLog, id: &str) -> Arc<ChatMessage> {
        log.append(ChatMessage {
            message_id: MessageId::from_bytes([0; 16]),
            sender_id: ParticipantId::from_bytes([1; 16]),
            content: "hello".into(),
            sent_at_ms: 0,
            sequence: 0,
            sender_name: "Ana".into(),
            client_message_id: id.into(),
        })
    }

    #[test]
    fn later_joiners_get_the_newest_hundred() {
        let mut log = ChatLog::default();
        for number in 1..=150 {
            assert_eq!(say(&mut log, "").sequence, number);
        }
        let sequences = |after| log.after(after).iter().map(|message| message.sequence).collect::<Vec<_>>();
        assert_eq!(sequences(0), (51..=150).collect::<Vec<_>>());
        assert_eq!(sequences(148), [149, 150]);
        assert_eq!(sequences(150), [0; 0]);
        assert_eq!(sequences(u64::MAX), [0; 0]);
    }

    #[test]
    fn repeats_are_recognised_while_held() {
        let mut log = ChatLog::default();
        let first = say(&mut log, "a");
        let sender = first.sender_id;
        assert_eq!(log.repeated(sender, "a"), Some(first));
        assert_eq!(log.repeated(ParticipantId::from_bytes([2; 16]), "a"), None);
        for _ in 0..CHAT_HELD_MAX {
            say(&mut log, "");
        }
        assert_eq!((log.repeated(sender, "a"), log.by_client_id.len(), log.held.len()), (None, 0, CHAT_HELD_MAX));
    }
}
