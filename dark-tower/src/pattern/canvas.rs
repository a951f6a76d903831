//! A picture of flat cells: luma in cells of 4×4 pixels, chroma in cells of 8×8, as VP8's blocks are.

/// A colour as it is coded: BT.601, luma 16 to 235.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour {
    /// Luma.
    pub y: u8,
    /// Blue less luma, 128 for greys.
    pub u: u8,
    /// Red less luma, 128 for greys.
    pub v: u8,
}

impl Colour {
    /// Without chroma.
    pub const fn grey(y: u8) -> Self {
        Self { y, u: 128, v: 128 }
    }
}

/// Black as screens show it.
pub const BLACK: Colour = Colour::grey(16);
/// White as screens show it.
pub const WHITE: Colour = Colour::grey(235);

/// Pixels of a cell of luma, each way.
pub const CELL: usize = 4;

/// 16×16 pixels, cells row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Macroblock {
    pub(super) luma: [u8; 16],
    pub(super) u: [u8; 4],
    pub(super) v: [u8; 4],
}

impl Macroblock {
    /// Its right column of cells.
    pub(super) fn right_luma(&self) -> [u8; 4] {
        [self.luma[3], self.luma[7], self.luma[11], self.luma[15]]
    }

    /// Its lowest row of cells, four times.
    pub(super) fn bottom_repeated(&self) -> Self {
        Self {
            luma: std::array::from_fn(|index| self.luma[12 + index % 4]),
            u: std::array::from_fn(|index| self.u[2 + index % 2]),
            v: std::array::from_fn(|index| self.v[2 + index % 2]),
        }
    }

    /// Its right column of cells, four times.
    pub(super) fn right_repeated(&self) -> Self {
        Self {
            luma: std::array::from_fn(|index| self.luma[index / 4 * 4 + 3]),
            u: std::array::from_fn(|index| self.u[index / 2 * 2 + 1]),
            v: std::array::from_fn(|index| self.v[index / 2 * 2 + 1]),
        }
    }
}

/// Where to paint, in pixels; edges are moved to whole cells, and what is outside is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// From the left.
    pub x: usize,
    /// From the top.
    pub y: usize,
    /// To the right of `x`.
    pub width: usize,
    /// Below `y`.
    pub height: usize,
}

/// A picture whose size is rounded up to whole macroblocks.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    columns: usize,
    rows: usize,
    macroblocks: Vec<Macroblock>,
}

impl Picture {
    /// Black.
    pub(super) fn new(width: usize, height: usize) -> Self {
        let (columns, rows) = (width.div_ceil(16), height.div_ceil(16));
        let black = Macroblock { luma: [BLACK.y; 16], u: [BLACK.u; 4], v: [BLACK.v; 4] };
        Self { columns, rows, macroblocks: vec![black; columns * rows] }
    }

    /// Row by row.
    pub(super) fn macroblocks(&self) -> &[Macroblock] {
        &self.macroblocks
    }

    /// Becomes `other`, of the same size, without asking for memory.
    pub(super) fn copy_from(&mut self, other: &Self) {
        self.macroblocks.copy_from_slice(&other.macroblocks);
    }

    /// Paints an area in one colour.
    pub(super) fn fill(&mut self, area: Area, colour: Colour) {
        let right = ((area.x + area.width) / CELL).min(self.columns * 4);
        let bottom = ((area.y + area.height) / CELL).min(self.rows * 4);
        for y in area.y / CELL..bottom {
            for x in area.x / CELL..right {
                let block = &mut self.macroblocks[y / 4 * self.columns + x / 4];
                block.luma[y % 4 * 4 + x % 4] = colour.y;
                let chroma = y % 4 / 2 * 2 + x % 4 / 2;
                (block.u[chroma], block.v[chroma]) = (colour.u, colour.v);
            }
        }
    }

    /// The luma at a pixel.
    #[cfg(test)]
    pub(super) fn luma(&self, x: usize, y: usize) -> u8 {
        self.macroblocks[y / 16 * self.columns + x / 16].luma[y % 16 / CELL * 4 + x % 16 / CELL]
    }
}
