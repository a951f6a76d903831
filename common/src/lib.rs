//! The tools every service shares: configuration, TLS, tokens, QUIC, WebTransport, telemetry, the admin endpoint, shutdown.
//!
//! Loud room: these touch files, clocks and sockets. The words they speak are `common-core`'s.

#![warn(missing_docs)]

pub mod admin;
pub mod clock;
pub mod config;
pub mod door;
pub mod gate;
pub mod grpc;
pub mod membership;
pub mod node;
pub mod parts;
pub mod quic;
pub mod random;
pub mod secret;
pub mod shares;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
pub mod token;
pub mod vitals;
pub mod webtransport;

pub use secret::Secret;
