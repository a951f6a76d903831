//! A small VP8 writer (RFC 6386) for synthetic pictures.
//!
//! In: pictures of flat 4×4 blocks ([`Picture`]). Out: frames that every decoder shows to a pixel as they were meant, but for a rounding of 1 where
//! a macroblock is not of one colour. What is as it was costs next to nothing: neither time nor bytes. It never looks for motion, never loses
//! precision, and has no bitrate to keep: this is no encoder for cameras.
//!
//! Key frames predict by the edges around a macroblock, other frames by the frame before at the same place. The loop filter is off, all
//! probabilities stay at the format's defaults, and there is one partition of tokens.

mod bool_encoder;
mod residue;
mod tables;

use bool_encoder::BoolEncoder;
use residue::{Context, Residue};

use super::canvas::{Macroblock, Picture};

/// Section 9.1.
const START_CODE: [u8; 3] = [0x9d, 0x01, 0x2a];
/// Fixed probabilities of a key frame's modes (sections 11.2 and 11.4).
const KEY_LUMA_MODE: [u8; 4] = [145, 156, 163, 128];
const KEY_CHROMA_MODE: [u8; 3] = [142, 114, 183];
/// The predictions of macroblocks without a neighbour (section 12.2).
const WITHOUT_NEIGHBOURS: i32 = 128;
/// All macroblocks of the frames between are predicted by the frame before: the opposite is as unlikely as can be said.
const ALWAYS_TRUE: u8 = 1;
const ALWAYS_FALSE: u8 = 255;

/// Writes the frames of one media stream.
#[derive(Debug)]
pub(super) struct Encoder {
    columns: usize,
    width: u16,
    height: u16,
    /// The frame before, as it was meant, and as decoders have it; empty before the first.
    meant: Vec<Macroblock>,
    shown: Vec<Macroblock>,
}

/// How a key frame's macroblock is predicted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Intra {
    Average,
    Above,
    Left,
}

impl Encoder {
    /// Of pictures of `width` × `height` pixels, at most 16,383 each.
    pub(super) fn new(width: u16, height: u16) -> Self {
        Self { columns: usize::from(width).div_ceil(16), width, height, meant: Vec::new(), shown: Vec::new() }
    }

    /// The frame that shows `picture`, whose size is always the same. The first is a key frame whatever `is_key` says.
    pub(super) fn encode(&mut self, picture: &Picture, is_key: bool) -> (bool, Vec<u8>) {
        let wanted = picture.macroblocks();
        let is_key = is_key || self.meant.len() != wanted.len();
        let frame = if is_key { self.key_frame(wanted) } else { self.delta_frame(wanted) };
        self.meant.clear();
        self.meant.extend_from_slice(wanted);
        (is_key, frame)
    }

    fn key_frame(&mut self, wanted: &[Macroblock]) -> Vec<u8> {
        self.shown.clear();
        let mut plans = Vec::with_capacity(wanted.len());
        for (index, block) in wanted.iter().enumerate() {
            let left = (index % self.columns > 0).then(|| self.shown[index - 1]);
            let above = index.checked_sub(self.columns).map(|above| self.shown[above]);
            let (mode, prediction) = predict(block, left, above);
            let (residue, shown) = difference(block, &prediction);
            self.shown.push(shown);
            plans.push((mode, (!residue.is_nothing()).then_some(residue)));
        }
        let skip = skip_probability(plans.iter().filter(|(_, residue)| residue.is_none()).count(), plans.len());
        let mut modes = self.header(true, skip);
        for (mode, residue) in &plans {
            modes.put(residue.is_none(), skip);
            write_intra(&mut modes, *mode);
        }
        let tokens = self.tokens(plans.iter().map(|(_, residue)| residue.as_ref()));
        assemble(Some((self.width, self.height)), modes, tokens)
    }

    fn delta_frame(&mut self, wanted: &[Macroblock]) -> Vec<u8> {
        let mut plans = Vec::with_capacity(wanted.len());
        for ((block, meant), shown) in wanted.iter().zip(&self.meant).zip(&mut self.shown) {
            // What is meant to stay stays, with its rounding.
            let residue = (block != meant).then(|| {
                let (residue, shows) = difference(block, shown);
                *shown = shows;
                residue
            });
            plans.push(residue.filter(|residue| !residue.is_nothing()));
        }
        let skip = skip_probability(plans.iter().filter(|residue| residue.is_none()).count(), plans.len());
        let mut modes = self.header(false, skip);
        for (index, residue) in plans.iter().enumerate() {
            modes.put(residue.is_none(), skip);
            // Predicted by another frame, which is the last one.
            modes.put(true, ALWAYS_TRUE);
            modes.put(false, ALWAYS_FALSE);
            let (has_left, has_above) = (index % self.columns > 0, index >= self.columns);
            let without_motion = 2 * usize::from(has_left) + 2 * usize::from(has_above) + usize::from(has_left && has_above);
            modes.put(false, tables::NO_MOTION[without_motion]);
        }
        let tokens = self.tokens(plans.iter().map(Option::as_ref));
        assemble(None, modes, tokens)
    }

    /// Section 9.3 and following.
    fn header(&self, is_key: bool, skip: u8) -> BoolEncoder {
        let mut out = BoolEncoder::new();
        if is_key {
            // BT.601, and values are clamped.
            out.put_literal(0, 2);
        }
        // No segments; the loop filter's kind, level and sharpness; no adjustments of it; one partition of tokens.
        out.put_literal(0, 1 + 1 + 6 + 3 + 1 + 2);
        // The finest quantiser, without exceptions.
        out.put_literal(0, 7 + 5);
        if is_key {
            // Probabilities hold for later frames too.
            out.put_literal(1, 1);
        } else {
            // Neither golden nor alternate frame is replaced, by this one or by another; no signs are turned.
            out.put_literal(0, 1 + 1 + 2 + 2 + 1 + 1);
            // Probabilities hold for later frames too, and so does the picture.
            out.put_literal(0b11, 2);
        }
        for probability in tables::COEFFICIENT_UPDATES {
            out.put(false, probability);
        }
        // Macroblocks may be skipped.
        out.put_literal(1, 1);
        out.put_literal(u32::from(skip), 8);
        if !is_key {
            for probability in [ALWAYS_TRUE, ALWAYS_FALSE, ALWAYS_FALSE] {
                out.put_literal(u32::from(probability), 8);
            }
            // Modes of luma and chroma keep their probabilities.
            out.put_literal(0, 2);
            for probability in tables::MOTION_UPDATES {
                out.put(false, probability);
            }
        }
        out
    }

    fn tokens<'a>(&self, residues: impl Iterator<Item = Option<&'a Residue>>) -> BoolEncoder {
        let mut out = BoolEncoder::new();
        let mut above = vec![Context::default(); self.columns];
        let mut left = Context::default();
        for (index, residue) in residues.enumerate() {
            let column = index % self.columns;
            if column == 0 {
                left = Context::default();
            }
            match residue {
                Some(residue) => residue.write(&mut out, &mut above[column], &mut left),
                None => (above[column], left) = (Context::default(), Context::default()),
            }
        }
        out
    }
}

/// A mode by which nothing is left to say, if there is one; else the average, which suits all.
fn predict(block: &Macroblock, left: Option<Macroblock>, above: Option<Macroblock>) -> (Intra, Macroblock) {
    // Without that neighbour the format has constants instead, which are of no use here.
    if let Some(above) = above.map(|above| above.bottom_repeated()).filter(|above| above == block) {
        return (Intra::Above, above);
    }
    if let Some(left) = left.map(|left| left.right_repeated()).filter(|left| left == block) {
        return (Intra::Left, left);
    }
    (Intra::Average, average(left, above))
}

/// Section 12.2: the average of the pixels above and to the left.
fn average(left: Option<Macroblock>, above: Option<Macroblock>) -> Macroblock {
    let mean = |left: Option<i32>, above: Option<i32>, count: i32| {
        let value = match (left, above) {
            (Some(left), Some(above)) => (left + above + count) / (2 * count),
            (Some(sum), None) | (None, Some(sum)) => (sum + count / 2) / count,
            (None, None) => WITHOUT_NEIGHBOURS,
        };
        clamp(value)
    };
    let sum = |cells: &[u8]| cells.iter().map(|cell| i32::from(*cell)).sum::<i32>();
    // Every cell stands for as many pixels of the edge as any other.
    let luma = mean(left.map(|it| sum(&it.right_luma())), above.map(|it| sum(&it.luma[12..])), 4);
    let chroma = |plane: fn(&Macroblock) -> [u8; 4]| {
        mean(left.map(|it| sum(&[plane(&it)[1], plane(&it)[3]])), above.map(|it| sum(&plane(&it)[2..])), 2)
    };
    Macroblock { luma: [luma; 16], u: [chroma(|it| it.u); 4], v: [chroma(|it| it.v); 4] }
}

/// What there is to write, and what decoders will show.
fn difference(wanted: &Macroblock, prediction: &Macroblock) -> (Residue, Macroblock) {
    let less = |wanted: u8, prediction: u8| i32::from(wanted) - i32::from(prediction);
    let luma = std::array::from_fn(|index| less(wanted.luma[index], prediction.luma[index]));
    let chroma = std::array::from_fn(|index| match index {
        0..4 => less(wanted.u[index], prediction.u[index]),
        _ => less(wanted.v[index - 4], prediction.v[index - 4]),
    });
    let residue = Residue::new(luma, chroma);
    let (luma, chroma) = residue.differences();
    let more = |prediction: u8, difference: i32| clamp(i32::from(prediction) + difference);
    let shown = Macroblock {
        luma: std::array::from_fn(|index| more(prediction.luma[index], luma[index])),
        u: std::array::from_fn(|index| more(prediction.u[index], chroma[index])),
        v: std::array::from_fn(|index| more(prediction.v[index], chroma[4 + index])),
    };
    (residue, shown)
}

fn clamp(value: i32) -> u8 {
    u8::try_from(value.clamp(0, 255)).unwrap_or(u8::MAX)
}

fn write_intra(out: &mut BoolEncoder, mode: Intra) {
    // Not the mode in which every block has a prediction of its own.
    out.put(true, KEY_LUMA_MODE[0]);
    match mode {
        Intra::Average | Intra::Above => {
            out.put(false, KEY_LUMA_MODE[1]);
            out.put(mode == Intra::Above, KEY_LUMA_MODE[2]);
        }
        Intra::Left => {
            out.put(true, KEY_LUMA_MODE[1]);
            out.put(false, KEY_LUMA_MODE[3]);
        }
    }
    out.put(mode != Intra::Average, KEY_CHROMA_MODE[0]);
    if mode != Intra::Average {
        out.put(mode == Intra::Left, KEY_CHROMA_MODE[1]);
        if mode == Intra::Left {
            out.put(false, KEY_CHROMA_MODE[2]);
        }
    }
}

/// That a macroblock is not skipped, of 256.
fn skip_probability(skipped: usize, all: usize) -> u8 {
    let coded = 256 * (all - skipped) / all.max(1);
    u8::try_from(coded.clamp(1, 255)).unwrap_or(255)
}

/// Section 9.1: the tag of three bytes, on key frames the size, then the partitions.
fn assemble(key: Option<(u16, u16)>, modes: BoolEncoder, tokens: BoolEncoder) -> Vec<u8> {
    let (modes, tokens) = (modes.finish(), tokens.finish());
    // Version 0, shown. The largest picture has a tenth of what nineteen bits hold.
    let tag = u32::from(key.is_none()) | 1 << 4 | (modes.len() as u32) << 5;
    let mut frame = Vec::with_capacity(10 + modes.len() + tokens.len());
    frame.extend_from_slice(&tag.to_le_bytes()[..3]);
    if let Some((width, height)) = key {
        frame.extend_from_slice(&START_CODE);
        frame.extend_from_slice(&width.to_le_bytes());
        frame.extend_from_slice(&height.to_le_bytes());
    }
    frame.extend_from_slice(&modes);
    frame.extend_from_slice(&tokens);
    frame
}
