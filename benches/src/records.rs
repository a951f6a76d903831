//! Records as the media benchmark sends and counts them: the frame header of the contract, then a payload that begins with the sender's clock.
//!
//! In: what to send; chunks as QUIC hands them out. Out: records on the wire; one call for each record that has come whole. Counting copies nothing
//! but headers and keeps no payload.

use bytes::{BufMut, Bytes, BytesMut};
use common_core::frame::PAYLOAD_BYTES_MAX;
use common_core::{FRAME_HEADER_BYTES, FrameFlags, FrameHeader, FrameKind, StreamId};

/// The sender's clock, nanoseconds, at the beginning of each payload.
const STAMP_BYTES: usize = 8;
/// What has to be seen of a record before the rest is only counted.
const HEAD_BYTES: usize = FRAME_HEADER_BYTES + STAMP_BYTES;

/// The id of the media stream with number `source`: they can be told apart without a map.
pub fn stream_id(source: u32) -> StreamId {
    let mut bytes = *b"bench media\0\0\0\0\0";
    bytes[12..].copy_from_slice(&source.to_be_bytes());
    StreamId::from_bytes(bytes)
}

/// Which media stream has this id, if it is one of [`stream_id`]'s.
pub fn source_of(id: &StreamId) -> Option<u32> {
    let (prefix, number) = id.as_bytes().split_at(12);
    let number = u32::from_be_bytes(number.try_into().ok()?);
    (prefix == &stream_id(0).as_bytes()[..12]).then_some(number)
}

/// One record as it stands on the wire, `payload` bytes long behind its header, sent at `stamp` nanoseconds.
pub fn record(kind: FrameKind, source: u32, sequence: u64, payload: usize, stamp: u64) -> Bytes {
    let payload = payload.max(STAMP_BYTES);
    let header = FrameHeader {
        kind,
        stream_id: stream_id(source),
        timestamp_us: stamp / 1000,
        sequence,
        payload_length: u32::try_from(payload).unwrap_or(u32::MAX),
        flags: FrameFlags::END_OF_FRAME,
        reserved: [0; 6],
    };
    let mut wire = BytesMut::with_capacity(FRAME_HEADER_BYTES + payload);
    wire.put_slice(&header.encode());
    wire.put_u64(stamp);
    wire.put_bytes(0x5a, payload - STAMP_BYTES);
    wire.freeze()
}

/// A record that has come whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Of which media stream.
    pub source: u32,
    /// What it carries.
    pub kind: FrameKind,
    /// Its place there.
    pub sequence: u64,
    /// When it was sent, nanoseconds by the sender's clock.
    pub stamp: u64,
    /// Header and payload.
    pub bytes: usize,
}

/// Takes the bytes of one QUIC stream apart.
#[derive(Debug)]
pub struct Tally {
    head: [u8; HEAD_BYTES],
    have: usize,
    /// The record under way, and how many of its bytes are missing, once its head is known.
    under_way: Option<(Received, usize)>,
}

impl Default for Tally {
    fn default() -> Self {
        Self { head: [0; HEAD_BYTES], have: 0, under_way: None }
    }
}

impl Tally {
    /// Takes the next bytes; `whole` hears of each record that they complete. An error says what is no record of this benchmark.
    pub fn push(&mut self, mut bytes: &[u8], mut whole: impl FnMut(Received)) -> Result<(), String> {
        while !bytes.is_empty() {
            let Some((_, missing)) = &mut self.under_way else {
                let take = (HEAD_BYTES - self.have).min(bytes.len());
                self.head[self.have..self.have + take].copy_from_slice(&bytes[..take]);
                (self.have, bytes) = (self.have + take, &bytes[take..]);
                if self.have == HEAD_BYTES {
                    self.under_way = Some(self.begin()?);
                    self.have = 0;
                    self.end(&mut whole);
                }
                continue;
            };
            let take = bytes.len().min(*missing);
            (*missing, bytes) = (*missing - take, &bytes[take..]);
            self.end(&mut whole);
        }
        Ok(())
    }

    /// Whether the bytes so far end between two records.
    pub fn is_between_records(&self) -> bool {
        self.have == 0 && self.under_way.is_none()
    }

    fn begin(&self) -> Result<(Received, usize), String> {
        let header = FrameHeader::decode(&self.head, PAYLOAD_BYTES_MAX).map_err(|error| error.to_string())?;
        let source = source_of(&header.stream_id).ok_or_else(|| format!("a media stream {} that nobody publishes", header.stream_id))?;
        let payload = usize::try_from(header.payload_length).unwrap_or(usize::MAX);
        let missing = payload.checked_sub(STAMP_BYTES).ok_or("a payload without a stamp")?;
        let stamp = u64::from_be_bytes(*self.head.last_chunk().expect("the head is longer than a stamp"));
        Ok((Received { source, kind: header.kind, sequence: header.sequence, stamp, bytes: FRAME_HEADER_BYTES + payload }, missing))
    }

    fn end(&mut self, whole: &mut impl FnMut(Received)) {
        if let Some((received, 0)) = self.under_way {
            self.under_way = None;
            whole(received);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_however_they_are_cut() {
        let wire = [record(FrameKind::VideoKey, 3, 0, 300, 77), record(FrameKind::Audio, 4, 9, 8, 78)].concat();
        for cut in 1..=wire.len() {
            let (mut tally, mut seen) = (Tally::default(), Vec::new());
            for chunk in wire.chunks(cut) {
                tally.push(chunk, |received| seen.push(received)).expect("they are ours");
            }
            assert!(tally.is_between_records());
            let expected = [
                Received { source: 3, kind: FrameKind::VideoKey, sequence: 0, stamp: 77, bytes: 346 },
                Received { source: 4, kind: FrameKind::Audio, sequence: 9, stamp: 78, bytes: 54 },
            ];
            assert_eq!(seen, expected, "cut into pieces of {cut}");
        }
    }

    #[test]
    fn what_is_no_record_is_told() {
        let mut foreign = record(FrameKind::Audio, 0, 0, 8, 0).to_vec();
        foreign[2] ^= 1;
        assert!(Tally::default().push(&foreign, |_| {}).is_err_and(|error| error.contains("nobody publishes")));
        assert!(Tally::default().push(&[9; 60], |_| {}).is_err());
    }
}
