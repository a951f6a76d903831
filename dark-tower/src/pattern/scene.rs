//! What the test pattern shows: colour bars, the publisher's clock and the frame's number in digits, a bar that sweeps over a ramp of greys once in
//! two seconds, and the [`Stamp`] for programs in the lower left corner.
//!
//! In: the frame's number and time. Out: a [`Picture`]. The same frame of the same size is always the same picture.

use super::canvas::{Area, BLACK, Colour, Picture, WHITE};
use super::font;
use super::stamp::{COLUMNS, ROWS, Stamp};

/// The eight bars, each from all or nothing of red, green and blue (BT.601).
pub const BARS: [Colour; 8] = [
    WHITE,
    Colour { y: 210, u: 16, v: 146 },
    Colour { y: 170, u: 166, v: 16 },
    Colour { y: 145, u: 54, v: 34 },
    Colour { y: 106, u: 202, v: 222 },
    Colour { y: 81, u: 90, v: 240 },
    Colour { y: 41, u: 240, v: 110 },
    BLACK,
];
/// The ramp's ends: dark enough for the sweeping bar to be seen on all of it.
const RAMP: std::ops::RangeInclusive<usize> = 32..=160;
const BEHIND_DIGITS: Colour = Colour::grey(40);
/// One sweep from left to right.
const SWEEP_US: u64 = 2_000_000;
/// Signs in a clock with hundredths, less the space behind the last one; and the margin on both sides, in squares.
const CLOCK_SQUARES: usize = 11 * font::ADVANCE + 1;
const NUMBER_SIGNS: usize = 6;

/// Where everything is, in pixels, on whole macroblocks where chroma changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    width: usize,
    /// Pixels of a stamp's bit, each way.
    unit: usize,
    bars_end: usize,
    /// Pixels of a digit's square, each way.
    square: usize,
    digits_end: usize,
    stamp_at: usize,
}

impl Layout {
    pub(super) fn new(width: usize, height: usize) -> Self {
        // Bits are of the same size relative to the picture at 360, 720 and 1080 lines.
        let unit = 16 * (width / 640).min(height / 360).max(1);
        let square = (width / (CLOCK_SQUARES + 1) / 4 * 4).max(4);
        let bars_end = height * 35 / 100 / 16 * 16;
        let digits_end = (bars_end + (font::HEIGHT + 2) * square).next_multiple_of(16);
        Self { width, unit, bars_end, square, digits_end, stamp_at: height / 16 * 16 - ROWS * unit }
    }

    fn sweep_height(&self) -> usize {
        self.stamp_at.saturating_sub(self.digits_end)
    }

    /// The digits' square and place beside the stamp, where there is room.
    fn number(&self) -> Option<((usize, usize), usize)> {
        let square = self.square.min(ROWS * self.unit / (font::HEIGHT + 1) / 4 * 4);
        let x = COLUMNS * self.unit + square;
        let fits = square > 0 && x + NUMBER_SIGNS * font::ADVANCE * square <= self.width;
        fits.then_some(((x, self.stamp_at + (ROWS * self.unit - font::HEIGHT * square) / 8 * 4), square))
    }
}

/// Paints frames.
#[derive(Debug)]
pub(super) struct Scene {
    layout: Layout,
    /// What never changes.
    background: Picture,
    picture: Picture,
}

impl Scene {
    pub(super) fn new(width: usize, height: usize) -> Self {
        let layout = Layout::new(width, height);
        let mut background = Picture::new(width, height);
        for (index, colour) in BARS.into_iter().enumerate() {
            let (left, right) = (bar(width, index), bar(width, index + 1));
            background.fill(Area { x: left, y: 0, width: right - left, height: layout.bars_end }, colour);
        }
        let band = Area { x: 0, y: layout.bars_end, width: width.next_multiple_of(16), height: layout.digits_end - layout.bars_end };
        background.fill(band, BEHIND_DIGITS);
        for x in (0..width.next_multiple_of(16)).step_by(4) {
            let grey = RAMP.start() + (RAMP.end() - RAMP.start()) * x / width.next_multiple_of(16);
            let column = Area { x, y: layout.digits_end, width: 4, height: layout.sweep_height() };
            background.fill(column, Colour::grey(u8::try_from(grey).unwrap_or(u8::MAX)));
        }
        Self { layout, picture: background.clone(), background }
    }

    /// The frame `number`, shown at `unix_us`, `at_us` after the first. A flash makes all white but the stamp and what is beside it.
    pub(super) fn paint(&mut self, number: u64, at_us: u64, unix_us: u64, flashes: bool) -> &Picture {
        let Layout { width, unit, square, stamp_at, .. } = self.layout;
        self.picture.copy_from(&self.background);
        if flashes {
            self.picture.fill(Area { x: 0, y: 0, width: width.next_multiple_of(16), height: stamp_at }, WHITE);
        } else {
            let x = (width - square * CLOCK_SQUARES) / 8 * 4;
            font::write(&mut self.picture, (x, self.layout.bars_end + square), square, &clock(unix_us), WHITE);
            let way = (width - unit) as u64;
            let x = usize::try_from(at_us % SWEEP_US * way / SWEEP_US).unwrap_or(0) / 4 * 4;
            let bar = Area { x, y: self.layout.digits_end, width: unit, height: self.layout.sweep_height() };
            self.picture.fill(bar, WHITE);
        }
        let bits = Stamp::new(number, unix_us / 1_000).bits();
        for place in (0..COLUMNS * ROWS).filter(|place| bits >> (COLUMNS * ROWS - 1 - place) & 1 == 1) {
            let (x, y) = (place % COLUMNS * unit, stamp_at + place / COLUMNS * unit);
            self.picture.fill(Area { x, y, width: unit, height: unit }, WHITE);
        }
        if let Some((place, square)) = self.layout.number() {
            let text = format!("{:>NUMBER_SIGNS$}", number % 10_u64.pow(6));
            font::write(&mut self.picture, place, square, &text, WHITE);
        }
        &self.picture
    }
}

/// Where a bar begins; the ninth is the right edge.
fn bar(width: usize, index: usize) -> usize {
    (width * index / BARS.len()).next_multiple_of(16)
}

/// Hours, minutes, seconds and hundredths of the day in UTC.
fn clock(unix_us: u64) -> String {
    let hundredths = unix_us / 10_000;
    let seconds = hundredths / 100;
    format!("{:02}:{:02}:{:02}.{:02}", seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60, hundredths % 100)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Reads the stamp of a picture of the given size by the luma of its pixels, as any other program would.
    pub(in crate::pattern) fn read_stamp(width: usize, height: usize, luma: impl Fn(usize, usize) -> u8) -> Option<Stamp> {
        let unit = 16 * (width / 640).min(height / 360).max(1);
        let top = height / 16 * 16 - 4 * unit;
        let bit = |place: usize| luma(place % 16 * unit + unit / 2, top + place / 16 * unit + unit / 2) > 128;
        Stamp::from_bits((0..64).fold(0, |bits, place| bits << 1 | u64::from(bit(place))))
    }

    #[test]
    fn every_size_has_its_stamp() {
        for (width, height) in [(320, 180), (360, 640), (640, 360), (854, 480), (1280, 720), (1920, 1080), (3840, 2160)] {
            let mut scene = Scene::new(width, height);
            let layout = scene.layout;
            assert!(layout.digits_end <= layout.stamp_at && layout.sweep_height() >= 16, "{width}x{height}: {layout:?}");
            let picture = scene.paint(77, 2_566_666, 1_795_206_000_123_456, false);
            let found = read_stamp(width, height, |x, y| picture.luma(x, y));
            assert_eq!(found, Some(Stamp::new(77, 1_795_206_000_123)), "{width}x{height}");
        }
    }

    #[test]
    fn the_clock_is_utc() {
        assert_eq!(clock(1_795_206_000_123_456), "20:20:00.12");
    }
}
