//! Certificates: self-signed ones for browsers that pin hashes, a cluster's own authority for mTLS, and files from outside.
//!
//! [`Certificate`] and [`NodeIdentity`] are values; [`LiveCertificate`] and [`LiveIdentity`] are what listeners and channels hold, so that
//! what is replaced in them is used from the next handshake on.

mod authority;
mod files;
mod identity;
mod live;
mod upkeep;
mod validity;

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error;

pub use authority::ClusterAuthority;
pub use files::IdentityFiles;
pub use identity::{Holder, HolderError, NodeIdentity, NodeKind, pem_certificates};
pub(crate) use live::HeldIdentity;
pub use live::{LiveCertificate, LiveIdentity};
pub use rustls::pki_types::CertificateDer;
pub use upkeep::{PublicSource, Upkeep, moment};
pub use validity::Validity;

/// Life of a self-signed certificate: browsers accept pinned hashes up to 14 days, and a day is left for skewed clocks.
pub const SELF_SIGNED_LIFE: Duration = Duration::from_secs(13 * 24 * 3600 - 2 * 3600);
/// How far a certificate's life begins in the past, for clocks that are behind.
const BACKDATED: Duration = Duration::from_secs(3600);

/// Why a certificate cannot be made or read.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read or holds no PEM of the wanted kind.
    #[error("cannot read {what} from {path}: {reason}")]
    File {
        /// What was wanted.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A file can be read, and what it holds does not serve.
    #[error("{path}: {reason}")]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Browsers would refuse a certificate of such a life, or it would end at once.
    #[error("public.self_signed_life_ms is {}: between 1000 and {} is possible", .0.as_millis(), SELF_SIGNED_LIFE.as_millis())]
    Life(Duration),
    /// The configuration names a certificate without a key, or a key without a certificate.
    #[error("public.certificate and public.key belong together")]
    Half,
    /// What a file or a message held is not what it should be.
    #[error("{what}: {reason}")]
    Material {
        /// What should have been there.
        what: &'static str,
        /// What was found.
        reason: String,
    },
    /// The certificate is for nobody in a cluster.
    #[error(transparent)]
    Holder(#[from] HolderError),
    /// The library refuses.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// rustls refuses the certificate or key.
    #[error("cannot use a certificate: {0}")]
    Use(#[from] rustls::Error),
}

/// Makes aws-lc-rs the process's one provider; the first thing each main and test does. Harmless when repeated.
pub fn install_crypto_provider() {
    // An error means that it was installed already, by this very function.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// A certificate chain with its key.
#[derive(Debug)]
pub struct Certificate {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Of the leaf.
    pub key: PrivateKeyDer<'static>,
    /// Whether browsers need the leaf's hash, because no authority they know has signed it.
    pub self_signed: bool,
}

impl Clone for Certificate {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key(), self_signed: self.self_signed }
    }
}

impl Certificate {
    /// A fresh self-signed ECDSA P-256 certificate for `names` (DNS names or IP addresses), good for 13 days: what
    /// `serverCertificateHashes` of the WebTransport API accepts.
    pub fn self_signed(names: &[String]) -> Result<Self, TlsError> {
        Self::self_signed_for(names, SELF_SIGNED_LIFE, time::OffsetDateTime::now_utc())
    }

    /// [`self_signed`](Self::self_signed), for `life` from `now` on.
    fn self_signed_for(names: &[String], life: Duration, now: time::OffsetDateTime) -> Result<Self, TlsError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(names.to_vec())?;
        params.distinguished_name.push(DnType::CommonName, "Dark Tower");
        (params.not_before, params.not_after) = (now - BACKDATED, now + life);
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            self_signed: true,
        })
    }

    /// What a `[public]` section asks for: the chain and key it names, or a self-signed certificate if it names neither.
    pub fn configured(chain: Option<&Path>, key: Option<&Path>, names: &[String]) -> Result<Self, TlsError> {
        match (chain, key) {
            (Some(chain), Some(key)) => Self::load(chain, key),
            (None, None) => Self::self_signed(names),
            _ => Err(TlsError::Half),
        }
    }

    /// SHA-256 of the leaf, for `serverCertificateHashes`; `None` under a public authority.
    pub fn pinned_hash(&self) -> Option<[u8; 32]> {
        self.self_signed.then(|| self.sha256())
    }

    /// SHA-256 of the leaf's DER.
    pub fn sha256(&self) -> [u8; 32] {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.chain[0]);
        let mut out = [0; 32];
        out.copy_from_slice(digest.as_ref());
        out
    }

    /// The chain with its key as rustls signs with it; refuses a key that is another certificate's.
    fn certified(&self) -> Result<CertifiedKey, TlsError> {
        Ok(CertifiedKey::from_der(self.chain.clone(), self.key.clone_key(), &rustls::crypto::aws_lc_rs::default_provider())?)
    }
}

/// Base64 (RFC 4648 section 4) of a certificate hash, as the API shows it.
pub fn hash_base64(hash: &[u8]) -> String {
    STANDARD.encode(hash)
}

/// Lets a certificate live for `life` from now on.
fn set_life(params: &mut CertificateParams, life: Duration) {
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - BACKDATED;
    params.not_after = now + life;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A forgotten key must not turn a public service into a self-signed one.
    #[test]
    fn half_a_certificate_is_refused() {
        let names = ["localhost".to_owned()];
        let file = Some(Path::new("/nowhere/file.pem"));
        assert!(matches!(PublicSource::configured(file, None, &names, SELF_SIGNED_LIFE), Err(TlsError::Half)));
        assert!(matches!(PublicSource::configured(None, file, &names, SELF_SIGNED_LIFE), Err(TlsError::Half)));
        assert!(matches!(PublicSource::configured(None, None, &names, SELF_SIGNED_LIFE), Ok(PublicSource::SelfSigned { .. })));
    }

    #[test]
    fn self_signed_certificates_live_less_than_fourteen_days() {
        assert!(SELF_SIGNED_LIFE + BACKDATED <= Duration::from_secs(13 * 24 * 3600));
        let certificate = Certificate::self_signed(&["localhost".into(), "127.0.0.1".into()]).expect("a certificate");
        assert_eq!(certificate.pinned_hash(), Some(certificate.sha256()));
    }
}
