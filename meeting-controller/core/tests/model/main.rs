//! Random lives of a meeting against a small model of everyone around it: clients that believe what they are told, a handler
//! that does what it is told, or fails before or after doing it, and somebody who reads what is reported.

mod people;
mod story;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use common_core::{Moment, ParticipantId, StreamId};
use meeting_controller_core::message::{LeaveReason, MediaServer, MuteWish};
use meeting_controller_core::{
    EndCause, Event, HandlerAnswer, HandlerCommand, HandlerFailure, Input, Limits, Meeting, Memory, Message, OperationId, Output, Refusal,
    Request, ServerMessage, SessionKey, Settings,
};
use people::{Client, Step, media_stream, steps};
use proptest::prelude::*;

/// How a handler's call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Done,
    /// Not carried out.
    Lost,
    /// Carried out, and the answer is lost.
    Unheard,
}

/// What the handler ends up with.
#[derive(Debug, Default)]
struct Handler {
    participants: BTreeMap<ParticipantId, (u64, Vec<StreamId>)>,
    routes: BTreeSet<(StreamId, ParticipantId)>,
}

impl Handler {
    fn carry_out(&mut self, command: &HandlerCommand) -> bool {
        match command {
            HandlerCommand::Register { participant_id, streams, generation, .. } => {
                assert!(self.participants.get(participant_id).is_none_or(|(known, _)| *known <= generation.0), "generations never go back");
                let streams: Vec<StreamId> = streams.iter().map(|stream| stream.stream_id).collect();
                let mut others = self.participants.iter().filter(|(who, _)| *who != participant_id);
                if others.any(|(_, (_, taken))| streams.iter().any(|stream| taken.contains(stream))) {
                    return false;
                }
                let before = self.participants.insert(*participant_id, (generation.0, streams.clone())).unwrap_or_default().1;
                self.routes.retain(|(stream, _)| !before.contains(stream) || streams.contains(stream));
            }
            HandlerCommand::Remove { participant_id, .. } => {
                let gone = self.participants.remove(participant_id).unwrap_or_default().1;
                self.routes.retain(|(stream, who)| who != participant_id && !gone.contains(stream));
            }
            HandlerCommand::Route { stream_id, destinations } => {
                if !self.participants.values().any(|(_, streams)| streams.contains(stream_id)) {
                    return false;
                }
                self.routes.extend(destinations.iter().map(|(who, _)| (*stream_id, *who)));
            }
            HandlerCommand::Unroute { stream_id, participants } => {
                for who in participants {
                    self.routes.remove(&(*stream_id, *who));
                }
            }
        }
        true
    }
}

pub struct World {
    now: Moment,
    meeting: Meeting,
    clients: BTreeMap<SessionKey, Client>,
    handler: Handler,
    waiting: VecDeque<(OperationId, HandlerCommand)>,
    last_session: u64,
    last_stamp: u64,
    /// Resume tokens as handed out, newest last.
    resume_tokens: Vec<[u8; 32]>,
    ended: Option<EndCause>,
    /// Who is there, by what was reported: subject and media streams.
    reported: BTreeMap<ParticipantId, (String, BTreeSet<StreamId>)>,
    /// Who must not come in any more.
    refused: BTreeSet<String>,
}

impl World {
    fn new() -> Self {
        Self::with(Limits { messages_max: 1_000_000, ..Limits::default() })
    }

    fn with_empty_timeout(empty_timeout: Duration) -> Self {
        Self::with(Limits { empty_timeout, ..Limits::default() })
    }

    fn with_messages_max(messages_max: u32) -> Self {
        Self::with(Limits { messages_max, ..Limits::default() })
    }

    fn with(limits: Limits) -> Self {
        let now = Moment::from_micros(1_000_000);
        let settings = Settings { participants_max: 6, is_end_to_end_encrypted: true, ..Settings::default() };
        Self {
            now,
            meeting: Meeting::new(now, settings, Memory::default(), limits),
            clients: BTreeMap::new(),
            handler: Handler::default(),
            waiting: VecDeque::new(),
            last_session: 0,
            last_stamp: 0,
            resume_tokens: Vec::new(),
            ended: None,
            reported: BTreeMap::new(),
            refused: BTreeSet::new(),
        }
    }

    /// The meeting breaks off, and what is remembered of it begins another life, as after a panic of its shell.
    fn restart(&mut self) {
        let limits = Limits { messages_max: 1_000_000, ..Limits::default() };
        let fresh = Meeting::new(self.now, Settings { participants_max: 6, ..Settings::default() }, Memory::default(), limits);
        let memory = std::mem::replace(&mut self.meeting, fresh).into_memory();
        self.meeting = Meeting::new(self.now, Settings { participants_max: 6, ..Settings::default() }, memory, limits);
    }

    fn feed(&mut self, input: Input) {
        self.meeting.handle(self.now, input);
        while let Some(output) = self.meeting.poll_output() {
            assert!(self.ended.is_none(), "nothing follows the end: {output:?}");
            match output {
                Output::Send { to, message } => {
                    assert!(!to.is_empty() && to.iter().collect::<BTreeSet<_>>().len() == to.len());
                    for session in to {
                        if let Message::Joined(answer) = &message.body {
                            self.resume_tokens.push(answer.resume_token.hash.0);
                        }
                        self.clients.get_mut(&session).expect("sessions are announced before they are spoken to").hear(&message);
                    }
                }
                Output::AckWhenStored { session, request_id } => {
                    let message = ServerMessage { request_id, body: Message::Ack };
                    self.clients.get_mut(&session).expect("as above").hear(&message);
                }
                Output::Close { session, .. } => self.clients.get_mut(&session).expect("as above").close(),
                Output::Handler { operation, command } => self.waiting.push_back((operation, command)),
                Output::Event(event) => self.read(event),
                Output::Ended(cause) => self.ended = Some(cause),
            }
        }
    }

    /// What is reported must add up by itself.
    fn read(&mut self, event: Event) {
        match event {
            Event::Joined { attendance, .. } => {
                assert!(!self.refused.contains(&attendance.subject), "who is kept out does not come in");
                assert!(attendance.is_connected && attendance.participant.streams.is_empty());
                let who = (attendance.subject, BTreeSet::new());
                assert_eq!(self.reported.insert(attendance.participant.participant_id, who), None, "nobody comes twice");
            }
            Event::Left { attendance, reason, is_kept_out } => {
                assert!(!is_kept_out || reason == LeaveReason::Kicked, "who is kept out was removed");
                let (subject, streams) = self.reported.remove(&attendance.participant.participant_id).expect("who goes was there");
                assert_eq!((subject, streams), (attendance.subject, BTreeSet::new()), "media streams go before their publisher");
            }
            Event::Published(stream) => {
                let (_, streams) = self.reported.get_mut(&stream.participant_id).expect("its publisher is there");
                assert!(streams.insert(stream.stream_id), "nothing is published twice");
            }
            Event::Unpublished(stream) => {
                let (_, streams) = self.reported.get_mut(&stream.participant_id).expect("its publisher is there");
                assert!(streams.remove(&stream.stream_id), "what goes was there");
            }
            Event::Resumed { .. } | Event::JoinRefused { .. } | Event::Lost { .. } | Event::Denied { .. } | Event::HandlerFailed { .. } => {
            }
        }
    }

    fn answer(&mut self, fate: Fate) {
        let Some((operation, command)) = self.waiting.pop_front() else { return };
        let failed = |reason: &str| Err(HandlerFailure { code: common_core::Code::Unavailable, reason: reason.to_owned() });
        let is_done = fate != Fate::Lost && self.handler.carry_out(&command);
        let result = match (fate, is_done, &command) {
            (Fate::Done, true, HandlerCommand::Register { .. }) => Ok(HandlerAnswer::Registered(MediaServer {
                url: "https://h.test/media".into(),
                connection_token: "t".into(),
                certificate_hashes: Vec::new(),
                fallback_url: String::new(),
            })),
            (Fate::Done, true, _) => Ok(HandlerAnswer::Done),
            (Fate::Done, false, _) => failed("no such media stream"),
            _ => failed("unavailable"),
        };
        self.feed(Input::HandlerAnswered { operation, result });
    }

    /// A request on a session that is in; its reply, if that came at once.
    fn ask(&mut self, session: SessionKey, request: Request) -> Option<Message> {
        let stamp = self.stamp();
        let request_id = self.clients.get_mut(&session).expect("it joined").asks();
        self.feed(Input::Request { session, request_id, request, stamp });
        let heard = &self.clients[&session].heard;
        heard.iter().find(|message| message.request_id == request_id).map(|message| message.body.clone())
    }

    fn refused(&mut self, session: SessionKey, request: Request) -> common_core::Code {
        match self.ask(session, request) {
            Some(Message::Error(refusal)) => refusal.code,
            other => panic!("{other:?}"),
        }
    }

    /// What nobody asked for.
    fn heard_by(&self, session: SessionKey) -> Vec<Message> {
        self.clients[&session].heard.iter().filter(|message| message.request_id == 0).map(|message| message.body.clone()).collect()
    }

    fn newest_session(&self) -> SessionKey {
        SessionKey(self.last_session)
    }

    /// With which code a join is refused; it is answered by the handler if it gets that far.
    fn join_refused(&mut self, token: u8, subject: u8) -> Option<common_core::Code> {
        self.join(token, subject, false);
        while !self.waiting.is_empty() {
            self.answer(Fate::Done);
        }
        self.clients[&self.newest_session()].heard.iter().find_map(|message| match &message.body {
            Message::Error(refusal) => Some(refusal.code),
            _ => None,
        })
    }

    fn vanish(&mut self, session: SessionKey) {
        self.clients.get_mut(&session).expect("it joined").close();
        self.feed(Input::SessionEnded(session));
    }

    fn is_open(&self, session: SessionKey) -> bool {
        self.clients[&session].is_open()
    }

    fn ended(&self) -> Option<EndCause> {
        self.ended
    }

    fn advance(&mut self, length: Duration) {
        self.now = self.now + length;
        self.feed(Input::Tick);
    }

    /// The session whose number comes nearest, if any is open.
    fn open_session(&self, pick: u8) -> Option<SessionKey> {
        let open: Vec<SessionKey> = self.clients.iter().filter(|(_, client)| client.is_in()).map(|(session, _)| *session).collect();
        (!open.is_empty()).then(|| open[usize::from(pick) % open.len()])
    }

    fn request(&mut self, pick: u8, request: Request) {
        let Some(session) = self.open_session(pick) else { return };
        let stamp = self.stamp();
        let client = self.clients.get_mut(&session).expect("it was just found");
        let request_id = client.asks();
        self.feed(Input::Request { session, request_id, request, stamp });
    }

    fn member(&self, pick: u8) -> ParticipantId {
        let ids: BTreeSet<ParticipantId> = self.clients.values().filter_map(|client| client.participant_id).collect();
        let ids: Vec<ParticipantId> = ids.into_iter().collect();
        if ids.is_empty() { ParticipantId::from_bytes([0; 16]) } else { ids[usize::from(pick) % ids.len()] }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Join { token, subject, auto_subscribe } => self.join(token, subject, auto_subscribe),
            Step::Resume { token } => self.resume(token),
            Step::Publish { who, stream } => self.request(who, Request::Publish(media_stream(stream))),
            Step::Unpublish { who, stream } => self.request(who, Request::Unpublish(people::stream(stream))),
            Step::Subscribe { who, stream, priority } => {
                self.request(who, Request::Subscribe(people::stream(stream), people::options(priority)))
            }
            Step::Unsubscribe { who, stream } => self.request(who, Request::Unsubscribe(people::stream(stream))),
            Step::Chat { who, id } => {
                self.request(who, Request::Chat { client_message_id: id.to_string(), content: "hello".to_owned() });
            }
            Step::Mute { who, on } => {
                let change = meeting_controller_core::message::StateChange { is_muted: Some(on), ..Default::default() };
                self.request(who, Request::State(change));
            }
            Step::Kick { who, whom } => self.request(who, Request::Kick(self.member(whom))),
            Step::Refuse { subject } => {
                self.refused.insert(subject.to_string());
                self.feed(Input::Refuse(vec![subject.to_string()]));
                let is_here = self.meeting.attendances().iter().any(|it| it.subject == subject.to_string());
                assert!(!is_here, "who is kept out is removed");
            }
            Step::AskToMute { whom } => {
                let wish = MuteWish { microphone: true, ..MuteWish::default() };
                self.feed(Input::AskToMute { participant_id: self.member(whom), wish });
            }
            Step::MediaServer { who } => self.request(who, Request::MediaServer { failed_url: String::new() }),
            Step::Invalid { who } => {
                self.request(who, Request::Invalid(Refusal::new(common_core::Code::InvalidRequest, "nonsense")));
            }
            Step::Leave { who } => self.request(who, Request::Leave),
            Step::Vanish { who } => {
                let every: Vec<SessionKey> =
                    self.clients.iter().filter(|(_, client)| client.is_open()).map(|(session, _)| *session).collect();
                if !every.is_empty() {
                    let session = every[usize::from(who) % every.len()];
                    self.clients.get_mut(&session).expect("it was just found").close();
                    self.feed(Input::SessionEnded(session));
                }
            }
            Step::Answer { fate } => self.answer(fate),
            Step::Advance { millis } => {
                self.now = self.now + Duration::from_millis(u64::from(millis));
                self.feed(Input::Tick);
            }
            Step::HandlerChanges => {
                self.handler = Handler::default();
                self.waiting.clear();
                self.feed(Input::HandlerChanged { reason: "restarted".to_owned(), except: None });
            }
        }
    }

    /// What must hold whenever the meeting is at rest.
    fn check(&self) {
        let inside: Vec<&Client> = self.clients.values().filter(|client| client.is_in()).collect();
        for client in &inside {
            let own = client.participant_id.expect("who is in has an id");
            let seen: BTreeSet<ParticipantId> = client.sees.keys().copied().chain([own]).collect();
            assert_eq!(seen.len(), self.meeting.participant_count(), "everyone sees everyone");
            assert_eq!(client.heard_up_to, self.said_so_far(), "chat reaches all");
            for other in &inside {
                for (who, streams) in &client.sees {
                    if let Some(same) = other.sees.get(who) {
                        assert_eq!(streams, same, "all see the same media streams");
                    }
                }
            }
        }
        let ids: BTreeSet<ParticipantId> = inside.iter().filter_map(|client| client.participant_id).collect();
        assert_eq!(ids.len(), inside.len(), "a participant is on one session");
        let attending = self.meeting.attendances();
        let listed: BTreeSet<ParticipantId> = attending.iter().map(|it| it.participant.participant_id).collect();
        assert_eq!(listed, self.reported.keys().copied().collect(), "what is listed was reported");
        assert_eq!(attending.iter().filter(|it| it.is_connected).count(), inside.len(), "who is connected is on a session");
        for (who, streams) in inside.iter().flat_map(|client| &client.sees) {
            assert_eq!(self.reported.get(who).map(|(_, streams)| streams), Some(streams), "what is reported is what clients see");
        }
    }

    fn said_so_far(&self) -> u64 {
        self.clients.values().map(|client| client.heard_up_to).max().unwrap_or(0)
    }

    /// The handler recovers, time passes, and everything is as it should be.
    fn settle(&mut self) {
        for _ in 0..100 {
            while !self.waiting.is_empty() {
                self.answer(Fate::Done);
            }
            if !self.meeting.has_handler_work() {
                break;
            }
            self.now = self.now + Duration::from_secs(1);
            self.feed(Input::Tick);
        }
        assert!(!self.meeting.has_handler_work(), "repair comes to an end");
        self.now = self.now + Duration::from_secs(6);
        self.feed(Input::Tick);
        while !self.waiting.is_empty() {
            self.answer(Fate::Done);
        }
        self.check();
        for client in self.clients.values().filter(|client| client.is_open()) {
            assert!(client.is_in(), "nobody waits at the door");
            assert_eq!(client.waits_for(), 0, "every request has its reply");
        }
        let inside: Vec<&Client> = self.clients.values().filter(|client| client.is_in()).collect();
        assert_eq!(inside.len(), self.meeting.participant_count(), "the lost are gone");
        let known: BTreeSet<ParticipantId> = self.handler.participants.keys().copied().collect();
        let members: BTreeSet<ParticipantId> = inside.iter().filter_map(|client| client.participant_id).collect();
        assert_eq!(known, members, "the handler knows who is in");
        for client in &inside {
            for (who, streams) in &client.sees {
                let registered: BTreeSet<StreamId> = self.handler.participants[who].1.iter().copied().collect();
                assert_eq!(&registered, streams, "the handler knows what is published");
            }
        }
        let wanted: BTreeSet<(StreamId, ParticipantId)> = self.meeting.routes().into_iter().collect();
        assert_eq!(self.handler.routes, wanted, "the handler routes what is wanted");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    /// Any order of inputs leaves roster, routes and counts consistent.
    #[test]
    fn any_order_is_consistent(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
            world.check();
        }
        world.settle();
    }
}
