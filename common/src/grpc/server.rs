//! The listener of a node: TLS with a client certificate of the cluster, HTTP/2 within limits, connections of an identity renewed with it.
//!
//! In: TCP connections of strangers. Out: calls, each with its [`Connection`] among its extensions; [`caller`](super::caller) reads it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic::transport::server::Connected;

use super::leased::Leased;
use super::pending::{Pending, Slot};
use super::{CALL_TIMEOUT, HEAD_BYTES_MAX, RENEWAL_TIMEOUT};
use crate::shares::{Full, Share, Shares, caller_address};
use crate::tls::{HeldIdentity, Holder, HolderError, LiveIdentity, Validity};

/// Handshakes under way: nodes are done in milliseconds, so this many are a thousand nodes a second; each holds some 20 KiB.
const PENDING_MAX: usize = 256;
/// From the first byte to the beginning of HTTP/2.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections of nodes in all: a cluster of a thousand, each with a few.
const CONNECTIONS_MAX: usize = 4096;
/// Connections of nodes from one address (IPv6: a /64): a rack behind one address, or a whole cluster on one machine.
const CONNECTIONS_PER_ADDRESS: usize = 512;
/// What a connection may send ahead on one call.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// What a connection may send ahead in all.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// The least that HTTP/2 allows, and the default (RFC 9113 section 4.2).
const FRAME_BYTES_MAX: u32 = 16 * 1024;
/// Streams reset before they were looked at (CVE-2023-44487); a node that does this is closed.
const PENDING_RESETS_MAX: usize = 20;
/// Streams that we had to reset for what was sent on them; a node that goes on is closed.
const ERRORS_MAX: usize = 100;
/// Between two pings to a silent node.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// For the answer to a ping.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Connections that stand and that the library has not taken up yet.
const ACCEPTED_MAX: usize = 64;
/// From a replacement until connections by the identity of before are told to end: handshakes that have begun take milliseconds.
const HAND_OVER: Duration = Duration::from_millis(500);
/// After a failed accept (no file descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// With what HTTP/2 begins (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Why a node does not serve.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Certificate, key and authority do not serve.
    #[error("cannot serve gRPC as this node: {0}")]
    Identity(String),
}

/// By which connection a call came.
#[derive(Clone, Debug)]
pub struct Connection {
    /// From where.
    pub remote: SocketAddr,
    /// Whose, by its certificate, which one of our authorities has signed.
    pub holder: Result<Holder, HolderError>,
    /// When that certificate ends, seconds since the epoch.
    pub expires: u64,
    /// Cancelled when the connection is to be renewed.
    pub renewed: CancellationToken,
}

/// Bound, and not accepting yet.
pub struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
    identity: LiveIdentity,
}

impl Listener {
    /// Binds `address` (port 0: any that is free), to serve as `identity`.
    pub async fn bind(address: SocketAddr, identity: impl Into<LiveIdentity>) -> Result<Self, ServeError> {
        let fail = |source| ServeError::Bind { address, source };
        Self::new(TcpListener::bind(address).await.map_err(fail)?, identity)
    }

    /// [`bind`](Self::bind) with a listener that stands.
    pub fn new(tcp: TcpListener, identity: impl Into<LiveIdentity>) -> Result<Self, ServeError> {
        let unbound = SocketAddr::from(([0, 0, 0, 0], 0));
        let address = tcp.local_addr().map_err(|source| ServeError::Bind { address: unbound, source })?;
        let identity = identity.into();
        identity.held().secured().map_err(ServeError::Identity)?;
        Ok(Self { tcp, address, identity })
    }

    /// Where it is bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, `calls_max` calls at once on a connection; returns when the last connection has ended, which takes at most
    /// [`RENEWAL_TIMEOUT`].
    pub async fn serve(self, routes: Routes, calls_max: u32, stop: CancellationToken) {
        let (pending, connections) = (Pending::new(PENDING_MAX), Shares::new(CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS));
        let tasks = TaskTracker::new();
        let begin = |held: &HeldIdentity| Era::begin(held, routes.clone(), calls_max, &stop, &tasks);
        let mut held = self.identity.held();
        // Whoever made this has seen that it serves.
        let mut era = begin(&held);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                () = held.replaced.cancelled() => {
                    held = self.identity.held();
                    era = begin(&held).or(era);
                    continue;
                }
                accepted = self.tcp.accept() => accepted,
            };
            let (stream, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "no gRPC connection was accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(era) = era.clone() else { continue };
            tasks.spawn(welcome(stream, remote, era, pending.enter(caller_address(remote.ip())), connections.clone()));
        }
        drop((self.tcp, era));
        tasks.close();
        tasks.wait().await;
    }
}

/// The time of one identity: what its connections are made by, and where they go.
#[derive(Clone)]
struct Era {
    tls: TlsAcceptor,
    hand_over: mpsc::Sender<io::Result<NodeStream>>,
    renewed: CancellationToken,
    cut: CancellationToken,
}

impl Era {
    fn begin(held: &HeldIdentity, routes: Routes, calls_max: u32, stop: &CancellationToken, tasks: &TaskTracker) -> Option<Self> {
        let secured = match held.secured() {
            Ok(secured) => secured,
            Err(error) => {
                tracing::error!(error, "gRPC cannot be served by this identity");
                return None;
            }
        };
        let (hand_over, accepted) = mpsc::channel(ACCEPTED_MAX);
        // The end of the process is the end of every era.
        let renewed = stop.child_token();
        let (ends, cut, replaced) = (renewed.clone(), CancellationToken::new(), held.replaced.clone());
        let serving = builder(calls_max)
            .add_routes(routes)
            .serve_with_incoming_shutdown(ReceiverStream::new(accepted), ends.clone().cancelled_owned());
        let last = cut.clone();
        tasks.spawn(async move {
            let ending = async {
                tokio::select! {
                    () = replaced.cancelled() => {
                        // Who is dialling just now is let in, and told with the others.
                        tokio::time::sleep(HAND_OVER).await;
                        ends.cancel();
                    }
                    () = ends.cancelled() => {}
                }
                tokio::time::sleep(RENEWAL_TIMEOUT - HAND_OVER).await;
                // What is left breaks off, and so `serving` ends.
                last.cancel();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                served = serving => if let Err(error) = served {
                    tracing::error!(%error, "gRPC has ended");
                },
                () = ending => {}
            }
        });
        Some(Self { tls: TlsAcceptor::from(secured.server), hand_over, renewed, cut })
    }
}

fn builder(calls_max: u32) -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .timeout(CALL_TIMEOUT)
        .max_concurrent_streams(calls_max)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .http2_max_header_list_size(HEAD_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
        .http2_max_local_error_reset_streams(Some(ERRORS_MAX))
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
}

/// Why a connection is not let in.
#[derive(Debug, Error)]
enum Refused {
    #[error("a newer handshake needed the place")]
    Evicted,
    #[error("the handshake took too long")]
    Timeout,
    #[error("no TLS as a node of this cluster: {0}")]
    Handshake(io::Error),
    #[error("TLS, and then no HTTP/2")]
    Preface,
    #[error("there are {CONNECTIONS_MAX} connections already")]
    Connections,
    #[error("there are {CONNECTIONS_PER_ADDRESS} connections from this address already")]
    ConnectionsPerAddress,
}

impl Refused {
    /// The metric's word.
    const fn label(&self) -> &'static str {
        match self {
            Refused::Evicted => "evicted",
            Refused::Timeout => "timeout",
            Refused::Handshake(_) => "handshake",
            Refused::Preface => "preface",
            Refused::Connections => "connections",
            Refused::ConnectionsPerAddress => "connections_per_address",
        }
    }
}

async fn welcome(stream: TcpStream, remote: SocketAddr, era: Era, slot: Slot, connections: Shares<std::net::IpAddr>) {
    // Answers are small and should not wait for an acknowledgement; failing to say so costs only time.
    let _ = stream.set_nodelay(true);
    let shaken = tokio::select! {
        () = slot.evicted.cancelled() => Err(Refused::Evicted),
        // What would be served by an identity of the past is dialled anew by its caller.
        () = era.renewed.cancelled() => return,
        shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, shake(stream, &era.tls)) => shaken.unwrap_or(Err(Refused::Timeout)),
    };
    drop(slot);
    let placed = shaken.and_then(|stream| match connections.take(caller_address(remote.ip())) {
        Ok(place) => Ok((stream, place)),
        Err(Full::All) => Err(Refused::Connections),
        Err(Full::Own) => Err(Refused::ConnectionsPerAddress),
    });
    match placed {
        Ok((stream, place)) => {
            count("accepted");
            // An error means that the era is over: the caller dials anew.
            let _ = era.hand_over.send(Ok(NodeStream::new(stream, remote, &era, place))).await;
        }
        Err(refused) => {
            count(refused.label());
            metrics::counter!("dark_tower_refused_total", "door" => "grpc", "reason" => refused.label()).increment(1);
            tracing::debug!(%remote, reason = %refused, "no gRPC connection");
        }
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("dark_tower_handshakes_total", "path" => "grpc", "outcome" => outcome).increment(1);
}

async fn shake(stream: TcpStream, tls: &TlsAcceptor) -> Result<TlsStream<TcpStream>, Refused> {
    let mut stream = tls.accept(stream).await.map_err(Refused::Handshake)?;
    let mut first = [0; PREFACE.len()];
    stream.read_exact(&mut first).await.map_err(|_| Refused::Preface)?;
    if &first == PREFACE { Ok(stream) } else { Err(Refused::Preface) }
}

/// A connection of a node, whose preface was read.
struct NodeStream {
    stream: Leased<TlsStream<TcpStream>>,
    connection: Connection,
    _place: Share<std::net::IpAddr>,
    _counted: Counted,
}

impl NodeStream {
    fn new(stream: TlsStream<TcpStream>, remote: SocketAddr, era: &Era, place: Share<std::net::IpAddr>) -> Self {
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let connection = Connection {
            remote,
            holder: leaf.map_or(Err(HolderError::Unreadable), Holder::of),
            expires: leaf.and_then(|leaf| Validity::of(leaf).ok()).map_or(0, |validity| validity.not_after),
            renewed: era.renewed.clone(),
        };
        let stream = Leased::new(stream, PREFACE.to_vec(), era.cut.clone().cancelled_owned());
        Self { stream, connection, _place: place, _counted: Counted::new() }
    }
}

impl Connected for NodeStream {
    type ConnectInfo = Connection;

    fn connect_info(&self) -> Connection {
        self.connection.clone()
    }
}

impl AsyncRead for NodeStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for NodeStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Holds one of `dark_tower_sessions{door="grpc"}`.
struct Counted;

impl Counted {
    fn new() -> Self {
        metrics::gauge!("dark_tower_sessions", "door" => "grpc").increment(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("dark_tower_sessions", "door" => "grpc").decrement(1.0);
    }
}
