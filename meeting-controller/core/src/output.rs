//! What a meeting wants to happen, and what it tells of itself.

use common_core::authority::{Action, Relation};
use common_core::media::MediaStream;
use common_core::{Code, ParticipantId};

use crate::handler::{HandlerCommand, OperationId};
use crate::message::{LeaveReason, Participant, ServerMessage, SessionKey};

/// Why a meeting ends on this controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndCause {
    /// Somebody ended it: for good.
    Ended,
    /// This controller stops; the meeting may go on elsewhere.
    Stopping,
    /// It goes on at another controller: whoever is here has to come there.
    Moved,
    /// Empty for a long time: its state is dropped until somebody comes again.
    Empty,
}

/// What must happen, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// The same message to some sessions.
    Send {
        /// To whom, at least one.
        to: Vec<SessionKey>,
        /// What.
        message: ServerMessage,
    },
    /// The `Ack` of a request, once everything that was told by [`Event`]s up to now will outlast this controller.
    AckWhenStored {
        /// To whom.
        session: SessionKey,
        /// Of the request.
        request_id: u64,
    },
    /// A session ends, after what was sent to it.
    Close {
        /// Which.
        session: SessionKey,
        /// With this.
        code: Code,
        /// For people.
        reason: String,
    },
    /// An operation for the meeting's handler, after those before it. It must be answered, within seconds.
    Handler {
        /// To answer with.
        operation: OperationId,
        /// What.
        command: HandlerCommand,
    },
    /// Something to log and count.
    Event(Event),
    /// The meeting is over; nothing follows.
    Ended(EndCause),
}

/// A participant as the meeting knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Attendance {
    /// As others see it.
    pub participant: Participant,
    /// Of its join token: the account, or a guest's random one. What a removal refuses.
    pub subject: String,
    /// False: its session is lost, and its reconnection window open.
    pub is_connected: bool,
}

/// Something that happened, in the order in which the participants saw it.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// In, for others to see.
    Joined {
        /// Who.
        attendance: Box<Attendance>,
        /// On which session.
        session: SessionKey,
    },
    /// Back within its window, or over from a session that still stood.
    Resumed {
        /// Who.
        participant_id: ParticipantId,
        /// On which session.
        session: SessionKey,
    },
    /// Refused.
    JoinRefused {
        /// On which session.
        session: SessionKey,
        /// With this.
        code: Code,
        /// In words.
        reason: String,
    },
    /// Its session is over; the window is open.
    Lost {
        /// Who.
        participant_id: ParticipantId,
    },
    /// Gone, after its media streams.
    Left {
        /// Who.
        attendance: Box<Attendance>,
        /// Why.
        reason: LeaveReason,
        /// Its subject may not come back. A host's own other device that it removed may.
        is_kept_out: bool,
    },
    /// It asked for what it may not do, or for what is not in this meeting.
    Denied {
        /// Who asked.
        participant_id: ParticipantId,
        /// For what.
        action: Action,
        /// What it named.
        relation: Relation,
        /// The answer.
        code: Code,
    },
    /// Everyone may take it. It goes before its publisher does.
    Published(Box<MediaStream>),
    /// Nobody takes it any more.
    Unpublished(Box<MediaStream>),
    /// A handler did not do what it was asked; it will be asked again.
    HandlerFailed {
        /// In words.
        reason: String,
    },
}
