//! The handler from outside: a controller over mTLS, clients over WebTransport, on loopback. One binary.

#[path = "handler/client.rs"]
mod client;
#[path = "handler/delivery.rs"]
mod delivery;
#[path = "handler/refusals.rs"]
mod refusals;
#[path = "handler/routes.rs"]
mod routes;
#[path = "handler/world.rs"]
mod world;
