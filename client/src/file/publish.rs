//! Publishes sources at their own pace: one task per media stream, one clock for all, so that picture and sound stay together.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use common_core::StreamId;
use common_core::frame::{FrameFlags, PAYLOAD_BYTES_MAX};
use common_core::media::MediaStream;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::source::FrameSource;
use crate::event::{Event, Events};
use crate::meeting::{Meeting, RequestError};
use crate::publisher::{Frame, Publisher, PublisherCounts, SendError};

/// Why sources are not published.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The meeting refused one of them.
    #[error("cannot publish {codec}: {error}")]
    Request {
        /// Its codec.
        codec: String,
        /// Why.
        error: RequestError,
    },
    /// A source panicked.
    #[error("a source of frames failed: {0}")]
    Source(String),
}

/// Sources on their way into a meeting. Dropping it ends the sending at once; the meeting takes them for published until they are
/// [unpublished](Meeting::unpublish) or the participant leaves.
pub struct Publishing {
    streams: Vec<MediaStream>,
    tasks: JoinSet<Publisher>,
    stop: CancellationToken,
    ended: Vec<Publisher>,
}

impl Publishing {
    /// Publishes every source, and begins to play them together when the meeting knows all. When the future is dropped, those that were
    /// published already stay published without frames.
    pub async fn start(meeting: &Meeting, sources: Vec<Box<dyn FrameSource>>) -> Result<Self, PublishError> {
        let mut ready = Vec::with_capacity(sources.len());
        for source in sources {
            let description = source.describe();
            let codec = description.codec.clone();
            // Before publishing, so that no request for a key frame is missed.
            let events = meeting.events();
            let publisher = meeting.publish(description).await.map_err(|error| PublishError::Request { codec, error })?;
            ready.push((publisher, source, events));
        }
        let streams = ready.iter().map(|(publisher, ..)| publisher.stream().clone()).collect();
        let (began, epoch_us) = (Instant::now(), unix_micros());
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        for (mut publisher, mut source, events) in ready {
            let stop = stop.clone();
            tasks.spawn(async move {
                source.begin(epoch_us);
                tokio::select! {
                    () = play(&mut publisher, source.as_mut(), events, began, epoch_us) => {}
                    () = stop.cancelled() => {}
                }
                publisher.flush().await;
                publisher
            });
        }
        Ok(Self { streams, tasks, stop, ended: Vec::new() })
    }

    /// What is published.
    pub fn streams(&self) -> &[MediaStream] {
        &self.streams
    }

    /// What became of the records so far of those sources that are over.
    pub fn counts(&self) -> impl Iterator<Item = (StreamId, PublisherCounts)> {
        self.ended.iter().map(|publisher| (publisher.stream().stream_id, publisher.counts()))
    }

    /// Waits until every source was played to its end; after that, and without sources, for ever, so that it fits into a `select!`.
    /// Cancel-safe.
    pub async fn finished(&mut self) -> Result<(), PublishError> {
        if self.tasks.is_empty() {
            return std::future::pending().await;
        }
        while let Some(task) = self.tasks.join_next().await {
            self.ended.push(task.map_err(|error| PublishError::Source(error.to_string()))?);
        }
        Ok(())
    }

    /// Ends the sending after the frame at hand, waits at most two seconds until the handler has what was sent, and tells the counts.
    /// When the future is dropped, the sending ends at once.
    pub async fn end(mut self) -> Vec<(StreamId, PublisherCounts)> {
        self.stop.cancel();
        while let Some(task) = self.tasks.join_next().await {
            self.ended.extend(task.ok());
        }
        self.counts().collect()
    }
}

/// Microseconds since the epoch.
fn unix_micros() -> u64 {
    // A clock before 1970 gives zero: times are then wrong, and nothing else.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX)
}

/// Plays to the end of the source, or of the publication.
async fn play(publisher: &mut Publisher, source: &mut dyn FrameSource, mut events: Events, began: Instant, epoch_us: u64) {
    let is_audio = publisher.stream().stream_type.is_audio();
    let ids = publisher.stream().frame_ids();
    while let Some(sample) = source.next_frame() {
        if !wait(source, &ids, &mut events, Some(began + sample.at), || false).await {
            return;
        }
        if publisher.is_paused() && source.skip_to(sample.at) {
            // The frame at hand was made for nobody.
            if !wait(source, &ids, &mut events, None, || !publisher.is_paused()).await {
                return;
            }
            source.skip_to(began.elapsed());
            continue;
        }
        for frame in frames(is_audio, sample.is_key, epoch_us.saturating_add(micros(sample.at)), &sample.payload) {
            match publisher.send(frame) {
                // What is dropped is counted, and told by an event. No part is over the limit.
                Ok(_) | Err(SendError::Behind | SendError::TooLarge { .. }) => {}
                Err(SendError::Ended) => return,
            }
        }
    }
    let over = began + source.ends_at();
    wait(source, &ids, &mut events, Some(over), || false).await;
}

/// Waits until `due`, if there is such an instant, or until it `is_over`, which may change with each event; tells the source meanwhile what others ask of
/// it. False: the meeting has ended before.
async fn wait(
    source: &mut dyn FrameSource,
    ids: &[StreamId],
    events: &mut Events,
    due: Option<Instant>,
    is_over: impl Fn() -> bool,
) -> bool {
    let due = async {
        match due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(due);
    while !is_over() {
        tokio::select! {
            () = &mut due => return true,
            event = events.next() => match event {
                None => return false,
                Some(Event::KeyFrameRequested { stream_id }) if ids.contains(&stream_id) => source.want_key_frame(),
                Some(Event::LayerPaused { stream_id, paused }) if ids.contains(&stream_id) => source.pause(stream_id, paused),
                Some(_) => {}
            },
        }
    }
    true
}

/// One frame as records: in parts when it is over the limit of one.
fn frames(is_audio: bool, is_key: bool, timestamp_us: u64, payload: &Bytes) -> impl Iterator<Item = Frame> {
    let part_max = usize::try_from(PAYLOAD_BYTES_MAX).unwrap_or(usize::MAX);
    let parts = payload.len().div_ceil(part_max).max(1);
    (0..parts).map(move |part| {
        let bytes = payload.slice(part * part_max..payload.len().min((part + 1) * part_max));
        let mut frame = if is_audio { Frame::audio(timestamp_us, bytes) } else { Frame::video(is_key, timestamp_us, bytes) };
        if part + 1 < parts {
            frame.flags = FrameFlags::default();
        }
        frame
    })
}

#[cfg(test)]
mod tests {
    use common_core::FrameKind;

    use super::*;

    #[test]
    fn large_frames_go_in_parts() {
        let limit = usize::try_from(PAYLOAD_BYTES_MAX).expect("fits");
        fn shape(length: usize) -> Vec<(FrameKind, usize, u16)> {
            let payload = Bytes::from(vec![0; length]);
            frames(false, true, 7, &payload).map(|frame| (frame.kind, frame.payload.len(), frame.flags.0)).collect()
        }
        assert_eq!(shape(0), [(FrameKind::VideoKey, 0, 1)]);
        assert_eq!(shape(limit), [(FrameKind::VideoKey, limit, 1)]);
        assert_eq!(shape(limit + 1), [(FrameKind::VideoKey, limit, 0), (FrameKind::VideoKey, 1, 1)]);
    }
}
