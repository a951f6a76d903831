//! The short code of a meeting: ten letters of base32 (RFC 4648 section 6), lower-case, that stand wherever its id may.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Letters of a code: 50 bits, so that guessing among a million meetings takes a billion tries for one.
pub const CODE_LETTERS: usize = 10;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Why a text is not a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a meeting code is 10 letters of a-z and 2-7")]
pub struct CodeError;

/// A meeting's short code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeetingCode([u8; CODE_LETTERS]);

impl MeetingCode {
    /// The code of the low 50 bits of `random`.
    pub fn from_random(random: u64) -> Self {
        let mut rest = random;
        Self(std::array::from_fn(|_| {
            let letter = ALPHABET[(rest & 31) as usize];
            rest >>= 5;
            letter
        }))
    }

    /// The letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("the alphabet is ASCII")
    }
}

impl FromStr for MeetingCode {
    type Err = CodeError;
    /// Case-blind: people read codes to each other.
    fn from_str(text: &str) -> Result<Self, CodeError> {
        let mut letters: [u8; CODE_LETTERS] = text.as_bytes().try_into().map_err(|_| CodeError)?;
        letters.make_ascii_lowercase();
        if letters.iter().all(|letter| ALPHABET.contains(letter)) { Ok(Self(letters)) } else { Err(CodeError) }
    }
}

impl fmt::Display for MeetingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for MeetingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_ten_letters_of_base32() {
        let code = MeetingCode::from_random(u64::MAX);
        assert_eq!(code.as_str(), "7777777777");
        assert_eq!(MeetingCode::from_random(0).as_str(), "aaaaaaaaaa");
        assert_eq!("ABCDefgh27".parse::<MeetingCode>().map(|code| code.to_string()), Ok("abcdefgh27".to_owned()));
        for bad in ["", "abcdefghi", "abcdefghijk", "abcdefgh01", "abcdefgh-2", "äbcdefghi"] {
            assert_eq!(bad.parse::<MeetingCode>(), Err(CodeError), "{bad}");
        }
    }
}
