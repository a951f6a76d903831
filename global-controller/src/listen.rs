//! The listeners: HTTP/3 over QUIC, HTTP/2 and HTTP/1.1 over TLS over TCP, on one port number, serving one router.

mod activity;
mod answer;
pub(crate) mod http1;
mod http2;
pub mod http3;
mod patient;
pub mod tcp;

use std::net::SocketAddr;
use std::time::Duration;

use common::quic::{EndpointError, TransportLimits, server_config, server_endpoint};
use common::tls::LiveCertificate;
use quinn::IdleTimeout;
use tokio::net::TcpListener;

use crate::config::LimitsConfig;

/// Free ports that are tried until one is free for TCP and UDP alike.
const PORT_ATTEMPTS: usize = 16;

/// A silent HTTP/3 connection ends after this: longer than between the clicks of a person, short of holding places for nobody.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Bound on the same port number.
pub struct Bound {
    /// For HTTP/3.
    pub endpoint: quinn::Endpoint,
    /// For the others.
    pub listener: TcpListener,
    /// Of both.
    pub address: SocketAddr,
}

/// Binds UDP and TCP on `address`; port 0 means any that is free for both.
pub async fn bind(address: SocketAddr, certificate: &LiveCertificate, limits: &LimitsConfig) -> Result<Bound, EndpointError> {
    let attempts = if address.port() == 0 { PORT_ATTEMPTS } else { 1 };
    let mut last = None;
    for _ in 0..attempts {
        let fail = |source| EndpointError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let bound = listener.local_addr().map_err(fail)?;
        let config = server_config(certificate, &[http3::ALPN], transport(limits))?;
        match server_endpoint(bound, config) {
            Ok(endpoint) => return Ok(Bound { endpoint, listener, address: bound }),
            Err(error @ EndpointError::Bind { .. }) => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or(EndpointError::Bind { address, source: std::io::ErrorKind::AddrInUse.into() }))
}

/// Requests are small and answers smaller still, the page's files aside. A client that asks for nothing is let go: no keep-alive.
fn transport(limits: &LimitsConfig) -> quinn::TransportConfig {
    let limits = TransportLimits {
        receive_window: 512 * 1024,
        stream_receive_window: 128 * 1024,
        send_window: 1024 * 1024,
        bidirectional_streams: limits.requests_per_connection,
        // HTTP/3 itself uses three; grease and extensions may add some.
        unidirectional_streams: 8,
        datagram_receive_buffer: None,
    };
    let mut transport = limits.transport();
    transport
        .keep_alive_interval(None)
        .max_idle_timeout(Some(IdleTimeout::try_from(IDLE_TIMEOUT).expect("half a minute fits a QUIC varint of milliseconds")));
    transport
}
