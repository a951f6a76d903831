//! The forwarding itself, without sockets: who may send which frames, who gets them, from which record on, how late.
//!
//! In: registrations and routes from controllers, records from publishers, what QUIC took of a subscriber's writes, the
//! time. Out: writes for each subscriber, requests to publishers, verdicts. Never reads a clock, never looks into a
//! payload: a record's bytes lie once in its group's log, shared, and each subscription is a cursor there.

#![deny(clippy::iter_over_hash_type)]
#![warn(missing_docs)]

mod arena;
mod fate;
mod group;
pub mod health;
pub mod hub;
mod key_frames;
mod limits;
mod pace;
mod session;
mod source;
mod subscription;
pub mod ticks;

pub use arena::Key;
pub use fate::{Fate, Fates};
pub use hub::{Hub, Limiter, Report};
pub use key_frames::Need;
pub use limits::Limits;
pub use pace::Pace;
pub use session::{Control, End, Session};
pub use subscription::Slot;
