//! What is derived from a secret for one meeting: keys of media streams and chat messages, the key id, the comparison code.

use aws_lc_rs::hkdf::{HKDF_SHA512, Prk, Salt};
use common_core::{MeetingId, StreamId};
use zeroize::Zeroizing;

use super::secret::Secret;
use super::sframe::{Key, Suite, expand};

/// The suite of media and chat.
const SUITE: Suite = Suite::Aes256GcmSha512;
/// The key id of all SFrame ciphertexts: the stream id, or the salt, tells keys apart.
pub(super) const KID: u64 = 0;
const BASE_KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 16;
const CODE_BYTES: usize = 8;
/// Twelve digits: as many as two people read to each other without losing patience.
const CODE_MODULUS: u64 = 1_000_000_000_000;

const MEDIA: &[u8] = b"dark-tower e2ee 1 media";
const CHAT: &[u8] = b"dark-tower e2ee 1 chat";
const KEY_ID: &[u8] = b"dark-tower e2ee 1 key id";
const COMPARISON_CODE: &[u8] = b"dark-tower e2ee 1 comparison code";

/// Derives, from a secret, what one meeting needs. Holds a key as good as the secret; its `Debug` shows what may be seen.
pub struct MeetingKeys {
    prk: Prk,
    key_id: String,
    comparison_code: String,
}

impl std::fmt::Debug for MeetingKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeetingKeys").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl MeetingKeys {
    /// Of `meeting_id`, the UUID and not the short code.
    pub fn new(secret: &Secret, meeting_id: MeetingId) -> Self {
        let prk = Salt::new(HKDF_SHA512, meeting_id.as_bytes()).extract(secret.as_bytes());
        let mut id = [0; KEY_ID_BYTES];
        expand(&prk, &[KEY_ID], &mut id);
        let mut code = [0; CODE_BYTES];
        expand(&prk, &[COMPARISON_CODE], &mut code);
        let digits = format!("{:012}", u64::from_be_bytes(code) % CODE_MODULUS);
        let (first, rest) = digits.split_at(4);
        let (second, third) = rest.split_at(4);
        Self { prk, key_id: format!("{:032x}", u128::from_be_bytes(id)), comparison_code: format!("{first} {second} {third}") }
    }

    /// Which secret it is, without a hint at what it is: what `JoinRequest.e2ee_key_id` carries.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Twelve digits in groups of four, for people to read to each other: equal codes, equal secrets.
    pub fn comparison_code(&self) -> &str {
        &self.comparison_code
    }

    pub(super) fn media(&self, stream_id: StreamId) -> Key {
        self.key(MEDIA, stream_id.as_bytes())
    }

    pub(super) fn chat(&self, salt: &[u8]) -> Key {
        self.key(CHAT, salt)
    }

    fn key(&self, label: &[u8], context: &[u8]) -> Key {
        let mut base_key = Zeroizing::new([0; BASE_KEY_BYTES]);
        expand(&self.prk, &[label, context], &mut *base_key);
        Key::derive(SUITE, KID, &*base_key)
    }
}
