//! Where the frames of a media stream come from: a file, or whatever else knows when its next frame is due.
//!
//! In: a clip, or an implementation of [`FrameSource`]. Out: frames in decoding order, with their due times. Never reads a clock.

use std::sync::Arc;
use std::time::Duration;

use common_core::media::VideoShape;

use super::{Clip, Codec, Sample};
use crate::meeting::StreamDescription;

/// Gives the frames of one media stream, one after the other. [`Publishing`](super::Publishing) plays it.
///
/// All calls come from one task of the runtime, so each must return within a few milliseconds; a source that works longer does so in a
/// thread of its own and hands its frames over. A frame is asked for as soon as the one before it was sent, that is ahead of its time
/// by the distance of the two.
pub trait FrameSource: Send + 'static {
    /// What is to be published. Called once, before anything else.
    fn describe(&self) -> StreamDescription;

    /// Playing begins: the frame at [`Duration::ZERO`] is due at `epoch_us`, in microseconds since the epoch by this machine's clock.
    /// The frames' timestamps will be `epoch_us` and their due times together.
    fn begin(&mut self, epoch_us: u64) {
        let _ = epoch_us;
    }

    /// The next frame in decoding order; `None` when there is none any more. The first is a key frame, and due times never go back.
    /// Frames over the limit of a record are sent in parts.
    fn next_frame(&mut self) -> Option<Sample>;

    /// Somebody needs a key frame. A source that cannot make one, such as a file, waits for its next.
    fn want_key_frame(&mut self) {}

    /// Nobody takes a layer, or somebody does again. `id` is the one in the frames. When nobody takes any, no frame is asked for, if the source
    /// [can skip](Self::skip_to).
    fn pause(&mut self, id: common_core::StreamId, paused: bool) {
        let _ = (id, paused);
    }

    /// Nothing was asked for while nobody took it: the next frame is a key frame, due at `at` or later. Answers whether it is; a source that cannot,
    /// such as a file whose key frames are where they are, is played on while it is paused.
    fn skip_to(&mut self, at: Duration) -> bool {
        let _ = at;
        false
    }

    /// When the last frame has been shown for its time too; asked for after the last frame.
    fn ends_at(&self) -> Duration;
}

/// A clip as a source: once, or again and again.
#[derive(Clone, Debug)]
pub struct ClipSource {
    clip: Arc<Clip>,
    /// After how long it begins anew.
    lap: Option<Duration>,
    lap_begins: Duration,
    next: usize,
}

impl ClipSource {
    /// The clip, once.
    pub fn once(clip: impl Into<Arc<Clip>>) -> Self {
        Self { clip: clip.into(), lap: None, lap_begins: Duration::ZERO, next: 0 }
    }

    /// The clip again and again, anew after each `lap`, or after its own length if that is longer: clips that belong together are given the
    /// length of the longest, so that picture and sound stay together. A clip without any length is played once.
    pub fn repeated(clip: impl Into<Arc<Clip>>, lap: Duration) -> Self {
        let mut source = Self::once(clip);
        source.lap = Some(lap.max(source.clip.duration)).filter(|lap| !lap.is_zero());
        source
    }
}

impl FrameSource for ClipSource {
    fn describe(&self) -> StreamDescription {
        let clip = &self.clip;
        let is_sound = clip.codec == Codec::Opus;
        let shape = VideoShape { width: clip.width, height: clip.height, framerate: clip.framerate, layers: Vec::new() };
        StreamDescription {
            video: (!is_sound).then_some(shape),
            sample_rate: if is_sound { 48_000 } else { 0 },
            channels: clip.channels,
            ..StreamDescription::new(clip.codec.stream_type(), clip.codec.name())
        }
    }

    fn next_frame(&mut self) -> Option<Sample> {
        if self.next >= self.clip.samples.len() {
            self.lap_begins += self.lap?;
            self.next = 0;
        }
        let mut sample = self.clip.samples.get(self.next)?.clone();
        self.next += 1;
        sample.at += self.lap_begins;
        Some(sample)
    }

    fn ends_at(&self) -> Duration {
        self.lap_begins + self.clip.duration
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn clip() -> Clip {
        let sample = |ms, is_key| Sample { at: Duration::from_millis(ms), is_key, payload: Bytes::from_static(b"x") };
        Clip {
            codec: Codec::Vp8,
            width: 4,
            height: 2,
            framerate: 10,
            channels: 0,
            samples: vec![sample(0, true), sample(100, false)],
            duration: Duration::from_millis(200),
        }
    }

    fn times(source: &mut ClipSource, count: usize) -> Vec<(u128, bool)> {
        let frames = std::iter::from_fn(|| source.next_frame());
        frames.take(count).map(|sample| (sample.at.as_millis(), sample.is_key)).collect()
    }

    #[test]
    fn a_clip_is_played_once_or_in_laps() {
        let mut once = ClipSource::once(clip());
        assert_eq!(times(&mut once, 9), [(0, true), (100, false)]);
        assert_eq!(once.ends_at(), Duration::from_millis(200));
        let mut repeated = ClipSource::repeated(clip(), Duration::from_millis(500));
        assert_eq!(times(&mut repeated, 4), [(0, true), (100, false), (500, true), (600, false)]);
        let mut short_lap = ClipSource::repeated(clip(), Duration::ZERO);
        assert_eq!(times(&mut short_lap, 3), [(0, true), (100, false), (200, true)]);
        assert_eq!(short_lap.describe().video.map(|shape| (shape.width, shape.framerate)), Some((4, 10)));
    }
}
