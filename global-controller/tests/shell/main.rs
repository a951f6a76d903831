//! One global controller on loopback, with nodes and clients made for the test; one binary, since linking is what takes time.

mod auth;
mod away;
mod cluster;
mod docs;
mod events;
mod forged;
mod hostile;
mod http3;
mod join;
mod meetings;
mod pages;
mod participants;
#[path = "../../../e2e/src/postgres.rs"]
mod postgres;
mod protocols;
mod rates;
mod repeats;
mod reporter;
mod rotation;
mod store;
mod target;
mod tenants;
mod webhooks;
mod world;
