//! Whose certificates are believed. In: system roots, an authority, pinned hashes, or nothing to check. Out: rustls configurations.

use std::sync::Arc;

use ::aws_lc_rs::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use thiserror::Error;

/// Length of a pinned hash (SHA-256), in bytes.
pub const HASH_BYTES: usize = 32;

/// Why trust could not be set up.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The verifier or protocol versions do not fit together.
    #[error("cannot verify certificates: {0}")]
    Verifier(#[from] rustls::Error),
    /// The cipher suites do not serve QUIC.
    #[error("no QUIC cipher suite: {0}")]
    Cipher(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// The file of an authority holds no certificate.
    #[error("no certificate in PEM form: {0}")]
    Pem(String),
}

/// Whose certificates are believed.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// Those that the operating system believes.
    #[default]
    System,
    /// Those that the operating system believes, and those issued by one of these.
    Authority(Vec<CertificateDer<'static>>),
    /// Exactly the certificates with these SHA-256 hashes, whatever name they bear and whoever issued them.
    Hashes(Vec<[u8; HASH_BYTES]>),
    /// Any at all: whoever stands between can read and change everything. For laboratories.
    Anything,
}

impl Trust {
    /// Pins `hashes`, or believes the system when there are none. Hashes of another length match nothing.
    pub fn from_hashes<T: AsRef<[u8]>>(hashes: &[T]) -> Self {
        if hashes.is_empty() {
            return Self::System;
        }
        Self::Hashes(hashes.iter().filter_map(|hash| hash.as_ref().try_into().ok()).collect())
    }

    /// Believes the authorities in a PEM file besides the system's.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TrustError> {
        let certificates: Vec<_> =
            CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| TrustError::Pem(error.to_string()))?;
        if certificates.is_empty() {
            return Err(TrustError::Pem("the file has no BEGIN CERTIFICATE".into()));
        }
        Ok(Self::Authority(certificates))
    }

    /// A TLS configuration that offers `alpn`, best first.
    pub fn tls_config(&self, alpn: &[&[u8]]) -> Result<ClientConfig, TrustError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match self {
            Self::System => Arc::new(rustls_platform_verifier::Verifier::new(provider.clone())?),
            Self::Authority(roots) => {
                Arc::new(rustls_platform_verifier::Verifier::new_with_extra_roots(roots.iter().cloned(), provider.clone())?)
            }
            Self::Hashes(hashes) => Arc::new(Pinned { hashes: Some(hashes.clone()), provider: provider.clone() }),
            Self::Anything => Arc::new(Pinned { hashes: None, provider: provider.clone() }),
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }
}

/// Compares the certificate's hash; `None` accepts any. Signatures are checked in either case: whoever presents a
/// certificate must hold its key.
#[derive(Debug)]
struct Pinned {
    hashes: Option<Vec<[u8; HASH_BYTES]>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = digest(&SHA256, end_entity);
        match &self.hashes {
            Some(hashes) if !hashes.iter().any(|hash| hash == found.as_ref()) => {
                Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_another_length_match_nothing() {
        assert!(matches!(Trust::from_hashes::<Vec<u8>>(&[]), Trust::System));
        assert!(matches!(Trust::from_hashes(&[vec![1; 31]]), Trust::Hashes(hashes) if hashes.is_empty()));
        assert!(matches!(Trust::from_hashes(&[vec![1; 32], vec![2; 33]]), Trust::Hashes(hashes) if hashes == [[1; 32]]));
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        assert!(matches!(Trust::from_pem(b"hello"), Err(TrustError::Pem(_))));
    }

    #[test]
    fn every_kind_of_trust_builds_a_configuration() {
        for trust in [Trust::System, Trust::Hashes(vec![[0; 32]]), Trust::Anything] {
            let config = trust.tls_config(&[b"h3"]).expect("the provider has TLS 1.2 and 1.3");
            assert_eq!(config.alpn_protocols, [b"h3"]);
        }
    }
}
