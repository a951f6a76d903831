//! Certificates that are replaced while they are in use. In: a new certificate or identity. Out: what each handshake from then on shows.
//!
//! Connections that stand are not touched by a replacement of a public certificate: TLS looks at it in the handshake alone.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::identity::Secured;
use super::{Certificate, NodeIdentity, TlsError, Validity};
use crate::clock::unix_seconds;

/// A node's identity towards its cluster that can be replaced. Clones share it.
#[derive(Clone, Debug)]
pub struct LiveIdentity {
    current: Arc<RwLock<Arc<HeldIdentity>>>,
}

/// An identity from when it was put in until it was replaced.
#[derive(Debug)]
pub(crate) struct HeldIdentity {
    identity: Arc<NodeIdentity>,
    secured: OnceLock<Result<Secured, String>>,
    /// Cancelled when another takes its place: connections that were made by it are to be made anew.
    pub replaced: CancellationToken,
}

impl HeldIdentity {
    fn new(identity: NodeIdentity) -> Arc<Self> {
        Arc::new(Self { identity: Arc::new(identity), secured: OnceLock::new(), replaced: CancellationToken::new() })
    }

    /// As rustls takes it; the reason if it cannot serve.
    pub fn secured(&self) -> Result<Secured, String> {
        self.secured.get_or_init(|| self.identity.secured().map_err(|error| error.to_string())).clone()
    }
}

impl From<NodeIdentity> for LiveIdentity {
    fn from(identity: NodeIdentity) -> Self {
        Self { current: Arc::new(RwLock::new(HeldIdentity::new(identity))) }
    }
}

impl From<&NodeIdentity> for LiveIdentity {
    fn from(identity: &NodeIdentity) -> Self {
        identity.clone().into()
    }
}

impl From<&LiveIdentity> for LiveIdentity {
    fn from(identity: &LiveIdentity) -> Self {
        identity.clone()
    }
}

impl LiveIdentity {
    pub(crate) fn held(&self) -> Arc<HeldIdentity> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// As it is now.
    pub fn current(&self) -> Arc<NodeIdentity> {
        self.held().identity.clone()
    }

    /// Cancelled when what is [`current`](Self::current) now is replaced: what lasts longer than a call should then be begun anew.
    pub fn replaced(&self) -> CancellationToken {
        self.held().replaced.clone()
    }

    /// Uses `identity` from now on. New connections are made by it, and old ones are renewed (see [`crate::grpc`]). What cannot serve is
    /// refused, and the old one goes on.
    pub fn replace(&self, identity: NodeIdentity) -> Result<(), TlsError> {
        identity.secured()?;
        let fresh = HeldIdentity::new(identity);
        let before = std::mem::replace(&mut *self.current.write().unwrap_or_else(PoisonError::into_inner), fresh);
        before.replaced.cancel();
        Ok(())
    }
}

/// A public certificate that can be replaced, and the self-signed one that will follow it. Clones share it.
#[derive(Clone, Debug)]
pub struct LiveCertificate {
    held: Arc<RwLock<Held>>,
}

#[derive(Debug)]
struct Held {
    current: Usable,
    /// Published before it is used, so that whoever was told of a hash a while ago still gets in when it is; and when it was made, in
    /// seconds since the epoch.
    next: Option<(Usable, u64)>,
}

impl Held {
    fn self_signed(names: &[String], life: Duration, now: u64) -> Result<Self, TlsError> {
        let (current, _) = Self::fresh(names, life, now)?;
        Ok(Self { current, next: Some(Self::fresh(names, life, now)?) })
    }

    /// With the moment of its making.
    fn fresh(names: &[String], life: Duration, now: u64) -> Result<(Usable, u64), TlsError> {
        let at = i64::try_from(now).ok().and_then(|now| OffsetDateTime::from_unix_timestamp(now).ok());
        let at = at.ok_or(TlsError::Material { what: "the clock", reason: format!("{now} seconds since the epoch are no date") })?;
        Ok((Usable::new(Certificate::self_signed_for(names, life, at)?), now))
    }
}

#[derive(Clone, Debug)]
struct Usable {
    certificate: Arc<Certificate>,
    /// `None`: key and certificate do not fit; [`LiveCertificate::server_config`] says so before anything listens.
    key: Option<Arc<CertifiedKey>>,
}

impl Usable {
    fn new(certificate: Certificate) -> Self {
        let key = certificate.certified().ok().map(Arc::new);
        Self { certificate: Arc::new(certificate), key }
    }
}

impl From<Certificate> for LiveCertificate {
    fn from(certificate: Certificate) -> Self {
        Self { held: Arc::new(RwLock::new(Held { current: Usable::new(certificate), next: None })) }
    }
}

impl LiveCertificate {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, Held> {
        // Writers assign whole values, so what a panicking one left behind is whole.
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What handshakes are answered with now.
    pub fn current(&self) -> Arc<Certificate> {
        self.read().current.certificate.clone()
    }

    /// Whether the certificate that handshakes are answered with has expired by the wall clock. One that cannot be read has not.
    pub fn is_expired(&self) -> bool {
        let certificate = self.current();
        let expires = certificate.chain.first().and_then(|leaf| Validity::of(leaf).ok()).map(|validity| validity.not_after);
        expires.is_some_and(|expires| expires <= crate::clock::unix_seconds())
    }

    /// SHA-256 of the current and the next self-signed certificate, for `serverCertificateHashes`; empty under a public authority.
    pub fn hashes(&self) -> Vec<[u8; 32]> {
        let held = self.read();
        std::iter::once(&held.current).chain(held.next.iter().map(|(next, _)| next)).filter_map(|it| it.certificate.pinned_hash()).collect()
    }

    /// [`hashes`](Self::hashes) as messages carry them.
    pub fn wire_hashes(&self) -> Vec<bytes::Bytes> {
        self.hashes().iter().map(|hash| bytes::Bytes::copy_from_slice(hash)).collect()
    }

    /// Answers handshakes with `certificate` from now on, and forgets the next one. What does not fit its key is refused, and the old one goes on.
    pub fn replace(&self, certificate: Certificate) -> Result<(), TlsError> {
        certificate.certified()?;
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Held { current: Usable::new(certificate), next: None };
        Ok(())
    }

    /// A fresh self-signed certificate for `names` and the one that will follow it, each good for `life`.
    pub fn self_signed(names: &[String], life: Duration) -> Result<Self, TlsError> {
        let held = Held::self_signed(names, life, unix_seconds())?;
        Ok(Self { held: Arc::new(RwLock::new(held)) })
    }

    /// Lets the next self-signed certificate take over when it was published for six thirteenths of its life, and makes another to follow
    /// it: of thirteen days each one is known for six, used for six, and then there is a day left. Whether it has taken over.
    pub(super) fn renew(&self, names: &[String], life: Duration, now: u64) -> Result<bool, TlsError> {
        let published = life * 6 / 13;
        let fresh = {
            let held = self.read();
            match &held.next {
                Some((_, made)) if now < made + published.as_secs() => return Ok(false),
                Some((next, made)) if now < made + (life - published).as_secs() => {
                    Held { current: next.clone(), next: Some(Held::fresh(names, life, now)?) }
                }
                // This process slept through it all, or clocks were set.
                _ => Held::self_signed(names, life, now)?,
            }
        };
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(true)
    }

    /// A rustls server configuration without client authentication that offers `alpn`, first liked best, and looks here at each handshake.
    pub fn server_config(&self, alpn: &[&[u8]]) -> Result<rustls::ServerConfig, TlsError> {
        self.current().certified()?;
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    }
}

impl ResolvesServerCert for LiveCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.read().current.key.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> Certificate {
        Certificate::self_signed(&["localhost".into()]).expect("a certificate")
    }

    /// Everything that was made from a live certificate sees the new one; what cannot serve changes nothing.
    #[test]
    fn a_replacement_reaches_what_holds_it() {
        crate::tls::install_crypto_provider();
        let (first, second) = (fresh(), fresh());
        let live = LiveCertificate::from(first.clone());
        let held = live.clone();
        assert_eq!(held.hashes(), [first.sha256()]);
        live.replace(second.clone()).expect("it fits");
        assert_eq!((held.hashes(), held.wire_hashes()), (vec![second.sha256()], vec![bytes::Bytes::copy_from_slice(&second.sha256())]));
        let unfit = Certificate { key: first.key.clone_key(), ..second.clone() };
        assert!(matches!(live.replace(unfit.clone()), Err(TlsError::Use(_))));
        assert_eq!(held.current().sha256(), second.sha256());
        assert!(LiveCertificate::from(unfit).server_config(&[b"h3"]).is_err(), "a service does not start with another's key");
    }
}
