//! IVF: 32 bytes of header, then each frame behind its length and time. Little-endian throughout.

use std::io::{Seek, SeekFrom, Write};
use std::time::Duration;

use bytes::Bytes;

use super::key_frame::is_key_frame;
use super::{Clip, Codec, ParseError, Sample};

/// The first bytes of every IVF file.
pub const MAGIC: &[u8] = b"DKIF";
const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 12;
/// Where the length stands in the header. The format's authors count frames there, ffmpeg reads and writes the duration in
/// ticks; the two are the same where a tick is a frame. Ours is the duration: players show it.
const LENGTH_OFFSET: u64 = 24;
/// Ticks a second of files that are written: the usual clock of video, in which all usual frame rates are whole.
const WRITTEN_RATE: u32 = 90_000;
/// Frames per second when a file has one frame, or no times.
const RATE_DEFAULT: u32 = 30;

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(offset..offset + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(offset..offset + 8)?.try_into().ok()?))
}

/// Splits a file into frames; payloads are shared with `bytes`.
pub fn parse(bytes: &Bytes) -> Result<Clip, ParseError> {
    let short = || ParseError::broken(format!("the IVF header is {HEADER_BYTES} bytes, the file has {}", bytes.len()));
    let header_bytes = usize::from(u16_at(bytes, 6).ok_or_else(short)?);
    let fourcc = bytes.get(8..12).ok_or_else(short)?;
    let (width, height) = (u16_at(bytes, 12).ok_or_else(short)?, u16_at(bytes, 14).ok_or_else(short)?);
    let (rate, scale) = (u32_at(bytes, 16).ok_or_else(short)?, u32_at(bytes, 20).ok_or_else(short)?);
    if bytes.len() < HEADER_BYTES || header_bytes < HEADER_BYTES {
        return Err(short());
    }
    let codec = match fourcc {
        b"VP80" => Codec::Vp8,
        b"VP90" => Codec::Vp9,
        b"AV01" => Codec::Av1,
        other => {
            let found = String::from_utf8_lossy(other).escape_debug().to_string();
            return Err(ParseError::broken(format!("the IVF file holds {found:?}; VP80, VP90 and AV01 can be published")));
        }
    };
    if rate == 0 || scale == 0 {
        return Err(ParseError::broken(format!("the IVF time base {scale}/{rate} is no time base")));
    }
    let mut samples: Vec<Sample> = Vec::new();
    let mut first_time = None;
    let mut offset = header_bytes;
    while offset < bytes.len() {
        let cut = || ParseError::broken(format!("frame {} is cut off; the file ends too early", samples.len() + 1));
        let length = usize::try_from(u32_at(bytes, offset).ok_or_else(cut)?).unwrap_or(usize::MAX);
        let time = u64_at(bytes, offset + 4).ok_or_else(cut)?;
        let begin = offset + FRAME_HEADER_BYTES;
        let end = begin.checked_add(length).filter(|end| *end <= bytes.len()).ok_or_else(cut)?;
        let payload = bytes.slice(begin..end);
        let ticks = time.saturating_sub(*first_time.get_or_insert(time));
        let micros = u128::from(ticks) * u128::from(scale) * 1_000_000 / u128::from(rate);
        let at = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        if samples.last().is_some_and(|last| at < last.at) {
            return Err(ParseError::broken(format!("frame {} is earlier than the one before it", samples.len() + 1)));
        }
        samples.push(Sample { at, is_key: is_key_frame(codec, &payload), payload });
        offset = end;
    }
    let (framerate, frame) = pace(&samples);
    let duration = samples.last().map_or(Duration::ZERO, |last| last.at.saturating_add(frame));
    Ok(Clip { codec, width: width.into(), height: height.into(), framerate, channels: 0, samples, duration })
}

/// Frames per second, rounded, and the length of one, by the mean distance.
fn pace(samples: &[Sample]) -> (u32, Duration) {
    let fallback = (RATE_DEFAULT, Duration::from_secs(1) / RATE_DEFAULT);
    let (Some(last), Ok(gaps)) = (samples.last(), u32::try_from(samples.len().saturating_sub(1))) else { return fallback };
    if gaps == 0 || last.at.is_zero() {
        return fallback;
    }
    let frame = last.at / gaps;
    let per_second = (1.0 / frame.as_secs_f64()).round().clamp(1.0, 1_000.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1 to 1000")]
    (per_second as u32, frame)
}

/// Writes a file. What is written can be played up to its last whole frame even if [`finish`](Self::finish) is never called.
pub struct IvfWriter<W: Write + Seek> {
    out: W,
    first_us: Option<u64>,
    frames: u64,
    last_ticks: u64,
}

impl<W: Write + Seek> IvfWriter<W> {
    /// Begins a file. Sizes over 65535 are written as 0: not stated.
    pub fn new(mut out: W, codec: Codec, width: u32, height: u32) -> std::io::Result<Self> {
        let fourcc = match codec {
            Codec::Vp8 => b"VP80",
            Codec::Vp9 => b"VP90",
            Codec::Av1 => b"AV01",
            Codec::H264 | Codec::Opus => return Err(std::io::Error::other("IVF is for VP8, VP9 and AV1")),
        };
        out.write_all(MAGIC)?;
        out.write_all(&0_u16.to_le_bytes())?;
        out.write_all(&32_u16.to_le_bytes())?;
        out.write_all(fourcc)?;
        out.write_all(&u16::try_from(width).unwrap_or(0).to_le_bytes())?;
        out.write_all(&u16::try_from(height).unwrap_or(0).to_le_bytes())?;
        out.write_all(&WRITTEN_RATE.to_le_bytes())?;
        out.write_all(&1_u32.to_le_bytes())?;
        out.write_all(&[0; 8])?;
        Ok(Self { out, first_us: None, frames: 0, last_ticks: 0 })
    }

    /// Adds a frame; times are relative to the first.
    pub fn write(&mut self, timestamp_us: u64, frame: &[u8]) -> std::io::Result<()> {
        let length = u32::try_from(frame.len()).map_err(|_| std::io::Error::other("a frame of 4 GiB"))?;
        let elapsed_us = timestamp_us.saturating_sub(*self.first_us.get_or_insert(timestamp_us));
        let ticks = (u128::from(elapsed_us) * u128::from(WRITTEN_RATE) + 500_000) / 1_000_000;
        // Players refuse times that do not grow; a clock that was set back must not end the file.
        let earliest = if self.frames == 0 { 0 } else { self.last_ticks + 1 };
        self.last_ticks = u64::try_from(ticks).unwrap_or(u64::MAX / 2).max(earliest);
        self.frames += 1;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&self.last_ticks.to_le_bytes())?;
        self.out.write_all(frame)?;
        Ok(())
    }

    /// Writes the duration into the header: up to the last frame, and as long for that one as for the others on average.
    pub fn finish(mut self) -> std::io::Result<W> {
        self.out.seek(SeekFrom::Start(LENGTH_OFFSET))?;
        let duration = self.last_ticks + self.last_ticks / self.frames.saturating_sub(1).max(1);
        self.out.write_all(&u32::try_from(duration).unwrap_or(u32::MAX).to_le_bytes())?;
        self.out.seek(SeekFrom::End(0))?;
        self.out.flush()?;
        Ok(self.out)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Cursor;

    use super::*;

    const KEY: &[u8] = &[0b1000_0010, 0x49, 0x83, 0x42, 1];
    const DELTA: &[u8] = &[0b1000_0110, 2];

    fn written(frames: &[(u64, &[u8])]) -> Vec<u8> {
        let mut writer = IvfWriter::new(Cursor::new(Vec::new()), Codec::Vp9, 320, 180).expect("memory takes it");
        for (time, frame) in frames {
            writer.write(*time, frame).expect("memory takes it");
        }
        writer.finish().expect("memory takes it").into_inner()
    }

    pub(crate) fn small_file() -> Vec<u8> {
        written(&[(5_000_000, KEY), (5_040_000, DELTA), (5_080_000, KEY)])
    }

    #[test]
    fn what_is_written_is_read() {
        let file = small_file();
        assert_eq!(u32_at(&file, 24), Some(3 * 3_600), "three frames of 40 ms");
        let clip = parse(&file.into()).expect("a good file");
        assert_eq!((clip.codec, clip.width, clip.height, clip.framerate), (Codec::Vp9, 320, 180, 25));
        let samples: Vec<_> = clip.samples.iter().map(|it| (it.at.as_millis(), it.is_key, &it.payload[..])).collect();
        assert_eq!(samples, [(0, true, KEY), (40, false, DELTA), (80, true, KEY)]);
        assert_eq!((clip.duration.as_millis(), clip.longest_key_interval().as_millis()), (120, 80));
    }

    #[test]
    fn damage_is_named() {
        fn check(change: impl FnOnce(&mut Vec<u8>), expected: &str) {
            let mut file = small_file();
            change(&mut file);
            let error = parse(&file.into()).expect_err("damaged").to_string();
            assert!(error.contains(expected), "{error}");
        }
        check(|file| file.truncate(31), "32 bytes");
        check(|file| file.truncate(40), "frame 1 is cut off");
        check(|file| file.truncate(79), "frame 3 is cut off");
        check(|file| file[8..12].copy_from_slice(b"H264"), "\"H264\"");
        check(|file| file[16..20].fill(0), "no time base");
        check(|file| file[32..36].fill(0xff), "frame 1 is cut off");
        check(|file| file[67..75].fill(0), "earlier than the one before");
    }
}
