//! What one media session may hold and open in QUIC: little before its hello, enough for any publisher after it.
//!
//! In: a certificate, connections that have said who they are. Out: quinn's configuration. The media benchmark's floor takes the same.

use std::sync::Arc;

use common::quic::{EndpointError, OPENING_RECEIVE_WINDOW, TransportLimits};
use common::tls::LiveCertificate;

use crate::path;

/// Sent before anything is acknowledged: the key frame that a joiner waits for, at once and not in three flights. 32 packets, as
/// large content networks have it; RFC 9002 section 7.2 suggests 10.
const INITIAL_WINDOW_BYTES: u64 = 32 * 1200;
/// What may be sent to a subscriber and not acknowledged on the best of paths, bytes.
pub const SEND_WINDOW_BYTES_MAX: u64 = *path::WINDOW_BYTES.end();

/// Before the hello. A few media streams may come right behind it (DESIGN section 5) and are held here, unread: the connection's
/// window bounds their bytes together.
pub(crate) const BEFORE_HELLO: TransportLimits = TransportLimits {
    receive_window: OPENING_RECEIVE_WINDOW,
    // What is held of a stream whose id is not known yet (DESIGN section 5); 20 Mb/s at 100 ms.
    stream_receive_window: 256 * 1024,
    // Sent and not acknowledged: bounds the lateness that QUIC hides from us; at first, then it follows the path.
    send_window: *path::WINDOW_BYTES.start(),
    // CONNECT, the control stream, and a few media streams.
    bidirectional_streams: 8,
    // HTTP/3 takes three; the others are media.
    unidirectional_streams: 16,
    // WebTransport needs datagrams to be negotiated (draft-ietf-webtrans-http3, section 3.1), whether used or not. Nobody reads them:
    // QUIC keeps this much of the newest, and counts them.
    datagram_receive_buffer: Some(16 * 1024),
};
/// From the hello on: 80 Mb/s at 100 ms. What is read is paced, so a publisher that floods fills no more than this.
const RECEIVE_WINDOW: u32 = 1024 * 1024;
/// Publishers may keep a bidirectional stream for each media stream: 32, doubled while one moves.
const BIDIRECTIONAL_STREAMS: u32 = 64;
/// Or open one at each key frame; a few are under way at a time.
const UNIDIRECTIONAL_STREAMS: u32 = 128;

/// How media sessions are served: quinn's configuration with every limit of theirs, speaking `alpn`.
pub fn server_config(certificate: &LiveCertificate, alpn: &[u8]) -> Result<quinn::ServerConfig, EndpointError> {
    let mut transport = BEFORE_HELLO.opening();
    let mut congestion = quinn::congestion::CubicConfig::default();
    congestion.initial_window(INITIAL_WINDOW_BYTES);
    transport.congestion_controller_factory(Arc::new(congestion));
    common::quic::server_config(certificate, &[alpn], transport)
}

/// Makes room for a session that has said hello.
pub fn grow(connection: &quinn::Connection) {
    connection.set_receive_window(quinn::VarInt::from_u32(RECEIVE_WINDOW));
    connection.set_max_concurrent_bi_streams(quinn::VarInt::from_u32(BIDIRECTIONAL_STREAMS));
    connection.set_max_concurrent_uni_streams(quinn::VarInt::from_u32(UNIDIRECTIONAL_STREAMS));
}
