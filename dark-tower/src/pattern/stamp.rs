//! Which frame this is, for programs: 64 bits in black and white, sixteen columns and four rows, the highest bit first.
//!
//! The frame's number (20 bits, it begins anew after that), the publisher's clock in milliseconds since the epoch (36 bits, likewise), and a check of eight
//! bits: the exclusive or of the seven bytes before it and of 0xA5, so that neither black nor white is a stamp.

/// Columns of the bits.
pub const COLUMNS: usize = 16;
/// Rows of the bits.
pub const ROWS: usize = 4;
const NUMBER_BITS: u32 = 20;
const MILLIS_BITS: u32 = 36;
const CHECK: u8 = 0xa5;

/// What is read from a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Frames since the publisher began, below 2^20.
    pub number: u64,
    /// Milliseconds since the epoch, below 2^36.
    pub millis: u64,
}

impl Stamp {
    /// Of a frame; what does not fit is left out.
    pub fn new(number: u64, millis: u64) -> Self {
        Self { number: number % (1 << NUMBER_BITS), millis: millis % (1 << MILLIS_BITS) }
    }

    /// As it is shown.
    pub fn bits(self) -> u64 {
        let word = (self.number << MILLIS_BITS | self.millis) << 8;
        word | u64::from(check(word))
    }

    /// The opposite; `None` where no stamp is.
    pub fn from_bits(bits: u64) -> Option<Self> {
        let number_and_millis = bits >> 8;
        (bits.to_be_bytes()[7] == check(bits)).then(|| Self::new(number_and_millis >> MILLIS_BITS, number_and_millis))
    }
}

fn check(word: u64) -> u8 {
    word.to_be_bytes()[..7].iter().fold(CHECK, |sum, byte| sum ^ byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_read_as_written() {
        for (number, millis) in [(0, 0), (1, 1_795_206_000_123), ((1 << 20) + 7, u64::MAX)] {
            let stamp = Stamp::new(number, millis);
            assert_eq!(Stamp::from_bits(stamp.bits()), Some(stamp));
        }
        for nothing in [0, u64::MAX, Stamp::new(5, 9).bits() ^ 1 << 40] {
            assert_eq!(Stamp::from_bits(nothing), None);
        }
    }

    /// Readers in other languages hold theirs against this one.
    #[test]
    fn a_stamp_is_these_bits() {
        assert_eq!(Stamp::new(0x12345, 0x6_789a_bcde).bits(), 0x1234_5678_9abc_de00 | u64::from(check(0x1234_5678_9abc_de00)));
        assert_eq!(Stamp::new(0x12345, 0x6_789a_bcde).bits(), 0x1234_5678_9abc_de55);
    }
}
