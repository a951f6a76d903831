//! H.264 as a byte stream (ITU-T H.264 Annex B): split into access units, one picture each, with the parameter sets of key
//! frames put before them where the file gives them only once.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{Clip, Codec, ParseError, Sample};

/// `nal_unit_type` of a slice of an instantaneous decoding refresh: where decoding can begin.
pub const IDR: u8 = 5;
const SLICE: u8 = 1;
const SEI: u8 = 6;
const SPS: u8 = 7;
const PPS: u8 = 8;
const DELIMITER: u8 = 9;
const START_CODE: [u8; 4] = [0, 0, 0, 1];
/// Frames per second that make sense; outside are slide shows and high-speed cameras, not meetings.
const FPS: std::ops::RangeInclusive<f64> = 0.1..=1_000.0;

/// Where units lie in `bytes`: start of the start code, start of the unit, end of the unit.
fn unit_places(bytes: &[u8]) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
    let mut next = find_start(bytes, 0);
    std::iter::from_fn(move || {
        let code = next?;
        let begin = code + 3;
        next = find_start(bytes, begin);
        let mut end = next.unwrap_or(bytes.len());
        // Zeros before a start code belong to it, not to the unit (`trailing_zero_8bits`).
        while end > begin && bytes[end - 1] == 0 {
            end -= 1;
        }
        Some((code, begin, end))
    })
}

/// The place of the next three-byte start code at or after `from`.
fn find_start(bytes: &[u8], from: usize) -> Option<usize> {
    bytes.get(from..)?.windows(3).position(|window| window == [0, 0, 1]).map(|place| from + place)
}

/// The units of a byte stream, without start codes.
pub fn nal_units(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    unit_places(bytes).map(|(_, begin, end)| &bytes[begin..end]).filter(|unit| !unit.is_empty())
}

/// `nal_unit_type`.
pub fn nal_type(unit: &[u8]) -> Option<u8> {
    unit.first().map(|byte| byte & 0x1f)
}

/// Whether a slice is the first of its picture: `first_mb_in_slice` is 0, in Exp-Golomb a single 1 bit.
fn is_first_slice(unit: &[u8]) -> bool {
    unit.get(1).is_some_and(|byte| byte & 0x80 != 0)
}

/// Splits a file into access units (section 7.4.1.2.3, without arbitrary slice order, which no encoder in use makes), and
/// gives them `fps` a second.
pub fn parse(bytes: &Bytes, fps: f64) -> Result<Clip, ParseError> {
    if !FPS.contains(&fps) {
        return Err(ParseError::broken(format!("--fps {fps} is not between {} and {}", FPS.start(), FPS.end())));
    }
    let mut units = Units::default();
    for (code, begin, end) in unit_places(bytes) {
        let unit = &bytes[begin..end];
        let Some(kind) = nal_type(unit) else { continue };
        let starts = match kind {
            SLICE | 2 | IDR => is_first_slice(unit),
            SEI | SPS | PPS | DELIMITER | 14..=18 => true,
            _ => false,
        };
        if starts && units.has_picture {
            units.end(bytes, code);
        }
        // A fourth zero byte before the start code belongs to it.
        units.begin.get_or_insert(if code > 0 && bytes[code - 1] == 0 { code - 1 } else { code });
        match kind {
            SLICE | 2..=4 => units.has_picture = true,
            IDR => (units.has_picture, units.is_key) = (true, true),
            SPS => units.sps = Some((begin, end)),
            PPS => units.pps = Some((begin, end)),
            _ => {}
        }
        units.has_sps |= kind == SPS;
        units.has_pps |= kind == PPS;
    }
    if units.has_picture {
        units.end(bytes, bytes.len());
    }
    let frame = Duration::from_secs_f64(1.0 / fps);
    let samples: Vec<Sample> = (0_u32..)
        .zip(units.done)
        .map(|(index, (is_key, payload))| Sample { at: Duration::from_secs_f64(f64::from(index) / fps), is_key, payload })
        .collect();
    let duration = samples.last().map_or(Duration::ZERO, |last| last.at + frame);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be at most 1000")]
    let framerate = fps.round().max(1.0) as u32;
    Ok(Clip { codec: Codec::H264, width: 0, height: 0, framerate, channels: 0, samples, duration })
}

/// Access units so far, and the one under way.
#[derive(Default)]
struct Units {
    done: Vec<(bool, Bytes)>,
    begin: Option<usize>,
    has_picture: bool,
    is_key: bool,
    has_sps: bool,
    has_pps: bool,
    /// The latest parameter sets, as places in the file.
    sps: Option<(usize, usize)>,
    pps: Option<(usize, usize)>,
}

impl Units {
    fn end(&mut self, bytes: &Bytes, end: usize) {
        let begin = self.begin.take().unwrap_or(end);
        // The zero of a four-byte start code belongs to the next unit.
        let end = if end < bytes.len() && end > begin && bytes[end - 1] == 0 { end - 1 } else { end };
        let payload = bytes.slice(begin..end);
        let missing = [(self.has_sps, self.sps), (self.has_pps, self.pps)];
        let payload = if self.is_key && missing.iter().any(|(has, latest)| !has && latest.is_some()) {
            let mut whole = BytesMut::new();
            for (begin, end) in missing.iter().filter(|(has, _)| !has).filter_map(|(_, latest)| *latest) {
                whole.extend_from_slice(&START_CODE);
                whole.extend_from_slice(&bytes[begin..end]);
            }
            whole.extend_from_slice(&payload);
            whole.freeze()
        } else {
            payload
        };
        self.done.push((self.is_key, payload));
        (self.has_picture, self.is_key, self.has_sps, self.has_pps) = (false, false, false, false);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const SPS_UNIT: &[u8] = &[0, 0, 0, 1, 0x67, 0x42, 0x1f];
    const PPS_UNIT: &[u8] = &[0, 0, 0, 1, 0x68, 0xce];
    const IDR_UNIT: &[u8] = &[0, 0, 1, 0x65, 0x88, 7];
    const IDR_SECOND_SLICE: &[u8] = &[0, 0, 1, 0x65, 0x48, 8];
    const SLICE_UNIT: &[u8] = &[0, 0, 0, 1, 0x41, 0x9a, 9];

    pub(crate) fn small_file() -> Vec<u8> {
        [SPS_UNIT, PPS_UNIT, IDR_UNIT, IDR_SECOND_SLICE, SLICE_UNIT, IDR_UNIT, SLICE_UNIT].concat()
    }

    #[test]
    fn pictures_are_split_and_key_frames_get_their_sets() {
        let clip = parse(&small_file().into(), 25.0).expect("a good file");
        let samples: Vec<_> = clip.samples.iter().map(|it| (it.at.as_millis(), it.is_key, it.payload.to_vec())).collect();
        let expected = [
            (0, true, [SPS_UNIT, PPS_UNIT, IDR_UNIT, IDR_SECOND_SLICE].concat()),
            (40, false, SLICE_UNIT.to_vec()),
            (80, true, [SPS_UNIT, PPS_UNIT, IDR_UNIT].concat()),
            (120, false, SLICE_UNIT.to_vec()),
        ];
        assert_eq!(samples, expected);
        assert_eq!((clip.duration.as_millis(), clip.framerate), (160, 25));
    }

    /// What goes out one after the other is the file that came in, when nothing had to be added.
    #[test]
    fn nothing_is_lost() {
        let file = [&[0, 0, 0, 1, 9, 0xf0][..], SPS_UNIT, PPS_UNIT, IDR_UNIT, SLICE_UNIT, &[0, 0, 1, 9, 0xf0], SLICE_UNIT].concat();
        let clip = parse(&file.clone().into(), 30.0).expect("a good file");
        assert_eq!(clip.samples.len(), 3);
        let joined: Vec<u8> = clip.samples.iter().flat_map(|sample| sample.payload.to_vec()).collect();
        assert_eq!(joined, file);
    }

    #[test]
    fn frame_rates_have_bounds() {
        for fps in [0.0, 1e-9, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert!(parse(&small_file().into(), fps).is_err(), "{fps}");
        }
    }
}
