//! The handler from outside: a controller over mTLS, clients over WebTransport, on loopback. One binary.

mod authority;
mod bounds;
mod client;
mod delivery;
mod refusals;
mod routes;
mod workers;
mod world;
