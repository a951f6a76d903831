//! What a media handler must know of a meeting: operations in order, who waits for each, and the repair of what failed.
//!
//! The meeting's own state is what is wanted. An operation that fails leaves a mark on what it was about (a participant, or
//! one participant's subscription to one media stream), and the mark is worked off from the wanted state of that later
//! instant, so that a handler ends up knowing what the meeting knows however calls fail and overtake each other.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use common_core::media::{MediaStream, SubscriptionOptions};
use common_core::{Code, Generation, Moment, ParticipantId, StreamId};

use crate::message::{MediaServer, SessionKey};

/// Between an operation's failure and its repair: longer than a restart of a call, shorter than a person's patience.
const REPAIR_INTERVAL: Duration = Duration::from_secs(1);
/// How often something that is gone is withdrawn again: after that long a handler has restarted, or is gone itself.
const WITHDRAWALS_MAX: u32 = 10;

/// Names one operation until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub u64);

/// What a handler is asked to do. Every command may be repeated.
#[derive(Clone, Debug, PartialEq)]
pub enum HandlerCommand {
    /// The participant's whole list of media streams.
    Register {
        /// Who.
        participant_id: ParticipantId,
        /// All of its media streams.
        streams: Vec<MediaStream>,
        /// The fence.
        generation: Generation,
        /// Whether a fresh connection token is wanted.
        issue_token: bool,
    },
    /// The participant, its media streams and subscriptions are gone; its media sessions are closed.
    Remove {
        /// Who.
        participant_id: ParticipantId,
        /// The fence.
        generation: Generation,
        /// With which its media sessions are closed.
        code: Code,
        /// For people.
        reason: &'static str,
    },
    /// Subscribers come, or their options change.
    Route {
        /// Of whom.
        stream_id: StreamId,
        /// Who wants it how.
        destinations: Vec<(ParticipantId, SubscriptionOptions)>,
    },
    /// Subscribers go.
    Unroute {
        /// Of whom.
        stream_id: StreamId,
        /// Who wants it no more.
        participants: Vec<ParticipantId>,
    },
}

/// What a handler answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandlerAnswer {
    /// To a registration; the connection token is empty unless it was asked for.
    Registered(MediaServer),
    /// To everything else.
    Done,
}

/// Why a handler did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerFailure {
    /// For whoever waits.
    pub code: Code,
    /// For logs.
    pub reason: String,
}

/// Who waits for an answer, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A join or resume on this session.
    Join(SessionKey),
    /// A media stream that becomes visible when it is registered.
    Publish { reply: Reply, participant_id: ParticipantId, stream_id: StreamId, number: u64 },
    /// A subscription; `before` is what stood until then.
    Subscribe { reply: Reply, participant_id: ParticipantId, stream_id: StreamId, before: Option<SubscriptionOptions> },
    /// Acknowledged whatever the answer is: the meeting has changed already, and the handler hears of it sooner or later.
    Acknowledge(Reply),
    /// The same, for what must not be lost with this controller.
    AcknowledgeStored(Reply),
    /// A fresh connection token was asked for.
    MediaServer { reply: Reply, participant_id: ParticipantId },
    /// A fresh connection token is pushed to whoever is there then.
    Reconnect(ParticipantId),
    /// Nobody waits.
    Quiet,
}

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub session: SessionKey,
    pub request_id: u64,
}

/// What an operation left undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mark {
    /// Its registration, with a pushed token or without.
    Participant { participant_id: ParticipantId, pushes_token: bool },
    /// It is gone.
    Gone { participant_id: ParticipantId, generation: u64, code: Code },
    /// One subscription, or its absence.
    Route { stream_id: StreamId, participant_id: ParticipantId },
}

/// What an operation is about, and what two of them may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// Whether and with what a participant is registered.
    Participant(ParticipantId),
    /// Whether and how a participant takes a media stream.
    Route(StreamId, ParticipantId),
}

impl HandlerCommand {
    pub(crate) fn subjects(&self) -> Vec<Subject> {
        match self {
            HandlerCommand::Register { participant_id, .. } | HandlerCommand::Remove { participant_id, .. } => {
                vec![Subject::Participant(*participant_id)]
            }
            HandlerCommand::Route { stream_id, destinations } => {
                destinations.iter().map(|(who, _)| Subject::Route(*stream_id, *who)).collect()
            }
            HandlerCommand::Unroute { stream_id, participants } => {
                participants.iter().map(|who| Subject::Route(*stream_id, *who)).collect()
            }
        }
    }
}

#[derive(Debug)]
struct Flight {
    command: HandlerCommand,
    purpose: Purpose,
}

/// The operations of one meeting.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    last: u64,
    in_flight: BTreeMap<OperationId, Flight>,
    /// How many of them are about what.
    about: BTreeMap<Subject, u32>,
    outbox: VecDeque<(OperationId, HandlerCommand)>,
    marks: BTreeMap<Mark, u32>,
    repair_at: Option<Moment>,
}

impl Operations {
    /// Queues a command.
    pub fn issue(&mut self, command: HandlerCommand, purpose: Purpose) {
        self.last += 1;
        let id = OperationId(self.last);
        self.outbox.push_back((id, command.clone()));
        for subject in command.subjects() {
            *self.about.entry(subject).or_insert(0) += 1;
        }
        self.in_flight.insert(id, Flight { command, purpose });
    }

    /// The next command for the shell.
    pub fn poll(&mut self) -> Option<(OperationId, HandlerCommand)> {
        self.outbox.pop_front()
    }

    /// What was answered; `None` for an operation that is forgotten.
    pub fn answered(&mut self, id: OperationId) -> Option<(HandlerCommand, Purpose)> {
        let Flight { command, purpose } = self.in_flight.remove(&id)?;
        for subject in command.subjects() {
            if let Some(count) = self.about.get_mut(&subject) {
                *count -= 1;
                if *count == 0 {
                    self.about.remove(&subject);
                }
            }
        }
        Some((command, purpose))
    }

    /// Whether another operation about this is under way, whose answer will tell.
    pub fn is_under_way(&self, subject: Subject) -> bool {
        self.about.contains_key(&subject)
    }

    /// Another handler, or a restarted one: forgets what is under way and hands it out, in order.
    pub fn start_over(&mut self) -> Vec<(HandlerCommand, Purpose)> {
        self.outbox.clear();
        self.about.clear();
        self.marks.clear();
        self.repair_at = None;
        std::mem::take(&mut self.in_flight).into_values().map(|flight| (flight.command, flight.purpose)).collect()
    }

    /// Notes what must be told again.
    pub fn mark(&mut self, now: Moment, mark: Mark) {
        let times = self.marks.entry(mark).or_insert(0);
        *times += 1;
        if *times > WITHDRAWALS_MAX && matches!(mark, Mark::Gone { .. }) {
            self.marks.remove(&mark);
        }
        if !self.marks.is_empty() && self.repair_at.is_none() {
            self.repair_at = Some(now + REPAIR_INTERVAL);
        }
    }

    /// Forgets a mark, once the handler knows.
    pub fn settle(&mut self, mark: Mark) {
        self.marks.remove(&mark);
    }

    /// When there is something to repair.
    pub fn deadline(&self) -> Option<Moment> {
        self.repair_at
    }

    /// What is due for repair. Marks stay, to count; they go when the handler answers well.
    pub fn due(&mut self, now: Moment) -> Vec<Mark> {
        if self.repair_at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        self.repair_at = None;
        self.marks.keys().copied().collect()
    }

    /// Whether an operation is not answered yet, or must be repeated.
    pub fn has_work(&self) -> bool {
        !self.in_flight.is_empty() || !self.marks.is_empty()
    }
}
