//! QUIC endpoints with every limit set: quinn's defaults let a silent peer hold over a hundred megabytes.

#[cfg(target_os = "linux")]
mod attach;
mod port;
#[cfg(any(target_os = "linux", test))]
mod program;
mod steering;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{IdleTimeout, TransportConfig, VarInt};
use thiserror::Error;

use crate::tls::{LiveCertificate, TlsError};

pub use port::Port;
pub use steering::{Steering, WORKERS_MAX};

/// A silent connection ends after this (DESIGN section 4).
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Between keep-alives (DESIGN section 4).
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// Received and not yet read of a connection whose session does not stand, or whose client is not known: the largest HEADERS and
/// SETTINGS frames that are read (16 and 64 KiB), and a first message or the beginning of a key frame right behind them.
pub const OPENING_RECEIVE_WINDOW: u32 = 128 * 1024;
/// First packets of connections that nobody has looked at yet: the accept loop looks at once, unless it gets no turn.
const INCOMING_MAX: usize = 1024;
/// What is kept of each of these meanwhile: a large ClientHello is three packets.
const INCOMING_BYTES_MAX: u64 = 16 * 1024;
/// And of all of them.
const INCOMING_BYTES_ALL_MAX: u64 = 4 * 1024 * 1024;

/// Why an endpoint does not stand.
#[derive(Debug, Error)]
pub enum EndpointError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The certificate does not serve.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The cipher suites do not serve QUIC.
    #[error("no QUIC cipher suite: {0}")]
    Cipher(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// What one connection may hold and open. Bytes unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportLimits {
    /// Received and not yet read, all streams of the connection together.
    pub receive_window: u32,
    /// Received and not yet read, one stream.
    pub stream_receive_window: u32,
    /// Sent and not yet acknowledged.
    pub send_window: u64,
    /// Bidirectional streams the peer may have open.
    pub bidirectional_streams: u32,
    /// Unidirectional streams the peer may have open; HTTP/3 itself uses three.
    pub unidirectional_streams: u32,
    /// Datagrams received and not yet read; `None`: no datagrams.
    pub datagram_receive_buffer: Option<usize>,
}

impl TransportLimits {
    /// For a session that carries messages: signaling. With the 4 MiB that may wait to be written, a client that reads nothing
    /// costs less than 6 MiB.
    pub const SIGNALING: TransportLimits = TransportLimits {
        // Four of a client's largest messages: it is read as fast as a meeting takes them.
        receive_window: 256 * 1024,
        stream_receive_window: 128 * 1024,
        // 80 Mb/s at 100 ms: a roster of a thousand is there in half a second.
        send_window: 1024 * 1024,
        // HTTP/3's CONNECT, signaling, and a few that are refused.
        bidirectional_streams: 16,
        // HTTP/3 itself uses three, and clients may try others (RFC 9114 section 6.2.3).
        unidirectional_streams: 16,
        // WebTransport needs datagrams to be negotiated (draft-ietf-webtrans-http3, section 3.1), whether used or not: nobody asked for
        // any, so there is room for one.
        datagram_receive_buffer: Some(2 * 1024),
    };

    /// The quinn configuration of these limits for connections of strangers: little is held of each until [`grow`](Self::grow).
    pub fn opening(&self) -> TransportConfig {
        let mut config = self.transport();
        config.receive_window(VarInt::from_u32(self.receive_window.min(OPENING_RECEIVE_WINDOW)));
        config
    }

    /// The client is known: from now on all of the receive window is its.
    pub fn grow(&self, connection: &quinn::Connection) {
        connection.set_receive_window(VarInt::from_u32(self.receive_window));
    }

    /// The quinn configuration of these limits.
    pub fn transport(&self) -> TransportConfig {
        let mut config = TransportConfig::default();
        config
            .receive_window(VarInt::from_u32(self.receive_window))
            .stream_receive_window(VarInt::from_u32(self.stream_receive_window))
            .send_window(self.send_window)
            .max_concurrent_bidi_streams(VarInt::from_u32(self.bidirectional_streams))
            .max_concurrent_uni_streams(VarInt::from_u32(self.unidirectional_streams))
            .datagram_receive_buffer_size(self.datagram_receive_buffer)
            .datagram_send_buffer_size(64 * 1024)
            .keep_alive_interval(Some(KEEP_ALIVE_INTERVAL))
            .max_idle_timeout(Some(IdleTimeout::try_from(IDLE_TIMEOUT).expect("ten seconds fit a QUIC varint of milliseconds")));
        config
    }
}

/// A quinn server configuration that answers with what `certificate` is at each handshake, with `alpn` and `transport`.
pub fn server_config(
    certificate: &LiveCertificate,
    alpn: &[&[u8]],
    transport: TransportConfig,
) -> Result<quinn::ServerConfig, EndpointError> {
    let mut tls = certificate.server_config(alpn)?;
    tls.max_early_data_size = 0;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config
        .transport_config(Arc::new(transport))
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES_MAX)
        .incoming_buffer_size_total(INCOMING_BYTES_ALL_MAX);
    Ok(config)
}

/// A server endpoint on `address`; port 0 means any free one. Needs a tokio runtime.
pub fn server_endpoint(address: SocketAddr, config: quinn::ServerConfig) -> Result<quinn::Endpoint, EndpointError> {
    let Port { address, mut sockets, .. } = Port::bind(address, 1)?;
    let fail = |source| EndpointError::Bind { address, source };
    let socket = sockets.pop().expect("a port has a socket");
    quinn::Endpoint::new(quinn::EndpointConfig::default(), Some(config), socket, Arc::new(quinn::TokioRuntime)).map_err(fail)
}
