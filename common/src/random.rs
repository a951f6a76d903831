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

/// How every [`token`] begins, so that one in the wrong place can be told: by [`crate::telemetry`] in a log, by scanners in a repository.
pub const TOKEN_PREFIX: &str = "dt_";

/// A token of 256 random bits: [`TOKEN_PREFIX`] and 43 characters of base64url (RFC 4648 section 5).
pub fn token() -> String {
    format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes::<32>()))
}

/// A random (version 4) UUID.
pub fn uuid() -> uuid::Uuid {
    uuid::Builder::from_random_bytes(bytes()).into_uuid()
}
