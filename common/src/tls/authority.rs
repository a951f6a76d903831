//! A cluster's own certificate authority.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};

use super::{NodeIdentity, NodeKind, TlsError, set_life};

/// Life of a throw-away cluster authority and its certificates.
const CLUSTER_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// A cluster's certificate authority.
pub struct ClusterAuthority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

impl ClusterAuthority {
    /// A fresh one.
    pub fn generate() -> Result<Self, TlsError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        // A name of its own, so that two authorities that are believed at once are not mistaken for each other.
        params.distinguished_name.push(DnType::CommonName, format!("Dark Tower cluster {}", uuid::Uuid::new_v4().simple()));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_life(&mut params, CLUSTER_LIFE);
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate_pem })
    }

    /// Its certificate: what nodes believe.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// A certificate for the node `id` of kind `kind`, for both ends of mTLS.
    pub fn issue(&self, id: &common_core::NodeId, kind: NodeKind) -> Result<NodeIdentity, TlsError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, id.as_str());
        for name in [id.as_str(), kind.certificate_name()] {
            params.subject_alt_names.push(SanType::DnsName(name.try_into()?));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        set_life(&mut params, CLUSTER_LIFE);
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(NodeIdentity { certificate_pem: certificate.pem(), key_pem: key.serialize_pem(), authority_pem: self.certificate_pem.clone() })
    }
}
