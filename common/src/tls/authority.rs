//! A cluster's own certificate authority.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Holder, NodeIdentity, NodeKind, TlsError, Validity, set_life};
use crate::Secret;
use crate::clock::unix_seconds;

/// Life of a throw-away cluster authority and its certificates.
const CLUSTER_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// A cluster's certificate authority.
pub struct ClusterAuthority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    not_after: u64,
}

impl ClusterAuthority {
    /// A fresh one, good for a year.
    pub fn generate() -> Result<Self, TlsError> {
        Self::generate_for(CLUSTER_LIFE)
    }

    /// A fresh one, good for `life` from now on.
    pub fn generate_for(life: Duration) -> Result<Self, TlsError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        // A name of its own, so that two authorities that are believed at once are not mistaken for each other.
        params.distinguished_name.push(DnType::CommonName, format!("Dark Tower cluster {}", uuid::Uuid::new_v4().simple()));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_life(&mut params, life);
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate_pem, not_after: unix_seconds() + life.as_secs() })
    }

    /// One that was kept: its certificate and its key, both PEM. Refuses a key that is another's.
    pub fn from_pem(certificate_pem: &str, key_pem: &Secret) -> Result<Self, TlsError> {
        let fail = |what, reason: String| TlsError::Material { what, reason };
        let key = KeyPair::from_pem(key_pem.expose()).map_err(|error| fail("the authority's key", error.to_string()))?;
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|error| fail("the authority's certificate", error.to_string()))?;
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|error| fail("the authority's certificate", error.to_string()))?;
        if parsed.public_key().subject_public_key.data.as_ref() != rcgen::PublicKeyData::der_bytes(&key) {
            return Err(fail("the authority's key", "it is not the key of the authority's certificate".to_owned()));
        }
        let not_after = Validity::of(&certificate)?.not_after;
        Ok(Self { issuer: Issuer::from_ca_cert_der(&certificate, key)?, certificate_pem: certificate_pem.to_owned(), not_after })
    }

    /// Its certificate: what nodes believe.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Its key, to be kept.
    pub fn key_pem(&self) -> Secret {
        Secret::new(self.issuer.key().serialize_pem())
    }

    /// When it ends, seconds since the epoch.
    pub fn not_after(&self) -> u64 {
        self.not_after
    }

    /// A certificate for the node `id` of kind `kind`, for both ends of mTLS, good for a year.
    pub fn issue(&self, id: &common_core::NodeId, kind: NodeKind) -> Result<NodeIdentity, TlsError> {
        self.issue_for(&Holder { id: id.clone(), kind }, CLUSTER_LIFE, None)
    }

    /// [`issue`](Self::issue), for `life`, and no longer than the authority itself lasts. With a `key` (PEM) that is kept, or a fresh one.
    pub fn issue_for(&self, holder: &Holder, life: Duration, key: Option<&Secret>) -> Result<NodeIdentity, TlsError> {
        let key = match key {
            Some(pem) => KeyPair::from_pem(pem.expose())?,
            None => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?,
        };
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, holder.id.as_str());
        for name in [holder.id.as_str(), holder.kind.certificate_name()] {
            params.subject_alt_names.push(SanType::DnsName(name.try_into()?));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        set_life(&mut params, life.min(Duration::from_secs(self.not_after.saturating_sub(unix_seconds()))));
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(NodeIdentity { certificate_pem: certificate.pem(), key_pem: key.serialize_pem(), authority_pem: self.certificate_pem.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_kept_and_found_again() {
        let authority = ClusterAuthority::generate_for(Duration::from_secs(3600)).expect("an authority");
        let kept = ClusterAuthority::from_pem(authority.certificate_pem(), &authority.key_pem()).expect("it is its key");
        let holder = Holder { id: "mc-1".parse().expect("a node id"), kind: NodeKind::MeetingController };
        let identity = kept.issue_for(&holder, CLUSTER_LIFE, None).expect("a certificate");
        identity.check().expect("the first one would believe it as well");
        let validity = Validity::of(&identity.chain().expect("PEM")[0]).expect("it parses");
        assert_eq!(validity.not_after, kept.not_after(), "no longer than the authority");
        let again = kept.issue_for(&holder, CLUSTER_LIFE, Some(&Secret::new(identity.key_pem.clone()))).expect("a certificate");
        assert_eq!((again.key_pem == identity.key_pem, again.certificate_pem == identity.certificate_pem), (true, false));
        let other = ClusterAuthority::generate().expect("another");
        let error = ClusterAuthority::from_pem(authority.certificate_pem(), &other.key_pem()).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("the authority's key: it is not the key of the authority's certificate"));
    }
}
