//! The pattern as others see it: ffmpeg decodes what was written.

use std::io::Cursor;
use std::process::{Command, Stdio};
use std::time::Instant;

use client::file::ivf::IvfWriter;
use client::file::ogg_opus::OggOpusWriter;

use super::canvas::Colour;
use super::scene::tests::read_stamp;
use super::stamp::Stamp;
use super::*;

const EPOCH_US: u64 = 1_795_206_000_123_456;
/// Of a coded value, where a macroblock has several colours.
const TOLERANCE: i32 = 1;

/// The words are understood, or refused with an example of what would be right.
#[test]
fn words_say_what_is_published() {
    let shape = |width, height, fps| Shape { width, height, fps };
    let check = |words: &str, expected: Pattern| assert_eq!(words.parse(), Ok(expected), "{words}");
    check("test:360p30", Pattern::Picture(shape(640, 360, 30)));
    check("test:720p30", Pattern::Picture(shape(1280, 720, 30)));
    check("test:1080p60", Pattern::Picture(shape(1920, 1080, 60)));
    check("test:480p15", Pattern::Picture(shape(854, 480, 15)));
    check("test:320x180@7", Pattern::Picture(shape(320, 180, 7)));
    check("test:tone", Pattern::Tone);
    check("test:sync", Pattern::Sync(SYNC));
    check("test:sync:720p60", Pattern::Sync(shape(1280, 720, 60)));
    for wrong in [
        "test:",
        "test:720",
        "test:720p",
        "test:720p0",
        "test:720p+30",
        "test:90p30",
        "test:9000p30",
        "test:641x360@30",
        "tone",
        "test:sync:",
    ] {
        let error = wrong.parse::<Pattern>().expect_err(wrong);
        assert!(error.to_string().contains("test:720p30"), "{error}");
    }
}

/// ffmpeg's output for a file on its standard input.
fn ffmpeg(input: &[u8], output: &[&str]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), input).expect("a file");
    let ran = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-i"])
        .arg(file.path())
        .args(output)
        .arg("-")
        .stdin(Stdio::null())
        .output()
        .expect("ffmpeg is installed");
    let complaints = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && complaints.is_empty(), "{complaints}");
    ran.stdout
}

/// A picture as ffmpeg has decoded it.
struct Decoded<'a> {
    shape: Shape,
    planes: &'a [u8],
}

impl Decoded<'_> {
    fn luma(&self, x: usize, y: usize) -> u8 {
        self.planes[y * usize::from(self.shape.width) + x]
    }

    fn colour(&self, x: usize, y: usize) -> Colour {
        let (width, height) = (usize::from(self.shape.width), usize::from(self.shape.height));
        let chroma = y / 2 * (width / 2) + x / 2;
        let plane = width * height;
        Colour { y: self.luma(x, y), u: self.planes[plane + chroma], v: self.planes[plane + plane / 4 + chroma] }
    }

    fn stamp(&self) -> Option<Stamp> {
        read_stamp(usize::from(self.shape.width), usize::from(self.shape.height), |x, y| self.luma(x, y))
    }
}

/// Encodes frames and hands each to `look`, decoded; `before` may ask something of the source.
fn decode(source: &mut PictureSource, frames: usize, mut before: impl FnMut(usize, &mut PictureSource)) -> (Vec<Sample>, Vec<u8>) {
    source.begin(EPOCH_US);
    let (width, height) = (u32::from(source.shape.width), u32::from(source.shape.height));
    let mut file = IvfWriter::new(Cursor::new(Vec::new()), Codec::Vp8, width, height).expect("memory takes it");
    let mut samples = Vec::new();
    for number in 0..frames {
        before(number, source);
        let sample = source.next_frame().expect("it never ends");
        file.write(u64::try_from(sample.at.as_micros()).expect("it fits"), &sample.payload).expect("memory takes it");
        samples.push(sample);
    }
    let file = file.finish().expect("memory takes it").into_inner();
    (samples, ffmpeg(&file, &["-f", "rawvideo", "-pix_fmt", "yuv420p", "-fps_mode", "passthrough"]))
}

fn pictures(shape: Shape, decoded: &[u8]) -> Vec<Decoded<'_>> {
    let bytes = usize::from(shape.width) * usize::from(shape.height) * 3 / 2;
    assert_eq!(decoded.len() % bytes, 0);
    decoded.chunks_exact(bytes).map(|planes| Decoded { shape, planes }).collect()
}

/// Every pixel of every frame is what was painted, whole macroblocks or not, and every frame says which it is.
#[test]
fn a_decoder_shows_what_was_painted() {
    for (width, height, fps, frames) in [(320, 180, 30, 70), (360, 640, 15, 20), (640, 360, 30, 70), (1280, 720, 30, 8)] {
        let shape = Shape { width, height, fps };
        let mut source = PictureSource::new(shape, false);
        let (samples, decoded) = decode(&mut source, frames, |_, _| {});
        let decoded = pictures(shape, &decoded);
        assert_eq!(decoded.len(), frames);
        let mut scene = Scene::new(width.into(), height.into());
        for (number, (picture, sample)) in decoded.iter().zip(&samples).enumerate() {
            let at_us = u64::try_from(sample.at.as_micros()).expect("it fits");
            assert_eq!(sample.is_key, at_us % KEY_INTERVAL_US == 0, "{number}");
            assert_eq!(picture.stamp(), Some(Stamp::new(number as u64, (EPOCH_US + at_us) / 1_000)));
            let painted = scene.paint(number as u64, at_us, EPOCH_US + at_us, false);
            for y in (1..usize::from(height)).step_by(3) {
                for x in (1..usize::from(width)).step_by(3) {
                    let (found, wanted) = (i32::from(picture.luma(x, y)), i32::from(painted.luma(x, y)));
                    assert!((found - wanted).abs() <= TOLERANCE, "{width}x{height} frame {number}, {x} {y}: {found} instead of {wanted}");
                }
            }
        }
        for (index, bar) in BARS.into_iter().enumerate() {
            let x = (2 * index + 1) * usize::from(width) / 16;
            assert_eq!(decoded[frames - 1].colour(x, 20), bar, "{width}x{height} bar {index}");
        }
    }
}

/// A key frame when one is asked for; one request is one key frame.
#[test]
fn key_frames_come_when_asked_for() {
    let shape = Shape { width: 320, height: 180, fps: 30 };
    let mut source = PictureSource::new(shape, false);
    let (samples, decoded) = decode(&mut source, 30, |number, source| match number {
        7 | 20 => source.want_key_frame(),
        _ => {}
    });
    let keys: Vec<_> = samples.iter().enumerate().filter(|(_, sample)| sample.is_key).map(|(number, _)| number).collect();
    assert_eq!(keys, [0, 7, 20]);
    // What is shown goes on as if nothing had happened.
    for (number, picture) in pictures(shape, &decoded).iter().enumerate() {
        assert_eq!(picture.stamp().map(|stamp| stamp.number), Some(number as u64));
    }
}

/// What a 720p picture costs, printed; frames between are small, so that hundreds of publishers fit through a machine.
#[test]
fn a_frame_is_cheap() {
    let mut source = PictureSource::new(Shape { width: 1280, height: 720, fps: 30 }, false);
    let began = Instant::now();
    let samples: Vec<_> = (0..120).map(|_| source.next_frame().expect("it never ends")).collect();
    let each = began.elapsed() / 120;
    let bytes = |is_key: bool| {
        let of_kind = || samples.iter().filter(|sample| sample.is_key == is_key);
        of_kind().map(|sample| sample.payload.len()).sum::<usize>() / of_kind().count()
    };
    println!("720p: {each:?} a frame, {} bytes a key frame, {} bytes between", bytes(true), bytes(false));
    assert!(bytes(true) < 20_000 && bytes(false) < 5_000);
}

/// White once a second, on the frame at the second, and on no other.
#[test]
fn marks_are_a_second_apart() {
    let shape = Shape { width: 320, height: 180, fps: 30 };
    let mut source = PictureSource::new(shape, true);
    let (_, decoded) = decode(&mut source, 65, |_, _| {});
    let is_white = |picture: &Decoded| (0..8).all(|index| picture.colour((2 * index + 1) * 20, 20) == canvas::WHITE);
    let white: Vec<_> = pictures(shape, &decoded).iter().enumerate().filter(|(_, it)| is_white(it)).map(|(number, _)| number).collect();
    assert_eq!(white, [0, 30, 60]);
}

/// A loop of sound, three times, as samples at 48 kHz.
fn sound(beeps: bool) -> Vec<f64> {
    let mut source = SoundSource::new(beeps);
    let mut file = OggOpusWriter::new(Vec::new(), 1, 1).expect("memory takes it");
    for number in 0..3 * sound::PACKETS as u64 {
        let sample = source.next_frame().expect("it never ends");
        assert_eq!(sample.at, Duration::from_millis(20 * number));
        file.write(20_000 * number, sample.payload).expect("memory takes it");
    }
    let decoded = ffmpeg(&file.finish().expect("memory takes it"), &["-f", "f32le", "-ac", "1", "-ar", "48000"]);
    decoded.chunks_exact(4).map(|it| f32::from_le_bytes([it[0], it[1], it[2], it[3]]).into()).collect()
}

/// How much of a frequency is in the samples, 0 to about 1.
fn amplitude(samples: &[f64], hertz: f64) -> f64 {
    let turn = |index: usize| std::f64::consts::TAU * hertz * index as f64 / 48_000.0;
    let sum = |part: fn(f64) -> f64| samples.iter().enumerate().map(|(index, sample)| sample * part(turn(index))).sum::<f64>();
    2.0 * sum(f64::cos).hypot(sum(f64::sin)) / samples.len() as f64
}

/// 440 Hz without a break where the loop begins anew: every stretch of 20 ms across it is as loud as any.
#[test]
fn the_tone_is_440_hertz_without_a_click() {
    let samples = sound(false);
    assert_eq!(samples.len(), 3 * 48_000);
    let loud = amplitude(&samples[48_000..96_000], 440.0);
    assert!(loud > 0.1, "{loud}");
    for other in [220.0, 430.0, 450.0, 880.0] {
        assert!(amplitude(&samples[48_000..96_000], other) < loud / 30.0, "{other} Hz");
    }
    for start in (24_000..120_000).step_by(480) {
        let stretch = &samples[start..start + 1_200];
        let here = amplitude(stretch, 440.0);
        assert!((here / loud - 1.0).abs() < 0.05, "{here} instead of {loud} at sample {start}");
        // A click is louder than the wave.
        assert!(stretch.iter().all(|sample| sample.abs() < 1.1 * loud), "at sample {start}");
    }
}

/// A beep begins with each second, to 2 ms, and lasts 60 ms.
#[test]
fn beeps_begin_with_the_second() {
    let samples = sound(true);
    let envelope: Vec<bool> = samples.chunks(48).map(|millisecond| millisecond.iter().any(|sample| sample.abs() > 0.1)).collect();
    for second in [1, 2] {
        let millis = &envelope[1_000 * second - 500..(1_000 * second + 500).min(envelope.len())];
        let from = millis.iter().position(|loud| *loud).expect("a beep");
        let until = millis.iter().rposition(|loud| *loud).expect("a beep");
        assert!(from.abs_diff(500) <= 2 && until.abs_diff(560) <= 4, "from {from} until {until}");
    }
    assert!(amplitude(&samples[48_000..48_000 + 2_400], 1_000.0) > 0.3);
}

/// While nobody takes it nothing is made; what follows is of that moment, and begins anew.
#[test]
fn what_was_paused_goes_on_at_a_key_frame() {
    let mut source = PictureSource::new(Shape { width: 320, height: 180, fps: 30 }, false);
    source.begin(EPOCH_US);
    let first: Vec<bool> = (0..3).filter_map(|_| source.next_frame()).map(|sample| sample.is_key).collect();
    assert_eq!(first, [true, false, false]);
    let at = Duration::from_millis(1_510);
    assert!(source.skip_to(at));
    let sample = source.next_frame().expect("it has no end");
    assert!(sample.is_key && sample.at >= at && sample.at < at + Duration::from_millis(34), "{:?}", sample.at);
    // Never back.
    source.skip_to(Duration::ZERO);
    assert!(source.next_frame().is_some_and(|next| next.at > sample.at));

    let mut sound = SoundSource::new(false);
    assert!(sound.skip_to(at));
    assert!(sound.next_frame().is_some_and(|packet| packet.at >= at));
}
