//! SFrame (RFC 9605): one sender key, with its cipher suite.
//!
//! In: a base key, counters, metadata, plain bytes. Out: SFrame ciphertexts, or the bytes back, or [`Unopened`]. Never chooses a
//! key or a counter, and never remembers one: whoever calls sees to it that a counter is sealed once.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{self, KeyType, Prk, Salt};
use thiserror::Error;
use zeroize::Zeroizing;

/// Longest header: the config byte and two numbers of eight bytes.
pub const HEADER_BYTES_MAX: usize = 17;
/// Length of the tag of both suites (`AEAD.Nt`).
pub const TAG_BYTES: usize = 16;
/// Longest key of the suites (`AEAD.Nk`).
const KEY_BYTES_MAX: usize = 32;

/// The suites of RFC 9605, section 4.5, that have a full-length tag. Those with short tags (1 to 3) save bytes that nobody
/// here is short of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// `AES_128_GCM_SHA256_128`, 0x0004.
    Aes128GcmSha256,
    /// `AES_256_GCM_SHA512_128`, 0x0005.
    Aes256GcmSha512,
}

impl Suite {
    const fn id(self) -> u16 {
        match self {
            Self::Aes128GcmSha256 => 4,
            Self::Aes256GcmSha512 => 5,
        }
    }

    fn aead(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes128GcmSha256 => &aead::AES_128_GCM,
            Self::Aes256GcmSha512 => &aead::AES_256_GCM,
        }
    }

    fn hkdf(self) -> hkdf::Algorithm {
        match self {
            Self::Aes128GcmSha256 => hkdf::HKDF_SHA256,
            Self::Aes256GcmSha512 => hkdf::HKDF_SHA512,
        }
    }
}

/// Not sealed with this key, counter and metadata, or changed since. Says nothing more: neither does the tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not sealed with this key, counter and metadata, or changed since")]
pub struct Unopened;

/// Why bytes do not begin with an SFrame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Fewer bytes than the config byte promises.
    #[error("the SFrame header is cut off")]
    Truncated,
    /// A number takes more bytes than it needs.
    #[error("a number of the SFrame header is not in its shortest form")]
    NotShortest,
}

/// An SFrame header (RFC 9605, section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which key.
    pub kid: u64,
    /// Which of its ciphertexts.
    pub ctr: u64,
}

/// A header as it travels: up to [`HEADER_BYTES_MAX`] bytes.
#[derive(Clone, Copy, Debug)]
pub struct HeaderBytes {
    bytes: [u8; HEADER_BYTES_MAX],
    length: usize,
}

impl AsRef<[u8]> for HeaderBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Bytes of a number behind the config byte: none for 0 to 7, which stand in it.
const fn number_bytes(value: u64) -> usize {
    if value < 8 { 0 } else { (64 - value.leading_zeros() as usize).div_ceil(8) }
}

impl Header {
    /// Length as it travels, in bytes.
    pub const fn length(self) -> usize {
        1 + number_bytes(self.kid) + number_bytes(self.ctr)
    }

    /// The bytes of the header.
    pub fn encode(self) -> HeaderBytes {
        let mut out = HeaderBytes { bytes: [0; HEADER_BYTES_MAX], length: 1 };
        out.bytes[0] = out.push(self.kid) << 4;
        out.bytes[0] |= out.push(self.ctr);
        out
    }

    /// Reads the header that `bytes` begin with; the rest is the ciphertext proper.
    pub fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), HeaderError> {
        let (config, rest) = bytes.split_first().ok_or(HeaderError::Truncated)?;
        let (kid, rest) = number(config >> 4, rest)?;
        let (ctr, rest) = number(config & 0xf, rest)?;
        Ok((Self { kid, ctr }, rest))
    }
}

impl HeaderBytes {
    /// Appends a number; returns its four bits of the config byte.
    fn push(&mut self, value: u64) -> u8 {
        let length = number_bytes(value);
        let bytes = value.to_be_bytes();
        self.bytes[self.length..self.length + length].copy_from_slice(&bytes[bytes.len() - length..]);
        self.length += length;
        // Both fit: a length is at most 8, a number without bytes of its own below 8.
        if length == 0 { bytes[7] } else { 0x8 | (length as u8 - 1) }
    }
}

fn number(bits: u8, rest: &[u8]) -> Result<(u64, &[u8]), HeaderError> {
    if bits & 0x8 == 0 {
        return Ok((u64::from(bits), rest));
    }
    let length = usize::from(bits & 0x7) + 1;
    let (bytes, rest) = rest.split_at_checked(length).ok_or(HeaderError::Truncated)?;
    let value = bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    if number_bytes(value) != length { Err(HeaderError::NotShortest) } else { Ok((value, rest)) }
}

/// The key and salt of one key id, derived from a base key (RFC 9605, section 4.4.2).
pub struct Key {
    kid: u64,
    aead: LessSafeKey,
    salt: [u8; NONCE_LEN],
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl Key {
    /// Derives. `base_key` stays the caller's, to be wiped.
    pub fn derive(suite: Suite, kid: u64, base_key: &[u8]) -> Self {
        let secret = Salt::new(suite.hkdf(), &[]).extract(base_key);
        let (kid_bytes, suite_bytes) = (kid.to_be_bytes(), suite.id().to_be_bytes());
        let algorithm = suite.aead();
        let mut key = Zeroizing::new([0; KEY_BYTES_MAX]);
        let key = &mut key[..algorithm.key_len()];
        expand(&secret, &[b"SFrame 1.0 Secret key ", &kid_bytes, &suite_bytes], key);
        let mut salt = [0; NONCE_LEN];
        expand(&secret, &[b"SFrame 1.0 Secret salt ", &kid_bytes, &suite_bytes], &mut salt);
        let key = UnboundKey::new(algorithm, key).expect("the key is as long as the algorithm asks for");
        Self { kid, aead: LessSafeKey::new(key), salt }
    }

    /// Seals `plain` under the counter. A counter must never be sealed twice with one key.
    pub fn seal(&self, ctr: u64, metadata: &[u8], plain: &[u8]) -> Vec<u8> {
        let header = Header { kid: self.kid, ctr }.encode();
        let header = header.as_ref();
        let mut out = Vec::with_capacity(header.len() + plain.len() + TAG_BYTES);
        out.extend_from_slice(header);
        out.extend_from_slice(plain);
        let aad = Aad::from([header, metadata].concat());
        let tag = self.aead.seal_in_place_separate_tag(self.nonce(ctr), aad, &mut out[header.len()..]);
        // AES-GCM refuses 64 GiB and more; a payload is at most 4 MiB.
        out.extend_from_slice(tag.expect("a payload is far below what AES-GCM seals at once").as_ref());
        out
    }

    /// Opens a ciphertext that carries this counter.
    pub fn open(&self, ctr: u64, metadata: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>, Unopened> {
        let (header, sealed) = Header::decode(ciphertext).map_err(|_| Unopened)?;
        if header != (Header { kid: self.kid, ctr }) {
            return Err(Unopened);
        }
        let (sealed, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(Unopened)?;
        let aad = Aad::from([&ciphertext[..header.length()], metadata].concat());
        let mut plain = vec![0; sealed.len()];
        self.aead.open_separate_gather(self.nonce(ctr), aad, sealed, tag, &mut plain).map_err(|_| Unopened)?;
        Ok(plain)
    }

    fn nonce(&self, ctr: u64) -> Nonce {
        let mut nonce = self.salt;
        for (byte, ctr) in nonce[NONCE_LEN - 8..].iter_mut().zip(ctr.to_be_bytes()) {
            *byte ^= ctr;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

/// How long an output of HKDF is to be.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand into `out`, which is at most a few hundred bytes.
pub(super) fn expand(secret: &Prk, info: &[&[u8]], out: &mut [u8]) {
    let filled = secret.expand(info, Length(out.len())).and_then(|okm| okm.fill(out));
    filled.expect("HKDF gives 255 times its hash's length, far more than is asked for");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn headers_come_back(kid: u64, ctr: u64, behind: Vec<u8>) {
            // Small numbers as often as large ones.
            for (kid, ctr) in [(kid, ctr), (kid >> (ctr % 64), ctr >> (kid % 64))] {
                let header = Header { kid, ctr };
                let bytes = [header.encode().as_ref(), &behind].concat();
                prop_assert_eq!(header.length() + behind.len(), bytes.len());
                prop_assert_eq!(Header::decode(&bytes), Ok((header, &behind[..])));
            }
        }

        /// What opens is what was sealed, and nothing else opens.
        #[test]
        fn a_bit_changed_anywhere_is_refused(ctr: u64, metadata: Vec<u8>, plain: Vec<u8>, place: prop::sample::Index) {
            let key = Key::derive(Suite::Aes256GcmSha512, 0, &[7; 32]);
            let sealed = key.seal(ctr, &metadata, &plain);
            prop_assert_eq!(key.open(ctr, &metadata, &sealed), Ok(plain));
            prop_assert_eq!(key.open(ctr ^ 1, &metadata, &sealed), Err(Unopened));
            let bit = place.index(8 * (sealed.len() + metadata.len()));
            let (mut metadata, mut changed) = (metadata, sealed.clone());
            match bit.checked_sub(8 * sealed.len()) {
                None => changed[bit / 8] ^= 1 << (bit % 8),
                Some(bit) => metadata[bit / 8] ^= 1 << (bit % 8),
            }
            prop_assert_eq!(key.open(ctr, &metadata, &changed), Err(Unopened));
            prop_assert_eq!(key.open(ctr, &metadata, &sealed[..place.index(sealed.len())]), Err(Unopened));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, ctr: u64) {
            let _ = Header::decode(&bytes);
            prop_assert_eq!(Key::derive(Suite::Aes128GcmSha256, 1, b"").open(ctr, &bytes, &bytes), Err(Unopened));
        }
    }
}
