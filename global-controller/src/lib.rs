//! The global controller: answers the public API, keeps the registry of nodes, sends each meeting to a controller.
//!
//! In: requests of applications and people over HTTP/3, HTTP/2 and HTTP/1.1; registrations and heartbeats of nodes by gRPC. Out: meetings,
//! tokens, addresses. It never carries signaling or media.

#![warn(missing_docs)]

pub mod admin;
mod app;
mod assets;
mod assignment;
mod attendance;
pub mod cluster;
pub mod config;
mod credentials;
mod events;
mod http;
mod keys;
mod listen;
mod registry;
mod revoked;
#[doc(hidden)]
pub mod seams;
mod service;
mod status;
pub mod store;
mod timestamp;
mod webhooks;

pub use config::Config;
/// What an API client may do.
pub use global_controller_core::{Scope, Scopes};
pub use keys::KeyState;
pub use service::{ClientCredentials, RunError, Running, StartError, run, start, start_beside};
