//! The state machine of one meeting: takes inputs, keeps the sub-machines in step, and says what must happen.

mod access;
mod control;
mod join;
mod people;
mod streams;

use std::collections::{BTreeMap, VecDeque};

use common_core::{Code, Deadline, Moment, ParticipantId};

use crate::chat::ChatLog;
use crate::credentials::{Memory, ResumeBook};
use crate::handler::{HandlerCommand, Mark, Operations, Purpose, Reply};
use crate::input::{Input, Limits, Settings, Stamp};
use crate::media::Media;
use crate::message::{LeaveReason, Message, Refusal, Request, ServerMessage, SessionKey};
use crate::output::{EndCause, Event, Output};
use crate::quality::QualityGate;
use crate::rate::Verdict;
use crate::roster::{Presence, Roster};
use join::PendingJoin;

/// One meeting.
#[derive(Debug)]
pub struct Meeting {
    settings: Settings,
    limits: Limits,
    roster: Roster,
    joins: BTreeMap<SessionKey, PendingJoin>,
    joins_ever: u64,
    memory: Memory,
    resume: ResumeBook,
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
    /// A meeting without anyone, which takes up what is remembered of an earlier life of it.
    pub fn new(now: Moment, settings: Settings, memory: Memory, limits: Limits) -> Self {
        Self {
            settings,
            limits,
            roster: Roster::default(),
            joins: BTreeMap::new(),
            joins_ever: 0,
            memory,
            resume: ResumeBook::default(),
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
        if self.ended.is_none() {
            // Who comes in at the last moment finds the meeting.
            let may_end = !matches!(input, Input::Join(_));
            self.work_off_deadlines(now, may_end);
        }
        if let Some(cause) = self.ended {
            if let Input::Join(join) = input {
                self.refuse_join(join.session, join.request_id, over(cause));
            }
            return;
        }
        match input {
            Input::Join(join) => self.join(now, *join),
            Input::Request { session, request_id, request, stamp } => self.request(now, Reply { session, request_id }, request, stamp),
            Input::SessionEnded(session) => self.session_ended(now, session),
            Input::Refuse(subjects) => self.refuse_subjects(subjects),
            Input::AskToMute { participant_id, wish } => self.ask_to_mute(participant_id, wish),
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

    /// Everybody whom a handler may know, with the generation that it knows at most.
    pub fn generations(&self) -> Vec<(ParticipantId, common_core::Generation)> {
        self.roster.members().map(|member| (member.participant_id, member.generation)).collect()
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
            self.refuse(reply, request.denied_to_strangers().into());
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
        if let Err(denied) = self.may(participant_id, &request) {
            self.refuse(reply, denied.into());
            return;
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

    fn work_off_deadlines(&mut self, now: Moment, may_end: bool) {
        for participant_id in self.roster.overdue(now) {
            if self.is_resuming(participant_id) {
                // Back already, and waiting for a handler, which answers or fails within seconds.
                self.roster.set_presence(participant_id, Presence::Lost(now + self.limits.reconnect_window));
            } else {
                self.depart(participant_id, LeaveReason::ConnectionLost, Code::Unavailable, "not back within the reconnection window");
            }
        }
        self.repair(now);
        if may_end && self.empty_until().is_some_and(|until| until <= now) {
            self.end(EndCause::Empty);
        }
    }

    /// A spent token must not be forgotten before it expires by itself.
    fn empty_until(&self) -> Option<Moment> {
        let until = self.empty_since? + self.limits.empty_timeout;
        Some(self.memory.spent.last_until().map_or(until, |spent| spent.max(until)))
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
        if self.awaits(reply) {
            self.send(vec![reply.session], reply.request_id, body);
        }
    }

    /// Whether a reply is wanted, and there is somebody to read it.
    fn awaits(&self, reply: Reply) -> bool {
        let stands = self.roster.on_session(reply.session).is_some() || self.joins.contains_key(&reply.session);
        reply.request_id != 0 && stands
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
                self.give_back(&pending);
                let code = if reason == LeaveReason::Kicked { Code::Forbidden } else { Code::NotFound };
                self.refuse_join(session, pending.request_id(), Refusal::new(code, "this participant is gone"));
            }
        }
        let Some(member) = self.roster.remove(participant_id) else { return };
        self.resume.forget(participant_id);
        self.quality.forget_participant(participant_id);
        self.tell_unpublished(participant_id);
        for media_stream in self.media.remove_participant(participant_id) {
            self.quality.forget_stream(media_stream.stream_id);
        }
        for pushes_token in [false, true] {
            self.operations.settle(Mark::Participant { participant_id, pushes_token });
        }
        let generation = member.generation;
        self.operations.issue(HandlerCommand::Remove { participant_id, generation, code, reason: why }, purpose);
        self.tell_others(participant_id, Message::ParticipantLeft { participant_id, reason });
        let attendance = Box::new(self.attendance_of(&member));
        let is_kept_out = self.memory.refused.contains(&member.subject);
        self.outputs.push_back(Output::Event(Event::Left { attendance, reason, is_kept_out }));
    }

    /// What ends with its publisher, for those who count.
    fn tell_unpublished(&mut self, participant_id: ParticipantId) {
        for media_stream in self.media.live_of(participant_id) {
            self.outputs.push_back(Output::Event(Event::Unpublished(Box::new(media_stream))));
        }
    }

    fn end(&mut self, cause: EndCause) {
        for (session, pending) in std::mem::take(&mut self.joins) {
            self.give_back(&pending);
            self.refuse_join(session, pending.request_id(), over(cause));
        }
        // Where it may go on elsewhere, nobody must read that it has ended; media and signaling say the same.
        let (reason, code, why) = match cause {
            EndCause::Stopping => (LeaveReason::ConnectionLost, Code::Unavailable, STOPPING),
            EndCause::Moved => (LeaveReason::ConnectionLost, Code::Unavailable, MOVED),
            EndCause::Ended | EndCause::Empty => (LeaveReason::MeetingEnded, Code::Normal, "the meeting has ended"),
        };
        let members: Vec<ParticipantId> = self.roster.by_arrival().into_iter().map(|member| member.participant_id).collect();
        for participant_id in members {
            let Some(member) = self.roster.remove(participant_id) else { continue };
            if let Presence::On(session) = member.presence {
                if !matches!(cause, EndCause::Stopping | EndCause::Moved) {
                    self.send(vec![session], 0, Message::ParticipantLeft { participant_id, reason });
                }
                self.close(session, code, why);
            }
            let generation = member.generation;
            self.operations.issue(HandlerCommand::Remove { participant_id, generation, code, reason: why }, Purpose::Quiet);
            self.tell_unpublished(participant_id);
            self.media.remove_participant(participant_id);
            let attendance = Box::new(self.attendance_of(&member));
            self.outputs.push_back(Output::Event(Event::Left { attendance, reason, is_kept_out: false }));
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

/// What everyone reads when this controller stops.
const STOPPING: &str = "this controller stops; try again";

/// What everyone reads whose meeting goes on elsewhere.
const MOVED: &str = "this meeting has moved to another controller; join again through the API";

/// What somebody hears who comes after the end.
fn over(cause: EndCause) -> Refusal {
    match cause {
        EndCause::Ended => Refusal::new(Code::NotFound, "this meeting has ended"),
        EndCause::Stopping => Refusal::new(Code::Unavailable, STOPPING),
        EndCause::Moved => Refusal::new(Code::Unavailable, MOVED),
        EndCause::Empty => Refusal::new(Code::Unavailable, "this meeting is not here any more; try again"),
    }
}
