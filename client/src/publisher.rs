//! One published media stream on its way to the handler: a QUIC stream per group, fresh or not at all (DESIGN section 5).
//!
//! In: encoded frames. Out: records with sequences that never restart, sealed where the meeting is encrypted. Rule of freshness: a frame that could not be handed to
//! QUIC within 300 ms breaks its group off (`EXPIRED`); it goes on at the next key frame, sound with the next packet. The first
//! burst on a new session is exempt until caught up, at most 2 s; what is published before the first session stands waits as long.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use common_core::frame::PAYLOAD_BYTES_MAX;
use common_core::media::MediaStream;
use common_core::{Code, FRAME_HEADER_BYTES, FrameFlags, FrameHeader, FrameKind, Moment, StreamId};
use thiserror::Error;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;
use web_transport_quinn::{SendStream, WriteError};

use crate::e2ee::{StreamSealer, overhead_bytes};
use crate::event::Event;
use crate::link::Link;
use crate::meeting::{Meeting, RequestError};
use crate::stats::rate::Rate;
use crate::stats::{PublicationLimiter, PublicationStats};

/// Frames that wait for the writer: two seconds at 60 a second.
const QUEUE_FRAMES_MAX: usize = 120;
/// Bytes that wait for the writer: two of the largest frames.
const QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Unsent for longer than this, a frame is late (DESIGN section 5).
const LATE_AFTER: Duration = Duration::from_millis(300);
/// How long the first burst on a new session may be late: a key frame in slow start on a long path.
const CATCH_UP_MAX: Duration = Duration::from_secs(2);
/// A stream of sound is ended and a new one begun after this (DESIGN section 5: groups of about a second).
const AUDIO_GROUP: Duration = Duration::from_secs(1);
/// QUIC's own buffer is kept to what the path carries in this time, besides what is in flight: more would age unseen.
const BUFFERED: Duration = Duration::from_millis(100);
/// An uplink that could not take something is told as what limits for so long.
const UPLINK_MEMORY: Duration = Duration::from_secs(2);
/// Between two looks at the path.
const WINDOW_INTERVAL: Duration = Duration::from_millis(50);
/// Bounds of the send window: a key frame's start, and a frame of the largest kind.
const WINDOW_BYTES: std::ops::RangeInclusive<u64> = 64 * 1024..=4 * 1024 * 1024;
/// Sound goes before every picture.
const AUDIO_PRIORITY: i32 = 1 << 20;

/// One encoded frame, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: FrameKind,
    /// Microseconds since the epoch, by this machine's clock.
    pub timestamp_us: u64,
    /// End of frame, discardable; reserved bits are passed on.
    pub flags: FrameFlags,
    /// At most 4 MiB; longer frames go in parts.
    pub payload: Bytes,
}

impl Frame {
    /// One Opus packet.
    pub fn audio(timestamp_us: u64, payload: Bytes) -> Self {
        Self { kind: FrameKind::Audio, timestamp_us, flags: FrameFlags::END_OF_FRAME, payload }
    }

    /// One whole picture.
    pub fn video(is_key: bool, timestamp_us: u64, payload: Bytes) -> Self {
        let kind = if is_key { FrameKind::VideoKey } else { FrameKind::VideoDelta };
        Self { kind, timestamp_us, flags: FrameFlags::END_OF_FRAME, payload }
    }
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// The uplink is behind: this frame, and pictures up to the next key frame, are dropped.
    #[error("the uplink is behind; frames are dropped up to the next key frame")]
    Behind,
    /// Over the limit of a record; in an encrypted meeting that has room for up to 25 bytes less.
    #[error("a payload of {found} bytes is over the limit of {PAYLOAD_BYTES_MAX}; send it in parts")]
    TooLarge {
        /// Its length, as it would be sent.
        found: usize,
    },
    /// The meeting is over, or the media stream was unpublished.
    #[error("the media stream is no longer published")]
    Ended,
}

/// What became of the records of a publisher so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublisherCounts {
    /// Handed to QUIC whole.
    pub sent: u64,
    /// Of these, the last of a frame, which made it whole.
    pub frames: u64,
    /// Of these, key frames.
    pub key_frames: u64,
    /// Headers and payloads of what was sent.
    pub bytes: u64,
    /// Groups that were begun.
    pub groups: u64,
    /// Not sent: late, without a session, or waiting for a key frame.
    pub dropped: u64,
    /// Groups that were broken off because they were late.
    pub late_groups: u64,
    /// Groups that the handler stopped.
    pub stopped_groups: u64,
}

/// What a publisher and its writer count, and whoever asks for statistics reads.
#[derive(Debug)]
pub(crate) struct Counters {
    origin: Instant,
    rates: Mutex<Rates>,
    sent: AtomicU64,
    frames: AtomicU64,
    key_frames: AtomicU64,
    bytes: AtomicU64,
    groups: AtomicU64,
    dropped: AtomicU64,
    late_groups: AtomicU64,
    stopped_groups: AtomicU64,
    queued_bytes: AtomicUsize,
    /// When the frame that is being written was handed in; 0: none is. Microseconds from the origin.
    oldest_us: AtomicU64,
    /// When the uplink could last not take something; 0: never. Microseconds from the origin.
    behind_us: AtomicU64,
}

/// Of the last second.
#[derive(Debug, Default)]
struct Rates {
    bits: Rate,
    frames: Rate,
}

impl Default for Counters {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self {
            origin: Instant::now(),
            rates: Mutex::default(),
            sent: zero(),
            frames: zero(),
            key_frames: zero(),
            bytes: zero(),
            groups: zero(),
            dropped: zero(),
            late_groups: zero(),
            stopped_groups: zero(),
            queued_bytes: AtomicUsize::default(),
            oldest_us: zero(),
            behind_us: zero(),
        }
    }
}

impl Counters {
    /// Never 0, which stands for none.
    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.origin).as_micros()).unwrap_or(u64::MAX).max(1)
    }

    fn rates(&self) -> (MutexGuard<'_, Rates>, Moment) {
        let now = Moment::from_micros(self.micros(Instant::now()));
        // Nothing panics while it holds the lock; if something did, a rate is wrong for a second.
        (self.rates.lock().unwrap_or_else(PoisonError::into_inner), now)
    }

    /// The uplink cannot take something.
    fn behind(&self) {
        self.behind_us.store(self.micros(Instant::now()), Ordering::Relaxed);
    }

    /// A frame that was handed in at `at` is being written; `None`: it is done with.
    fn writes(&self, at: Option<Instant>) {
        self.oldest_us.store(at.map_or(0, |at| self.micros(at)), Ordering::Relaxed);
    }

    /// A record was handed to QUIC whole.
    fn sent(&self, header: &FrameHeader) {
        let bytes = FRAME_HEADER_BYTES as u64 + u64::from(header.payload_length);
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if header.ends_frame() {
            self.frames.fetch_add(1, Ordering::Relaxed);
            self.key_frames.fetch_add(u64::from(header.kind == FrameKind::VideoKey), Ordering::Relaxed);
        }
        let (mut rates, now) = self.rates();
        rates.bits.add(bytes * 8, now);
        rates.frames.add(u64::from(header.ends_frame()), now);
    }

    fn counts(&self) -> PublisherCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PublisherCounts {
            sent: read(&self.sent),
            frames: read(&self.frames),
            key_frames: read(&self.key_frames),
            bytes: read(&self.bytes),
            groups: read(&self.groups),
            dropped: read(&self.dropped),
            late_groups: read(&self.late_groups),
            stopped_groups: read(&self.stopped_groups),
        }
    }

    /// What stands about `stream` in a snapshot.
    pub(crate) fn stats(&self, stream: &MediaStream, is_paused: bool) -> PublicationStats {
        let (mut rates, now) = self.rates();
        let since = |us: &AtomicU64| match us.load(Ordering::Relaxed) {
            0 => None,
            us => Some(now.since(Moment::from_micros(us))),
        };
        let backlog = since(&self.oldest_us).unwrap_or_default();
        let limiter = if is_paused {
            PublicationLimiter::Paused
        } else if backlog > BUFFERED || since(&self.behind_us).is_some_and(|since| since < UPLINK_MEMORY) {
            PublicationLimiter::Uplink
        } else {
            PublicationLimiter::None
        };
        let (width, height) = stream.video.as_ref().map_or((0, 0), |video| (video.width, video.height));
        PublicationStats {
            stream_id: stream.stream_id,
            stream_type: stream.stream_type,
            codec: stream.codec.clone(),
            width,
            height,
            target_bitrate: stream.max_bitrate,
            bitrate: rates.bits.per_second(now),
            frames_per_second: rates.frames.per_second(now),
            counts: self.counts(),
            queued_bytes: self.queued_bytes.load(Ordering::Relaxed),
            backlog,
            limiter,
        }
    }
}

/// Sends the frames of one media stream. Dropping it ends the sending; [`unpublish`](Self::unpublish) tells the meeting too.
pub struct Publisher {
    meeting: Meeting,
    stream: MediaStream,
    sequence: u64,
    is_encrypted: bool,
    /// The next picture must be a key frame: one before it was not taken.
    wants_key: bool,
    queue: mpsc::Sender<Job>,
    counters: Arc<Counters>,
}

/// What the writer is to do.
enum Job {
    Write(Queued),
    /// End the group and tell when it has arrived.
    Flush(oneshot::Sender<()>),
}

struct Queued {
    header: FrameHeader,
    payload: Bytes,
    at: Instant,
}

impl Publisher {
    pub(crate) fn start(
        meeting: Meeting,
        stream: MediaStream,
        sealer: Option<StreamSealer>,
        link: watch::Receiver<Option<Link>>,
        events: broadcast::Sender<Event>,
    ) -> Self {
        let (queue, frames) = mpsc::channel(QUEUE_FRAMES_MAX);
        let counters = Arc::new(Counters::default());
        let is_encrypted = sealer.is_some();
        let writer = Writer {
            stream_id: stream.stream_id,
            is_audio: stream.stream_type.is_audio(),
            sealer,
            frames,
            link,
            events,
            counters: counters.clone(),
            group: None,
            groups: 0,
            inside_frame: false,
            asked: false,
            exempt_until: None,
            seen_link: 0,
            window_at: Instant::now(),
        };
        tokio::spawn(writer.run());
        meeting.measure(&stream, &counters);
        Self { meeting, stream, sequence: 0, is_encrypted, wants_key: false, queue, counters }
    }

    /// What is published.
    pub fn stream(&self) -> &MediaStream {
        &self.stream
    }

    /// Hands a frame to the writer, without waiting. Returns its sequence. A frame that is not taken uses its sequence up, so
    /// that receivers see that something is missing.
    pub fn send(&mut self, frame: Frame) -> Result<u64, SendError> {
        let length = frame.payload.len() + if self.is_encrypted { overhead_bytes(self.sequence) } else { 0 };
        let Some(payload_length) = u32::try_from(length).ok().filter(|length| *length <= PAYLOAD_BYTES_MAX) else {
            return Err(SendError::TooLarge { found: length });
        };
        let sequence = self.sequence;
        self.sequence += 1;
        match frame.kind {
            FrameKind::VideoKey => self.wants_key = false,
            FrameKind::VideoDelta if self.wants_key => return self.refuse(SendError::Behind),
            FrameKind::VideoDelta | FrameKind::Audio => {}
        }
        let header = FrameHeader {
            kind: frame.kind,
            stream_id: self.stream.stream_id,
            timestamp_us: frame.timestamp_us,
            sequence,
            payload_length,
            flags: frame.flags,
            reserved: [0; 6],
        };
        let bytes = frame.payload.len();
        if self.counters.queued_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > QUEUE_BYTES_MAX {
            self.counters.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return self.refuse(SendError::Behind);
        }
        match self.queue.try_send(Job::Write(Queued { header, payload: frame.payload, at: Instant::now() })) {
            Ok(()) => Ok(sequence),
            Err(error) => {
                self.counters.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
                self.refuse(match error {
                    mpsc::error::TrySendError::Full(_) => SendError::Behind,
                    mpsc::error::TrySendError::Closed(_) => SendError::Ended,
                })
            }
        }
    }

    fn refuse(&mut self, error: SendError) -> Result<u64, SendError> {
        self.wants_key = !self.stream.stream_type.is_audio();
        self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        if error == SendError::Behind {
            self.counters.behind();
        }
        Err(error)
    }

    /// Whether nobody takes it, in any of its layers: what is sent goes nowhere.
    pub fn is_paused(&self) -> bool {
        self.meeting.is_paused(&self.stream)
    }

    /// What became of the records so far.
    pub fn counts(&self) -> PublisherCounts {
        self.counters.counts()
    }

    /// Ends the present group, and waits until the handler has all of it, or until it is dropped as late. When the future is dropped, the group may be
    /// ended all the same.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.queue.send(Job::Flush(done)).await.is_ok() {
            // An error means that the meeting is over.
            let _ = wait.await;
        }
    }

    /// Tells the meeting that the media stream is gone. When the future is dropped, the sending ends, and the meeting may not be told.
    pub async fn unpublish(self) -> Result<(), RequestError> {
        self.flush().await;
        self.meeting.unpublish(self.stream.stream_id).await
    }
}

/// The task that writes.
struct Writer {
    stream_id: StreamId,
    is_audio: bool,
    sealer: Option<StreamSealer>,
    frames: mpsc::Receiver<Job>,
    link: watch::Receiver<Option<Link>>,
    events: broadcast::Sender<Event>,
    counters: Arc<Counters>,
    group: Option<Group>,
    groups: i32,
    /// The record before this one did not end its frame.
    inside_frame: bool,
    /// A key frame was asked for since the last group ended.
    asked: bool,
    /// The first burst on the present session may be late until then.
    exempt_until: Option<Instant>,
    /// Number of the session that was seen last; 0: none yet.
    seen_link: u64,
    window_at: Instant,
}

struct Group {
    stream: SendStream,
    link: Link,
    began: Instant,
}

impl Writer {
    async fn run(mut self) {
        loop {
            let job = tokio::select! {
                job = self.frames.recv() => job,
                changed = self.link.changed() => match changed {
                    Ok(()) => {
                        self.meet_link();
                        continue;
                    }
                    // The meeting is over.
                    Err(_) => None,
                },
            };
            let queued = match job {
                Some(Job::Write(queued)) => queued,
                Some(Job::Flush(done)) => {
                    self.flush().await;
                    // Whoever asked may be gone.
                    let _ = done.send(());
                    continue;
                }
                None => break,
            };
            let (bytes, header) = (queued.payload.len(), queued.header);
            self.counters.writes(Some(queued.at));
            let outcome = self.write(queued).await;
            self.counters.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            match outcome {
                Ok(()) => self.counters.sent(&header),
                Err(()) => drop(self.counters.dropped.fetch_add(1, Ordering::Relaxed)),
            }
            if self.frames.is_empty() {
                self.exempt_until = None;
                self.counters.writes(None);
            }
        }
        self.end_group();
    }

    /// A new session stands (or none): a picture starts anew there, from a key frame on.
    fn meet_link(&mut self) {
        let number = self.link.borrow_and_update().as_ref().map(|link| link.number);
        let Some(number) = number.filter(|number| *number != self.seen_link) else { return };
        // The very first session finds the publisher at a key frame anyway.
        if self.seen_link != 0 {
            self.ask_for_key();
        }
        self.seen_link = number;
        self.exempt_until = Some(Instant::now() + CATCH_UP_MAX);
    }

    async fn write(&mut self, queued: Queued) -> Result<(), ()> {
        self.meet_link();
        let begins_frame = !self.inside_frame;
        self.inside_frame = !queued.header.ends_frame();
        if begins_frame && self.begins_group(queued.header.kind) {
            self.end_group();
            self.open_group(queued.at).await;
        }
        let Some(group) = &mut self.group else {
            if queued.header.kind != FrameKind::VideoKey {
                self.ask_for_key();
            }
            return Err(());
        };
        let deadline = self.exempt_until.unwrap_or(queued.at).max(queued.at + LATE_AFTER);
        if self.window_at.elapsed() >= WINDOW_INTERVAL {
            self.window_at = Instant::now();
            fit_window(&group.link);
        }
        let header = queued.header.encode();
        let payload = match &mut self.sealer {
            // A writer sees each sequence once, in order.
            Some(sealer) => sealer.seal(&header, queued.header.sequence, &queued.payload).map(Bytes::from).ok_or(())?,
            None => queued.payload,
        };
        let mut record = [Bytes::copy_from_slice(&header), payload];
        match tokio::time::timeout_at(deadline, group.stream.write_all_chunks(&mut record)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(WriteError::Stopped(code))) => {
                tracing::debug!(stream = %self.stream_id, code, "the handler stopped a group");
                self.counters.stopped_groups.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Err(error)) => tracing::debug!(stream = %self.stream_id, %error, "a group broke off"),
            Err(_) => {
                // An error means that the stream is over already.
                let _ = group.stream.reset(Code::Expired.number());
                self.counters.late_groups.fetch_add(1, Ordering::Relaxed);
                self.counters.behind();
                // Nobody listening is fine.
                let _ = self.events.send(Event::PublisherBehind { stream_id: self.stream_id });
            }
        }
        self.group = None;
        self.asked = false;
        self.ask_for_key();
        Err(())
    }

    fn begins_group(&self, kind: FrameKind) -> bool {
        match (kind, &self.group) {
            (FrameKind::VideoKey, _) | (FrameKind::Audio, None) => true,
            (FrameKind::VideoDelta, _) => false,
            (FrameKind::Audio, Some(group)) => group.began.elapsed() >= AUDIO_GROUP || group.link.number != self.seen_link,
        }
    }

    async fn open_group(&mut self, queued_at: Instant) {
        if self.seen_link == 0 {
            // The controller acks a publication over its own connection: the first session with the handler may still be
            // on its way. Past the deadline there is no link below, and the frame is dropped.
            let _ = tokio::time::timeout_at(queued_at + CATCH_UP_MAX, self.link.wait_for(Option::is_some)).await;
            self.meet_link();
        }
        let Some(link) = self.link.borrow().clone() else { return };
        let deadline = self.exempt_until.unwrap_or(queued_at).max(queued_at + LATE_AFTER);
        match tokio::time::timeout_at(deadline, link.connection.open_stream()).await {
            Ok(Ok(stream)) => {
                self.groups = (self.groups + 1) % AUDIO_PRIORITY;
                // The newest group of a picture first. An error means that the stream is over already: the write will tell.
                let _ = stream.set_priority(if self.is_audio { AUDIO_PRIORITY } else { self.groups });
                self.asked = false;
                self.counters.groups.fetch_add(1, Ordering::Relaxed);
                self.group = Some(Group { stream, link, began: Instant::now() });
            }
            Ok(Err(error)) => tracing::debug!(stream = %self.stream_id, %error, "no stream for a group"),
            Err(_) => {
                self.counters.late_groups.fetch_add(1, Ordering::Relaxed);
                self.counters.behind();
            }
        }
    }

    fn end_group(&mut self) {
        if let Some(mut group) = self.group.take() {
            // An error means that the stream is over already.
            let _ = group.stream.finish();
        }
    }

    async fn flush(&mut self) {
        if let Some(mut group) = self.group.take() {
            // Errors mean that the stream is over already; past the timeout it is late.
            let _ = group.stream.finish();
            let _ = tokio::time::timeout(CATCH_UP_MAX, group.stream.stopped()).await;
        }
    }

    /// Once per gap.
    fn ask_for_key(&mut self) {
        if !self.is_audio && !self.asked && self.link.borrow().is_some() {
            self.asked = true;
            // Nobody listening is fine.
            let _ = self.events.send(Event::KeyFrameRequested { stream_id: self.stream_id });
        }
    }
}

/// Keeps QUIC's buffer short, so that lateness is seen here, where it can be acted upon.
fn fit_window(link: &Link) {
    let connection: &quinn::Connection = link.connection.session();
    let path = connection.stats().path;
    connection.set_send_window(send_window(path.cwnd, path.rtt));
}

/// What may be sent and not acknowledged: what is in flight, and what the path carries in [`BUFFERED`].
fn send_window(congestion_window: u64, round_trip: Duration) -> u64 {
    common_core::send_window(congestion_window, round_trip, BUFFERED, &WINDOW_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A megabit a second with 50 ms to and fro: in flight 6 kB, buffered 12 kB, so the floor; at 40 Mb/s 750 kB.
    #[test]
    fn the_window_follows_the_path_within_bounds() {
        assert_eq!(send_window(6_250, Duration::from_millis(50)), 64 * 1024);
        assert_eq!(send_window(250_000, Duration::from_millis(50)), 750_000);
        assert_eq!(send_window(u64::MAX, Duration::ZERO), 4 * 1024 * 1024);
    }
}
