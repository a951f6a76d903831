//! The secret of an encrypted meeting: made, carried in a link, never shown.

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

/// Length of a meeting's secret, in bytes.
pub const SECRET_BYTES: usize = 32;
/// Name of the secret in a URL's fragment: `#k=…`.
const FRAGMENT_KEY: &str = "k=";

/// 32 random bytes, which whoever is to be in an encrypted meeting holds, and no server ever sees. Wiped when it is dropped; its
/// `Debug` shows nothing.
#[derive(Clone)]
pub struct Secret([u8; SECRET_BYTES]);

/// What was given is no secret: a link that was cut off or changed on its way. Repeats nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the key is incomplete or was changed: 43 characters of base64url are needed")]
pub struct SecretError;

impl Secret {
    /// A fresh secret from the machine's source of randomness.
    pub fn generate() -> Self {
        let mut bytes = [0; SECRET_BYTES];
        rand::fill(&mut bytes).expect("the system's source of randomness does not fail after the start");
        Self(bytes)
    }

    /// A secret from elsewhere. It must be random: a password is none.
    pub fn from_bytes(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes. Whoever takes them keeps them secret.
    pub fn as_bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    /// Reads base64url without padding.
    pub fn from_text(text: &str) -> Result<Self, SecretError> {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).map_err(|_| SecretError)?);
        Ok(Self(bytes.as_slice().try_into().map_err(|_| SecretError)?))
    }

    /// In base64url without padding, 43 characters: what a link carries. Whoever takes it keeps it secret.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(self.0))
    }

    /// The secret in a URL's fragment (what stands behind the `#`); `None` when there is none.
    pub fn from_fragment(fragment: &str) -> Result<Option<Self>, SecretError> {
        let text = fragment.split('&').find_map(|field| field.strip_prefix(FRAGMENT_KEY));
        text.map(Self::from_text).transpose()
    }

    /// A fragment that carries it: `k=…`. Whoever takes it keeps it secret.
    pub fn to_fragment(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{FRAGMENT_KEY}{}", *self.to_text()))
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::from_bytes([0x41; SECRET_BYTES]);
        assert_eq!(format!("{secret:?}"), "Secret(***)");
        assert_eq!(format!("{:?}", Secret::from_text("QUFB")), "Err(SecretError)");
        assert_ne!(Secret::generate(), Secret::generate());
    }
}
