//! Media files: published into a meeting, and written from what was received.
//!
//! In: the bytes of an IVF (VP8, VP9, AV1), Annex B (H.264) or Ogg Opus file. Out: [`Clip`]s of samples with their times; and
//! the other way round. Payloads are never changed, with one exception: an H.264 key frame without its parameter sets gets
//! them (DESIGN section 5). Bytes of strangers never panic.
//!
//! [`Publishing`] plays [`FrameSource`]s, of which a clip is one; [`Recorder`] writes the records of a meeting into files:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use dark_tower_client::Meeting;
//! use dark_tower_client::file::{ClipSource, Publishing, read_clip};
//!
//! async fn show(meeting: &Meeting) -> Result<(), Box<dyn std::error::Error>> {
//!     let clip = read_clip("clip.ivf".as_ref(), None)?;
//!     let mut publishing = Publishing::start(meeting, vec![Box::new(ClipSource::once(clip))]).await?;
//!     publishing.finished().await?;
//!     for (stream, counts) in publishing.end().await {
//!         println!("{stream}: {} records were sent, {} were dropped", counts.sent, counts.dropped);
//!     }
//!     Ok(())
//! }
//! ```

pub mod annex_b;
mod bits;
pub mod ivf;
pub mod key_frame;
pub mod ogg_opus;
mod publish;
mod record;
mod reorder;
mod source;

pub use publish::{PublishError, Publishing};
pub use record::{Recorder, Recording, RecordingError};
pub use source::{ClipSource, FrameSource};

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use common_core::media::{StreamType, codec_family};
use thiserror::Error;

/// Largest file that is read. It is read whole, so that loops and several readers cost nothing more.
const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// What files may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// In IVF.
    Vp8,
    /// In IVF.
    Vp9,
    /// In IVF, a temporal unit each.
    Av1,
    /// As Annex B, an access unit each.
    H264,
    /// In Ogg, a packet each.
    Opus,
}

impl Codec {
    /// The contract's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::Av1 => "AV1",
            Self::H264 => "H264",
            Self::Opus => "Opus",
        }
    }

    /// Of a contract name or a WebCodecs string.
    pub fn from_name(name: &str) -> Option<Self> {
        match codec_family(name).as_str() {
            "vp8" => Some(Self::Vp8),
            "vp9" => Some(Self::Vp9),
            "av1" => Some(Self::Av1),
            "h264" => Some(Self::H264),
            "opus" => Some(Self::Opus),
            _ => None,
        }
    }

    /// What a file of it is called.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Vp8 | Self::Vp9 | Self::Av1 => "ivf",
            Self::H264 => "h264",
            Self::Opus => "opus",
        }
    }

    /// What a media stream of it is, when nothing else is said.
    pub const fn stream_type(self) -> StreamType {
        match self {
            Self::Opus => StreamType::Audio,
            _ => StreamType::VideoCamera,
        }
    }
}

/// One frame of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// From the first frame's time.
    pub at: Duration,
    /// Whether it decodes without those before it; sound always does.
    pub is_key: bool,
    /// As in the file.
    pub payload: Bytes,
}

/// A whole file, ready to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    /// What it holds.
    pub codec: Codec,
    /// Pixels; 0: the file does not say.
    pub width: u32,
    /// Pixels; 0: the file does not say.
    pub height: u32,
    /// Frames per second, rounded; 0 for sound.
    pub framerate: u32,
    /// Of sound; 0 for pictures.
    pub channels: u32,
    /// In decoding order; the first is a key frame; there is at least one.
    pub samples: Vec<Sample>,
    /// From the first frame to the end of the last: when a loop begins anew.
    pub duration: Duration,
}

impl Clip {
    /// The longest stretch from one key frame to the next, or to the end.
    pub fn longest_key_interval(&self) -> Duration {
        let keys = self.samples.iter().filter(|sample| sample.is_key).map(|sample| sample.at);
        let next = keys.clone().skip(1).chain([self.duration]);
        keys.zip(next).map(|(key, next)| next.saturating_sub(key)).max().unwrap_or_default()
    }
}

/// Why a file cannot be published.
#[derive(Debug, Error)]
#[error("{}: {problem}", path.display())]
pub struct ReadClipError {
    path: PathBuf,
    problem: ParseError,
}

/// What is wrong with a file, and what would be right.
#[derive(Debug, Error)]
pub enum ParseError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Over the limit.
    #[error("{found} bytes are over the limit of {FILE_BYTES_MAX}; cut the clip")]
    TooLarge {
        /// Its length.
        found: u64,
    },
    /// None of the kinds.
    #[error(
        "neither IVF, Ogg nor H.264 Annex B; ffmpeg makes one: ffmpeg -i INPUT -c:v libvpx-vp9 -g 60 clip.ivf, or -c:a libopus clip.opus"
    )]
    Unknown,
    /// A bare H.264 file has no times.
    #[error("H.264 Annex B has no times of its own; say how many frames a second with --fps")]
    NoFps,
    /// Broken or unusable, in words.
    #[error("{0}")]
    Broken(String),
}

impl ParseError {
    fn broken(problem: impl Into<String>) -> Self {
        Self::Broken(problem.into())
    }
}

/// Reads a file whole. `fps` is used for H.264 alone.
pub fn read_clip(path: &Path, fps: Option<f64>) -> Result<Clip, ReadClipError> {
    let read = || {
        let length = std::fs::metadata(path)?.len();
        if length > FILE_BYTES_MAX {
            return Err(ParseError::TooLarge { found: length });
        }
        parse_clip(std::fs::read(path)?.into(), fps)
    };
    read().map_err(|problem| ReadClipError { path: path.to_owned(), problem })
}

/// Tells the kind of file by its first bytes, and splits it into samples.
pub fn parse_clip(bytes: Bytes, fps: Option<f64>) -> Result<Clip, ParseError> {
    let clip = if bytes.starts_with(ivf::MAGIC) {
        ivf::parse(&bytes)?
    } else if bytes.starts_with(ogg_opus::MAGIC) {
        ogg_opus::parse(&bytes)?
    } else if bytes.starts_with(&[0, 0, 1]) || bytes.starts_with(&[0, 0, 0, 1]) {
        annex_b::parse(&bytes, fps.ok_or(ParseError::NoFps)?)?
    } else {
        return Err(ParseError::Unknown);
    };
    match clip.samples.first() {
        None => Err(ParseError::broken("no frame in it")),
        Some(first) if !first.is_key => Err(ParseError::broken(format!(
            "the first frame is not a {} key frame, so nobody could decode it; cut the clip at a key frame",
            clip.codec.name()
        ))),
        Some(_) => Ok(clip),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_panic(start in prop::sample::select(vec![&b"DKIF"[..], b"OggS", &[0, 0, 1], b"x"]),
                          rest in prop::collection::vec(any::<u8>(), 0..600), fps in prop::option::of(any::<f64>())) {
            let bytes: Bytes = [start, &rest].concat().into();
            let _ = parse_clip(bytes, fps);
        }

        /// A good file with a few bytes turned over is read or refused, and nothing else.
        #[test]
        fn no_damage_panics(kind in 0_usize..3, turns in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let mut bytes = [ivf::tests::small_file(), ogg_opus::tests::small_file(), annex_b::tests::small_file()][kind].clone();
            for (place, value) in turns {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            let _ = parse_clip(bytes.into(), Some(30.0));
        }
    }

    #[test]
    fn says_what_would_be_right() {
        fn check(bytes: &'static [u8], expected: &str) {
            let error = parse_clip(Bytes::from_static(bytes), None).expect_err("not a clip").to_string();
            assert!(error.contains(expected), "{error}");
        }
        check(b"RIFF....WAVE", "ffmpeg -i INPUT");
        check(b"", "ffmpeg -i INPUT");
        check(&[0, 0, 0, 1, 0x67], "--fps");
        check(b"DKIF", "the IVF header is 32 bytes");
    }
}
