//! Numbers and texts that look random and are the same in each run.

use crate::door::{ANA, BEN, CAM};

/// Numbers that look random and are the same in each run (xorshift64).
pub(crate) struct Dice(u64);

impl Dice {
    /// The same numbers for the same seed, which is not 0.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 0 to `sides` - 1.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides).expect("few sides")).expect("fewer than sides")
    }

    /// Ids good and bad, nothing, too much, and what moves terminals.
    pub(crate) fn text(&mut self) -> String {
        match self.roll(8) {
            0 => String::new(),
            1 => ANA.into(),
            2 => BEN.into(),
            3 => CAM.into(),
            4 => "x".repeat(self.roll(5_000)),
            5 => "\u{1b}[2J\u{202e}\0".into(),
            6 => format!("550e8400-e29b-41d4-a716-{:012}", self.roll(20_000)),
            _ => "https://127.0.0.1:1/wt".into(),
        }
    }

    /// Damages a few bytes, and cuts some off at times.
    pub(crate) fn turn_bytes_over(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.roll(4) {
            if let Some(places) = bytes.len().checked_sub(1).filter(|places| *places > 0) {
                let place = self.roll(places);
                bytes[place] = u8::try_from(self.roll(256)).expect("a byte");
            }
        }
        if self.roll(5) == 0 {
            bytes.truncate(self.roll(bytes.len() + 1));
        }
    }
}
