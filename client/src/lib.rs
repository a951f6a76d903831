//! The native client of Dark Tower: join a meeting, follow its roster, publish and subscribe, survive losses of the network.
//!
//! In: addresses and a token (by hand, or from the public API through [`api::Api`]) and encoded frames. Out: a [`Meeting`]
//! handle, its [`Events`], and the [`Records`] of subscribed media streams, header bytes and payloads as they came
//! (opened, where the meeting is encrypted). Never
//! encodes, decodes or plays media.
//!
//! ```no_run
//! use dark_tower_client::api::{Api, MeetingTickets, MeetingUrl};
//! use dark_tower_client::{Client, Event, JoinOptions, Joined, Trust};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let url = MeetingUrl::parse("https://meet.example/m/abcdefghij")?;
//! let tickets = MeetingTickets::new(Api::new(&Trust::System)?, url, "Ana", None);
//! let wishes = JoinOptions { name: "Ana".into(), ..JoinOptions::default() };
//! let Joined { meeting, mut events, mut records } = Client::new()?.join_with(tickets, wishes).await?;
//! meeting.chat("Hello").await?;
//! loop {
//!     tokio::select! {
//!         Some(record) = records.next() => { /* a frame, or a part of one, for a decoder */ }
//!         event = events.next() => match event {
//!             Some(Event::Closed { .. }) | None => break,
//!             Some(_event) => {}
//!         },
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`join`](Client::join) costs four round trips to the first frame: QUIC, CONNECT, `JoinRequest`, `MediaHello`; the handler
//! is dialled while joining. With a [`TicketSource`] the client comes back by itself after any loss, as a new participant if it must.
//!
//! **Cancellation.** Everything that is read is read in tasks of its own, so every `async fn` here may be dropped at any await: what has not been given
//! out is given out by the next call. A request whose future is dropped may be done all the same, as one that was lost on the way.
//!
//! **Bounds.** What a server sends never panics; a malformed message is logged and left out. Kept are at most [`roster::PARTICIPANTS_MAX`] participants with
//! [`roster::STREAMS_MAX`] media streams each, [`CHAT_KEPT_MAX`] chat messages, 1024 events, 32 MiB of records, statistics of 1024 media streams, two
//! further controllers; texts beyond what the contract allows are refused.
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
mod oneself;
mod options;
mod paused;
pub mod publisher;
pub mod records;
pub mod roster;
mod session;
pub mod signaling;
mod silence;
pub mod stats;
mod status;
pub mod ticket;
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
pub use stats::{PublicationLimiter, PublicationStats, Stats, SubscriptionStats};
pub use status::{CHAT_KEPT_MAX, ConnectionState, SignalingTransport};
pub use ticket::{Ticket, TicketError, TicketSource, Why};
pub use trust::Trust;
