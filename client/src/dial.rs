//! From a URL to a session. In: `https://…` (WebTransport) or `wss://…` (WebSocket). Out: a session, or which step failed.
//!
//! Every connection has its limits set: windows, streams, keep-alive and idle timeout (DESIGN section 4).

use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{IdleTimeout, TransportConfig, VarInt};
use reqwest::Url;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use web_transport_quinn::{ALPN, ClientError, ConnectError, Session};

use crate::trust::{Trust, TrustError};

/// Taken for the round trip until one was measured. A third of what RFC 9002 section 6.2.2 recommends: a dial whose first packet
/// is lost tries again after 0.3 s instead of 1 s, within a window for coming back that is 5 s long.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// The subprotocol of protobuf signaling on a WebSocket (DESIGN section 4).
pub const WEBSOCKET_PROTOCOL: &str = "darktower.v1";

/// From the name lookup to the session; a path that needs longer carries no meeting.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Between attempts at the addresses of one name (RFC 8305 section 8).
const ADDRESS_STAGGER: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// A silent connection ends after this (DESIGN section 4).
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Between keep-alives (DESIGN section 4).
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// What the kernel is asked to hold for the socket, each way: a key frame's burst from each of many publishers.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// What a connection is for: its limits follow from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Messages: small windows, few streams.
    Signaling,
    /// Frames: windows for a fast path, a stream per group.
    Media,
}

impl Purpose {
    fn transport(self) -> TransportConfig {
        // Streams that the server opens: HTTP/3 itself has three; a handler has at most 80 groups open (DESIGN section 5).
        let (receive_window, stream_window, send_window, unidirectional) = match self {
            Self::Signaling => (1024 * 1024, 512 * 1024, 256 * 1024, 8),
            Self::Media => (8 * 1024 * 1024, 2 * 1024 * 1024, 1024 * 1024, 100),
        };
        let mut config = TransportConfig::default();
        config
            .initial_rtt(INITIAL_RTT)
            .receive_window(VarInt::from_u32(receive_window))
            .stream_receive_window(VarInt::from_u32(stream_window))
            .send_window(send_window)
            .max_concurrent_bidi_streams(VarInt::from_u32(4))
            .max_concurrent_uni_streams(VarInt::from_u32(unidirectional))
            // WebTransport needs datagrams to be negotiated, whether used or not.
            .datagram_receive_buffer_size(Some(64 * 1024))
            .datagram_send_buffer_size(64 * 1024)
            .keep_alive_interval(Some(KEEP_ALIVE_INTERVAL))
            .max_idle_timeout(Some(IdleTimeout::try_from(IDLE_TIMEOUT).expect("ten seconds fit a QUIC varint of milliseconds")));
        config
    }
}

/// Why no session stands.
#[derive(Debug, Error)]
pub enum DialError {
    /// Not a URL that can be dialled.
    #[error("{url}: {problem}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The name has no address.
    #[error("cannot look up {host}: {cause}")]
    Lookup {
        /// The name.
        host: String,
        /// Why.
        cause: String,
    },
    /// Trust could not be set up.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// No QUIC or TCP connection, or the certificate is not believed.
    #[error("cannot connect to {to}: {cause}")]
    Connect {
        /// Where to.
        to: String,
        /// Why.
        cause: String,
    },
    /// The server answered, but not with a session.
    #[error("{url} answered with status {status}")]
    Refused {
        /// Where.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The server speaks something else.
    #[error("{url} does not speak this protocol: {cause}")]
    Protocol {
        /// Where.
        url: String,
        /// What went wrong.
        cause: String,
    },
    /// Nobody answered.
    #[error("{url} did not answer within {} s", DIAL_TIMEOUT.as_secs())]
    Timeout {
        /// Where.
        url: String,
    },
}

/// A WebSocket, with or without TLS.
pub type WebSocket = WebSocketStream<MaybeTls>;

/// A TCP stream, with or without TLS.
pub type MaybeTls = tokio_util::either::Either<TcpStream, tokio_rustls::client::TlsStream<TcpStream>>;

/// Dials sessions from one UDP socket. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dialer {
    endpoint: quinn::Endpoint,
}

impl Dialer {
    /// A dialer on any free port, for IPv6 and IPv4, or IPv4 alone where IPv6 is off. Needs a tokio runtime.
    pub fn new() -> std::io::Result<Self> {
        let socket = bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).or_else(|_| bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))))?;
        let endpoint = quinn::Endpoint::new(quinn::EndpointConfig::default(), None, socket, Arc::new(quinn::TokioRuntime))?;
        Ok(Self { endpoint })
    }

    /// A dialer on an endpoint that stands already.
    pub fn from_endpoint(endpoint: quinn::Endpoint) -> Self {
        Self { endpoint }
    }

    /// A WebTransport session at an `https` URL. Gives up after [`DIAL_TIMEOUT`].
    pub async fn web_transport(&self, url: &str, trust: &Trust, purpose: Purpose) -> Result<Session, DialError> {
        within_timeout(url, async {
            let target = Target::parse(url, "https", "a WebTransport URL is needed, such as https://meet.example:4433/wt")?;
            let tls = trust.tls_config(&[ALPN.as_bytes()])?;
            let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).map_err(TrustError::from)?));
            config.transport_config(Arc::new(purpose.transport()));
            let connection = self.connect(&target, config).await?;
            Session::connect(connection, target.url).await.map_err(|error| match error {
                ClientError::HttpError(ConnectError::ErrorStatus(status)) => {
                    DialError::Refused { url: url.to_owned(), status: status.as_u16() }
                }
                ClientError::Connection(cause) => DialError::Connect { to: url.to_owned(), cause: cause.to_string() },
                other => DialError::Protocol { url: url.to_owned(), cause: other.to_string() },
            })
        })
        .await
    }

    /// A WebSocket with [`WEBSOCKET_PROTOCOL`] at a `wss` URL (`ws` on this machine alone), whose messages are at most
    /// `message_bytes_max`. Gives up after [`DIAL_TIMEOUT`].
    pub async fn web_socket(&self, url: &str, trust: &Trust, message_bytes_max: usize) -> Result<WebSocket, DialError> {
        within_timeout(url, web_socket(url, trust, message_bytes_max)).await
    }

    /// Tries the addresses of `target` in order, the next one when one fails or after [`ADDRESS_STAGGER`]; the first to stand wins.
    async fn connect(&self, target: &Target, config: quinn::ClientConfig) -> Result<quinn::Connection, DialError> {
        first_of(target, |address| {
            let connecting = self.endpoint.connect_with(config.clone(), address, &target.host);
            async move { connecting.map_err(|error| error.to_string())?.await.map_err(|error| error.to_string()) }
        })
        .await
    }
}

/// A host and a port, out of a URL.
struct Target {
    url: Url,
    host: String,
    port: u16,
}

impl Target {
    fn parse(text: &str, scheme: &str, problem: &'static str) -> Result<Self, DialError> {
        let fail = |problem| DialError::Url { url: text.to_owned(), problem };
        let url = Url::parse(text).map_err(|_| fail("is not a URL"))?;
        if url.scheme() != scheme {
            return Err(fail(problem));
        }
        // An IPv6 address stands in brackets in a URL, and nowhere else.
        let host = url.host_str().ok_or_else(|| fail("has no host"))?.trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        Ok(Self { url, host, port })
    }

    fn is_this_machine(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
    }
}

async fn within_timeout<T>(url: &str, dial: impl Future<Output = Result<T, DialError>>) -> Result<T, DialError> {
    tokio::time::timeout(DIAL_TIMEOUT, dial).await.unwrap_or_else(|_| Err(DialError::Timeout { url: url.to_owned() }))
}

/// Runs `attempt` on the addresses of `target`; the first to succeed wins and the others are dropped.
async fn first_of<T, F>(target: &Target, attempt: impl Fn(SocketAddr) -> F) -> Result<T, DialError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, String>> + Send + 'static,
{
    let lookup_failed = |cause: String| DialError::Lookup { host: target.host.clone(), cause };
    let addresses = tokio::net::lookup_host((target.host.as_str(), target.port)).await.map_err(|error| lookup_failed(error.to_string()))?;
    let mut addresses = addresses.take(ADDRESSES_MAX).peekable();
    if addresses.peek().is_none() {
        return Err(lookup_failed("the name has no address".into()));
    }
    let mut attempts = JoinSet::new();
    let mut causes: Vec<String> = Vec::new();
    loop {
        match addresses.next() {
            Some(address) => {
                let attempt = attempt(address);
                attempts.spawn(async move { attempt.await.map_err(|cause| format!("{address}: {cause}")) });
            }
            None if attempts.is_empty() => {
                let to = format!("{}:{}", target.host, target.port);
                return Err(DialError::Connect { to, cause: causes.join("; ") });
            }
            None => {}
        }
        let stagger = if addresses.peek().is_some() { ADDRESS_STAGGER } else { DIAL_TIMEOUT };
        match tokio::time::timeout(stagger, attempts.join_next()).await {
            Ok(Some(Ok(Ok(connected)))) => return Ok(connected),
            Ok(Some(Ok(Err(cause)))) => causes.push(cause),
            Ok(Some(Err(panic))) => causes.push(panic.to_string()),
            Ok(None) | Err(_) => {}
        }
    }
}

async fn web_socket(url: &str, trust: &Trust, message_bytes_max: usize) -> Result<WebSocket, DialError> {
    const NEEDED: &str = "a WebSocket URL is needed, such as wss://meet.example:4433/ws";
    let plain = url.starts_with("ws:");
    let target = Target::parse(url, if plain { "ws" } else { "wss" }, NEEDED)?;
    if plain && !target.is_this_machine() {
        return Err(DialError::Url { url: url.to_owned(), problem: "ws: without TLS is for this machine alone; wss: is needed" });
    }
    let tcp = first_of(&target, |address| async move {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(stream)
    })
    .await?;
    let stream = if plain {
        MaybeTls::Left(tcp)
    } else {
        let connect_failed = |cause: String| DialError::Connect { to: url.to_owned(), cause };
        let name = rustls::pki_types::ServerName::try_from(target.host.clone()).map_err(|error| connect_failed(error.to_string()))?;
        let connector = TlsConnector::from(Arc::new(trust.tls_config(&[b"http/1.1"])?));
        MaybeTls::Right(connector.connect(name, tcp).await.map_err(|error| connect_failed(error.to_string()))?)
    };
    let protocol_failed = |cause: String| DialError::Protocol { url: url.to_owned(), cause };
    let mut request = url.into_client_request().map_err(|error| protocol_failed(error.to_string()))?;
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(WEBSOCKET_PROTOCOL));
    let limits = WebSocketConfig::default().max_message_size(Some(message_bytes_max)).max_frame_size(Some(message_bytes_max));
    let (socket, _response) =
        tokio_tungstenite::client_async_with_config(request, stream, Some(limits)).await.map_err(|error| match error {
            tokio_tungstenite::tungstenite::Error::Http(response) => {
                DialError::Refused { url: url.to_owned(), status: response.status().as_u16() }
            }
            other => protocol_failed(other.to_string()),
        })?;
    Ok(socket)
}

/// A UDP socket with large buffers, as far as the kernel grants them.
fn bind(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn says_what_is_wrong_with_a_url() {
        let dialer = Dialer::new().expect("a UDP port is free");
        for (url, problem) in [
            ("meet.example", "is not a URL"),
            ("wss://meet.example/ws", "a WebTransport URL is needed, such as https://meet.example:4433/wt"),
        ] {
            let error = dialer.web_transport(url, &Trust::Anything, Purpose::Signaling).await.expect_err("the URL is wrong");
            assert_eq!(error.to_string(), format!("{url}: {problem}"));
        }
        let error = dialer.web_socket("ws://192.0.2.1/ws", &Trust::Anything, 1_024).await.expect_err("not this machine");
        assert!(error.to_string().contains("for this machine alone"), "{error}");
    }

    #[test]
    fn an_address_in_brackets_is_a_host() {
        let target = Target::parse("https://[::1]:4433/wt", "https", "").expect("a good URL");
        assert_eq!((target.host.as_str(), target.port, target.is_this_machine()), ("::1", 4433, true));
    }
}
