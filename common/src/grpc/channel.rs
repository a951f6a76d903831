//! Channels to other nodes: connected at the first call, again whenever the connection was lost, and anew when our identity is replaced.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tower_service::Service;

use super::leased::Leased;
use super::{HEAD_BYTES_MAX, RENEWAL_TIMEOUT};
use crate::tls::{HeldIdentity, LiveIdentity};

/// How long a connection between nodes may take to stand, TLS included.
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

/// Why a call has no answer, as the generated clients take it.
type CallError = Box<dyn std::error::Error + Send + Sync>;

/// A channel to a node, for the generated clients. Clones share its connection.
#[derive(Clone)]
pub struct Channel {
    shared: Arc<Shared>,
    /// Whose connection this clone uses, and that.
    current: Made,
}

struct Shared {
    endpoint: Endpoint,
    name: ServerName<'static>,
    identity: LiveIdentity,
    newest: Mutex<Made>,
}

#[derive(Clone)]
struct Made {
    by: Arc<HeldIdentity>,
    channel: tonic::transport::Channel,
}

/// A channel to `endpoint` (`host:port`), which must show a certificate with `name`: a node id, or a kind's name
/// ([`NodeKind::certificate_name`](crate::tls::NodeKind::certificate_name)). It connects at the first call and again whenever it was lost.
/// Needs a tokio runtime.
pub fn channel(identity: impl Into<LiveIdentity>, endpoint: &str, name: &str) -> Result<Channel, DialError> {
    let fail = |reason: String| DialError { endpoint: endpoint.to_owned(), reason };
    let identity = identity.into();
    let name = ServerName::try_from(name.to_owned()).map_err(|error| fail(error.to_string()))?;
    // TLS is the connector's: the address alone matters to the library, and the origin to who is called.
    let origin: Uri = format!("https://{endpoint}").parse().map_err(|error: http::uri::InvalidUri| fail(error.to_string()))?;
    let endpoint = Endpoint::from_shared(format!("http://{endpoint}"))
        .map_err(|error| fail(error.to_string()))?
        .origin(origin)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(HEAD_BYTES_MAX);
    let current = make(&endpoint, &name, identity.held());
    Ok(Channel { shared: Arc::new(Shared { endpoint, name, identity, newest: Mutex::new(current.clone()) }), current })
}

fn make(endpoint: &Endpoint, name: &ServerName<'static>, by: Arc<HeldIdentity>) -> Made {
    let channel = endpoint.connect_with_connector_lazy(Connector { name: name.clone(), by: by.clone() });
    Made { by, channel }
}

impl Shared {
    /// By the identity of now.
    fn newest(&self) -> Made {
        let held = self.identity.held();
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&newest.by, &held) {
            // Calls under way hold the old connection; it closes behind the last of them.
            *newest = make(&self.endpoint, &self.name, held);
        }
        newest.clone()
    }
}

impl Service<http::Request<Body>> for Channel {
    type Response = http::Response<Body>;
    type Error = CallError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, CallError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.current.by.replaced.is_cancelled() {
            self.current = self.shared.newest();
        }
        self.current.channel.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        // The one that is ready is this one; its clone is to be asked first.
        let fresh = self.current.channel.clone();
        let mut channel = std::mem::replace(&mut self.current.channel, fresh);
        let shared = self.shared.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            // One message: no call of ours streams its request.
            let message = body.collect().await.map_err(|status| CallError::from(Box::new(status)))?.to_bytes();
            let whole = || http::Request::from_parts(parts.clone(), Body::new(Full::new(message.clone())));
            match channel.call(whole()).await {
                Err(error) if was_not_sent(&error) => {
                    // The connection was ending when the call was on its way to it: no peer has seen it.
                    let mut channel = shared.newest().channel;
                    std::future::poll_fn(|cx| channel.poll_ready(cx)).await?;
                    Ok(channel.call(whole()).await?)
                }
                answered => Ok(answered?),
            }
        })
    }
}

fn was_not_sent(error: &tonic::transport::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Dials, and shows the identity it was made with.
struct Connector {
    name: ServerName<'static>,
    by: Arc<HeldIdentity>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Leased<TlsStream<TcpStream>>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let (name, by) = (self.name.clone(), self.by.clone());
        Box::pin(async move {
            match tokio::time::timeout(CONNECT_TIMEOUT, connect(address, name, by)).await {
                Ok(connected) => connected,
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no connection in time")),
            }
        })
    }
}

async fn connect(address: Uri, name: ServerName<'static>, by: Arc<HeldIdentity>) -> io::Result<TokioIo<Leased<TlsStream<TcpStream>>>> {
    let secured = by.secured().map_err(io::Error::other)?;
    let no_address = || io::Error::new(io::ErrorKind::InvalidInput, "host:port is needed");
    let (host, port) = (address.host().ok_or_else(no_address)?, address.port_u16().ok_or_else(no_address)?);
    // An IPv6 address stands in brackets in a URI.
    let stream = TcpStream::connect((host.trim_start_matches('[').trim_end_matches(']'), port)).await?;
    // Calls are small and should not wait for an acknowledgement; failing to say so costs only time.
    let _ = stream.set_nodelay(true);
    let stream = TlsConnector::from(secured.client).connect(name, stream).await?;
    let replaced = by.replaced.clone();
    let end = async move {
        replaced.cancelled().await;
        tokio::time::sleep(RENEWAL_TIMEOUT).await;
    };
    Ok(TokioIo::new(Leased::new(stream, Vec::new(), end)))
}
