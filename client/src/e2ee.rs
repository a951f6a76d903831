//! End-to-end encryption: what only those see who hold the meeting's secret (`docs/end-to-end-encryption.md`).
//!
//! In: a [`Secret`], a meeting's id. Out: keys for media streams and chat, which seal and open; a key id and a comparison code, which
//! may be seen. Never sends a key anywhere, and shows none in an error, a log or `Debug`.
//!
//! Whoever joins with [`JoinOptions::secret`](crate::JoinOptions::secret) needs none of the rest: a [`Publisher`](crate::Publisher) seals,
//! [`Records`](crate::Records) are opened, chat is sealed and opened.

pub mod chat;
mod keys;
mod media;
mod secret;
pub mod sframe;
#[cfg(test)]
mod tests;

pub use keys::MeetingKeys;
pub use media::{OVERHEAD_BYTES_MAX, StreamOpener, StreamSealer, overhead_bytes};
pub use secret::{SECRET_BYTES, Secret, SecretError};
pub use sframe::Unopened;
