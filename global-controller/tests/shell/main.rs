//! One global controller on loopback, with nodes and clients made for the test; one binary, since linking is what takes time.

mod auth;
mod cluster;
mod docs;
mod http3;
mod join;
mod meetings;
mod pages;
mod protocols;
mod rates;
mod store;
mod world;
