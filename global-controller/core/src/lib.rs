//! The quiet room of the global controller: who is there, where a meeting goes, who may ask for what, and how often.
//!
//! In: registrations, heartbeats, wishes, each with the moment or the seed it needs. Out: placements with their reasons, rankings,
//! verdicts. Never reads a clock, a socket or a generator.

#![deny(clippy::iter_over_hash_type)]
#![warn(missing_docs)]

pub mod address;
pub mod cluster;
pub mod code;
mod hash;
pub mod lanes;
pub mod placement;
pub mod ranking;
pub mod rate;
pub mod retry;
pub mod scope;

pub use cluster::{ClusterView, Rules};
pub use code::MeetingCode;
pub use placement::{Placement, place};
pub use ranking::rank_handlers;
pub use rate::{Limiter, Verdict};
pub use scope::{Scope, Scopes};
