//! Strangers below every protocol: QUIC connections that speak HTTP/3 by hand, and TLS over TCP that speaks WebSocket by hand.
//!
//! Stacks are too polite for mischief: they send no half frames, no lengths that lie, and no second CONNECT.

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::proto::v1::{self, client_message, server_message};
use anyhow::{Context as _, bail};
use client::Trust;
use prost::Message;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls;
use web_transport_quinn::proto::{ConnectRequest, Settings};
use web_transport_quinn::quinn;

use crate::api::Invitation;
use crate::peer::join_request;
use crate::wire;

/// The server's name in TLS; nobody looks at it.
const NAME: &str = "localhost";
/// Room of a stranger who does not read: an answer to a join fits.
const NARROW_WINDOW: u32 = 4096;
/// Of what comes, what an endpoint hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Hears {
    All,
    /// Only that it has to prove its address, which it does.
    Retry,
    Nothing,
}

/// An endpoint that can be made deaf and mute.
pub struct Fickle {
    /// For connections.
    pub endpoint: quinn::Endpoint,
    filter: Arc<Filter>,
}

impl Fickle {
    /// At `address`; it hears and speaks.
    pub fn new(address: IpAddr) -> anyhow::Result<Self> {
        Self::hearing(address, Hears::All)
    }

    /// At `address`. Its connections send first packets and hear nothing but that they have to prove their address.
    pub fn silent(address: IpAddr) -> anyhow::Result<Self> {
        Self::hearing(address, Hears::Retry)
    }

    fn hearing(address: IpAddr, hears: Hears) -> anyhow::Result<Self> {
        let socket = TokioRuntime.wrap_udp_socket(std::net::UdpSocket::bind(SocketAddr::new(address, 0))?)?;
        let filter = Arc::new(Filter { socket, hears: AtomicU8::new(hears as u8), is_mute: AtomicBool::new(false) });
        Ok(Self { endpoint: endpoint_over(filter.clone())?, filter })
    }

    /// From now on it hears nothing, not even that something was received; it goes on to send.
    pub fn deafen(&self) {
        self.filter.hears.store(Hears::Nothing as u8, Ordering::Relaxed);
    }
}

impl Drop for Fickle {
    /// Whoever is silent does not say goodbye either.
    fn drop(&mut self) {
        self.filter.is_mute.store(true, Ordering::Relaxed);
    }
}

/// An address of loopback that is not the bystanders'. Linux answers for all of 127.0.0.0/8.
pub fn foreign_address(number: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 1, number.max(1)).into()
}

/// A QUIC endpoint of strangers at `address`.
pub fn endpoint(address: IpAddr) -> anyhow::Result<quinn::Endpoint> {
    endpoint_over(TokioRuntime.wrap_udp_socket(std::net::UdpSocket::bind(SocketAddr::new(address, 0))?)?)
}

/// The same for strangers who have room for next to nothing, and do not read that either.
pub fn narrow_endpoint(address: IpAddr) -> anyhow::Result<quinn::Endpoint> {
    let mut endpoint = endpoint(address)?;
    let mut transport = quinn::TransportConfig::default();
    transport.keep_alive_interval(Some(Duration::from_secs(1))).stream_receive_window(NARROW_WINDOW.into());
    endpoint.set_default_client_config(client_config(transport)?);
    Ok(endpoint)
}

fn client_config(transport: quinn::TransportConfig) -> anyhow::Result<quinn::ClientConfig> {
    let tls = Trust::Anything.tls_config(&[b"h3"])?;
    let mut config = quinn::ClientConfig::new(Arc::new(quinn::crypto::rustls::QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

fn endpoint_over(socket: Arc<dyn AsyncUdpSocket>) -> anyhow::Result<quinn::Endpoint> {
    let mut endpoint = quinn::Endpoint::new_with_abstract_socket(quinn::EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))?;
    let mut transport = quinn::TransportConfig::default();
    transport.keep_alive_interval(Some(Duration::from_secs(1))).max_concurrent_uni_streams(100_u32.into());
    transport.max_idle_timeout(Some(Duration::from_secs(30).try_into()?));
    endpoint.set_default_client_config(client_config(transport)?);
    Ok(endpoint)
}

/// A connection whose handshake is done.
pub async fn connect(endpoint: &quinn::Endpoint, server: SocketAddr) -> anyhow::Result<quinn::Connection> {
    endpoint.connect(server, NAME)?.await.context("no QUIC connection")
}

/// Begins a connection; what comes of it is the caller's.
pub fn begin(endpoint: &quinn::Endpoint, server: SocketAddr) -> anyhow::Result<quinn::Connecting> {
    Ok(endpoint.connect(server, NAME)?)
}

/// The bytes of a control stream with the SETTINGS of an honest WebTransport client.
pub fn settings() -> Vec<u8> {
    let (mut settings, mut bytes) = (Settings::default(), Vec::new());
    settings.enable_webtransport(1);
    settings.encode(&mut bytes);
    bytes
}

/// The bytes of an honest CONNECT request to `url`.
pub fn connect_request(url: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    ConnectRequest::new(url.parse::<reqwest::Url>()?).encode(&mut bytes)?;
    Ok(bytes)
}

/// An HTTP/3 frame (RFC 9114 section 7.1), or a capsule (RFC 9297 section 3.2): the same shape.
pub fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    [varint(kind), varint(payload.len() as u64), payload.to_vec()].concat()
}

/// A variable-length integer (RFC 9000 section 16).
pub fn varint(value: u64) -> Vec<u8> {
    match value {
        0..0x40 => vec![value as u8],
        0x40..0x4000 => (value as u16 | 0x4000).to_be_bytes().to_vec(),
        0x4000..0x4000_0000 => (value as u32 | 0x8000_0000).to_be_bytes().to_vec(),
        _ => (value | 0xC000_0000_0000_0000).to_be_bytes().to_vec(),
    }
}

/// A WebTransport session by hand: its CONNECT stream lies open for capsules.
pub struct RawSession {
    /// The connection.
    pub connection: quinn::Connection,
    /// Where capsules go.
    pub connect: (quinn::SendStream, quinn::RecvStream),
    _control: quinn::SendStream,
}

impl RawSession {
    /// Shakes hands, sends SETTINGS and CONNECT, and waits for the first byte of the answer.
    pub async fn open(endpoint: &quinn::Endpoint, server: SocketAddr, url: &str) -> anyhow::Result<Self> {
        let connection = connect(endpoint, server).await?;
        let mut control = connection.open_uni().await?;
        control.write_all(&settings()).await?;
        let mut stream = connection.open_bi().await?;
        stream.0.write_all(&connect_request(url)?).await?;
        stream.1.read_chunk(1, true).await?.context("CONNECT is answered")?;
        Ok(Self { connection, connect: stream, _control: control })
    }

    /// Opens a bidirectional stream of the session.
    pub async fn open_bi(&self) -> anyhow::Result<(quinn::SendStream, quinn::RecvStream)> {
        let mut stream = self.connection.open_bi().await?;
        // WEBTRANSPORT_STREAM and the session's id: the CONNECT stream is the first one, 0.
        stream.0.write_all(&[varint(0x41), varint(0)].concat()).await?;
        Ok(stream)
    }

    /// Joins on a stream of its own, and hands it out.
    pub async fn join(&self, invitation: &Invitation) -> anyhow::Result<Joined> {
        let (mut to, mut from) = self.open_bi().await?;
        let body = Some(client_message::Body::Join(join_request(invitation, "Mallory")));
        wire::send(&mut to, &v1::ClientMessage { version: ::proto::VERSION, request_id: 1, body }).await?;
        let answer: v1::ServerMessage = wire::receive(&mut from).await?;
        match answer.body {
            Some(server_message::Body::Join(welcome)) => Ok(Joined { welcome, to, from }),
            other => bail!("instead of a JoinResponse came {other:?}"),
        }
    }

    /// Sends a capsule.
    pub async fn capsule(&mut self, kind: u64, payload: &[u8]) -> anyhow::Result<()> {
        Ok(self.connect.0.write_all(&frame(0, &frame(kind, payload))).await?)
    }

    /// The code with which the server closed: on WebTransport's range for applications, else HTTP/3's own.
    pub async fn closed(&self) -> quinn::ConnectionError {
        self.connection.closed().await
    }
}

/// The signaling of somebody who has joined by hand.
pub struct Joined {
    /// The first answer.
    pub welcome: v1::JoinResponse,
    /// To the controller.
    pub to: quinn::SendStream,
    /// From it.
    pub from: quinn::RecvStream,
}

/// Passes on what is to be heard, and sends nothing once it is mute.
#[derive(Debug)]
struct Filter {
    socket: Arc<dyn AsyncUdpSocket>,
    hears: AtomicU8,
    is_mute: AtomicBool,
}

/// A long header of type Retry (RFC 9000 section 17.2.5).
fn is_retry(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & 0xF0 == 0xF0)
}

impl AsyncUdpSocket for Filter {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn quinn::UdpPoller>> {
        self.socket.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> std::io::Result<()> {
        if self.is_mute.load(Ordering::Relaxed) { Ok(()) } else { self.socket.try_send(transmit) }
    }

    fn poll_recv(&self, context: &mut Context<'_>, buffers: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> Poll<std::io::Result<usize>> {
        loop {
            let hears = self.hears.load(Ordering::Relaxed);
            if hears == Hears::All as u8 {
                return self.socket.poll_recv(context, buffers, meta);
            }
            let count = ready!(self.socket.poll_recv(context, &mut buffers[..1], &mut meta[..1]))?;
            if count == 1 && hears == Hears::Retry as u8 && is_retry(&buffers[0][..meta[0].len]) {
                return Poll::Ready(Ok(1));
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// WebSocket by hand, over TLS over TCP.
pub struct RawWebSocket {
    /// Below the frames.
    pub stream: TlsStream<TcpStream>,
    /// The head of the server's answer.
    pub head: String,
}

/// Opcodes (RFC 6455 section 5.2), with the FIN bit.
pub mod opcode {
    /// The rest of a message.
    pub const CONTINUATION: u8 = 0x80;
    /// Text.
    pub const TEXT: u8 = 0x81;
    /// Bytes.
    pub const BINARY: u8 = 0x82;
    /// The end.
    pub const CLOSE: u8 = 0x88;
    /// A sign of life.
    pub const PING: u8 = 0x89;
}

/// TLS over TCP from `address`.
pub async fn tls(address: IpAddr, server: SocketAddr) -> anyhow::Result<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(address, 0))?;
    let stream = socket.connect(server).await?;
    let connector = TlsConnector::from(Arc::new(Trust::Anything.tls_config(&[b"http/1.1"])?));
    Ok(connector.connect(rustls::pki_types::ServerName::try_from(NAME)?, stream).await?)
}

impl RawWebSocket {
    /// Asks for `/ws` with these further header lines, and reads the head of the answer.
    pub async fn open(address: IpAddr, server: SocketAddr, lines: &str) -> anyhow::Result<Self> {
        let mut stream = tls(address, server).await?;
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {NAME}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: darktower.v1\r\n{lines}\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.context("the answer's head")?);
        }
        Ok(Self { stream, head: String::from_utf8(head)? })
    }

    /// Sends a frame with a mask of zeros, which leaves the payload readable.
    pub async fn send(&mut self, first: u8, payload: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(&websocket_frame(first, payload, payload.len() as u64)).await?;
        self.stream.flush().await
    }

    /// Joins, and hands out the first answer.
    pub async fn join(&mut self, invitation: &Invitation) -> anyhow::Result<v1::JoinResponse> {
        let body = Some(client_message::Body::Join(join_request(invitation, "Mallory")));
        self.send(opcode::BINARY, &v1::ClientMessage { version: ::proto::VERSION, request_id: 1, body }.encode_to_vec()).await?;
        loop {
            let (first, payload) = self.receive().await?;
            if first == opcode::BINARY {
                match v1::ServerMessage::decode(payload.as_slice())?.body {
                    Some(server_message::Body::Join(welcome)) => return Ok(welcome),
                    other => bail!("instead of a JoinResponse came {other:?}"),
                }
            }
        }
    }

    /// The next frame: its first byte and its payload.
    pub async fn receive(&mut self) -> anyhow::Result<(u8, Vec<u8>)> {
        let first = self.stream.read_u8().await?;
        let length = match self.stream.read_u8().await? {
            126 => self.stream.read_u16().await?.into(),
            127 => self.stream.read_u64().await?,
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length)?];
        self.stream.read_exact(&mut payload).await?;
        Ok((first, payload))
    }

    /// The code of the close frame that comes, whatever comes before it; `None` at an end without one.
    pub async fn close_code(&mut self) -> Option<u16> {
        loop {
            match self.receive().await {
                Ok((opcode::CLOSE, payload)) => return payload.first_chunk().map(|code| u16::from_be_bytes(*code)),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }
}

/// A masked frame whose header announces `length` bytes.
pub fn websocket_frame(first: u8, payload: &[u8], length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(0x80 | length as u8),
        126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_as_in_the_rfc() {
        // RFC 9000, appendix A.1.
        assert_eq!(varint(151_288_809_941_952_652), [0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]);
        assert_eq!(varint(494_878_333), [0x9d, 0x7f, 0x3e, 0x7d]);
        assert_eq!((varint(15_293), varint(37)), (vec![0x7b, 0xbd], vec![0x25]));
    }
}
