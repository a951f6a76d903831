//! gRPC between nodes: mTLS on both ends, and who is calling.

use std::time::Duration;

use common_core::NodeId;
use thiserror::Error;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, ServerTlsConfig};
use tonic::{Request, Status};

use crate::tls::{LiveIdentity, NodeKind, dns_names};

/// A call between nodes that takes longer has failed; the callers are people waiting to join.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection between nodes may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// HTTP/2 pings between nodes, so that a dead peer is noticed without traffic.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// Three pings' worth of silence.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a peer cannot be called.
#[derive(Debug, Error)]
#[error("cannot call {endpoint}: {reason}")]
pub struct DialError {
    endpoint: String,
    reason: String,
}

/// A server that lets in only nodes of this cluster.
pub fn server_tls(identity: impl Into<LiveIdentity>) -> ServerTlsConfig {
    let identity = identity.into().current();
    ServerTlsConfig::new()
        .identity(Identity::from_pem(&identity.certificate_pem, &identity.key_pem))
        .client_ca_root(Certificate::from_pem(&identity.authority_pem))
}

/// A channel to `endpoint` (`host:port`), which must show a certificate with `name`: a node id, or a kind's name
/// ([`NodeKind::certificate_name`]). It connects at the first call and again whenever it was lost.
pub fn channel(identity: impl Into<LiveIdentity>, endpoint: &str, name: &str) -> Result<Channel, DialError> {
    let fail = |reason: String| DialError { endpoint: endpoint.to_owned(), reason };
    let identity = identity.into().current();
    let tls = ClientTlsConfig::new()
        .identity(Identity::from_pem(&identity.certificate_pem, &identity.key_pem))
        .ca_certificate(Certificate::from_pem(&identity.authority_pem))
        .domain_name(name);
    let endpoint = Endpoint::from_shared(format!("https://{endpoint}"))
        .and_then(|endpoint| endpoint.tls_config(tls))
        .map_err(|error| fail(error.to_string()))?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .connect_lazy())
}

/// The node that calls, if it is of kind `kind`; `PERMISSION_DENIED` otherwise.
pub fn caller<T>(request: &Request<T>, kind: NodeKind) -> Result<NodeId, Status> {
    let certificates = request.peer_certs().ok_or_else(|| Status::unauthenticated("a node certificate is needed"))?;
    let names = certificates.first().map(dns_names).unwrap_or_default();
    if !names.iter().any(|name| name == kind.certificate_name()) {
        return Err(Status::permission_denied(format!(
            "only a node with the name {} in its certificate may call this",
            kind.certificate_name()
        )));
    }
    names
        .iter()
        .find_map(|name| name.parse().ok())
        .ok_or_else(|| Status::permission_denied("the certificate has no node id among its names"))
}

/// [`caller`], which must be `claimed`: a node speaks for no other.
pub fn caller_is<T>(request: &Request<T>, kind: NodeKind, claimed: &str) -> Result<NodeId, Status> {
    let caller = caller(request, kind)?;
    if caller.as_str() == claimed { Ok(caller) } else { Err(Status::permission_denied(format!("{caller} may not speak for another node"))) }
}
