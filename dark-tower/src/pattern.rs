//! A test pattern to publish, made without outside tools: pictures in VP8 and sound in Opus, with one clock.
//!
//! In: words such as `test:720p30`, `test:tone`, `test:sync` ([`Pattern`]). Out: [`FrameSource`]s. The picture's clock, number and stamp say which frame
//! it is and when it was made, to people and to programs ([`stamp`]); in `test:sync` picture and sound have a mark at each whole second since
//! the publisher began: a white picture, and a beep. A frame takes less than a millisecond to make.

pub mod canvas;
mod font;
mod scene;
mod sound;
pub mod stamp;
mod vp8;

use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use client::StreamDescription;
use client::file::{Codec, FrameSource, Sample};
use common_core::media::{StreamType, VideoShape};
use thiserror::Error;

use scene::Scene;
use vp8::Encoder;

pub use scene::BARS;

/// What test patterns begin with.
pub const PREFIX: &str = "test:";
/// Key frames without being asked (DESIGN section 5: every two seconds).
const KEY_INTERVAL_US: u64 = 2_000_000;
/// Small enough for every phone, wide enough for the stamp; as large as anything that is published.
const WIDTHS: std::ops::RangeInclusive<u16> = 320..=3840;
const HEIGHTS: std::ops::RangeInclusive<u16> = 180..=2160;
const RATES: std::ops::RangeInclusive<u16> = 1..=120;
const SYNC: Shape = Shape { width: 640, height: 360, fps: 30 };
const MARK_INTERVAL_US: u64 = 1_000_000;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// A picture.
    Picture(Shape),
    /// 440 Hz.
    Tone,
    /// A picture and a sound with a mark each second.
    Sync(Shape),
}

/// Of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// Frames a second.
    pub fps: u16,
}

/// What is wrong with the words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no test pattern: say test:720p30, test:WIDTHxHEIGHT@FPS (320x180 to 3840x2160, 1 to 120 a second), test:tone or test:sync"
)]
pub struct PatternError(String);

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || PatternError(text.to_owned());
        match text.strip_prefix(PREFIX).ok_or_else(error)? {
            "tone" => Ok(Self::Tone),
            "sync" => Ok(Self::Sync(SYNC)),
            words => match words.strip_prefix("sync:") {
                Some(shape) => Shape::parse(shape).map(Self::Sync).ok_or_else(error),
                None => Shape::parse(words).map(Self::Picture).ok_or_else(error),
            },
        }
    }
}

impl Shape {
    /// `640x360@15`, or `360p15` for a picture that is sixteen to nine.
    fn parse(words: &str) -> Option<Self> {
        // No sign is a number's here.
        let number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u16>().ok()).flatten();
        let (width, height, fps) = match words.split_once('p') {
            Some((lines, fps)) => {
                let lines = number(lines)?;
                // As 854 for 480 lines: chroma wants even numbers.
                let width = u32::from(lines) * 16 / 9;
                (u16::try_from(width.next_multiple_of(2)).ok()?, lines, number(fps)?)
            }
            None => {
                let (size, fps) = words.split_once('@')?;
                let (width, height) = size.split_once('x')?;
                (number(width)?, number(height)?, number(fps)?)
            }
        };
        let is_even = width % 2 == 0 && height % 2 == 0;
        (is_even && WIDTHS.contains(&width) && HEIGHTS.contains(&height) && RATES.contains(&fps)).then_some(Self { width, height, fps })
    }
}

impl Pattern {
    /// What is published, one source for each media stream.
    pub fn sources(self) -> Vec<Box<dyn FrameSource>> {
        match self {
            Self::Picture(shape) => vec![Box::new(PictureSource::new(shape, false))],
            Self::Tone => vec![Box::new(SoundSource::new(false))],
            Self::Sync(shape) => vec![Box::new(PictureSource::new(shape, true)), Box::new(SoundSource::new(true))],
        }
    }
}

/// The pictures, one after the other, for ever.
#[derive(Debug)]
pub struct PictureSource {
    shape: Shape,
    scene: Scene,
    encoder: Encoder,
    epoch_us: u64,
    marks: bool,
    number: u64,
    last_key_us: u64,
    wants_key: bool,
}

impl PictureSource {
    /// With `marks` a picture is white when a second has passed.
    pub fn new(shape: Shape, marks: bool) -> Self {
        let scene = Scene::new(usize::from(shape.width), usize::from(shape.height));
        let encoder = Encoder::new(shape.width, shape.height);
        Self { shape, scene, encoder, epoch_us: 0, marks, number: 0, last_key_us: 0, wants_key: true }
    }

    /// When frame `number` is due, after the first.
    fn at_us(&self, number: u64) -> u64 {
        number * 1_000_000 / u64::from(self.shape.fps)
    }

    /// Whether a mark falls on the frame: the first one at or after each whole second.
    fn is_mark(&self, number: u64) -> bool {
        let marks_until = |number: u64| self.at_us(number) / MARK_INTERVAL_US;
        self.marks && number.checked_sub(1).is_none_or(|before| marks_until(before) < marks_until(number))
    }
}

impl FrameSource for PictureSource {
    fn describe(&self) -> StreamDescription {
        let Shape { width, height, fps } = self.shape;
        let video = VideoShape { width: width.into(), height: height.into(), framerate: fps.into(), layers: Vec::new() };
        StreamDescription { video: Some(video), ..StreamDescription::new(StreamType::VideoCamera, Codec::Vp8.name()) }
    }

    fn begin(&mut self, epoch_us: u64) {
        self.epoch_us = epoch_us;
    }

    fn next_frame(&mut self) -> Option<Sample> {
        let (number, at_us) = (self.number, self.at_us(self.number));
        self.number += 1;
        let is_mark = self.is_mark(number);
        let picture = self.scene.paint(number, at_us, self.epoch_us + at_us, is_mark);
        let wants_key = std::mem::take(&mut self.wants_key) || at_us >= self.last_key_us + KEY_INTERVAL_US;
        let (is_key, payload) = self.encoder.encode(picture, wants_key);
        if is_key {
            self.last_key_us = at_us;
        }
        Some(Sample { at: Duration::from_micros(at_us), is_key, payload: payload.into() })
    }

    fn want_key_frame(&mut self) {
        self.wants_key = true;
    }

    fn skip_to(&mut self, at: Duration) -> bool {
        // Rounded up: no frame is due before.
        let number = (at.as_micros() * u128::from(self.shape.fps)).div_ceil(1_000_000);
        self.number = self.number.max(u64::try_from(number).unwrap_or(u64::MAX));
        self.wants_key = true;
        true
    }

    fn ends_at(&self) -> Duration {
        Duration::from_micros(self.at_us(self.number))
    }
}

/// The sound, packet after packet, for ever.
#[derive(Debug)]
pub struct SoundSource {
    packets: Vec<Bytes>,
    number: u64,
}

impl SoundSource {
    /// A tone, or a beep when a second has passed.
    pub fn new(beeps: bool) -> Self {
        Self { packets: sound::packets(beeps), number: 0 }
    }
}

impl FrameSource for SoundSource {
    fn describe(&self) -> StreamDescription {
        StreamDescription { sample_rate: 48_000, channels: 1, ..StreamDescription::new(StreamType::Audio, Codec::Opus.name()) }
    }

    fn next_frame(&mut self) -> Option<Sample> {
        let place = usize::try_from(self.number).unwrap_or(0) % sound::PACKETS;
        let sample = Sample { at: self.ends_at(), is_key: true, payload: self.packets.get(place)?.clone() };
        self.number += 1;
        Some(sample)
    }

    fn skip_to(&mut self, at: Duration) -> bool {
        let number = at.as_micros().div_ceil(u128::from(sound::PACKET_US));
        self.number = self.number.max(u64::try_from(number).unwrap_or(u64::MAX));
        true
    }

    fn ends_at(&self) -> Duration {
        Duration::from_micros(self.number * sound::PACKET_US)
    }
}

#[cfg(test)]
mod tests;
