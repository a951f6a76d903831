//! Publishes clips at their own pace: one task per media stream, one clock for all, so that picture and sound stay together.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use client::{Frame, Meeting, Publisher, PublisherCounts, SendError, StreamDescription};
use common_core::StreamId;
use common_core::frame::{FrameFlags, PAYLOAD_BYTES_MAX};
use common_core::media::{MediaStream, VideoShape};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::media_file::{Clip, Codec};

/// Clips on their way.
pub(super) struct Publishing {
    /// What is published.
    pub(super) streams: Vec<MediaStream>,
    tasks: JoinSet<(Publisher, anyhow::Result<()>)>,
    ended: Vec<Publisher>,
}

/// Publishes every clip. With `repeat` all begin anew together when the longest is over.
pub(super) async fn start(meeting: &Meeting, clips: Vec<Clip>, repeat: bool, stop: CancellationToken) -> anyhow::Result<Publishing> {
    let lap = clips.iter().map(|clip| clip.duration).max().filter(|lap| repeat && !lap.is_zero());
    let mut streams = Vec::new();
    let mut ready = Vec::new();
    for clip in clips {
        let publisher = meeting.publish(describe(&clip)).await.with_context(|| format!("cannot publish {}", clip.codec.name()))?;
        streams.push(publisher.stream().clone());
        ready.push((publisher, clip));
    }
    let (began, began_us) = (Instant::now(), common::clock::unix_micros());
    let mut tasks = JoinSet::new();
    for (mut publisher, clip) in ready {
        let stop = stop.clone();
        tasks.spawn(async move {
            let played = tokio::select! {
                played = play(&mut publisher, &clip, lap, began, began_us) => played,
                () = stop.cancelled() => Ok(()),
            };
            publisher.flush().await;
            (publisher, played)
        });
    }
    Ok(Publishing { streams, tasks, ended: Vec::new() })
}

impl Publishing {
    /// Waits until every clip was published to its end, once; after that, and without clips, for ever. Cancel-safe.
    pub(super) async fn finished(&mut self) -> anyhow::Result<()> {
        if self.tasks.is_empty() {
            return std::future::pending().await;
        }
        while let Some(task) = self.tasks.join_next().await {
            let (publisher, played) = task.context("a publishing task failed")?;
            self.ended.push(publisher);
            played?;
        }
        Ok(())
    }

    /// Waits for the tasks, which must have been told to stop, and tells the counts.
    pub(super) async fn end(mut self) -> Vec<(StreamId, PublisherCounts)> {
        while let Some(task) = self.tasks.join_next().await {
            self.ended.extend(task.ok().map(|(publisher, _)| publisher));
        }
        self.ended.iter().map(|publisher| (publisher.stream().stream_id, publisher.counts())).collect()
    }
}

fn describe(clip: &Clip) -> StreamDescription {
    let video = (clip.codec != Codec::Opus).then(|| VideoShape {
        width: clip.width,
        height: clip.height,
        framerate: clip.framerate,
        layers: Vec::new(),
    });
    StreamDescription {
        video,
        sample_rate: if clip.codec == Codec::Opus { 48_000 } else { 0 },
        channels: clip.channels,
        ..StreamDescription::new(clip.codec.stream_type(), clip.codec.name())
    }
}

async fn play(publisher: &mut Publisher, clip: &Clip, lap: Option<Duration>, began: Instant, began_us: u64) -> anyhow::Result<()> {
    let mut lap_begins = Duration::ZERO;
    loop {
        for sample in &clip.samples {
            let at = lap_begins + sample.at;
            tokio::time::sleep_until(began + at).await;
            let timestamp_us = began_us + u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
            for frame in frames(clip.codec, sample.is_key, timestamp_us, &sample.payload) {
                match publisher.send(frame) {
                    // What is dropped is counted, and told by an event.
                    Ok(_) | Err(SendError::Behind) => {}
                    Err(SendError::Ended) => return Ok(()),
                    Err(error @ SendError::TooLarge { .. }) => return Err(error.into()),
                }
            }
        }
        match lap {
            Some(lap) => lap_begins += lap,
            None => break,
        }
    }
    // The last frame is shown for its time too.
    tokio::time::sleep_until(began + clip.duration).await;
    Ok(())
}

/// One frame as records: in parts when it is over the limit of one.
fn frames(codec: Codec, is_key: bool, timestamp_us: u64, payload: &Bytes) -> impl Iterator<Item = Frame> {
    let part_max = usize::try_from(PAYLOAD_BYTES_MAX).unwrap_or(usize::MAX);
    let parts = payload.len().div_ceil(part_max).max(1);
    (0..parts).map(move |part| {
        let bytes = payload.slice(part * part_max..payload.len().min((part + 1) * part_max));
        let mut frame = if codec == Codec::Opus { Frame::audio(timestamp_us, bytes) } else { Frame::video(is_key, timestamp_us, bytes) };
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
            frames(Codec::Vp9, true, 7, &payload).map(|frame| (frame.kind, frame.payload.len(), frame.flags.0)).collect()
        }
        assert_eq!(shape(0), [(FrameKind::VideoKey, 0, 1)]);
        assert_eq!(shape(limit), [(FrameKind::VideoKey, limit, 1)]);
        assert_eq!(shape(limit + 1), [(FrameKind::VideoKey, limit, 0), (FrameKind::VideoKey, 1, 1)]);
    }
}
