//! One group as an append-only log that all its subscribers read at their own pace.
//!
//! In: records as they arrive, in pieces. Out: shared chunks from any position on. Never knows a subscriber, and copies nothing
//! but a header together with the payload that came with it, up to 16 kB: once per record, it spares each subscriber a chunk, and lets
//! go of the packet's buffer. Records and chunks are numbered from the group's start; those in front may have been trimmed away.

use std::collections::VecDeque;

use bytes::Bytes;
use common_core::{FrameHeader, Moment};

/// Payload that is joined to its header if both came together: more than a frame between key frames has, as a rule.
const JOINED_BYTES_MAX: usize = 16 * 1024;
/// What a chunk costs besides its bytes: its place in the log, its allocation's own words, and what the allocator rounds up.
const CHUNK_COST: u64 = 128;
/// The same of a record.
const RECORD_COST: u64 = 64;

/// What is known of one record besides its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    /// Its first chunk, the header.
    pub chunk_start: u64,
    /// Position of its first byte in the group.
    pub byte_start: u64,
    /// Payload bytes that have not come yet.
    pub missing: u32,
    /// When its header came.
    pub arrival: Moment,
    pub sequence: u64,
    pub ends_frame: bool,
    pub discardable: bool,
}

impl Record {
    pub fn is_whole(&self) -> bool {
        self.missing == 0
    }
}

/// A place in a group: the first byte that was not handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// The first record not handed over whole.
    pub record: u64,
    /// Chunks of it that were handed over.
    pub chunk: u32,
    /// Bytes of the next chunk that were.
    pub offset: usize,
}

#[derive(Debug)]
pub(crate) struct Group {
    /// Counts the groups of one frame id.
    pub number: u64,
    /// Counts the groups of the hub, to tell which of two is newer.
    pub ordinal: u64,
    /// Which ingress QUIC stream appends.
    pub writer: u64,
    pub opened_at: Moment,
    /// When the newest record began.
    pub last_arrival: Moment,
    /// No more records for now: subscribers that have all finish their stream.
    pub closed: bool,
    /// Whether a joiner may start here; then nothing is trimmed.
    pub cached: bool,
    /// Cursors that stand in it.
    pub readers: u32,
    /// The last record that was trimmed away: what follows it, and whether a frame goes on at the front, must stay known.
    before: Option<Record>,
    records: VecDeque<Record>,
    records_trimmed: u64,
    chunks: VecDeque<Bytes>,
    chunks_trimmed: u64,
    bytes: u64,
}

impl Group {
    pub fn new(number: u64, ordinal: u64, writer: u64, now: Moment) -> Self {
        Self {
            number,
            ordinal,
            writer,
            opened_at: now,
            last_arrival: now,
            closed: false,
            cached: true,
            readers: 0,
            before: None,
            records: VecDeque::new(),
            records_trimmed: 0,
            chunks: VecDeque::new(),
            chunks_trimmed: 0,
            bytes: 0,
        }
    }

    /// One past the newest record.
    pub fn end(&self) -> u64 {
        self.records_trimmed + self.records.len() as u64
    }

    /// Bytes that ever came.
    #[cfg(test)]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that are held.
    pub fn bytes_held(&self) -> u64 {
        self.bytes - self.records.front().map_or(self.bytes, |record| record.byte_start)
    }

    /// What holding the records from `record` on takes in memory. Counts what small pieces and empty records cost besides their
    /// bytes, so that nobody gets memory for nothing.
    pub fn cost_from(&self, record: u64) -> u64 {
        let Some(first) = self.record(record) else { return 0 };
        (self.bytes - first.byte_start) + CHUNK_COST * (self.chunk_end() - first.chunk_start) + RECORD_COST * (self.end() - record)
    }

    /// The same for all that is held.
    pub fn cost(&self) -> u64 {
        self.cost_from(self.records_trimmed)
    }

    /// The newest record, held or trimmed.
    pub fn last(&self) -> Option<&Record> {
        self.records.back().or(self.before.as_ref())
    }

    pub fn record(&self, number: u64) -> Option<&Record> {
        self.records.get(usize::try_from(number.checked_sub(self.records_trimmed)?).ok()?)
    }

    /// A record begins; its header is its first chunk.
    pub fn begin(&mut self, header: &FrameHeader, raw: Bytes, now: Moment) {
        debug_assert!(self.last().is_none_or(Record::is_whole), "records of one group follow each other");
        self.records.push_back(Record {
            chunk_start: self.chunk_end(),
            byte_start: self.bytes,
            missing: header.payload_length,
            arrival: now,
            sequence: header.sequence,
            ends_frame: header.ends_frame(),
            discardable: header.is_discardable(),
        });
        self.last_arrival = now;
        self.bytes += raw.len() as u64;
        self.chunks.push_back(raw);
    }

    /// More of the newest record's payload. `joins`: no subscriber has looked since the header came.
    pub fn append(&mut self, payload: Bytes, joins: bool) {
        let Some(record) = self.records.back_mut() else { return };
        record.missing = record.missing.saturating_sub(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        self.bytes += payload.len() as u64;
        match self.chunks.back_mut() {
            Some(header) if joins && payload.len() <= JOINED_BYTES_MAX => *header = [&header[..], &payload].concat().into(),
            _ => self.chunks.push_back(payload),
        }
    }

    /// Takes back the records of a frame that will never be whole. No cursor may stand in the group.
    pub fn drop_part_frame(&mut self) {
        debug_assert_eq!(self.readers, 0, "subscribers are told before the log shrinks");
        while let Some(record) = self.records.back() {
            if record.is_whole() && record.ends_frame {
                break;
            }
            let keep = usize::try_from(record.chunk_start - self.chunks_trimmed).unwrap_or(usize::MAX);
            self.bytes = record.byte_start;
            self.chunks.truncate(keep);
            self.records.pop_back();
        }
    }

    /// Lets go of the records before `record`.
    pub fn trim(&mut self, record: u64) {
        while self.records_trimmed < record {
            let Some(gone) = self.records.pop_front() else { return };
            self.records_trimmed += 1;
            let chunk_end = self.records.front().map_or_else(|| self.chunk_end(), |next| next.chunk_start);
            debug_assert!(gone.chunk_start <= chunk_end, "chunks follow records");
            self.before = Some(gone);
            let count = usize::try_from(chunk_end - self.chunks_trimmed).unwrap_or(usize::MAX).min(self.chunks.len());
            self.chunks.drain(..count);
            self.chunks_trimmed = chunk_end;
        }
    }

    /// Whether bytes lie behind `position`.
    pub fn has_bytes(&self, position: &Position) -> bool {
        self.record(position.record).is_some_and(|record| record.chunk_start + u64::from(position.chunk) < self.chunk_end())
    }

    /// Adds the chunks from `position` on to `out`, up to about `bytes_max`; how many bytes that is.
    pub fn collect(&self, position: &Position, bytes_max: usize, out: &mut Vec<Bytes>) -> usize {
        let Some(record) = self.record(position.record) else { return 0 };
        let first = record.chunk_start + u64::from(position.chunk) - self.chunks_trimmed;
        let mut bytes = 0;
        let mut offset = position.offset;
        for chunk in self.chunks.range(usize::try_from(first).unwrap_or(usize::MAX).min(self.chunks.len())..) {
            let chunk = if offset > 0 { chunk.slice(offset..) } else { chunk.clone() };
            offset = 0;
            bytes += chunk.len();
            out.push(chunk);
            if bytes >= bytes_max {
                break;
            }
        }
        bytes
    }

    /// Moves `position` on by `bytes` that were handed over; how many records became whole by that.
    pub fn advance(&self, position: &mut Position, mut bytes: usize) -> u64 {
        // The usual case: the newest record was due alone, and was taken whole.
        if position.record + 1 == self.end()
            && position.chunk == 0
            && position.offset == 0
            && let Some(record) = self.records.back()
            && record.is_whole()
            && record.byte_start + bytes as u64 == self.bytes
        {
            *position = Position { record: self.end(), chunk: 0, offset: 0 };
            return 1;
        }
        let mut whole = 0;
        while let Some(record) = self.record(position.record) {
            let record_end = self.record(position.record + 1).map_or_else(|| self.chunk_end(), |next| next.chunk_start);
            let at = record.chunk_start + u64::from(position.chunk);
            if at == record_end {
                if !record.is_whole() {
                    break;
                }
                *position = Position { record: position.record + 1, chunk: 0, offset: 0 };
                whole += 1;
                continue;
            }
            let chunk = &self.chunks[usize::try_from(at - self.chunks_trimmed).unwrap_or(usize::MAX)];
            let left = chunk.len() - position.offset;
            if bytes < left {
                position.offset += bytes;
                break;
            }
            bytes -= left;
            position.chunk += 1;
            position.offset = 0;
        }
        debug_assert!(bytes == 0 || position.offset > 0 || self.record(position.record).is_some(), "no more is handed over than there is");
        whole
    }

    /// Bytes before `position`.
    #[cfg(test)]
    pub fn bytes_before(&self, position: &Position) -> u64 {
        let Some(record) = self.record(position.record) else { return self.bytes };
        let first = usize::try_from(record.chunk_start - self.chunks_trimmed).unwrap_or(usize::MAX);
        let chunks = self.chunks.range(first.min(self.chunks.len())..).take(position.chunk as usize);
        record.byte_start + chunks.map(|chunk| chunk.len() as u64).sum::<u64>() + position.offset as u64
    }

    /// If whole, discardable and not begun at `position`, one past the last record of the frame there.
    pub fn discardable_frame(&self, position: &Position) -> Option<u64> {
        if position.chunk > 0 || position.offset > 0 {
            return None;
        }
        // The record before must end its frame, or this one is not a frame's first. It may be trimmed away already: a subscriber that
        // had it whole would be left with half a frame.
        let before = match position.record.checked_sub(1) {
            Some(before) if before >= self.records_trimmed => self.record(before),
            Some(_) => self.before.as_ref(),
            None => None,
        };
        if before.is_some_and(|before| !before.ends_frame) {
            return None;
        }
        (position.record..self.end())
            .map_while(|number| self.record(number).filter(|record| record.discardable && record.is_whole()).map(|record| (number, record)))
            .find(|(_, record)| record.ends_frame)
            .map(|(number, _)| number + 1)
    }

    fn chunk_end(&self) -> u64 {
        self.chunks_trimmed + self.chunks.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common_core::{FrameFlags, FrameKind, StreamId};

    fn header(sequence: u64, payload_length: u32, flags: FrameFlags) -> FrameHeader {
        FrameHeader {
            kind: FrameKind::VideoDelta,
            stream_id: StreamId::from_bytes([1; 16]),
            timestamp_us: 0,
            sequence,
            payload_length,
            flags,
            reserved: [0; 6],
        }
    }

    fn push(group: &mut Group, header: FrameHeader) {
        group.begin(&header, Bytes::copy_from_slice(&header.encode()), Moment::ORIGIN);
        if header.payload_length > 0 {
            group.append(Bytes::from(vec![7; header.payload_length as usize]), false);
        }
    }

    fn group(records: &[(u32, FrameFlags)]) -> Group {
        let mut group = Group::new(0, 0, 0, Moment::ORIGIN);
        for (sequence, (payload, flags)) in (0..).zip(records) {
            push(&mut group, header(sequence, *payload, *flags));
        }
        group
    }

    #[test]
    fn any_split_of_the_writes_hands_over_the_same() {
        let group = group(&[(10, FrameFlags::END_OF_FRAME), (0, FrameFlags::END_OF_FRAME), (5, FrameFlags::default())]);
        for step in 1..=group.bytes() as usize {
            let (mut position, mut whole, mut given) = (Position::default(), 0, 0u64);
            while group.has_bytes(&position) {
                let mut out = Vec::new();
                let bytes = group.collect(&position, usize::MAX, &mut out).min(step);
                given += bytes as u64;
                whole += group.advance(&mut position, bytes);
                assert_eq!(group.bytes_before(&position), given);
            }
            assert_eq!((whole, given), (3, group.bytes()), "in steps of {step}");
        }
    }

    #[test]
    fn trimming_keeps_the_numbers() {
        let mut group = group(&[(10, FrameFlags::END_OF_FRAME); 4]);
        group.trim(3);
        assert_eq!((group.end(), group.bytes(), group.bytes_held()), (4, 224, 56));
        let mut out = Vec::new();
        assert_eq!(group.collect(&Position { record: 3, ..Default::default() }, usize::MAX, &mut out), 56);
        group.trim(9);
        assert_eq!((group.end(), group.bytes_held()), (4, 0));
    }

    /// A subscriber that had a frame's first record, which is trimmed since, is not left with half of the frame.
    #[test]
    fn the_rest_of_a_begun_frame_is_not_discarded_after_a_trim() {
        let both = FrameFlags::END_OF_FRAME.with(FrameFlags::DISCARDABLE);
        let mut group = group(&[(1, FrameFlags::END_OF_FRAME), (1, FrameFlags::DISCARDABLE), (1, both), (1, both)]);
        group.trim(2);
        assert_eq!(group.discardable_frame(&Position { record: 2, ..Default::default() }), None);
        group.trim(3);
        assert_eq!(group.discardable_frame(&Position { record: 3, ..Default::default() }), Some(4));
        group.trim(4);
        assert_eq!((group.last().map(|last| last.sequence), group.cost()), (Some(3), 0), "what is trimmed costs nothing and is known");
    }

    /// The memory that is charged covers what the log's own bookkeeping takes, however small the pieces.
    #[test]
    fn small_pieces_are_not_for_nothing() {
        let mut group = Group::new(0, 0, 0, Moment::ORIGIN);
        push(&mut group, header(0, 0, FrameFlags::END_OF_FRAME));
        group.begin(&header(1, 1000, FrameFlags::END_OF_FRAME), Bytes::from_static(&[0; 46]), Moment::ORIGIN);
        for _ in 0..1000 {
            group.append(Bytes::from_static(&[1]), false);
        }
        assert_eq!(group.cost(), (46 + 46 + 1000) + CHUNK_COST * 1002 + RECORD_COST * 2);
        assert_eq!(group.cost_from(1), 46 + 1000 + CHUNK_COST * 1001 + RECORD_COST);
        assert!(CHUNK_COST >= 3 * size_of::<Bytes>() as u64 && RECORD_COST >= size_of::<Record>() as u64);
        group.trim(2);
        assert_eq!(group.cost(), 0);
    }

    #[test]
    fn a_part_frame_leaves_and_whole_ones_stay() {
        let mut group = group(&[(10, FrameFlags::END_OF_FRAME), (10, FrameFlags::default())]);
        group.begin(&header(2, 100, FrameFlags::END_OF_FRAME), Bytes::from_static(&[0; 46]), Moment::ORIGIN);
        group.append(Bytes::from_static(&[1; 30]), true);
        group.drop_part_frame();
        assert_eq!((group.end(), group.bytes(), group.bytes_held()), (1, 56, 56));
    }

    #[test]
    fn only_whole_frames_that_were_not_begun_are_discarded() {
        let both = FrameFlags::END_OF_FRAME.with(FrameFlags::DISCARDABLE);
        let group =
            group(&[(1, both), (1, FrameFlags::DISCARDABLE), (1, both), (1, FrameFlags::END_OF_FRAME), (1, FrameFlags::DISCARDABLE)]);
        let check = |record, chunk, expected| {
            assert_eq!(group.discardable_frame(&Position { record, chunk, offset: 0 }), expected, "{record}.{chunk}")
        };
        check(0, 0, Some(1));
        check(0, 1, None);
        check(1, 0, Some(3));
        check(2, 0, None);
        check(3, 0, None);
        check(4, 0, None);
    }
}
