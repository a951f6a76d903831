//! The native client of Dark Tower: join a meeting, follow its roster, publish and subscribe, survive losses of the network.
//!
//! In: addresses and a token (by hand, or from the public API through [`api::Api`]) and encoded frames. Out: a [`Meeting`]
//! handle, its [`Events`], and the [`Records`] of subscribed media streams, header bytes and payloads as they came
//! (opened, where the meeting is encrypted). Never
//! encodes, decodes or plays media.
//!
//! [`join`](Client::join) costs four round trips to the first frame: QUIC, CONNECT, `JoinRequest`, `MediaHello`; the handler
//! is dialled while joining. Everything that is read is read in tasks of its own, so every `async fn` here may be dropped at
//! any await. What a server sends is bounded and never panics: a malformed message is logged and left out.
//!
//! [`signaling`] and [`media`] are the raw protocol, for tools that need to say wrong things too.

#![warn(missing_docs)]

pub mod api;
mod backoff;
mod convert;
pub mod dial;
mod doubles;
pub mod e2ee;
mod encryption;
pub mod end;
pub mod event;
pub mod file;
mod link;
pub mod media;
mod meeting;
mod options;
pub mod publisher;
pub mod records;
pub mod roster;
mod session;
pub mod signaling;
mod silence;
pub mod trust;

pub use dial::{DialError, Dialer};
pub use encryption::{EncryptionError, EncryptionInfo};
pub use end::SessionEnd;
pub use event::{Event, Events};
pub use meeting::{Client, JoinError, Joined, Meeting, MeetingInfo, RequestError, StreamDescription};
pub use options::JoinOptions;
pub use publisher::{Frame, Publisher, PublisherCounts, SendError};
pub use records::{ReceivedRecord, Records};
pub use roster::{Participant, Roster};
pub use trust::Trust;
