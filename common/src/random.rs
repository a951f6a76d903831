//! Randomness for ids, tokens and jitter, from the cryptographic library's generator.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Fills an array. Panics when the operating system has no randomness to give, which no service can survive.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    aws_lc_rs::rand::fill(&mut out).expect("the operating system provides randomness");
    out
}

/// A 64-bit number, for seeds and start numbers.
pub fn number() -> u64 {
    u64::from_be_bytes(bytes())
}

/// A token of 256 random bits: 43 characters of base64url (RFC 4648 section 5).
pub fn token() -> String {
    URL_SAFE_NO_PAD.encode(bytes::<32>())
}

/// A random (version 4) UUID.
pub fn uuid() -> uuid::Uuid {
    uuid::Builder::from_random_bytes(bytes()).into_uuid()
}
