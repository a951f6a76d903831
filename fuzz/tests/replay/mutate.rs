//! Mutations of the corpus: what a fuzzer does first, without one, from a seed that can be given again.

/// A generator (xorshift64*, Marsaglia 2003) whose seed says it all.
pub struct Dice(u64);

impl Dice {
    /// From any seed.
    pub fn new(seed: u64) -> Self {
        // Zero is the one state that it never leaves.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() >> 33).unwrap_or(0) % end.max(1)
    }
}

/// Bytes at which decoders turn.
const TURNS: [u8; 12] = [0, 1, 0x0a, 0x0d, 0x20, 0x22, 0x2e, 0x3a, 0x7b, 0x7f, 0x80, 0xff];

/// One of `inputs` with a few changes, and at times with the end of another.
pub fn mutation(dice: &mut Dice, inputs: &[Vec<u8>], bytes_max: usize) -> Vec<u8> {
    let mut bytes = inputs[dice.below(inputs.len())].clone();
    for _ in 0..=dice.below(6) {
        let at = dice.below(bytes.len() + 1);
        match dice.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 if at < bytes.len() => bytes[at] = TURNS[dice.below(TURNS.len())],
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => bytes.insert(at, TURNS[dice.below(TURNS.len())]),
            4 => bytes.truncate(at),
            5 => {
                let to = at + dice.below(bytes.len() - at + 1).min(64);
                let piece = bytes[at..to].to_vec();
                let into = dice.below(bytes.len() + 1);
                bytes.splice(into..into, piece);
            }
            6 => {
                let other = &inputs[dice.below(inputs.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[dice.below(other.len() + 1)..]);
            }
            _ => {
                let number = dice.roll().to_be_bytes();
                let count = 1 + dice.below(number.len());
                bytes.splice(at..at, number[..count].iter().copied());
            }
        }
    }
    bytes.truncate(bytes_max);
    bytes
}
