//! What QUIC knows of a connection's path, in the units of the contract.

/// A congestion window per round trip, in bits per second; 0: not known.
pub(crate) fn available_bitrate(path: &quinn::PathStats) -> u32 {
    let rtt = path.rtt.as_secs_f64();
    // A float to integer cast saturates.
    if rtt > 0.0 { (path.cwnd as f64 * 8.0 / rtt) as u32 } else { 0 }
}
