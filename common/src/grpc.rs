//! gRPC between nodes: mutual TLS of our own on both ends, what strangers and nodes may cost, and who is calling.
//!
//! In: a [`LiveIdentity`](crate::tls::LiveIdentity). When it is replaced, new connections are made by the new one at once, and old ones
//! end in order: calls under way are finished, new calls go over new connections, and after [`RENEWAL_TIMEOUT`] none of the old is left.

mod channel;
mod leased;
mod pending;
mod server;

use std::time::Duration;

use common_core::NodeId;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

pub use channel::{Channel, DialError, channel};
pub use server::{Connection, Listener, ServeError};

use crate::tls::{Holder, NodeKind};

/// A call between nodes that takes longer has failed; the callers are people waiting to join.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long connections live on after the identity that they were made by was replaced: no call lasts longer than [`CALL_TIMEOUT`], and
/// streams have the rest to move.
pub const RENEWAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Header fields of a call or an answer, bytes: a path, a status with its words, and room.
const HEAD_BYTES_MAX: u32 = 16 * 1024;

/// The connection by which a request came.
fn connection<T>(request: &Request<T>) -> Result<&Connection, Status> {
    request.extensions().get().ok_or_else(|| Status::unauthenticated("a node certificate is needed"))
}

/// The node that calls, if it is of kind `kind`; `PERMISSION_DENIED` otherwise, `UNAUTHENTICATED` once its certificate has expired.
pub fn caller<T>(request: &Request<T>, kind: NodeKind) -> Result<NodeId, Status> {
    caller_among(request, &[kind]).map(|holder| holder.id)
}

/// [`caller`], of any of `kinds`.
pub fn caller_among<T>(request: &Request<T>, kinds: &[NodeKind]) -> Result<Holder, Status> {
    let Connection { remote, holder, expires, .. } = connection(request)?;
    let refuse = |reason: &'static str, status: Status| {
        metrics::counter!("dark_tower_refused_total", "door" => "grpc", "reason" => reason).increment(1);
        tracing::info!(%remote, holder = ?holder.as_ref().map(|it| &it.id), reason, status = status.message(), "a call is refused");
        Err(status)
    };
    if crate::clock::unix_seconds() >= *expires {
        return refuse("expired", Status::unauthenticated("the certificate that this connection was made by has expired"));
    }
    match holder {
        Err(error) => refuse("certificate", Status::permission_denied(error.to_string())),
        Ok(holder) if !kinds.contains(&holder.kind) => {
            let names: Vec<&str> = kinds.iter().map(|kind| kind.certificate_name()).collect();
            let text = format!("only a node with the name {} in its certificate may call this", names.join(" or "));
            refuse("kind", Status::permission_denied(text))
        }
        Ok(holder) => Ok(holder.clone()),
    }
}

/// [`caller`], which must be `claimed`: a node speaks for no other.
pub fn caller_is<T>(request: &Request<T>, kind: NodeKind, claimed: &str) -> Result<NodeId, Status> {
    caller_is_among(request, &[kind], claimed).map(|holder| holder.id)
}

/// [`caller_is`], of any of `kinds`: says which.
pub fn caller_is_among<T>(request: &Request<T>, kinds: &[NodeKind], claimed: &str) -> Result<Holder, Status> {
    let holder = caller_among(request, kinds)?;
    if holder.id.as_str() == claimed {
        return Ok(holder);
    }
    let caller = holder.id;
    metrics::counter!("dark_tower_refused_total", "door" => "grpc", "reason" => "node_id").increment(1);
    tracing::warn!(%caller, claimed = common_core::name::escape(claimed, 64), "a node speaks for another and is refused");
    Err(Status::permission_denied(format!("{caller} may not speak for another node")))
}

/// Cancelled when the connection of `request` is to be renewed: a stream of answers ends then, and its caller asks for another.
pub fn until_renewed<T>(request: &Request<T>) -> Result<CancellationToken, Status> {
    Ok(connection(request)?.renewed.clone())
}
