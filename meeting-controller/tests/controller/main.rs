//! One controller on loopback with real QUIC, TLS and gRPC; the media handler is a small one of this test's own.

mod authority;
mod bad;
mod client;
mod control;
mod handler;
mod meeting;
mod registry;
mod reports;
mod resume;
mod websocket;
mod world;
