//! Records of one stream id, sealed and opened.

use common_core::{FRAME_HEADER_BYTES, StreamId};

use super::keys::{KID, MeetingKeys};
use super::sframe::{Header, Key, TAG_BYTES, Unopened};

/// Most bytes that sealing adds to a payload: the SFrame header with its longest counter, and the tag.
pub const OVERHEAD_BYTES_MAX: usize = 1 + 8 + TAG_BYTES;
/// How far behind the newest record of its id a record may come: a cached group that is delivered again after a change of
/// subscription, and nothing from long ago. Half a minute of records at 60 frames a second in two pieces each.
const BEHIND_MAX: u64 = 4_096;

/// By how many bytes the sealed payload of a record with this sequence is longer than the plain one.
pub const fn overhead_bytes(sequence: u64) -> usize {
    Header { kid: KID, ctr: sequence }.length() + TAG_BYTES
}

/// Seals the records of one stream id. There must be one for each id and no more, ever: it keeps a sequence from being sealed twice.
#[derive(Debug)]
pub struct StreamSealer {
    key: Key,
    /// The least sequence that may still be sealed; `None`: none.
    next: Option<u64>,
}

impl StreamSealer {
    /// Of one id.
    pub fn new(keys: &MeetingKeys, stream_id: StreamId) -> Self {
        Self { key: keys.media(stream_id), next: Some(0) }
    }

    /// Seals a payload. `header` is the record's as it will be sent, with the sealed payload's length in it. `None`: the sequence
    /// is not greater than the one before.
    pub fn seal(&mut self, header: &[u8; FRAME_HEADER_BYTES], sequence: u64, plain: &[u8]) -> Option<Vec<u8>> {
        if self.next.is_none_or(|next| sequence < next) {
            return None;
        }
        self.next = sequence.checked_add(1);
        Some(self.key.seal(sequence, header, plain))
    }
}

/// Opens the records of one stream id.
#[derive(Debug)]
pub struct StreamOpener {
    key: Key,
    /// The greatest sequence that was opened.
    newest: Option<u64>,
}

impl StreamOpener {
    /// Of one id.
    pub fn new(keys: &MeetingKeys, stream_id: StreamId) -> Self {
        Self { key: keys.media(stream_id), newest: None }
    }

    /// Whether a record of this id was ever opened: who has another secret never opens one.
    pub fn has_opened(&self) -> bool {
        self.newest.is_some()
    }

    /// Opens a payload. `header` is the record's 46 bytes as received. Whether the same came before is for the caller to see.
    pub fn open(&mut self, header: &[u8], sequence: u64, payload: &[u8]) -> Result<Vec<u8>, Unopened> {
        if self.newest.is_some_and(|newest| sequence.saturating_add(BEHIND_MAX) < newest) {
            return Err(Unopened);
        }
        let plain = self.key.open(sequence, header, payload)?;
        self.newest = self.newest.max(Some(sequence));
        Ok(plain)
    }
}

#[cfg(test)]
mod tests {
    use common_core::MeetingId;

    use super::super::Secret;
    use super::*;

    const HEADER: [u8; FRAME_HEADER_BYTES] = [3; FRAME_HEADER_BYTES];

    fn both() -> (StreamSealer, StreamOpener) {
        let keys = MeetingKeys::new(&Secret::generate(), MeetingId::from_bytes([1; 16]));
        let id = StreamId::from_bytes([2; 16]);
        (StreamSealer::new(&keys, id), StreamOpener::new(&keys, id))
    }

    #[test]
    fn a_sequence_is_sealed_once() {
        let (mut sealer, _) = both();
        let mut sealed = |sequence| sealer.seal(&HEADER, sequence, b"x").is_some();
        for (sequence, expected) in
            [(0, true), (0, false), (5, true), (4, false), (5, false), (u64::MAX, true), (u64::MAX, false), (0, false)]
        {
            assert_eq!(sealed(sequence), expected, "{sequence}");
        }
    }

    /// Groups overtake one another, and a cached one comes again; a recording of an hour ago does not pass.
    #[test]
    fn records_come_in_any_order_but_not_from_long_ago() {
        let (mut sealer, mut opener) = both();
        let sequences = [10, 11, 5_000, u64::MAX];
        let sealed = sequences.map(|sequence| sealer.seal(&HEADER, sequence, b"x").expect("each once"));
        assert!(!opener.has_opened());
        let mut open = |index: usize| opener.open(&HEADER, sequences[index], &sealed[index]).is_ok();
        assert_eq!([open(1), open(0), open(1), open(2), open(0), open(3), open(2)], [true, true, true, true, false, true, false]);
        assert!(opener.has_opened());
    }
}
