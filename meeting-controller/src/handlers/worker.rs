//! Carries one meeting's operations to one handler, in order where order matters.
//!
//! Operations about different participants, or about different media streams, run together; one about a media stream waits
//! for the registrations before it, and the other way round. What is not done two seconds after it was asked for has failed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use common::grpc::CALL_TIMEOUT;
use common_core::{MeetingId, ParticipantId, StreamId};
use futures_util::future::join_all;
use meeting_controller_core::message::MediaServer;
use meeting_controller_core::{HandlerAnswer, HandlerCommand, HandlerFailure, OperationId};
use proto::{cluster, v1};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::{Handler, Handlers, stood_still};

/// Operations that wait for one handler: a full meeting's joins and routes at once. One more has failed.
const QUEUE_MAX: usize = 4096;
/// A call that had less time than this and got no answer says nothing about the handler: a busy one may take so long.
const ANSWER_TIME_MIN: Duration = Duration::from_secs(1);
/// Of its time a call has this much at least, if it had to wait while this process asked whether it may go on.
const CALL_MIN: Duration = Duration::from_millis(200);
/// Calls of one meeting under way.
const TOGETHER_MAX: usize = 64;

/// What became of an operation.
pub(crate) type Answer = (OperationId, Result<HandlerAnswer, HandlerFailure>);

struct Queued {
    operation: OperationId,
    command: HandlerCommand,
    due: Instant,
}

/// The way to one handler for one meeting. Dropped, it still carries out what is queued.
pub(crate) struct HandlerQueue {
    queue: mpsc::Sender<Queued>,
}

impl HandlerQueue {
    /// Starts the worker; answers go to `answers`.
    pub fn start(handlers: &Arc<Handlers>, handler: Arc<Handler>, meeting_id: MeetingId, answers: mpsc::Sender<Answer>) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE_MAX);
        let worker = Worker { handlers: handlers.clone(), handler, meeting_id };
        handlers.tasks.spawn(worker.run(receiver, answers));
        Self { queue }
    }

    /// Queues an operation, or says why it has failed.
    pub fn push(&self, operation: OperationId, command: HandlerCommand) -> Result<(), HandlerFailure> {
        let queued = Queued { operation, command, due: Instant::now() + CALL_TIMEOUT };
        self.queue.try_send(queued).map_err(|_| HandlerFailure {
            code: common_core::Code::Unavailable,
            reason: "too many operations wait for this handler".to_owned(),
        })
    }
}

struct Worker {
    handlers: Arc<Handlers>,
    handler: Arc<Handler>,
    meeting_id: MeetingId,
}

impl Worker {
    async fn run(self, mut queue: mpsc::Receiver<Queued>, answers: mpsc::Sender<Answer>) {
        let mut waiting = Vec::new();
        while queue.recv_many(&mut waiting, TOGETHER_MAX).await > 0 {
            let mut rest = std::mem::take(&mut waiting).into_iter().peekable();
            while let Some(first) = rest.next() {
                let mut batch = Batch::starting_with(&first.command);
                let mut together = vec![first];
                while let Some(next) = rest.next_if(|next| batch.admits(&next.command)) {
                    together.push(next);
                }
                for answer in join_all(together.into_iter().map(|queued| self.carry_out(queued))).await {
                    // A meeting that is gone wants no answers.
                    let _ = answers.send(answer).await;
                }
            }
        }
    }

    async fn carry_out(&self, queued: Queued) -> Answer {
        let name = name_of(&queued.command);
        let began = Instant::now();
        // Whoever was frozen may speak for nobody until it is known that nobody else does.
        if self.handlers.gate.passage().await.is_err() {
            let failure = HandlerFailure { code: common_core::Code::Unavailable, reason: "another process has taken over".to_owned() };
            return (queued.operation, Err(failure));
        }
        let (due, had_time) = time_for(queued.due, Instant::now());
        let removal = self.removal(&queued.command);
        let result = match tokio::time::timeout_at(due, self.call(queued.command)).await {
            Ok(result) => result,
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        };
        let had_time = had_time && !stood_still(due, Instant::now());
        // What broke while this process stood still is not the handler's fault.
        if self.handlers.gate.is_open()
            && let Some(reached) = was_reached(result.as_ref().err().map(Status::code), had_time)
        {
            let was_reachable = self.handler.is_reachable();
            self.handler.note(reached);
            if was_reachable != reached {
                self.handlers.changed();
            }
        }
        let outcome = if result.is_ok() { "ok" } else { "failed" };
        metrics::counter!("dark_tower_controller_handler_calls_total", "call" => name, "outcome" => outcome).increment(1);
        metrics::histogram!("dark_tower_controller_handler_call_seconds", "call" => name).record(began.elapsed().as_secs_f64());
        if let (Err(status), Some((participant_id, removal))) = (&result, removal) {
            if !is_settled_by(status.code()) {
                let (ids, handler) = ((self.meeting_id, participant_id), &self.handler);
                self.handlers.withdrawals.add(&handler.id, handler.start_number, ids, removal, Instant::now());
            }
            // The meeting is rid of it, whether it lives on or not.
            return (queued.operation, Ok(HandlerAnswer::Done));
        }
        let result = result.map_err(|status| HandlerFailure {
            code: code_of(status.code()),
            reason: format!("{name} at {}: {:?}: {}", self.handler.id, status.code(), common_core::name::escape(status.message(), 200)),
        });
        (queued.operation, result)
    }

    /// What is to be repeated until the handler has heard it, should it not hear it now.
    fn removal(&self, command: &HandlerCommand) -> Option<(ParticipantId, cluster::RemoveParticipant)> {
        let HandlerCommand::Remove { participant_id, generation, code, reason } = command else { return None };
        let removal = cluster::RemoveParticipant {
            participant_id: participant_id.to_string(),
            meeting_id: self.meeting_id.to_string(),
            generation: generation.0,
            code: v1::ErrorCode::from(*code).into(),
            reason: (*reason).to_owned(),
        };
        Some((*participant_id, removal))
    }

    async fn call(&self, command: HandlerCommand) -> Result<HandlerAnswer, Status> {
        let (mut client, meeting_id) = (self.handler.client.clone(), self.meeting_id.to_string());
        match command {
            HandlerCommand::Register { participant_id, streams, generation, issue_token } => {
                let request = cluster::RegisterParticipant {
                    participant_id: participant_id.to_string(),
                    meeting_id,
                    streams: streams.iter().map(Into::into).collect(),
                    generation: generation.0,
                    issue_token,
                    controller_start_number: self.handlers.start_number,
                };
                let answer = client.register_participant(request).await?.into_inner();
                if issue_token && answer.connection_token.is_empty() {
                    return Err(Status::internal("no connection token in the answer"));
                }
                Ok(HandlerAnswer::Registered(MediaServer {
                    url: answer.media_handler_url,
                    connection_token: answer.connection_token,
                    certificate_hashes: answer.certificate_hashes,
                    fallback_url: answer.fallback_url,
                }))
            }
            command @ HandlerCommand::Remove { .. } => {
                let (_, request) = self.removal(&command).ok_or_else(|| Status::internal("no removal"))?;
                client.remove_participant(request).await.map(|_| HandlerAnswer::Done)
            }
            HandlerCommand::Route { stream_id, destinations } => {
                let destinations = destinations
                    .iter()
                    .map(|(who, options)| cluster::RouteDestination { participant_id: who.to_string(), options: Some(options.into()) })
                    .collect();
                let request =
                    cluster::RouteMediaCommand { source_stream_id: stream_id.to_string(), meeting_id, destinations, ..Default::default() };
                client.route_media(request).await.map(|_| HandlerAnswer::Done)
            }
            HandlerCommand::Unroute { stream_id, participants } => {
                let request = cluster::UnrouteMedia {
                    source_stream_id: stream_id.to_string(),
                    destination_participant_ids: participants.iter().map(ToString::to_string).collect(),
                    meeting_id,
                };
                client.unroute_media(request).await.map(|_| HandlerAnswer::Done)
            }
        }
    }
}

/// When a call that begins `now` has to be done, of an operation that is due at `due`; and whether that is long enough to tell something about
/// the handler.
fn time_for(due: Instant, now: Instant) -> (Instant, bool) {
    (due.max(now + CALL_MIN), due.saturating_duration_since(now) >= ANSWER_TIME_MIN)
}

/// Whether a call that ended so got through; `None`: it does not tell, for the operation had spent its time in our own queue.
const fn was_reached(failure: Option<Code>, had_time: bool) -> Option<bool> {
    match failure {
        Some(Code::DeadlineExceeded) if !had_time => None,
        Some(Code::Unavailable | Code::DeadlineExceeded) => Some(false),
        _ => Some(true),
    }
}

/// Whether a removal is no more to be asked for: it makes no sense to the handler, or the participant has become another controller's.
pub(super) const fn is_settled_by(status: Code) -> bool {
    matches!(status, Code::NotFound | Code::PermissionDenied | Code::InvalidArgument | Code::FailedPrecondition)
}

/// What a handler's status says to a client.
const fn code_of(status: Code) -> common_core::Code {
    match status {
        Code::AlreadyExists => common_core::Code::Conflict,
        Code::InvalidArgument => common_core::Code::InvalidRequest,
        Code::ResourceExhausted => common_core::Code::CapacityExceeded,
        _ => common_core::Code::Unavailable,
    }
}

const fn name_of(command: &HandlerCommand) -> &'static str {
    match command {
        HandlerCommand::Register { .. } => "register",
        HandlerCommand::Remove { .. } => "remove",
        HandlerCommand::Route { .. } => "route",
        HandlerCommand::Unroute { .. } => "unroute",
    }
}

/// Operations that may overtake each other: all about participants or all about media streams, no two about the same.
enum Batch {
    Participants(BTreeSet<ParticipantId>),
    Streams(BTreeSet<StreamId>),
}

impl Batch {
    fn starting_with(command: &HandlerCommand) -> Self {
        match command {
            HandlerCommand::Register { participant_id, .. } | HandlerCommand::Remove { participant_id, .. } => {
                Self::Participants(BTreeSet::from([*participant_id]))
            }
            HandlerCommand::Route { stream_id, .. } | HandlerCommand::Unroute { stream_id, .. } => {
                Self::Streams(BTreeSet::from([*stream_id]))
            }
        }
    }

    fn admits(&mut self, command: &HandlerCommand) -> bool {
        match (self, command) {
            (
                Self::Participants(batch),
                HandlerCommand::Register { participant_id, .. } | HandlerCommand::Remove { participant_id, .. },
            ) => batch.insert(*participant_id),
            (Self::Streams(batch), HandlerCommand::Route { stream_id, .. } | HandlerCommand::Unroute { stream_id, .. }) => {
                batch.insert(*stream_id)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common_core::Generation;

    /// A queue of ours that is long does not make a handler one that has failed.
    #[test]
    fn our_own_queue_is_not_held_against_a_handler() {
        assert_eq!(was_reached(Some(Code::DeadlineExceeded), false), None);
        assert_eq!(was_reached(Some(Code::DeadlineExceeded), true), Some(false));
        assert_eq!(was_reached(Some(Code::Unavailable), false), Some(false));
        assert_eq!(was_reached(Some(Code::AlreadyExists), true), Some(true));
        assert_eq!(was_reached(None, false), Some(true));
    }

    /// What waited at the gate beyond its time has a moment all the same, which says nothing about the handler.
    #[test]
    fn who_waited_at_the_gate_has_a_moment_still() {
        let now = Instant::now() + Duration::from_secs(60);
        assert_eq!(time_for(now - Duration::from_secs(2), now), (now + CALL_MIN, false));
        assert_eq!(time_for(now + CALL_TIMEOUT, now), (now + CALL_TIMEOUT, true));
    }

    #[test]
    fn order_holds_where_it_matters() {
        let register = |byte| HandlerCommand::Register {
            participant_id: ParticipantId::from_bytes([byte; 16]),
            streams: Vec::new(),
            generation: Generation(1),
            issue_token: false,
        };
        let route = |byte| HandlerCommand::Route { stream_id: StreamId::from_bytes([byte; 16]), destinations: Vec::new() };
        let mut batch = Batch::starting_with(&register(1));
        assert!(batch.admits(&register(2)) && !batch.admits(&register(1)) && !batch.admits(&route(1)));
        let mut batch = Batch::starting_with(&route(1));
        assert!(batch.admits(&route(2)) && !batch.admits(&route(2)) && !batch.admits(&register(9)));
    }
}
