//! One global controller on loopback, with nodes and clients made for the test; one binary, since linking is what takes time.

mod auth;
mod away;
mod cluster;
mod docs;
mod forged;
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
mod rotation;
mod store;
mod tenants;
mod world;
