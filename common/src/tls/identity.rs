//! What a node shows to other nodes, whom it believes, and whom a certificate names.

use std::path::Path;
use std::sync::Arc;

use common_core::NodeId;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use thiserror::Error;

use super::TlsError;

/// Of gRPC (HTTP/2 over TLS, RFC 9113 section 3.2).
const ALPN: &[u8] = b"h2";

/// What kind of node a certificate is for; stands in it as a second name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// Answers the public API.
    GlobalController,
    /// Speaks signaling.
    MeetingController,
    /// Forwards media.
    MediaHandler,
    /// Is no node but a person, who asks the cluster how it is and tells it what to do.
    Operator,
}

impl NodeKind {
    /// Every kind there is.
    pub const ALL: [NodeKind; 4] = [NodeKind::GlobalController, NodeKind::MeetingController, NodeKind::MediaHandler, NodeKind::Operator];

    /// The kind's name, as people write it.
    pub const fn name(self) -> &'static str {
        match self {
            NodeKind::GlobalController => "global-controller",
            NodeKind::MeetingController => "meeting-controller",
            NodeKind::MediaHandler => "media-handler",
            NodeKind::Operator => "operator",
        }
    }

    /// The DNS name in the certificate of every node of this kind. No node id has a dot, so the two never meet.
    pub const fn certificate_name(self) -> &'static str {
        match self {
            NodeKind::GlobalController => "global-controller.dark-tower.internal",
            NodeKind::MeetingController => "meeting-controller.dark-tower.internal",
            NodeKind::MediaHandler => "media-handler.dark-tower.internal",
            NodeKind::Operator => "operator.dark-tower.internal",
        }
    }
}

/// Whom a certificate of the cluster is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub id: NodeId,
    /// Its kind.
    pub kind: NodeKind,
}

/// Why a certificate is for nobody in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HolderError {
    /// It cannot be parsed.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// No kind of node is among its names.
    #[error("the certificate names no kind of node")]
    NoKind,
    /// More than one is, so it would pass for either.
    #[error("the certificate names more than one kind of node")]
    Kinds,
    /// No node id is among its names.
    #[error("the certificate has no node id among its names")]
    NoId,
    /// More than one is.
    #[error("the certificate has more than one node id among its names")]
    Ids,
}

impl Holder {
    /// By the names in `certificate`: one node id and one kind, neither more nor less. Other names do not matter.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, HolderError> {
        let certificate = webpki::EndEntityCert::try_from(certificate).map_err(|_| HolderError::Unreadable)?;
        let names: Vec<&str> = certificate.valid_dns_names().collect();
        let mut kinds =
            NodeKind::ALL.into_iter().filter(|kind| names.iter().any(|name| name.eq_ignore_ascii_case(kind.certificate_name())));
        let kind = kinds.next().ok_or(HolderError::NoKind)?;
        if kinds.next().is_some() {
            return Err(HolderError::Kinds);
        }
        let mut ids: Vec<NodeId> = names.iter().filter_map(|name| name.to_ascii_lowercase().parse().ok()).collect();
        ids.dedup();
        match <[NodeId; 1]>::try_from(ids) {
            Ok([id]) => Ok(Self { id, kind }),
            Err(ids) if ids.is_empty() => Err(HolderError::NoId),
            Err(_) => Err(HolderError::Ids),
        }
    }
}

/// What a node shows to other nodes, and whom it believes. All PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The node's certificate, and those between it and the authority if there are any: its id and kind as DNS names.
    pub certificate_pem: String,
    /// The certificate's key.
    pub key_pem: String,
    /// The cluster's authority; several while one follows the other.
    pub authority_pem: String,
}

impl std::fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeIdentity").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

impl NodeIdentity {
    /// Reads the three files.
    pub fn load(certificate: &Path, key: &Path, authority: &Path) -> Result<Self, TlsError> {
        let read = |what, path: &Path| {
            std::fs::read_to_string(path).map_err(|error| TlsError::File { what, path: path.into(), reason: error.to_string() })
        };
        Ok(Self {
            certificate_pem: read("a node certificate", certificate)?,
            key_pem: read("a node key", key)?,
            authority_pem: read("the cluster's authority", authority)?,
        })
    }

    /// The chain, leaf first, not empty.
    pub fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        pem_certificates("the node certificate", &self.certificate_pem)
    }

    /// The authorities, at least one.
    pub fn authorities(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        pem_certificates("the cluster's authority", &self.authority_pem)
    }

    /// Whom it is for.
    pub fn holder(&self) -> Result<Holder, TlsError> {
        Ok(Holder::of(&self.chain()?[0])?)
    }

    /// Whether peers that believe the same authorities will believe it now: signed by one of them, and within its dates.
    pub fn check(&self) -> Result<(), TlsError> {
        let chain = self.chain()?;
        self.verifier()?.verify_client_cert(&chain[0], &chain[1..], UnixTime::now())?;
        Ok(())
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, TlsError> {
        let mut roots = RootCertStore::empty();
        for authority in self.authorities()? {
            roots.add(authority)?;
        }
        Ok(Arc::new(roots))
    }

    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots()?, provider).build();
        verifier.map_err(|error| TlsError::Material { what: "the cluster's authority", reason: error.to_string() })
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .map_err(|error| TlsError::Material { what: "the node key", reason: error.to_string() })
    }

    /// Both ends of mutual TLS as this identity. Refuses what cannot serve: a key of another certificate, no authority.
    ///
    /// Nothing is resumed: a resumed session would skip the look at the peer's certificate.
    pub(crate) fn secured(&self) -> Result<Secured, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(self.verifier()?)
            .with_single_cert(self.chain()?, self.key()?)?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(self.chain()?, self.key()?)?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        Ok(Secured { server: Arc::new(server), client: Arc::new(client) })
    }
}

/// An identity as rustls takes it.
#[derive(Clone, Debug)]
pub(crate) struct Secured {
    /// For who is called.
    pub server: Arc<ServerConfig>,
    /// For who calls.
    pub client: Arc<ClientConfig>,
}

/// The certificates in a PEM text, at least one.
pub fn pem_certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fail = |reason: String| TlsError::Material { what, reason };
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(|error| fail(error.to_string()))?;
    if all.is_empty() { Err(fail("no certificate in it".to_owned())) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::tls::ClusterAuthority;

    #[test]
    fn a_certificate_is_for_one_node_of_one_kind() {
        let check = |names: &[&str], expected: Result<(&str, NodeKind), HolderError>| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let params = CertificateParams::new(names.clone()).expect("names");
            let certificate = params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate");
            let expected = expected.map(|(id, kind)| Holder { id: id.parse().expect("a node id"), kind });
            assert_eq!(Holder::of(certificate.der()), expected, "{names:?}");
        };
        let (controller, handler) = (NodeKind::MeetingController.certificate_name(), NodeKind::MediaHandler.certificate_name());
        check(&["mc-1", controller], Ok(("mc-1", NodeKind::MeetingController)));
        check(&[handler, "mh-1"], Ok(("mh-1", NodeKind::MediaHandler)));
        check(&["mh-1", handler, "mh-1.internal.example.org", "10.0.0.1"], Ok(("mh-1", NodeKind::MediaHandler)));
        check(&["mh-1", handler, controller], Err(HolderError::Kinds));
        check(&["mh-1", "mh-2", handler], Err(HolderError::Ids));
        check(&["MH-2", "mh-1", handler], Err(HolderError::Ids));
        check(&[handler], Err(HolderError::NoId));
        check(&["mh-1", "media-handler"], Err(HolderError::NoKind));
        assert_eq!(Holder::of(&CertificateDer::from(vec![1, 2, 3])), Err(HolderError::Unreadable));
    }

    #[test]
    fn an_identity_serves_only_if_its_parts_belong_together() {
        let (authority, other) = (ClusterAuthority::generate().expect("an authority"), ClusterAuthority::generate().expect("another"));
        let issue = |authority: &ClusterAuthority| {
            authority.issue(&"mc-1".parse().expect("a node id"), NodeKind::MeetingController).expect("a certificate")
        };
        let (good, foreign) = (issue(&authority), issue(&other));
        good.check().expect("its own authority believes it");
        good.secured().expect("all of it fits");
        assert!(!format!("{good:?}").contains("PRIVATE"));
        assert_eq!(good.holder().expect("names").id.as_str(), "mc-1");

        let both = NodeIdentity { authority_pem: format!("{}{}", other.certificate_pem(), authority.certificate_pem()), ..good.clone() };
        both.check().expect("one of two authorities has signed it");
        assert_eq!(both.authorities().map(|all| all.len()).ok(), Some(2));

        let check = |identity: NodeIdentity, expected: &str| {
            let result = identity.check().and_then(|()| identity.secured().map(drop));
            let text = result.expect_err("it does not serve").to_string();
            assert!(text.contains(expected), "{text}");
        };
        check(NodeIdentity { key_pem: foreign.key_pem.clone(), ..good.clone() }, "KeyMismatch");
        check(NodeIdentity { authority_pem: foreign.authority_pem.clone(), ..good.clone() }, "UnknownIssuer");
        check(NodeIdentity { authority_pem: String::new(), ..good.clone() }, "the cluster's authority: no certificate in it");
        check(NodeIdentity { certificate_pem: good.certificate_pem[..200].to_owned(), ..good.clone() }, "the node certificate");
        check(NodeIdentity { key_pem: "nothing".to_owned(), ..good.clone() }, "the node key");
    }
}
