//! The arithmetic coder of VP8 (RFC 6386 section 7): bits with probabilities in, bytes out.

/// Settled bits that are held back at most, beside the eight of the interval: as many as leave a carry its place.
const HELD_BITS_MAX: u32 = 40;

/// Writes one partition.
#[derive(Debug)]
pub(super) struct BoolEncoder {
    out: Vec<u8>,
    /// The interval's lower end: the eight lowest bits are of the interval's scale, `held` bits above them are settled but for a carry.
    low: u64,
    held: u32,
    /// The interval's length, 128 to 255 between two bits.
    range: u32,
}

impl BoolEncoder {
    pub(super) fn new() -> Self {
        Self { out: Vec::new(), low: 0, held: 0, range: 255 }
    }

    /// Writes a bit that is false with `probability` of 256; probabilities are 1 to 255.
    pub(super) fn put(&mut self, bit: bool, probability: u8) {
        let split = 1 + (((self.range - 1) * u32::from(probability)) >> 8);
        if bit {
            self.low += u64::from(split);
            self.range -= split;
        } else {
            self.range = split;
        }
        // The range has eight bits at most and one at least.
        let shift = self.range.leading_zeros() - 24;
        self.range <<= shift;
        self.low <<= shift;
        self.held += shift;
        if self.held > HELD_BITS_MAX {
            self.emit();
        }
    }

    /// Writes the lowest `bits` bits of `value`, the highest first, each as likely as not.
    pub(super) fn put_literal(&mut self, value: u32, bits: u32) {
        for bit in (0..bits).rev() {
            self.put(value >> bit & 1 == 1, 128);
        }
    }

    /// The partition.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.emit();
        // All of the lower end, on a whole byte: a decoder reads zeros behind the end.
        self.low <<= 16 - self.held % 8;
        self.held += 16 - self.held % 8;
        self.emit();
        self.out
    }

    fn emit(&mut self) {
        while self.held >= 8 {
            let settled = self.low >> self.held;
            if settled > 0xff {
                self.carry();
            }
            self.out.push((settled & 0xff) as u8);
            self.low &= (1 << self.held) - 1;
            self.held -= 8;
        }
    }

    fn carry(&mut self) {
        for byte in self.out.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 6386 section 7.3, from the decoder's side.
    struct BoolDecoder<'a> {
        rest: &'a [u8],
        value: u32,
        range: u32,
        shifted: u32,
    }

    impl<'a> BoolDecoder<'a> {
        fn new(bytes: &'a [u8]) -> Self {
            let mut decoder = Self { rest: bytes, value: 0, range: 255, shifted: 0 };
            decoder.value = u32::from(decoder.byte()) << 8;
            decoder.value |= u32::from(decoder.byte());
            decoder
        }

        fn byte(&mut self) -> u8 {
            let (first, rest) = self.rest.split_first().unwrap_or((&0, &[]));
            self.rest = rest;
            *first
        }

        fn read(&mut self, probability: u8) -> bool {
            let split = 1 + (((self.range - 1) * u32::from(probability)) >> 8);
            let bit = self.value >= split << 8;
            if bit {
                self.range -= split;
                self.value -= split << 8;
            } else {
                self.range = split;
            }
            while self.range < 128 {
                self.value <<= 1;
                self.range <<= 1;
                self.shifted += 1;
                if self.shifted == 8 {
                    self.shifted = 0;
                    self.value |= u32::from(self.byte());
                }
            }
            bit
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(bits in prop::collection::vec((any::<bool>(), 1_u8..), 0..3000)) {
            let mut encoder = BoolEncoder::new();
            for (bit, probability) in &bits {
                encoder.put(*bit, *probability);
            }
            let bytes = encoder.finish();
            let mut decoder = BoolDecoder::new(&bytes);
            for (index, (bit, probability)) in bits.iter().enumerate() {
                prop_assert_eq!(decoder.read(*probability), *bit, "bit {}", index);
            }
        }
    }

    /// Unlikely bits drive the lower end up: carries run through bytes of ones.
    #[test]
    fn carries_run_far() {
        for unlikely in 1..64 {
            let mut encoder = BoolEncoder::new();
            let bits: Vec<_> = (0..2000).map(|index| (index % unlikely != 0, 1 + (index % 3) as u8)).collect();
            for (bit, probability) in &bits {
                encoder.put(*bit, *probability);
            }
            let bytes = encoder.finish();
            let mut decoder = BoolDecoder::new(&bytes);
            assert!(bits.iter().all(|(bit, probability)| decoder.read(*probability) == *bit));
        }
    }
}
