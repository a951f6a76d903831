//! The words every room of Dark Tower speaks: ids, the media frame header, instants, close codes, grants, media descriptions.
//!
//! In: values and bytes. Out: values and bytes. Nothing here reads a clock, a socket, a file or a source of randomness.

#![deny(clippy::iter_over_hash_type)]
#![warn(missing_docs)]

pub mod authority;
pub mod code;
pub mod departures;
pub mod frame;
pub mod frame_reader;
pub mod gate;
pub mod grant;
pub mod health;
pub mod id;
pub mod length_prefix;
pub mod media;
pub mod moment;
pub mod name;
pub mod recent;
mod window;

pub use code::Code;
pub use departures::Departures;
pub use frame::{FRAME_HEADER_BYTES, FrameFlags, FrameHeader, FrameHeaderError, FrameKind};
pub use health::{Diagnosis, Health};
pub use id::{Generation, MeetingId, NodeId, ParticipantId, StreamId};
pub use moment::{Deadline, Moment};
pub use recent::Recent;
pub use window::send_window;
