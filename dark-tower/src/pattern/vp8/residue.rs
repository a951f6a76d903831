//! What a macroblock differs by from its prediction, as coefficients and tokens (RFC 6386 sections 13 and 14).
//!
//! Every 4×4 block of ours is flat, so that it has one coefficient, the first; those of the sixteen luma blocks travel by the Walsh-Hadamard
//! transform of section 14.3. In: differences block by block. Out: tokens, and the differences that a decoder will find, to a pixel.

use super::bool_encoder::BoolEncoder;
use super::tables::{BANDS, COEFFICIENTS, EXTRA_BITS, TREE_PROBABILITIES, ZIGZAG};

/// What the smallest quantiser index makes of the luma transform's coefficients (section 14.1: 4 · 2, and 4 · 155 / 100, at least 8).
const LUMA_STEP: i32 = 8;
/// The same for chroma.
const CHROMA_STEP: i32 = 4;
/// Largest coefficient of a token (section 13.2).
const COEFFICIENT_MAX: i32 = 2048;

/// Kinds of block by the order of the probabilities' table (section 13.3).
#[derive(Clone, Copy)]
enum Kind {
    LumaAfterTransform = 0,
    LumaTransform = 1,
    Chroma = 2,
}

/// The coefficients of one macroblock.
pub(super) struct Residue {
    luma: [i32; 16],
    chroma: [i32; 8],
}

impl Residue {
    /// Of the differences of sixteen luma blocks, four of U and four of V, each −255 to 255.
    pub(super) fn new(luma: [i32; 16], chroma: [i32; 8]) -> Self {
        // A block that differs by r has the coefficient 8 r. The transform sums sixteen and halves; it is its own inverse but for the scale.
        let quantise = |sum: i32| {
            let coefficient = 4 * sum;
            let rounding = coefficient.signum() * LUMA_STEP / 2;
            ((coefficient + rounding) / LUMA_STEP).clamp(-COEFFICIENT_MAX, COEFFICIENT_MAX)
        };
        let luma = if luma == [luma[0]; 16] {
            let mut flat = [0; 16];
            flat[0] = quantise(16 * luma[0]);
            flat
        } else {
            hadamard(luma).map(quantise)
        };
        Self { luma, chroma: chroma.map(|difference| 8 * difference / CHROMA_STEP) }
    }

    /// Whether it need not be written.
    pub(super) fn is_nothing(&self) -> bool {
        self.luma == [0; 16] && self.chroma == [0; 8]
    }

    /// What a decoder adds to the prediction: luma, then U and V.
    pub(super) fn differences(&self) -> ([i32; 16], [i32; 8]) {
        let rest = &self.luma[1..];
        let luma = if rest == [0; 15] {
            [pixel((self.luma[0] * LUMA_STEP + 3) >> 3); 16]
        } else {
            hadamard(self.luma.map(|it| it * LUMA_STEP)).map(|sum| pixel((sum + 3) >> 3))
        };
        (luma, self.chroma.map(|it| pixel(it * CHROMA_STEP)))
    }

    /// Writes the tokens, with the neighbours above and to the left as context, and becomes their successor.
    pub(super) fn write(&self, out: &mut BoolEncoder, above: &mut Context, left: &mut Context) {
        let mut coded = [0; 16];
        for (coefficient, place) in coded.iter_mut().zip(ZIGZAG) {
            *coefficient = self.luma[place];
        }
        let context = usize::from(above.luma) + usize::from(left.luma);
        let has_any = write_block(out, Kind::LumaTransform, &coded, context);
        (above.luma, left.luma) = (has_any, has_any);
        for _ in 0..16 {
            // Nothing but the first coefficient, which the transform carries: the end, at once.
            out.put(false, probabilities(Kind::LumaAfterTransform, 1, 0)[0]);
        }
        for (index, coefficient) in self.chroma.iter().enumerate() {
            let (plane, row, column) = (index / 4, index % 4 / 2, index % 2);
            let (above, left) = (&mut above.chroma[plane * 2 + column], &mut left.chroma[plane * 2 + row]);
            let context = usize::from(*above) + usize::from(*left);
            let has_any = write_block(out, Kind::Chroma, std::slice::from_ref(coefficient), context);
            (*above, *left) = (has_any, has_any);
        }
    }
}

/// Which blocks at an edge had coefficients; those of luma beside the transform never have.
#[derive(Clone, Debug, Default)]
pub(super) struct Context {
    luma: bool,
    chroma: [bool; 4],
}

/// Section 14.4: a block whose coefficients but the first are zero is flat.
fn pixel(coefficient: i32) -> i32 {
    (coefficient + 4) >> 3
}

/// Section 14.3 without its rounding: each output is a sum of all inputs, with the signs of the Hadamard matrix.
fn hadamard(block: [i32; 16]) -> [i32; 16] {
    fn four([a, b, c, d]: [i32; 4]) -> [i32; 4] {
        [a + d + b + c, a - d + b - c, a + d - b - c, a - d - b + c]
    }
    let mut columns = [0; 16];
    for column in 0..4 {
        let sums = four([block[column], block[4 + column], block[8 + column], block[12 + column]]);
        for (row, sum) in sums.into_iter().enumerate() {
            columns[4 * row + column] = sum;
        }
    }
    let mut all = [0; 16];
    for row in 0..4 {
        let start = 4 * row;
        all[start..start + 4].copy_from_slice(&four([columns[start], columns[start + 1], columns[start + 2], columns[start + 3]]));
    }
    all
}

fn probabilities(kind: Kind, position: usize, context: usize) -> &'static [u8] {
    let start = ((kind as usize * 8 + BANDS[position]) * 3 + context) * TREE_PROBABILITIES;
    &COEFFICIENTS[start..start + TREE_PROBABILITIES]
}

/// Writes the tokens of a block, in the order of coding; what is missing at its end is zero. Tells whether there was any.
fn write_block(out: &mut BoolEncoder, kind: Kind, coefficients: &[i32], context: usize) -> bool {
    let end = coefficients.iter().rposition(|it| *it != 0).map_or(0, |last| last + 1);
    let mut context = context;
    let mut may_end = true;
    for (position, coefficient) in coefficients[..end].iter().enumerate() {
        let tree = probabilities(kind, position, context);
        if may_end {
            out.put(true, tree[0]);
        }
        let magnitude = coefficient.unsigned_abs() as u16;
        // No end follows a zero.
        may_end = magnitude != 0;
        context = usize::from(magnitude.min(2));
        write_magnitude(out, tree, magnitude);
        if magnitude != 0 {
            out.put(*coefficient < 0, 128);
        }
    }
    if end < 16 {
        out.put(false, probabilities(kind, end, context)[0]);
    }
    end != 0
}

/// Section 13.2: the tree of tokens, and extra bits.
fn write_magnitude(out: &mut BoolEncoder, tree: &[u8], magnitude: u16) {
    out.put(magnitude > 0, tree[1]);
    if magnitude == 0 {
        return;
    }
    out.put(magnitude > 1, tree[2]);
    if magnitude == 1 {
        return;
    }
    out.put(magnitude > 4, tree[3]);
    if magnitude <= 4 {
        out.put(magnitude > 2, tree[4]);
        if magnitude > 2 {
            out.put(magnitude > 3, tree[5]);
        }
        return;
    }
    let class = EXTRA_BITS.iter().rposition(|(base, _)| *base <= magnitude).unwrap_or(0);
    out.put(class >= 2, tree[6]);
    match class {
        0 | 1 => out.put(class == 1, tree[7]),
        _ => {
            out.put(class >= 4, tree[8]);
            out.put(class % 2 == 1, if class < 4 { tree[9] } else { tree[10] });
        }
    }
    let (base, bits) = EXTRA_BITS[class];
    for (index, probability) in bits.iter().enumerate() {
        out.put((magnitude - base) >> (bits.len() - 1 - index) & 1 == 1, *probability);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Flat macroblocks, the usual ones, arrive exactly; so does chroma always.
    #[test]
    fn flat_differences_are_exact() {
        for difference in -255..=255 {
            let residue = Residue::new([difference; 16], [difference; 8]);
            assert_eq!(residue.differences(), ([difference; 16], [difference; 8]));
            assert_eq!(residue.is_nothing(), difference == 0);
        }
    }

    proptest! {
        /// Any other arrives with a rounding that nobody sees.
        #[test]
        fn differences_are_close(luma in prop::array::uniform16(-255..=255_i32)) {
            let (found, _) = Residue::new(luma, [0; 8]).differences();
            for (found, wanted) in found.into_iter().zip(luma) {
                prop_assert!((found - wanted).abs() <= 1, "{} instead of {}", found, wanted);
            }
        }
    }
}
