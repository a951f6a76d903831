//! End-to-end encryption of one stay: which keys seal and open what, what to do about what cannot be opened, and whether to stay at all.
//!
//! In: the meeting's secret, records and chat as they travel. Out: the same in plain, or events about what was dropped. No key leaves it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use common_core::{ParticipantId, StreamId};
use proto::v1;
use thiserror::Error;
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::e2ee::{MeetingKeys, StreamOpener, StreamSealer, chat};
use crate::event::Event;
use crate::records::ReceivedRecord;

/// Stream ids whose keys are kept; beyond them one is derived anew. More than one can watch at a time by an order.
const STREAMS_MAX: usize = 1_024;
/// Chat messages whose repetition is noticed.
const CHAT_SEEN_MAX: usize = 8_192;
/// Between two events about one media stream.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// Why a meeting is left at once, before anything is sent or shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncryptionError {
    /// The secret in hand is not the meeting's.
    #[error("the key is not the one of this meeting")]
    WrongSecret,
    /// The meeting asks for encryption, and no secret is in hand.
    #[error("the meeting is encrypted end to end, and no key was given")]
    SecretMissing,
    /// A secret is in hand, but the controller says that the meeting is not encrypted: nothing is ever sent in the clear then.
    #[error("a key was given, but the controller says that the meeting is not encrypted")]
    NotEncrypted,
}

impl EncryptionError {
    /// As the TypeScript client's error codes have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::WrongSecret => "WRONG_SECRET",
            Self::SecretMissing => "SECRET_MISSING",
            Self::NotEncrypted => "NOT_ENCRYPTED",
        }
    }
}

/// Whether to stay in a meeting that was entered with this key id; empty: without a secret. Fails closed.
pub(crate) fn check(key_id: &str, response: &v1::JoinResponse) -> Result<(), EncryptionError> {
    let wants_encryption = response.meeting.as_ref().is_some_and(|meeting| meeting.enable_e2e_encryption);
    // A controller that lost its memory names none.
    let theirs = response.encryption_keys.as_ref().map_or("", |keys| keys.key_id.as_str());
    match (key_id.is_empty(), wants_encryption) {
        (true, false) => Ok(()),
        (true, true) => Err(EncryptionError::SecretMissing),
        (false, false) => Err(EncryptionError::NotEncrypted),
        (false, true) if theirs.is_empty() || theirs == key_id => Ok(()),
        (false, true) => Err(EncryptionError::WrongSecret),
    }
}

/// The event of a chat message that came.
pub(crate) fn chat_event(encryption: Option<&Encryption>, message: v1::ChatMessage) -> Event {
    match encryption {
        Some(encryption) => encryption.open_chat(message),
        None => Event::Chat(message),
    }
}

/// What may be seen of a meeting's secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptionInfo {
    /// Equal for everybody who holds the secret; the controller compares it. Hexadecimal.
    pub key_id: String,
    /// Twelve digits in groups of four, for people to read to each other: equal codes, equal secrets.
    pub comparison_code: String,
}

/// Media keys of both directions and chat, under one secret.
#[derive(Debug)]
pub(crate) struct Encryption {
    keys: MeetingKeys,
    /// Weak: events end with the tasks that tell them.
    events: broadcast::WeakSender<Event>,
    sealed: Mutex<HashSet<StreamId>>,
    opened: Mutex<HashMap<StreamId, Arc<Mutex<Opened>>>>,
    said: Mutex<Said>,
}

/// What comes of one stream id.
#[derive(Debug)]
struct Opened {
    opener: StreamOpener,
    /// Dropped, and not told yet.
    untold: u64,
    told: Option<Instant>,
}

/// Which messages were said, and under which sequence; oldest first.
#[derive(Debug, Default)]
struct Said {
    sequences: HashMap<(String, String), u64>,
    order: VecDeque<(String, String)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds a lock; if something did, the state is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Encryption {
    pub(crate) fn new(keys: MeetingKeys, events: &broadcast::Sender<Event>) -> Self {
        Self { keys, events: events.downgrade(), sealed: Mutex::default(), opened: Mutex::default(), said: Mutex::default() }
    }

    pub(crate) fn key_id(&self) -> &str {
        self.keys.key_id()
    }

    pub(crate) fn info(&self) -> EncryptionInfo {
        EncryptionInfo { key_id: self.keys.key_id().to_owned(), comparison_code: self.keys.comparison_code().to_owned() }
    }

    /// To publish under this id; `None` if it was given out before: a sequence that starts anew under the same key would give both away.
    pub(crate) fn sealer(&self, stream_id: StreamId) -> Option<StreamSealer> {
        lock(&self.sealed).insert(stream_id).then(|| StreamSealer::new(&self.keys, stream_id))
    }

    /// A sealer that was given out was dropped before it sealed anything.
    pub(crate) fn unused(&self, stream_id: StreamId) {
        lock(&self.sealed).remove(&stream_id);
    }

    /// The record in plain; `None`: it cannot be opened, which is counted and told.
    pub(crate) fn open(&self, record: ReceivedRecord, now: Instant) -> Option<ReceivedRecord> {
        let stream_id = record.header.stream_id;
        let opened = self.opened(stream_id);
        let mut opened = lock(&opened);
        match opened.opener.open(&record.raw, record.header.sequence, &record.payload) {
            Ok(plain) => Some(ReceivedRecord { payload: Bytes::from(plain), ..record }),
            Err(_) => {
                opened.untold += 1;
                if opened.told.is_none_or(|told| now.duration_since(told) >= TELL_INTERVAL) {
                    opened.told = Some(now);
                    let records = std::mem::take(&mut opened.untold);
                    if let Some(events) = self.events.upgrade() {
                        // Nobody listening is fine.
                        let _ = events.send(Event::Undecryptable { stream_id, records });
                    }
                }
                None
            }
        }
    }

    fn opened(&self, stream_id: StreamId) -> Arc<Mutex<Opened>> {
        let mut all = lock(&self.opened);
        if all.len() >= STREAMS_MAX && !all.contains_key(&stream_id) {
            // Which one does not matter: only a handler that invents ids leads here.
            let any = all.keys().next().copied();
            any.and_then(|any| all.remove(&any));
        }
        let new = || Opened { opener: StreamOpener::new(&self.keys, stream_id), untold: 0, told: None };
        all.entry(stream_id).or_insert_with(|| Arc::new(Mutex::new(new()))).clone()
    }

    /// What to send for these words.
    pub(crate) fn seal_chat(&self, me: ParticipantId, client_message_id: &str, words: &str) -> Result<String, chat::TooLong> {
        chat::seal(&self.keys, me, client_message_id, words)
    }

    /// The event of a message that came: in words, or as it is and marked. The same message under another number is a replay.
    fn open_chat(&self, message: v1::ChatMessage) -> Event {
        let words = message
            .sender_id
            .parse()
            .ok()
            .map(ParticipantId::new)
            .and_then(|sender| chat::open(&self.keys, sender, &message.client_message_id, &message.content).ok());
        match words {
            Some(content) if lock(&self.said).is_new(&message) => Event::Chat(v1::ChatMessage { content, ..message }),
            _ => Event::ChatUndecryptable(message),
        }
    }
}

impl Said {
    fn is_new(&mut self, message: &v1::ChatMessage) -> bool {
        let id = (message.sender_id.clone(), message.client_message_id.clone());
        if let Some(sequence) = self.sequences.get(&id) {
            return *sequence == message.sequence;
        }
        if self.order.len() >= CHAT_SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.sequences.remove(&oldest);
        }
        self.order.push_back(id.clone());
        self.sequences.insert(id, message.sequence);
        true
    }
}

#[cfg(test)]
mod tests {
    use common_core::{FrameFlags, FrameHeader, FrameKind, MeetingId};

    use super::*;
    use crate::e2ee::{Secret, overhead_bytes};

    const ANA: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
    const BEN: &str = "16fd2706-8baf-433b-82eb-8c7fada847da";

    /// With where its events are sent, which must live as long.
    fn encryption(secret: &Secret) -> (Encryption, broadcast::Sender<Event>) {
        let (events, _) = broadcast::channel(8);
        (Encryption::new(MeetingKeys::new(secret, MeetingId::from_bytes([1; 16])), &events), events)
    }

    #[test]
    fn who_stays_and_who_is_told_why_not() {
        use EncryptionError::{NotEncrypted, SecretMissing, WrongSecret};
        let answer = |enable_e2e_encryption, key_id: Option<&str>| v1::JoinResponse {
            meeting: Some(v1::MeetingInfo { enable_e2e_encryption, ..Default::default() }),
            encryption_keys: key_id.map(|key_id| v1::EncryptionKeys { key_id: key_id.into(), ..Default::default() }),
            ..Default::default()
        };
        assert_eq!(check("", &answer(false, None)), Ok(()));
        assert_eq!(check("", &v1::JoinResponse::default()), Ok(()), "a controller of an earlier version");
        assert_eq!(check("", &answer(true, Some("a"))), Err(SecretMissing));
        assert_eq!(check("a", &answer(true, Some("a"))), Ok(()));
        assert_eq!(check("a", &answer(true, None)), Ok(()));
        assert_eq!(check("a", &answer(true, Some("b"))), Err(WrongSecret));
        assert_eq!(check("a", &answer(false, Some("a"))), Err(NotEncrypted));
        assert_eq!(check("a", &v1::JoinResponse::default()), Err(NotEncrypted));
    }

    #[test]
    fn an_id_is_published_under_once() {
        let (encryption, _events) = encryption(&Secret::generate());
        let id = StreamId::from_bytes([2; 16]);
        assert!(encryption.sealer(id).is_some());
        assert!(encryption.sealer(id).is_none());
        encryption.unused(id);
        assert!(encryption.sealer(id).is_some());
    }

    fn record(from: &mut StreamSealer, stream_id: StreamId, sequence: u64, plain: &[u8]) -> ReceivedRecord {
        let payload_length = u32::try_from(plain.len() + overhead_bytes(sequence)).expect("a short one");
        let (kind, flags) = (FrameKind::Audio, FrameFlags::END_OF_FRAME);
        let header = FrameHeader { kind, stream_id, timestamp_us: 1, sequence, payload_length, flags, reserved: [0; 6] };
        let raw = header.encode();
        let payload = from.seal(&raw, sequence, plain).expect("each once").into();
        ReceivedRecord { header, raw: Bytes::copy_from_slice(&raw), payload, group: 0 }
    }

    #[test]
    fn what_cannot_be_opened_is_counted_and_told_at_most_once_a_second() {
        let secret = Secret::generate();
        let ((from, _), (to, events)) = (encryption(&secret), encryption(&secret));
        let mut heard = events.subscribe();
        let id = StreamId::from_bytes([2; 16]);
        let mut sealer = from.sealer(id).expect("the first");
        let whole = record(&mut sealer, id, 0, b"a packet");
        let mut broken = record(&mut sealer, id, 1, b"another");
        broken.raw = whole.raw.clone();
        let now = Instant::now();
        for _ in 0..3 {
            assert_eq!(to.open(broken.clone(), now), None);
        }
        assert_eq!(to.open(whole, now).map(|it| it.payload), Some(Bytes::from_static(b"a packet")));
        assert_eq!(heard.try_recv(), Ok(Event::Undecryptable { stream_id: id, records: 1 }));
        assert!(heard.try_recv().is_err());
        assert_eq!(to.open(broken, now + TELL_INTERVAL), None);
        assert_eq!(heard.try_recv(), Ok(Event::Undecryptable { stream_id: id, records: 3 }));
    }

    #[test]
    fn chat_is_opened_once_and_in_nobody_elses_name() {
        let secret = Secret::generate();
        let ((from, _), (to, _)) = (encryption(&secret), encryption(&secret));
        let sender = ParticipantId::new(ANA.parse().expect("a UUID"));
        let content = from.seal_chat(sender, "1", "Hello").expect("it fits");
        let message = v1::ChatMessage { sender_id: ANA.into(), client_message_id: "1".into(), content, sequence: 7, ..Default::default() };
        let words = |message: v1::ChatMessage| match to.open_chat(message) {
            Event::Chat(chat) => Some(chat.content),
            Event::ChatUndecryptable(_) => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(words(message.clone()).as_deref(), Some("Hello"));
        assert_eq!(words(message.clone()).as_deref(), Some("Hello"), "told again after a resume");
        assert_eq!(words(v1::ChatMessage { sequence: 8, ..message.clone() }), None, "said again by a server");
        assert_eq!(words(v1::ChatMessage { sender_id: BEN.into(), ..message.clone() }), None);
        assert_eq!(words(v1::ChatMessage { sender_id: "nobody".into(), ..message.clone() }), None);
        assert_eq!(words(v1::ChatMessage { content: "Hello".into(), ..message }), None, "in the clear");
    }
}
