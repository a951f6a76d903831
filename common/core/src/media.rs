//! What is published and how it is wanted: media streams, layers, subscription options (signaling.proto, in words).

use std::time::Duration;

use crate::id::{ParticipantId, StreamId};

/// Media streams one participant may publish at a time (DESIGN section 4).
pub const STREAMS_PER_PARTICIPANT_MAX: usize = 32;
/// Simulcast layers one media stream may have: two more than any encoder in use offers.
pub const LAYERS_MAX: usize = 5;
/// Latency budget of a subscription that states none (DESIGN section 5).
pub const LATENCY_DEFAULT: Duration = Duration::from_millis(500);
/// Largest latency budget: what a subscriber who reads nothing may hold back before it is closed (DESIGN section 5).
pub const LATENCY_MAX: Duration = Duration::from_secs(30);

/// What a media stream shows or says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StreamType {
    /// Sound.
    Audio,
    /// A camera's picture.
    VideoCamera,
    /// A shared screen.
    VideoScreen,
}

impl StreamType {
    /// Whether its frames are audio frames.
    pub const fn is_audio(self) -> bool {
        matches!(self, StreamType::Audio)
    }
}

/// One quality of a media stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The publisher's name for it.
    pub layer_id: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Bits per second.
    pub max_bitrate: u32,
    /// The id in this layer's frames.
    pub stream_id: StreamId,
}

/// A picture's shape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VideoShape {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames per second.
    pub framerate: u32,
    /// Lowest first; empty: one layer under the media stream's own id.
    pub layers: Vec<Layer>,
}

/// One published source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaStream {
    /// Chosen by the publisher, unique in the meeting.
    pub stream_id: StreamId,
    /// Who publishes it.
    pub participant_id: ParticipantId,
    /// What it is.
    pub stream_type: StreamType,
    /// A contract name ("VP9", "Opus") or a WebCodecs string.
    pub codec: String,
    /// Bits per second; 0: not stated.
    pub max_bitrate: u32,
    /// For pictures.
    pub video: Option<VideoShape>,
    /// For sound, in Hz; 0: not stated.
    pub sample_rate: u32,
    /// For sound; 0: not stated.
    pub channels: u32,
}

impl MediaStream {
    /// The ids that stand in the frames of this media stream: its layers', or its own when it has none.
    pub fn frame_ids(&self) -> Vec<StreamId> {
        match &self.video {
            Some(video) if !video.layers.is_empty() => video.layers.iter().map(|layer| layer.stream_id).collect(),
            _ => vec![self.stream_id],
        }
    }
}

/// How a subscriber wants a media stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// Empty: the best the path carries; else at most this one.
    pub preferred_layer: String,
    /// Bits per second; 0: no limit.
    pub max_bitrate: u32,
    /// Milliseconds; 0: [`LATENCY_DEFAULT`].
    pub max_latency_ms: u32,
    /// Higher first.
    pub priority: u32,
}

impl SubscriptionOptions {
    /// The latency budget: as stated, or the default, and never over [`LATENCY_MAX`].
    pub fn latency_budget(&self) -> Duration {
        match self.max_latency_ms {
            0 => LATENCY_DEFAULT,
            stated => Duration::from_millis(u64::from(stated)).min(LATENCY_MAX),
        }
    }
}

/// The codec family: what stands before the first dot, in lower case, with WebCodecs prefixes mapped to the contract's
/// names ("vp09.00.10.08" and "VP9" are both "vp9").
pub fn codec_family(codec: &str) -> String {
    let family = codec.split('.').next().unwrap_or_default().to_ascii_lowercase();
    match family.as_str() {
        "vp09" => "vp9".to_owned(),
        "vp08" => "vp8".to_owned(),
        "av01" => "av1".to_owned(),
        "avc1" | "avc3" => "h264".to_owned(),
        _ => family,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_compare_by_family() {
        for (codec, family) in [
            ("VP9", "vp9"),
            ("vp09.00.10.08", "vp9"),
            ("opus", "opus"),
            ("Opus", "opus"),
            ("avc1.42001f", "h264"),
            ("vp8", "vp8"),
            ("av01.0.04M.08", "av1"),
        ] {
            assert_eq!(codec_family(codec), family);
        }
    }

    #[test]
    fn latency_budgets_are_bounded() {
        let budget = |max_latency_ms| SubscriptionOptions { max_latency_ms, ..Default::default() }.latency_budget();
        assert_eq!(budget(0), LATENCY_DEFAULT);
        assert_eq!(budget(10_000), Duration::from_secs(10));
        assert_eq!(budget(u32::MAX), LATENCY_MAX);
    }
}
