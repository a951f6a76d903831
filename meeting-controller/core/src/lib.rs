//! The meeting: who is in it, what they publish and take, what they say, and what a handler must know of it.
//!
//! In: an instant and an [`Input`]. Out: [`Output`]s in order, and the next [`Deadline`](common_core::Deadline). One
//! [`Meeting`] is one gathering on one controller. It reads no clock, makes no random number, knows no transport and no
//! encoding: its words are in [`message`], and a shell's codec turns them into protobuf (or, for another dialect, JSON).

#![deny(clippy::iter_over_hash_type)]
#![warn(missing_docs)]

mod chat;
mod credentials;
pub mod handler;
pub mod health;
mod input;
mod media;
mod meeting;
pub mod message;
mod output;
mod quality;
mod rate;
mod roster;

pub use credentials::{Memory, ResumeToken, TokenHash};
pub use handler::{HandlerAnswer, HandlerCommand, HandlerFailure, OperationId};
pub use input::{Credential, Input, Join, Limits, Settings, Stamp};
pub use meeting::Meeting;
pub use message::{Message, Refusal, Request, ServerMessage, SessionKey};
pub use output::{Attendance, EndCause, Event, Output};
