//! The state machine of one meeting: takes inputs, keeps the sub-machines in step, and says what must happen.

mod join;
mod people;
mod streams;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use common_core::grant::JoinGrant;
use common_core::{Code, Deadline, Moment, ParticipantId};

use crate::chat::ChatLog;
use crate::credentials::{Refused, ResumeBook, ResumeToken, SpentTokens, TokenHash};
use crate::handler::{HandlerAnswer, HandlerCommand, HandlerFailure, Mark, OperationId, Operations, Purpose, Reply};
use crate::media::Media;
use crate::message::{Capabilities, LeaveReason, Message, Refusal, Request, ServerMessage, SessionKey, StreamQuality};
use crate::quality::QualityGate;
use crate::rate::Verdict;
use crate::roster::{Presence, Roster};
use join::PendingJoin;

/// What the meeting was created with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Participants at a time, lost ones included.
    pub participants_max: usize,
    /// Whether the key id of the participants' secret is kept and told.
    pub is_end_to_end_encrypted: bool,
}

/// Lengths and rates, from configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a participant whose session is lost is expected back.
    pub reconnect_window: Duration,
    /// Messages of one participant in [`rate_window`](Self::rate_window); as many again close its session.
    pub messages_max: u32,
    /// The length of that window.
    pub rate_window: Duration,
    /// How long an empty meeting keeps its chat and its refusals.
    pub empty_timeout: Duration,
}

impl Default for Limits {
    /// DESIGN sections 4 and 7; an empty meeting outlives every join token by a factor of two.
    fn default() -> Self {
        Self {
            reconnect_window: Duration::from_secs(5),
            messages_max: 1000,
            rate_window: Duration::from_secs(60),
            empty_timeout: Duration::from_secs(600),
        }
    }
}

/// What the shell reads off the world for an input: the wall clock, and randomness for what the input may create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Microseconds since the epoch; for people, never for deadlines.
    pub unix_micros: u64,
    /// Bytes of a random (version 4) UUID.
    pub id: [u8; 16],
}

/// With what somebody asks in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A verified join token of this meeting, remembered as spent until the given instant.
    Grant(JoinGrant, Moment),
    /// A resume token.
    Resume(TokenHash),
}

/// A join request whose token is verified.
#[derive(Clone, Debug)]
pub struct Join {
    /// On which session; its answer, or refusal and close, go there.
    pub session: SessionKey,
    /// Echoed by the answer.
    pub request_id: u64,
    /// See [`Credential`].
    pub credential: Credential,
    /// Used if the grant names nobody.
    pub participant_name: String,
    /// Told to everyone.
    pub capabilities: Capabilities,
    /// All present and future media streams of others; of a resume not looked at.
    pub auto_subscribe: bool,
    /// Chat newer than this comes with the answer.
    pub chat_after_sequence: u64,
    /// Of the secret that this client holds; empty: none.
    pub e2ee_key_id: String,
    /// Handed out if the join succeeds.
    pub resume_token: ResumeToken,
    /// The participant's id, and when it joined.
    pub stamp: Stamp,
}

/// What can happen to a meeting. Whatever the input, what is due by then is done first.
#[derive(Clone, Debug)]
pub enum Input {
    /// Somebody asks in, on a session that was not heard of before.
    Join(Box<Join>),
    /// A session that was answered a join says something.
    Request {
        /// On which session.
        session: SessionKey,
        /// 0: no reply is wanted.
        request_id: u64,
        /// What.
        request: Request,
        /// For what it may create.
        stamp: Stamp,
    },
    /// A session is over without a leave: closed, or silent for too long.
    SessionEnded(SessionKey),
    /// A handler answered an operation.
    HandlerAnswered {
        /// Which.
        operation: OperationId,
        /// What.
        result: Result<HandlerAnswer, HandlerFailure>,
    },
    /// Operations go to another handler, or to one that has restarted, from now on: it knows nothing.
    HandlerChanged {
        /// For people.
        reason: String,
        /// Asks for a media server itself, and needs not be told.
        except: Option<SessionKey>,
    },
    /// How a media stream fares between a participant and its handler.
    Telemetry {
        /// Whose connection.
        participant_id: ParticipantId,
        /// How.
        quality: StreamQuality,
    },
    /// The meeting is over.
    End(EndCause),
    /// A deadline may have passed.
    Tick,
}

/// Why a meeting ends on this controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndCause {
    /// Somebody ended it: for good.
    Ended,
    /// This controller stops; the meeting may go on elsewhere.
    Stopping,
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

/// Something that happened to a participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// In, for others to see.
    Joined {
        /// Who.
        participant_id: ParticipantId,
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
    /// Gone.
    Left {
        /// Who.
        participant_id: ParticipantId,
        /// Why.
        reason: LeaveReason,
    },
    /// A handler did not do what it was asked; it will be asked again.
    HandlerFailed {
        /// In words.
        reason: String,
    },
}

/// One meeting.
#[derive(Debug)]
pub struct Meeting {
    settings: Settings,
    limits: Limits,
    roster: Roster,
    joins: BTreeMap<SessionKey, PendingJoin>,
    joins_ever: u64,
    spent: SpentTokens,
    resume: ResumeBook,
    refused: Refused,
    media: Media,
    operations: Operations,
    chat: ChatLog,
    quality: QualityGate,
    e2ee_key_id: Option<String>,
    /// Of the last change of handlers, for people.
    reconnect_reason: String,
    empty_since: Option<Moment>,
    ended: Option<EndCause>,
    outputs: VecDeque<Output>,
}

impl Meeting {
    /// A meeting without anyone.
    pub fn new(now: Moment, settings: Settings, limits: Limits) -> Self {
        Self {
            settings,
            limits,
            roster: Roster::default(),
            joins: BTreeMap::new(),
            joins_ever: 0,
            spent: SpentTokens::default(),
            resume: ResumeBook::default(),
            refused: Refused::default(),
            media: Media::default(),
            operations: Operations::default(),
            chat: ChatLog::default(),
            quality: QualityGate::default(),
            e2ee_key_id: None,
            reconnect_reason: String::new(),
            empty_since: Some(now),
            ended: None,
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Moment, input: Input) {
        if self.ended.is_some() {
            if let Input::Join(join) = input {
                self.refuse_join(join.session, join.request_id, Refusal::new(Code::NotFound, "this meeting has ended"));
            }
            return;
        }
        self.work_off_deadlines(now);
        match input {
            Input::Join(join) => self.join(now, *join),
            Input::Request { session, request_id, request, stamp } => self.request(now, Reply { session, request_id }, request, stamp),
            Input::SessionEnded(session) => self.session_ended(now, session),
            Input::HandlerAnswered { operation, result } => self.handler_answered(now, operation, result),
            Input::HandlerChanged { reason, except } => self.handler_changed(now, reason, except),
            Input::Telemetry { participant_id, quality } => self.telemetry(now, participant_id, quality),
            Input::End(cause) => self.end(cause),
            Input::Tick => {}
        }
        self.note_emptiness(now);
    }

    /// The next thing that must happen.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        let (operation, command) = self.operations.poll()?;
        Some(Output::Handler { operation, command })
    }

    /// When the meeting wants an input, [`Input::Tick`] if there is no other.
    pub fn poll_deadline(&self) -> Option<Deadline> {
        if self.ended.is_some() {
            return None;
        }
        let due = |at: Option<Moment>, reason| at.map(|at| Deadline { at, reason });
        [
            due(self.roster.deadline(), "a reconnection window ends"),
            due(self.operations.deadline(), "a handler is told again"),
            due(self.empty_until(), "the meeting has been empty for long"),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Participants that others see, lost ones included.
    pub fn participant_count(&self) -> usize {
        self.roster.len()
    }

    /// Whether nobody is in it or on the way in.
    pub fn is_empty(&self) -> bool {
        self.roster.len() == 0 && self.joins.is_empty()
    }

    /// Whether the handler has something left to answer or to be told again.
    pub fn has_handler_work(&self) -> bool {
        self.operations.has_work()
    }

    /// Who takes which media stream, in order: what a handler ends up knowing.
    pub fn routes(&self) -> Vec<(common_core::StreamId, ParticipantId)> {
        let of = |stream_id| self.media.subscriptions_to(stream_id).into_iter().map(move |(who, _)| (stream_id, who));
        self.media.live_ids().into_iter().flat_map(of).collect()
    }

    fn request(&mut self, now: Moment, reply: Reply, request: Request, stamp: Stamp) {
        let Some(participant_id) = self.roster.on_session(reply.session) else {
            // A join under way, or a session that the meeting has closed: the shell has not heard yet.
            self.refuse(reply, Refusal::new(Code::InvalidRequest, "nothing may be asked for before the join is answered"));
            return;
        };
        self.resume.confirm(participant_id);
        let Some(member) = self.roster.find_mut(participant_id) else { return };
        match member.messages.count(now, self.limits.messages_max, self.limits.rate_window) {
            Verdict::Serve => {}
            Verdict::Refuse => {
                let seconds = member.messages.remaining(now, self.limits.rate_window).as_secs() + 1;
                let text = format!("over {} messages in {} s", self.limits.messages_max, self.limits.rate_window.as_secs());
                self.refuse(reply, Refusal::new(Code::RateLimited, text).with("retry_after_s", seconds.to_string()));
                return;
            }
            Verdict::Close => {
                self.refuse(reply, Refusal::new(Code::RateLimited, "this session is closed: it went on over its limit"));
                self.close(reply.session, Code::RateLimited, "too many messages");
                self.session_ended(now, reply.session);
                return;
            }
        }
        match request {
            Request::Publish(media_stream) => self.publish(reply, participant_id, media_stream),
            Request::Unpublish(stream_id) => self.unpublish(reply, participant_id, stream_id),
            Request::Subscribe(stream_id, options) => self.subscribe(reply, participant_id, stream_id, options),
            Request::Unsubscribe(stream_id) => self.unsubscribe(reply, participant_id, stream_id),
            Request::Quality(quality) => self.report_quality(now, reply, participant_id, quality),
            Request::MediaServer { .. } => self.issue_media_server(reply, participant_id),
            Request::Chat { client_message_id, content } => self.say(reply, participant_id, client_message_id, content, stamp),
            Request::State(change) => self.change_state(now, reply, participant_id, change),
            Request::Leave => self.leave(reply, participant_id),
            Request::Ping { sent_at_us } => self.answer(reply, Message::Pong { sent_at_us, received_at_us: stamp.unix_micros }),
            Request::Kick(target) => self.kick(reply, participant_id, target),
            Request::Relay { target, kind, payload } => self.relay(reply, participant_id, target, kind, payload),
            Request::Invalid(refusal) => self.refuse(reply, refusal),
        }
    }

    fn session_ended(&mut self, now: Moment, session: SessionKey) {
        if let Some(pending) = self.joins.remove(&session) {
            self.abandon_join(pending);
        } else if let Some(participant_id) = self.roster.on_session(session) {
            self.roster.set_presence(participant_id, Presence::Lost(now + self.limits.reconnect_window));
            self.outputs.push_back(Output::Event(Event::Lost { participant_id }));
        }
    }

    fn work_off_deadlines(&mut self, now: Moment) {
        for participant_id in self.roster.overdue(now) {
            if self.is_resuming(participant_id) {
                // Back already, and waiting for a handler, which answers or fails within seconds.
                self.roster.set_presence(participant_id, Presence::Lost(now + self.limits.reconnect_window));
            } else {
                self.depart(participant_id, LeaveReason::ConnectionLost, Code::Unavailable, "not back within the reconnection window");
            }
        }
        self.repair(now);
        if self.empty_until().is_some_and(|until| until <= now) {
            self.end(EndCause::Empty);
        }
    }

    /// A spent token must not be forgotten before it expires by itself.
    fn empty_until(&self) -> Option<Moment> {
        let until = self.empty_since? + self.limits.empty_timeout;
        Some(self.spent.last_until().map_or(until, |spent| spent.max(until)))
    }

    fn note_emptiness(&mut self, now: Moment) {
        if !self.is_empty() {
            self.empty_since = None;
        } else if self.empty_since.is_none() {
            self.empty_since = Some(now);
        }
    }

    fn send(&mut self, to: Vec<SessionKey>, request_id: u64, body: Message) {
        if !to.is_empty() {
            self.outputs.push_back(Output::Send { to, message: ServerMessage { request_id, body } });
        }
    }

    /// To everyone but one.
    fn tell_others(&mut self, participant_id: ParticipantId, body: Message) {
        self.send(self.roster.sessions_but(participant_id), 0, body);
    }

    /// The one reply to a request, unless none is wanted, or the session is over.
    fn answer(&mut self, reply: Reply, body: Message) {
        let stands = self.roster.on_session(reply.session).is_some() || self.joins.contains_key(&reply.session);
        if reply.request_id != 0 && stands {
            self.send(vec![reply.session], reply.request_id, body);
        }
    }

    fn refuse(&mut self, reply: Reply, refusal: Refusal) {
        self.answer(reply, Message::Error(refusal));
    }

    fn close(&mut self, session: SessionKey, code: Code, reason: impl Into<String>) {
        self.outputs.push_back(Output::Close { session, code, reason: reason.into() });
    }

    /// To a participant's handler: its whole list of media streams.
    fn register(&mut self, participant_id: ParticipantId, issue_token: bool, purpose: Purpose) {
        let Some(member) = self.roster.find(participant_id) else { return };
        let generation = member.generation;
        let streams = self.media.of(participant_id);
        self.operations.issue(HandlerCommand::Register { participant_id, streams, generation, issue_token }, purpose);
    }

    /// A participant is gone, for this reason; `code` closes its media sessions.
    fn depart(&mut self, participant_id: ParticipantId, reason: LeaveReason, code: Code, why: &'static str) {
        let purpose = Purpose::Quiet;
        self.depart_with(participant_id, reason, code, why, purpose);
    }

    fn depart_with(&mut self, participant_id: ParticipantId, reason: LeaveReason, code: Code, why: &'static str, purpose: Purpose) {
        let resuming: Vec<SessionKey> =
            self.joins.iter().filter(|(_, pending)| pending.resumes() == Some(participant_id)).map(|(session, _)| *session).collect();
        for session in resuming {
            if let Some(pending) = self.joins.remove(&session) {
                let code = if reason == LeaveReason::Kicked { Code::Forbidden } else { Code::NotFound };
                self.refuse_join(session, pending.request_id(), Refusal::new(code, "this participant is gone"));
            }
        }
        let Some(member) = self.roster.remove(participant_id) else { return };
        self.resume.forget(participant_id);
        self.quality.forget_participant(participant_id);
        for media_stream in self.media.remove_participant(participant_id) {
            self.quality.forget_stream(media_stream.stream_id);
        }
        for pushes_token in [false, true] {
            self.operations.settle(Mark::Participant { participant_id, pushes_token });
        }
        let generation = member.generation;
        self.operations.issue(HandlerCommand::Remove { participant_id, generation, code, reason: why }, purpose);
        self.tell_others(participant_id, Message::ParticipantLeft { participant_id, reason });
        self.outputs.push_back(Output::Event(Event::Left { participant_id, reason }));
    }

    fn end(&mut self, cause: EndCause) {
        for (session, pending) in std::mem::take(&mut self.joins) {
            let refusal = match cause {
                EndCause::Stopping => Refusal::new(Code::Unavailable, "this controller stops; try again"),
                EndCause::Ended | EndCause::Empty => Refusal::new(Code::NotFound, "this meeting has ended"),
            };
            self.refuse_join(session, pending.request_id(), refusal);
        }
        let members: Vec<ParticipantId> = self.roster.members().map(|member| member.participant_id).collect();
        for participant_id in members {
            let Some(member) = self.roster.remove(participant_id) else { continue };
            if let Presence::On(session) = member.presence {
                if cause == EndCause::Stopping {
                    self.close(session, Code::Unavailable, "this controller stops; try again");
                } else {
                    self.send(vec![session], 0, Message::ParticipantLeft { participant_id, reason: LeaveReason::MeetingEnded });
                    self.close(session, Code::Normal, "the meeting has ended");
                }
            }
            let (generation, reason) = (member.generation, "the meeting has ended");
            self.operations.issue(HandlerCommand::Remove { participant_id, generation, code: Code::Normal, reason }, Purpose::Quiet);
            self.outputs.push_back(Output::Event(Event::Left { participant_id, reason: LeaveReason::MeetingEnded }));
        }
        self.ended = Some(cause);
        // Operations must come out before the end.
        while let Some((operation, command)) = self.operations.poll() {
            self.outputs.push_back(Output::Handler { operation, command });
        }
        self.outputs.push_back(Output::Ended(cause));
    }

    fn repair(&mut self, now: Moment) {
        for mark in self.operations.due(now) {
            match mark {
                Mark::Participant { participant_id, pushes_token } => {
                    if self.roster.find(participant_id).is_none() {
                        self.operations.settle(mark);
                    } else {
                        let purpose = if pushes_token { Purpose::Reconnect(participant_id) } else { Purpose::Quiet };
                        self.register(participant_id, pushes_token, purpose);
                    }
                }
                Mark::Gone { participant_id, generation, code } => {
                    let (generation, reason) = (common_core::Generation(generation), "gone");
                    self.operations.issue(HandlerCommand::Remove { participant_id, generation, code, reason }, Purpose::Quiet);
                }
                Mark::Route { stream_id, participant_id } => self.repair_route(mark, stream_id, participant_id),
            }
        }
    }

    fn repair_route(&mut self, mark: Mark, stream_id: common_core::StreamId, participant_id: ParticipantId) {
        let publisher_is_gone = self.media.any(stream_id).is_none();
        if publisher_is_gone || self.roster.find(participant_id).is_none() {
            // Removing a media stream or a participant takes its routes along.
            self.operations.settle(mark);
        } else if let Some(options) = self.media.subscription(stream_id, participant_id) {
            let destinations = vec![(participant_id, options.clone())];
            self.operations.issue(HandlerCommand::Route { stream_id, destinations }, Purpose::Quiet);
        } else {
            self.operations.issue(HandlerCommand::Unroute { stream_id, participants: vec![participant_id] }, Purpose::Quiet);
        }
    }
}
