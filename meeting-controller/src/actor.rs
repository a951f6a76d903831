//! One task per meeting: hands inputs to the state machine and does what it says.
//!
//! A panic here ends this meeting alone: its sessions end with `INTERNAL_ERROR`, and it is counted.

mod control;

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common_core::{Code, MeetingId, NodeId, ParticipantId};
use futures_util::FutureExt;
use meeting_controller_core::message::{LeaveReason, Refusal, Request, SessionKey, StreamQuality};
use meeting_controller_core::{
    EndCause, Event, HandlerCommand, HandlerFailure, Input, Join, Meeting, Memory, Message, OperationId, Output, ServerMessage, Stamp,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use control::{Control, Kicked, MuteError};

use crate::codec;
use crate::dormant::Asleep;
use crate::handlers::{Answer, Handler, HandlerQueue};
use crate::node::Node;
use crate::outbox::Outbox;

/// Commands that wait for one meeting; sessions wait in turn when it is full.
const INBOX_MAX: usize = 1024;
/// Answers that wait; the worker waits in turn.
const ANSWERS_MAX: usize = 256;

/// How long a reply waits for a global controller to store what it acknowledges (DESIGN section 7: what needs the store answers within 2 s).
const STORE_TIMEOUT: Duration = Duration::from_millis(1900);
/// What a host reads when nobody has stored a removal by then.
const UNSTORED: &str = "removed here; that it stays out is kept as soon as the cluster's store is back";

/// What a meeting's task is told.
pub(crate) enum Command {
    /// Somebody asks in.
    Join {
        join: Box<Join>,
        /// Handlers that the client may be dialling already, best first.
        handlers: Vec<NodeId>,
        /// The session's writing end; dropped when the session is over.
        outbox: Outbox,
    },
    /// A session says something.
    Request { session: SessionKey, request_id: u64, request: Request, stamp: Stamp },
    /// A session is over.
    SessionEnded(SessionKey),
    /// A global controller asks for something.
    Control(Control),
    /// How media streams fared in the last second.
    Telemetry(Vec<(ParticipantId, StreamQuality)>),
    /// The meeting is over; the other end hears when everyone was told.
    End(EndCause, oneshot::Sender<()>),
    /// Panics, to see what else does.
    #[cfg(test)]
    Panic,
}

/// The way to a meeting.
#[derive(Clone)]
pub(crate) struct MeetingHandle {
    /// Tells apart two lives of one meeting.
    pub number: u64,
    pub inbox: mpsc::Sender<Command>,
    pub participants: Arc<AtomicU32>,
    /// Cancelled when this life is over, and the node knows what it remembers of it.
    over: CancellationToken,
}

impl MeetingHandle {
    /// Asks for something; `None` once this life of the meeting is over, and what it knew is with the node.
    pub async fn ask<T>(&self, control: impl FnOnce(oneshot::Sender<T>) -> Control) -> Option<T> {
        let (done, heard) = oneshot::channel();
        let asked = self.inbox.send(Command::Control(control(done))).await;
        if asked.is_ok()
            && let Ok(answer) = heard.await
        {
            return Some(answer);
        }
        self.over.cancelled().await;
        None
    }

    /// Ends the meeting and waits until its sessions were told.
    pub async fn end(&self, cause: EndCause) {
        let (done, heard) = oneshot::channel();
        if self.inbox.send(Command::End(cause, done)).await.is_ok() {
            // A dropped sender means that it had ended already.
            let _ = heard.await;
        }
    }
}

/// Starts a meeting's task, with what is remembered of an earlier life of it.
pub(crate) fn spawn(node: &Arc<Node>, meeting_id: MeetingId, number: u64, asleep: Asleep) -> MeetingHandle {
    let (inbox, commands) = mpsc::channel(INBOX_MAX);
    let participants = Arc::new(AtomicU32::new(0));
    let (answers, answered) = mpsc::channel(ANSWERS_MAX);
    let settings = asleep.settings.clone();
    let actor = Actor {
        node: node.clone(),
        meeting_id,
        meeting: Meeting::new(node.clock.now(), asleep.settings, asleep.memory, node.limits.core()),
        outboxes: HashMap::new(),
        attachment: None,
        answers,
        failures: VecDeque::new(),
        participants: participants.clone(),
        counted: 0,
        ended: None,
    };
    let (changes, over) = (node.handlers.changes(), CancellationToken::new());
    let is_over = over.clone();
    let (keeper, task) = (node.clone(), node.tasks.spawn(live(actor, commands, answered, changes)));
    let counted = participants.clone();
    node.tasks.spawn(async move {
        // Without an answer the task did not even survive its own farewell: what was remembered is lost.
        let memory = task.await.unwrap_or_else(|_| Some(Default::default()));
        keeper.participants.fetch_sub(counted.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        keeper.forget(meeting_id, number, memory.map(|memory| Asleep { settings, memory }));
        is_over.cancel();
    });
    MeetingHandle { number, inbox, participants, over }
}

/// One life of a meeting; what must be remembered of it, if it may wake again.
async fn live(
    mut actor: Actor,
    commands: mpsc::Receiver<Command>,
    answered: mpsc::Receiver<Answer>,
    changes: watch::Receiver<u64>,
) -> Option<Memory> {
    // What is looked at afterwards, who was there and what is remembered, has no half-done steps that matter.
    if AssertUnwindSafe(actor.run(commands, answered, changes)).catch_unwind().await.is_err() {
        tracing::error!(meeting = %actor.meeting_id, "a meeting panicked and is ended");
        metrics::counter!("dark_tower_controller_meeting_panics_total").increment(1);
        actor.report_break();
        actor.withdraw_all();
    }
    (!matches!(actor.ended, Some(EndCause::Ended | EndCause::Moved))).then(|| actor.meeting.into_memory())
}

/// The handler that a meeting uses.
struct Attachment {
    handler: Arc<Handler>,
    queue: HandlerQueue,
}

struct Actor {
    node: Arc<Node>,
    meeting_id: MeetingId,
    meeting: Meeting,
    outboxes: HashMap<SessionKey, Outbox>,
    attachment: Option<Attachment>,
    answers: mpsc::Sender<Answer>,
    /// Answers to operations that could not even be queued.
    failures: VecDeque<Answer>,
    participants: Arc<AtomicU32>,
    counted: u32,
    ended: Option<EndCause>,
}

impl Actor {
    async fn run(
        &mut self,
        mut commands: mpsc::Receiver<Command>,
        mut answered: mpsc::Receiver<Answer>,
        mut changes: watch::Receiver<u64>,
    ) {
        while self.ended.is_none() {
            let deadline = self.meeting.poll_deadline();
            let due = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(self.node.clock.instant(deadline.at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some((operation, result)) = answered.recv() => self.feed(Input::HandlerAnswered { operation, result }),
                () = due => self.feed(Input::Tick),
                Ok(()) = changes.changed() => self.review_handler(None, None),
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => break,
                },
            }
        }
        let cause = self.ended;
        tracing::info!(meeting = %self.meeting_id, ?cause, "the meeting is over here");
        commands.close();
        while let Some(command) = commands.recv().await {
            self.turn_away(command);
        }
    }

    /// Nobody was told by the meeting itself: everyone who was there is cut off.
    fn report_break(&mut self) {
        for mut attendance in self.meeting.attendances() {
            for media_stream in std::mem::take(&mut attendance.participant.streams) {
                self.record(&Event::Unpublished(Box::new(media_stream)));
            }
            let (attendance, reason) = (Box::new(attendance), LeaveReason::ConnectionLost);
            self.record(&Event::Left { attendance, reason, is_kept_out: false });
        }
    }

    /// Their media sessions end, and nothing of them stays at the handler. The queue is worked off without this task.
    fn withdraw_all(&mut self) {
        let Some(Attachment { queue, .. }) = self.attachment.take() else { return };
        for command in self.meeting.withdrawals() {
            // Nobody hears the answer, so nobody tells it from another's.
            if let Err(failure) = queue.push(OperationId(u64::MAX), command) {
                tracing::warn!(meeting = %self.meeting_id, reason = failure.reason, "a handler keeps somebody of a meeting that broke off");
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Join { join, handlers, outbox } => {
                self.outboxes.insert(join.session, outbox);
                self.attach_for(&handlers);
                self.feed(Input::Join(join));
            }
            Command::Request { session, request_id, request, stamp } => {
                metrics::counter!("dark_tower_controller_messages_total", "kind" => request.name()).increment(1);
                if let Request::MediaServer { failed_url } = &request {
                    self.review_handler(Some(session), Some(failed_url));
                }
                self.feed(Input::Request { session, request_id, request, stamp });
            }
            Command::SessionEnded(session) => {
                self.outboxes.remove(&session);
                self.feed(Input::SessionEnded(session));
            }
            Command::Control(control) => self.control(control),
            Command::Telemetry(figures) => {
                for (participant_id, quality) in figures {
                    self.feed(Input::Telemetry { participant_id, quality });
                }
            }
            Command::End(cause, done) => {
                if cause == EndCause::Moved {
                    // What they have not read yet may be untrue by now.
                    self.outboxes.values().for_each(|outbox| outbox.cut(Code::Unavailable, MOVED));
                }
                self.feed(Input::End(cause));
                // Nobody may be waiting any more.
                let _ = done.send(());
            }
            #[cfg(test)]
            Command::Panic => panic!("asked to"),
        }
    }

    /// What comes after the end.
    fn turn_away(&mut self, command: Command) {
        match command {
            Command::Join { join, outbox, .. } => {
                let refusal = match self.ended {
                    Some(EndCause::Ended) => Refusal::new(Code::NotFound, "this meeting has ended"),
                    _ => Refusal::new(Code::Unavailable, "this meeting is not here any more; try again"),
                };
                outbox.send(codec::error(join.request_id, &refusal));
                outbox.close(refusal.code, refusal.message);
            }
            Command::End(_, done) => {
                // Nobody may be waiting any more.
                let _ = done.send(());
            }
            _ => {}
        }
    }

    fn feed(&mut self, input: Input) {
        self.meeting.handle(self.node.clock.now(), input);
        loop {
            while let Some(output) = self.meeting.poll_output() {
                self.act(output);
            }
            let Some((operation, result)) = self.failures.pop_front() else { break };
            self.meeting.handle(self.node.clock.now(), Input::HandlerAnswered { operation, result });
        }
        self.count();
        if self.meeting.is_empty() && !self.meeting.has_handler_work() {
            // The next one in may be dialling another handler already.
            self.attachment = None;
        }
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::Send { to, message } => {
                count_answers(&message.body);
                let bytes = codec::encode(&message);
                for session in to {
                    if let Some(outbox) = self.outboxes.get(&session) {
                        outbox.send(bytes.clone());
                    }
                }
            }
            Output::AckWhenStored { session, request_id } => self.acknowledge_when_stored(session, request_id),
            Output::Close { session, code, reason } => {
                if let Some(outbox) = self.outboxes.remove(&session) {
                    outbox.close(code, reason);
                }
            }
            Output::Handler { operation, command } => {
                let pushed = match &self.attachment {
                    Some(attachment) => attachment.queue.push(operation, command),
                    // Nobody to tell is nobody to withdraw from.
                    None if matches!(command, HandlerCommand::Remove { .. } | HandlerCommand::Unroute { .. }) => {
                        self.failures.push_back((operation, Ok(meeting_controller_core::HandlerAnswer::Done)));
                        return;
                    }
                    None => {
                        Err(HandlerFailure { code: common_core::Code::Unavailable, reason: "no healthy media handler is known".to_owned() })
                    }
                };
                if let Err(failure) = pushed {
                    self.failures.push_back((operation, Err(failure)));
                }
            }
            Output::Event(event) => self.record(&event),
            Output::Ended(cause) => self.ended = Some(cause),
        }
    }

    /// What must not be lost with this controller is acknowledged when a global controller has stored it. Where none does in time, the
    /// truth is that it is done here and may not last.
    fn acknowledge_when_stored(&self, session: SessionKey, request_id: u64) {
        let Some(outbox) = self.outboxes.get(&session).map(Outbox::downgrade) else { return };
        let (stored, meeting) = (self.node.reports.stored(), self.meeting_id);
        self.node.tasks.spawn(async move {
            let answer = match tokio::time::timeout(STORE_TIMEOUT, stored).await {
                Ok(()) => codec::encode(&ServerMessage { request_id, body: Message::Ack }),
                Err(_) => {
                    tracing::warn!(%meeting, %session, "a removal is done here, and no global controller has stored it yet");
                    metrics::counter!("dark_tower_controller_unstored_removals_total").increment(1);
                    codec::error(request_id, &Refusal::new(Code::Unavailable, UNSTORED).with("done", "true"))
                }
            };
            if let Some(outbox) = outbox.upgrade() {
                outbox.send(answer);
            }
        });
    }

    /// The meeting's handler if it is healthy, else the best for somebody who may be dialling `preferred` already.
    fn attach_for(&mut self, preferred: &[NodeId]) {
        match &self.attachment {
            None => {
                if let Some(handler) = self.node.handlers.choose(preferred, None) {
                    self.attach(handler, "nobody was on one yet");
                }
            }
            Some(_) => self.review_handler(None, None),
        }
    }

    fn attach(&mut self, handler: Arc<Handler>, why: &'static str) {
        tracing::info!(meeting = %self.meeting_id, handler = %handler.id, why, "the meeting uses this handler");
        self.node.handlers.listen_to(&handler);
        self.node.handlers.take_back(&handler.id, self.meeting_id);
        let queue = HandlerQueue::start(&self.node.handlers, handler.clone(), self.meeting_id, self.answers.clone());
        self.attachment = Some(Attachment { handler, queue });
    }

    /// Moves the meeting off a handler that has failed, and tells a restarted one everything. `asker` reports that the
    /// handler at `failed_url` has failed.
    fn review_handler(&mut self, asker: Option<SessionKey>, failed_url: Option<&str>) {
        let Some(Attachment { handler, .. }) = &self.attachment else {
            if !self.meeting.is_empty()
                && let Some(handler) = self.node.handlers.choose(&[], None)
            {
                self.attach(handler, "there is a handler again");
                self.feed(Input::HandlerChanged { reason: "a media server is there again".to_owned(), except: asker });
            }
            return;
        };
        let listed = self.node.handlers.find(&handler.id);
        if let Some(listed) = &listed
            && listed.start_number != handler.start_number
        {
            self.attach(listed.clone(), "it has restarted");
            self.feed(Input::HandlerChanged { reason: "the media server has restarted".to_owned(), except: asker });
            return;
        }
        let is_healthy = listed.as_ref().is_some_and(|listed| listed.is_healthy());
        let blamed = failed_url.is_none_or(|url| url.is_empty() || url == handler.public_url);
        if is_healthy || !blamed {
            return;
        }
        let failed = handler.id.clone();
        if let Some(other) = self.node.handlers.choose(&[], Some(&failed)) {
            tracing::warn!(meeting = %self.meeting_id, handler = %failed, "the meeting leaves a handler that has failed");
            metrics::counter!("dark_tower_controller_handler_moves_total").increment(1);
            if let Some(Attachment { handler, .. }) = &self.attachment {
                self.node.handlers.withdraw(handler, self.meeting_id, self.meeting.generations());
            }
            self.attach(other, "the one before has failed");
            self.feed(Input::HandlerChanged { reason: "the media server has failed".to_owned(), except: asker });
        }
    }

    fn count(&mut self) {
        let count = u32::try_from(self.meeting.participant_count()).unwrap_or(u32::MAX);
        if count != self.counted {
            self.participants.store(count, Ordering::Relaxed);
            let total = &self.node.participants;
            let before = total.fetch_add(count.wrapping_sub(self.counted), Ordering::Relaxed);
            metrics::gauge!("dark_tower_controller_participants").set(f64::from(before.wrapping_add(count.wrapping_sub(self.counted))));
            self.counted = count;
        }
    }

    fn record(&self, event: &Event) {
        let meeting = self.meeting_id;
        self.node.reports.note(meeting, event);
        let joined = |outcome: &'static str| metrics::counter!("dark_tower_controller_joins_total", "outcome" => outcome).increment(1);
        match event {
            Event::Joined { attendance, session } => {
                joined("joined");
                tracing::info!(%meeting, participant = %attendance.participant.participant_id, %session, "joined");
            }
            Event::Resumed { participant_id, session } => {
                joined("resumed");
                tracing::info!(%meeting, participant = %participant_id, %session, "resumed");
            }
            Event::JoinRefused { session, code, reason } => {
                joined(code.name());
                tracing::info!(%meeting, %session, %code, reason, "join refused");
            }
            Event::Lost { participant_id } => {
                metrics::counter!("dark_tower_controller_lost_total").increment(1);
                tracing::info!(%meeting, participant = %participant_id, "session lost; the reconnection window is open");
            }
            Event::Left { attendance, reason, .. } => {
                metrics::counter!("dark_tower_controller_left_total", "reason" => reason.name()).increment(1);
                tracing::info!(%meeting, participant = %attendance.participant.participant_id, reason = reason.name(), "left");
            }
            Event::Denied { participant_id, action, relation, code } => {
                metrics::counter!("dark_tower_controller_denied_total", "action" => action.name(), "code" => code.name()).increment(1);
                tracing::debug!(%meeting, participant = %participant_id, action = action.name(), named = relation.name(), %code, "denied");
            }
            Event::Published(it) => tracing::debug!(%meeting, participant = %it.participant_id, stream = %it.stream_id, "published"),
            Event::Unpublished(it) => tracing::debug!(%meeting, participant = %it.participant_id, stream = %it.stream_id, "unpublished"),
            Event::HandlerFailed { reason } => tracing::warn!(%meeting, reason, "the handler did not do it"),
        }
    }
}

/// What everyone reads whose meeting goes on elsewhere.
const MOVED: &str = "this meeting has moved to another controller; join again through the API";

fn count_answers(message: &Message) {
    if let Message::Error(refusal) = message {
        metrics::counter!("dark_tower_controller_errors_total", "code" => refusal.code.name()).increment(1);
    }
}

#[cfg(test)]
mod tests;
