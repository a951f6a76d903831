//! Puts the records of one stream id into the order of their sequences. Groups may overtake; what is missing is waited for as
//! long as the latency budget allows.
//!
//! In: records with the instant of their arrival. Out: records in order, from the first one that begins a key frame on. Never
//! reads a clock.

use std::collections::BTreeMap;
use std::time::Duration;

use common_core::{FrameKind, Moment};

use crate::records::ReceivedRecord;

/// Bytes that wait for a missing record: ten seconds at 50 Mb/s.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// The buffer of one stream id.
#[derive(Debug)]
pub(super) struct Reorder {
    wait_max: Duration,
    waiting: BTreeMap<u64, (Moment, ReceivedRecord)>,
    bytes: usize,
    /// The sequence that comes next; `None` until the first key frame.
    next: Option<u64>,
    missing: u64,
}

impl Reorder {
    /// A buffer that waits for what is missing for at most `wait_max` after a later record came.
    pub(super) fn new(wait_max: Duration) -> Self {
        Self { wait_max, waiting: BTreeMap::new(), bytes: 0, next: None, missing: 0 }
    }

    /// Takes a record in. One that comes too late, twice, or before the first key frame is dropped.
    pub(super) fn push(&mut self, record: ReceivedRecord, now: Moment) {
        let sequence = record.header.sequence;
        match self.next {
            Some(next) if sequence < next => return,
            None if record.header.kind == FrameKind::VideoDelta => return,
            None => self.next = Some(sequence),
            Some(_) => {}
        }
        self.bytes += record.payload.len();
        if let Some((_, double)) = self.waiting.insert(sequence, (now, record)) {
            self.bytes -= double.payload.len();
        }
    }

    /// The next record in order, if it is there or if those before it are no longer waited for.
    pub(super) fn pop(&mut self, now: Moment) -> Option<ReceivedRecord> {
        let next = self.next?;
        let entry = self.waiting.first_entry()?;
        let sequence = *entry.key();
        let (arrived, _) = entry.get();
        if sequence > next && now.since(*arrived) < self.wait_max && self.bytes <= BYTES_MAX {
            return None;
        }
        let (_, record) = entry.remove();
        self.take(next, sequence, &record);
        Some(record)
    }

    /// The next record in order, whatever is missing before it.
    pub(super) fn pop_rest(&mut self) -> Option<ReceivedRecord> {
        let next = self.next?;
        let (sequence, (_, record)) = self.waiting.pop_first()?;
        self.take(next, sequence, &record);
        Some(record)
    }

    fn take(&mut self, next: u64, sequence: u64, record: &ReceivedRecord) {
        self.missing += sequence.saturating_sub(next);
        self.bytes -= record.payload.len();
        self.next = Some(sequence.saturating_add(1));
    }

    /// How many sequences were given up.
    pub(super) fn missing(&self) -> u64 {
        self.missing
    }

    /// How many bytes wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use common_core::{FrameFlags, FrameHeader, StreamId};
    use proptest::prelude::*;

    use super::*;

    fn record(kind: FrameKind, sequence: u64) -> ReceivedRecord {
        let header = FrameHeader {
            kind,
            stream_id: StreamId::from_bytes([1; 16]),
            timestamp_us: sequence * 1_000,
            sequence,
            payload_length: 1,
            flags: FrameFlags::END_OF_FRAME,
            reserved: [0; 6],
        };
        ReceivedRecord { header, raw: Bytes::copy_from_slice(&header.encode()), payload: Bytes::from_static(b"x"), group: 0 }
    }

    fn at(ms: u64) -> Moment {
        Moment::from_micros(ms * 1_000)
    }

    fn drain(reorder: &mut Reorder, now: Moment) -> Vec<u64> {
        std::iter::from_fn(|| reorder.pop(now)).map(|record| record.header.sequence).collect()
    }

    proptest! {
        /// However groups overtake, as long as nothing is later than the budget, all comes out, in order.
        #[test]
        fn all_comes_out_in_order(order in Just((1_u64..60).collect::<Vec<_>>()).prop_shuffle()) {
            let mut reorder = Reorder::new(Duration::from_secs(10));
            reorder.push(record(FrameKind::VideoKey, 0), at(0));
            let mut out = drain(&mut reorder, at(0));
            for (ms, sequence) in (1..).zip(order) {
                reorder.push(record(FrameKind::VideoDelta, sequence), at(ms));
                out.extend(drain(&mut reorder, at(ms)));
            }
            prop_assert_eq!(out, (0..60).collect::<Vec<_>>());
            prop_assert_eq!((reorder.missing(), reorder.bytes()), (0, 0));
        }
    }

    #[test]
    fn it_begins_at_a_key_frame_and_takes_nothing_earlier() {
        let mut reorder = Reorder::new(Duration::from_secs(10));
        reorder.push(record(FrameKind::VideoDelta, 6), at(0));
        assert!(drain(&mut reorder, at(0)).is_empty());
        reorder.push(record(FrameKind::VideoKey, 10), at(1));
        reorder.push(record(FrameKind::VideoKey, 8), at(2));
        assert_eq!(drain(&mut reorder, at(2)), [10]);
    }

    #[test]
    fn what_is_missing_is_waited_for_and_then_given_up() {
        let mut reorder = Reorder::new(Duration::from_millis(100));
        for sequence in [0, 3, 4] {
            reorder.push(record(FrameKind::Audio, sequence), at(sequence));
        }
        assert_eq!(drain(&mut reorder, at(50)), [0]);
        assert!(drain(&mut reorder, at(102)).is_empty());
        assert_eq!(drain(&mut reorder, at(103)), [3, 4]);
        assert_eq!(reorder.missing(), 2);
        reorder.push(record(FrameKind::Audio, 2), at(104));
        reorder.push(record(FrameKind::Audio, 7), at(104));
        assert_eq!(reorder.pop(at(105)), None);
        assert_eq!(reorder.pop_rest().map(|record| record.header.sequence), Some(7));
        assert_eq!(reorder.missing(), 4);
    }
}
