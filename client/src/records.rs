//! Received records on their way to the application: one bounded queue per meeting.
//!
//! In: records from the readers of group streams. Out: records, in order inside a group; groups may overtake. Rule when the
//! application is too slow: a record that finds the queue full is dropped with the rest of its group, and counted; the next
//! group is tried again. An eighth of the queue is kept for sound.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use common_core::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, Moment, StreamId};
use proto::v1::SubscriptionReport;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::doubles::Doubles;
use crate::roster::Roster;
use crate::stats::SubscriptionStats;
use crate::stats::meter::Meter;

/// Bytes that wait for the application: 2.5 s at 100 Mb/s.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// Stream ids that are measured, and handlers' reports that are kept; what is received beyond them has no statistics. More than one can watch at
/// a time by an order.
const METERS_MAX: usize = 1_024;
/// Records that wait for the application: 2.7 s of fifty pictures at 60 a second.
const RECORDS_MAX: usize = 8 * 1024;

/// One record as it came off the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedRecord {
    /// The header, decoded.
    pub header: FrameHeader,
    /// The header's 46 bytes, as received.
    pub raw: Bytes,
    /// As received; in an encrypted meeting opened, and so shorter than the header says.
    pub payload: Bytes,
    /// Which group stream brought it: equal within a group, different for any other of this meeting.
    pub group: u64,
}

/// What became of a record that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It waits for the application, or came before by another way.
    Taken,
    /// The queue is full: drop the rest of the group.
    Full,
    /// Nobody will read it.
    Closed,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<ReceivedRecord>,
    bytes: usize,
    doubles: Doubles,
    meters: BTreeMap<StreamId, Meter>,
    reports: BTreeMap<StreamId, SubscriptionReport>,
    doubled: u64,
    dropped_groups: u64,
    closed: bool,
}

impl State {
    fn meter(&mut self, id: StreamId) -> Option<&mut Meter> {
        if !self.meters.contains_key(&id) && self.meters.len() >= METERS_MAX {
            return None;
        }
        Some(self.meters.entry(id).or_default())
    }
}

/// The queue between readers and the application; measures what passes.
#[derive(Debug)]
pub(crate) struct RecordQueue {
    state: Mutex<State>,
    changed: Notify,
    origin: Instant,
}

impl Default for RecordQueue {
    fn default() -> Self {
        Self { state: Mutex::default(), changed: Notify::default(), origin: Instant::now() }
    }
}

impl RecordQueue {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; if something did, the state is still whole.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        Moment::from_micros(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    pub(crate) fn push(&self, record: ReceivedRecord) -> Pushed {
        let (now, wall_us) = (self.now(), unix_micros());
        let id = record.header.stream_id;
        let mut state = self.state();
        if state.closed {
            return Pushed::Closed;
        }
        let (records_max, bytes_max) = match record.header.kind {
            FrameKind::Audio => (RECORDS_MAX, BYTES_MAX),
            FrameKind::VideoKey | FrameKind::VideoDelta => (RECORDS_MAX / 8 * 7, BYTES_MAX / 8 * 7),
        };
        let bytes = size(&record);
        if state.waiting.len() >= records_max || state.bytes + bytes > bytes_max {
            state.dropped_groups += 1;
            if let Some(meter) = state.meter(id) {
                meter.queue_full += 1;
            }
            return Pushed::Full;
        }
        let is_new = state.doubles.is_new(id, record.header.sequence);
        if let Some(meter) = state.meter(id) {
            if is_new {
                meter.record(&record.header, record.group, now, wall_us);
            } else {
                meter.doubled += 1;
            }
        }
        if !is_new {
            state.doubled += 1;
            return Pushed::Taken;
        }
        state.bytes += bytes;
        state.waiting.push_back(record);
        drop(state);
        self.changed.notify_one();
        Pushed::Taken
    }

    /// The media stream to which these ids belong is gone.
    pub(crate) fn forget(&self, ids: &[StreamId]) {
        let mut state = self.state();
        for id in ids {
            state.doubles.forget(*id);
            state.meters.remove(id);
            state.reports.remove(id);
        }
    }

    /// A record could not be decrypted.
    pub(crate) fn undecryptable(&self, id: StreamId) {
        if let Some(meter) = self.state().meter(id) {
            meter.undecryptable += 1;
        }
    }

    /// A key frame of a media stream is asked for.
    pub(crate) fn key_frame_requested(&self, id: StreamId) {
        if let Some(meter) = self.state().meter(id) {
            meter.key_frames_requested += 1;
        }
    }

    /// The handler tells why a media stream looks as it does.
    pub(crate) fn report(&self, stream: StreamId, report: SubscriptionReport) {
        let mut state = self.state();
        if state.reports.contains_key(&stream) || state.reports.len() < METERS_MAX {
            state.reports.insert(stream, report);
        }
    }

    /// What was received so far, explained by `roster`; and how many groups were cut short.
    pub(crate) fn stats(&self, roster: &Roster) -> (Vec<SubscriptionStats>, u64) {
        let now = self.now();
        let mut state = self.state();
        let State { meters, reports, dropped_groups, .. } = &mut *state;
        (crate::stats::subscriptions(roster, meters, reports, now), *dropped_groups)
    }

    /// No more records will come; those that wait can still be taken.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    /// The next record, or whether there will be none.
    fn pop(&self) -> Result<ReceivedRecord, bool> {
        let mut state = self.state();
        match state.waiting.pop_front() {
            Some(record) => {
                state.bytes -= size(&record);
                Ok(record)
            }
            None => Err(state.closed),
        }
    }
}

/// Microseconds since the epoch.
pub(crate) fn unix_micros() -> u64 {
    // A clock before 1970 gives zero: latencies are then not known.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn size(record: &ReceivedRecord) -> usize {
    FRAME_HEADER_BYTES + record.payload.len()
}

/// The records of every subscribed media stream of a meeting. A record may come shortly before the
/// [`StreamPublished`](crate::Event::StreamPublished) that explains it: the two travel on different connections.
#[derive(Debug)]
pub struct Records {
    pub(crate) queue: std::sync::Arc<RecordQueue>,
}

impl Records {
    /// The next record; `None` when the meeting is over and all were taken. Cancel-safe.
    pub async fn next(&mut self) -> Option<ReceivedRecord> {
        loop {
            match self.queue.pop() {
                Ok(record) => return Some(record),
                Err(true) => return None,
                // A permit is kept by `notify_one`, so a push between the look and the wait is not missed.
                Err(false) => self.queue.changed.notified().await,
            }
        }
    }

    /// A record that waits already.
    pub fn try_next(&mut self) -> Option<ReceivedRecord> {
        self.queue.pop().ok()
    }

    /// Groups that were cut short because the application was too slow.
    pub fn dropped_groups(&self) -> u64 {
        self.queue.state().dropped_groups
    }

    /// Records that came more than once and were given out once.
    pub fn doubled(&self) -> u64 {
        self.queue.state().doubled
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.closed = true;
        state.waiting.clear();
        state.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use common_core::FrameFlags;

    use super::*;

    fn record(kind: FrameKind, sequence: u64, payload: usize) -> ReceivedRecord {
        let header = FrameHeader {
            kind,
            stream_id: StreamId::from_bytes([kind as u8; 16]),
            timestamp_us: 0,
            sequence,
            payload_length: u32::try_from(payload).expect("small"),
            flags: FrameFlags::END_OF_FRAME,
            reserved: [0; 6],
        };
        ReceivedRecord { header, raw: Bytes::copy_from_slice(&header.encode()), payload: Bytes::from(vec![0; payload]), group: sequence }
    }

    fn queue() -> (Arc<RecordQueue>, Records) {
        let queue = Arc::new(RecordQueue::default());
        (queue.clone(), Records { queue })
    }

    #[tokio::test]
    async fn pictures_leave_room_for_sound() {
        let (queue, mut records) = queue();
        let size = 1024 * 1024;
        let taken = (0..).take_while(|sequence| queue.push(record(FrameKind::VideoDelta, *sequence, size)) == Pushed::Taken).count();
        assert_eq!(taken, BYTES_MAX / 8 * 7 / (size + FRAME_HEADER_BYTES));
        assert_eq!(queue.push(record(FrameKind::Audio, 0, 150)), Pushed::Taken);
        assert_eq!(records.dropped_groups(), 1);
        assert_eq!(records.next().await.map(|record| record.header.sequence), Some(0));
        assert_eq!(queue.push(record(FrameKind::VideoDelta, 1_000, 100)), Pushed::Taken);
    }

    #[tokio::test]
    async fn doubles_are_given_out_once_and_the_end_is_told() {
        let (queue, mut records) = queue();
        for sequence in [1, 2, 1, 2] {
            assert_eq!(queue.push(record(FrameKind::Audio, sequence, 1)), Pushed::Taken);
        }
        queue.close();
        assert_eq!(queue.push(record(FrameKind::Audio, 3, 1)), Pushed::Closed);
        let mut got = Vec::new();
        while let Some(record) = records.next().await {
            got.push(record.header.sequence);
        }
        assert_eq!((got, records.doubled()), (vec![1, 2], 2));
    }
}
