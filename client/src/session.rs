//! The participant's signaling: owns the session, the roster and the requests under way; survives losses of the session.
//!
//! In: commands of the application, messages of the controller, time. Out: events, replies, the roster as a snapshot. One task
//! owns all of it; nobody else changes anything.

mod enter;
mod restore;

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common_core::{Code, Moment, ParticipantId, StreamId};
use proto::v1::{self, client_message, server_message};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub(crate) use enter::{Entered, dial_controller, enter};

use crate::convert::{Heard, heard, participants};
use crate::dial::Dialer;
use crate::encryption::{Encryption, chat_event};
use crate::end::{SessionEnd, left};
use crate::event::Event;
use crate::meeting::RequestError;
use crate::options::JoinOptions;
use crate::records::RecordQueue;
use crate::roster::{Change, Roster};
use crate::signaling::{SignalingConnection, client_message};
use crate::silence::{CHECK_INTERVAL, Silence};
use crate::trust::Trust;
use restore::Fate;

/// Requests under way; one more is refused. An application that has so many does not listen to answers.
const PENDING_MAX: usize = 256;
/// Commands on their way to the task.
pub(crate) const COMMANDS_MAX: usize = 64;
/// How long the answer to a `Leave` is waited for.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);
/// Pings go at least this far apart, whatever the server asks for: they cost messages of the participant's quota.
const HEARTBEAT_MIN: Duration = Duration::from_secs(1);

/// What the application (or the link keeper) wants.
pub(crate) enum Command {
    Request {
        body: client_message::Body,
        reply: oneshot::Sender<Result<server_message::Body, RequestError>>,
    },
    /// No reply wanted.
    Tell(client_message::Body),
    Leave(oneshot::Sender<()>),
}

/// Makes requests. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Requests {
    pub(crate) commands: mpsc::Sender<Command>,
}

impl Requests {
    /// One request, one answer.
    pub(crate) async fn request(&self, body: client_message::Body) -> Result<server_message::Body, RequestError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Request { body, reply }).await.map_err(|_| RequestError::Ended)?;
        answer.await.unwrap_or(Err(RequestError::Ended))
    }

    /// A fresh token for a handler other than `failed_url`.
    pub(crate) async fn media_server(&self, failed_url: String) -> Result<v1::MediaServerInfo, RequestError> {
        match self.request(client_message::Body::MediaServer(v1::RequestMediaServer { failed_url })).await? {
            server_message::Body::MediaServer(info) => Ok(info),
            _ => Err(RequestError::Answer),
        }
    }
}

/// A request under way.
struct Pending {
    message: v1::ClientMessage,
    reply: oneshot::Sender<Result<server_message::Body, RequestError>>,
    deadline: Instant,
    sent: bool,
}

/// An attempt to come back, in a task of its own.
struct Resuming {
    task: AbortOnDropHandle<Result<Option<Entered>, SessionEnd>>,
    /// The server may have replaced the old session already: no way back.
    committed: Arc<AtomicBool>,
    /// Begun because nothing was heard: ends when something is.
    by_silence: bool,
}

/// A `Leave` under way.
struct Leaving {
    request_id: u64,
    deadline: Instant,
    waiting: Vec<oneshot::Sender<()>>,
}

/// What the task shares with handles.
pub(crate) struct Outlets {
    pub(crate) roster: watch::Sender<Arc<Roster>>,
    pub(crate) resume_token: watch::Sender<String>,
    pub(crate) round_trip: watch::Sender<Option<Duration>>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) infos: mpsc::Sender<v1::MediaServerInfo>,
    pub(crate) records: Arc<RecordQueue>,
    pub(crate) encryption: Option<Arc<Encryption>>,
}

/// The task.
pub(crate) struct Session {
    dialer: Dialer,
    options: Arc<JoinOptions>,
    me: ParticipantId,
    outlets: Outlets,
    commands: mpsc::Receiver<Command>,
    dropped: CancellationToken,

    connection: Option<SignalingConnection>,
    resuming: Option<Resuming>,
    controllers: Controllers,
    resume_token: String,
    heartbeat: Duration,
    origin: Instant,
    silence: Silence,
    pinged: Instant,

    roster: Roster,
    chat_sequence: u64,
    next_request: u64,
    pending: BTreeMap<u64, Pending>,
    published: BTreeMap<String, v1::PublishStream>,
    subscribed: BTreeMap<String, v1::SubscribeStream>,
    leaving: Option<Leaving>,
}

/// Where to dial for a resume, and whom to believe there.
#[derive(Clone)]
struct Controllers {
    url: String,
    alternates: Vec<String>,
    trust: Trust,
}

/// What the task woke up for.
enum Step {
    Message(Result<v1::ServerMessage, SessionEnd>),
    Command(Option<Command>),
    Resumed(Result<Option<Entered>, SessionEnd>),
    Dropped,
    Tick,
}

impl Session {
    /// A session that has just been entered.
    pub(crate) fn new(
        dialer: Dialer,
        options: Arc<JoinOptions>,
        me: ParticipantId,
        entered: Entered,
        outlets: Outlets,
        commands: mpsc::Receiver<Command>,
        dropped: CancellationToken,
    ) -> Self {
        let origin = Instant::now();
        let trust = options.trust_for(&options.certificate_hashes);
        let mut session = Self {
            controllers: Controllers { url: entered.url.clone(), alternates: Vec::new(), trust },
            chat_sequence: options.chat_after_sequence,
            dialer,
            options,
            me,
            outlets,
            commands,
            dropped,
            connection: None,
            resuming: None,
            resume_token: String::new(),
            heartbeat: HEARTBEAT_MIN,
            origin,
            silence: Silence::new(Moment::ORIGIN),
            pinged: origin,
            roster: Roster::default(),
            next_request: 1,
            pending: BTreeMap::new(),
            published: BTreeMap::new(),
            subscribed: BTreeMap::new(),
            leaving: None,
        };
        session.adopt(entered, true);
        session
    }

    fn now(&self) -> Moment {
        Moment::from_micros(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Runs until the meeting is over for this participant.
    pub(crate) async fn run(mut self) {
        let mut ticks = tokio::time::interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = loop {
            let (connection, resuming) = (&mut self.connection, &mut self.resuming);
            let step = tokio::select! {
                message = async { match connection { Some(it) => it.next().await, None => pending().await } } => Step::Message(message),
                entered = async { match resuming { Some(it) => (&mut it.task).await, None => pending().await } } => {
                    Step::Resumed(entered.unwrap_or_else(|error| Err(SessionEnd::lost(error))))
                }
                command = self.commands.recv() => Step::Command(command),
                () = self.dropped.cancelled(), if self.leaving.is_none() => Step::Dropped,
                _ = ticks.tick() => Step::Tick,
            };
            let end = match step {
                Step::Message(Ok(message)) => self.hear(message),
                Step::Message(Err(end)) => self.lose(end),
                Step::Resumed(entered) => self.resumed(entered),
                Step::Command(Some(command)) => {
                    self.command(command);
                    None
                }
                // The link keeper holds a sender for as long as this task runs.
                Step::Command(None) | Step::Dropped => {
                    self.leave(None);
                    None
                }
                Step::Tick => self.tick(),
            };
            if let Some(end) = end {
                break end;
            }
        };
        self.finish(end).await;
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Request { body, reply } => {
                if self.pending.len() >= PENDING_MAX {
                    // Whoever asked may be gone.
                    let _ = reply.send(Err(RequestError::TooMany));
                    return;
                }
                let request_id = self.next_request;
                self.next_request += 1;
                let deadline = Instant::now() + self.options.request_timeout;
                let message = client_message(request_id, body);
                self.pending.insert(request_id, Pending { message, reply, deadline, sent: false });
                self.flush();
            }
            Command::Tell(body) => {
                if let Some(connection) = &self.connection {
                    // Lost while the session is: what wants no reply is of the moment.
                    connection.try_send(&client_message(0, body));
                }
            }
            Command::Leave(done) => self.leave(Some(done)),
        }
    }

    /// Sends what was not sent, in order, as far as the session takes it.
    fn flush(&mut self) {
        let Some(connection) = &self.connection else { return };
        for pending in self.pending.values_mut().filter(|it| !it.sent) {
            if !connection.try_send(&pending.message) {
                return;
            }
            pending.sent = true;
        }
    }

    fn leave(&mut self, done: Option<oneshot::Sender<()>>) {
        match &mut self.leaving {
            Some(leaving) => leaving.waiting.extend(done),
            None => {
                let request_id = self.next_request;
                self.next_request += 1;
                if let Some(connection) = &self.connection {
                    connection.try_send(&client_message(request_id, client_message::Body::Leave(v1::Leave {})));
                }
                self.resuming = None;
                self.leaving = Some(Leaving { request_id, deadline: Instant::now() + LEAVE_TIMEOUT, waiting: done.into_iter().collect() });
            }
        }
    }

    /// Takes a message in; the end, if it answers our leaving.
    fn hear(&mut self, message: v1::ServerMessage) -> Option<SessionEnd> {
        self.silence.heard(self.now());
        self.revive();
        if self.leaving.as_ref().is_some_and(|leaving| leaving.request_id == message.request_id) {
            return Some(left());
        }
        let body = message.body?;
        match self.pending.remove(&message.request_id) {
            Some(pending) => self.answer(pending, body),
            None => self.unasked(body),
        }
        None
    }

    /// The old session speaks again before anything was replaced: it stays.
    fn revive(&mut self) {
        if self.connection.is_some() && self.resuming.as_ref().is_some_and(|it| it.by_silence && !it.committed.load(Ordering::Acquire)) {
            self.resuming = None;
            self.tell(Event::Resumed);
        }
    }

    fn answer(&mut self, pending: Pending, body: server_message::Body) {
        let answer = match body {
            server_message::Body::Error(error) => Err(RequestError::refused(error)),
            body => {
                self.remember(pending.message.body.as_ref());
                if let server_message::Body::Chat(chat) = &body {
                    self.chat(chat.clone());
                }
                Ok(body)
            }
        };
        // Whoever asked may be gone.
        let _ = pending.reply.send(answer);
    }

    /// What a request that was granted changes for the next resume.
    fn remember(&mut self, request: Option<&client_message::Body>) {
        match request {
            Some(client_message::Body::Publish(publish)) => {
                self.published.insert(publish.stream_id.clone(), publish.clone());
            }
            Some(client_message::Body::Unpublish(unpublish)) => {
                self.published.remove(&unpublish.stream_id);
            }
            Some(client_message::Body::Subscribe(subscribe)) => {
                self.subscribed.insert(subscribe.stream_id.clone(), subscribe.clone());
            }
            Some(client_message::Body::Unsubscribe(unsubscribe)) => {
                self.subscribed.remove(&unsubscribe.stream_id);
            }
            _ => {}
        }
    }

    fn unasked(&mut self, body: server_message::Body) {
        let heard = match heard(body) {
            Ok(heard) => heard,
            Err(error) => return tracing::warn!(%error, "a message of the controller is left out"),
        };
        match heard {
            Heard::Change(Change::Left { participant_id, reason }) if participant_id == self.me => {
                self.tell(Event::ParticipantLeft { participant_id, reason });
            }
            Heard::Change(change) => {
                if let Some(event) = self.roster.apply(change) {
                    self.publish_roster([event]);
                }
            }
            Heard::Event(event) => self.tell(event),
            Heard::Chat(chat) => self.chat(chat),
            Heard::MediaServer(info) => self.media_server(info),
            Heard::Pong(pong) => {
                let sent = pong.sent_at_us;
                let now = self.now().as_micros();
                if sent != 0 && sent <= now {
                    self.outlets.round_trip.send_replace(Some(Duration::from_micros(now - sent)));
                }
            }
            Heard::Reconnect(reconnect) => self.move_to(reconnect),
            Heard::Error(error) => {
                let message = common_core::name::escape(&error.message, 200);
                tracing::warn!(code = error.code, %message, "the controller reports an error");
            }
            Heard::Nothing => {}
        }
    }

    /// Each message once, in order: after a resume the history overlaps with what came before.
    fn chat(&mut self, chat: v1::ChatMessage) {
        if chat.sequence > self.chat_sequence {
            self.chat_sequence = chat.sequence;
            self.tell(chat_event(self.outlets.encryption.as_deref(), chat));
        }
    }

    fn media_server(&self, info: v1::MediaServerInfo) {
        // A keeper that is so far behind will ask by itself.
        if self.outlets.infos.try_send(info).is_err() {
            tracing::debug!("a media server was offered while others wait; it is left out");
        }
    }

    fn move_to(&mut self, reconnect: v1::Reconnect) {
        if let Some(info) = reconnect.media_server {
            self.media_server(info);
        }
        if !reconnect.meeting_controller_url.is_empty() {
            self.controllers.url = reconnect.meeting_controller_url;
            self.controllers.trust = self.options.trust_for(&reconnect.certificate_hashes);
            self.resuming = None;
            self.begin_resume(&reconnect.reason, false);
        }
    }

    /// The session ended: over for good, or to be resumed.
    fn lose(&mut self, end: SessionEnd) -> Option<SessionEnd> {
        self.connection = None;
        if self.leaving.is_some() {
            return Some(left());
        }
        let moved_by_us = end.code() == Some(Code::Moved) && self.resuming.is_some();
        if !end.is_worth_resuming() && !moved_by_us {
            return Some(end);
        }
        if self.resuming.is_none() {
            self.begin_resume(&end.to_string(), false);
        }
        None
    }

    fn begin_resume(&mut self, reason: &str, by_silence: bool) {
        self.tell(Event::Reconnecting { reason: common_core::name::escape(reason, 300) });
        let committed = Arc::new(AtomicBool::new(false));
        let request = v1::JoinRequest {
            meeting_id: self.options.meeting_id.clone(),
            join_token: String::new(),
            participant_name: self.options.name.clone(),
            capabilities: Some(self.options.capabilities.clone()),
            resume_token: self.resume_token.clone(),
            auto_subscribe: self.options.auto_subscribe,
            chat_after_sequence: self.chat_sequence,
            e2ee_key_id: self.outlets.encryption.as_ref().map(|it| it.key_id().to_owned()).unwrap_or_default(),
        };
        let mut urls = vec![self.controllers.url.clone()];
        urls.extend(self.controllers.alternates.iter().cloned());
        let trust = self.controllers.trust.clone();
        let packets = self.connection.as_ref().filter(|_| by_silence).and_then(SignalingConnection::packet_count);
        let silent = packets.map(|packets| enter::Silent { count: packets.count(), packets });
        let resume = enter::resume(self.dialer.clone(), trust, urls, request, self.options.resume_within, committed.clone(), silent);
        self.resuming = Some(Resuming { task: AbortOnDropHandle::new(tokio::spawn(resume)), committed, by_silence });
    }

    fn resumed(&mut self, entered: Result<Option<Entered>, SessionEnd>) -> Option<SessionEnd> {
        self.resuming = None;
        match entered {
            Ok(Some(entered)) if entered.response.participant_id != self.me.to_string() => {
                Some(SessionEnd::lost("the controller resumed somebody else"))
            }
            Ok(Some(entered)) => {
                self.adopt(entered, false);
                self.tell(Event::Resumed);
                None
            }
            // It spoke again only to end.
            Ok(None) if self.connection.is_none() => {
                self.begin_resume("the session that was silent has ended", false);
                None
            }
            // A session that is as silent as before is none, whatever QUIC still hopes for: the application's patience is over.
            Err(end) if self.connection.is_none() || self.is_silent() => Some(end),
            // The session that was to be replaced came back meanwhile.
            Ok(None) | Err(_) => {
                self.tell(Event::Resumed);
                None
            }
        }
    }

    /// Takes a session over, with its snapshot.
    fn adopt(&mut self, entered: Entered, is_first: bool) {
        let Entered { connection, url, response } = entered;
        // The old session, if any, ends here: the new one stands.
        self.connection = Some(connection);
        self.controllers.url = url;
        self.controllers.alternates = response.alternate_controller_urls;
        self.outlets.resume_token.send_replace(response.resume_token.clone());
        self.resume_token = response.resume_token;
        self.heartbeat = Duration::from_millis(u64::from(response.heartbeat_interval_ms)).max(HEARTBEAT_MIN);
        self.silence = Silence::new(self.now());
        let mut others = participants(response.existing_participants);
        let known: Vec<StreamId> =
            others.iter().filter(|it| it.participant_id == self.me).flat_map(|it| it.streams.keys().copied()).collect();
        others.retain(|it| it.participant_id != self.me);
        if is_first {
            self.roster = Roster::new(others);
            self.publish_roster([]);
        } else {
            let events = self.roster.replace(others);
            self.publish_roster(events);
            self.restore(&known, &response.subscriptions);
        }
        for chat in response.chat {
            self.chat(chat);
        }
        if let Some(info) = response.media_server {
            self.media_server(info);
        }
        self.flush();
    }

    /// After a resume: what the controller does not know any more is said again, and requests that were under way are
    /// repeated where that does no harm.
    fn restore(&mut self, known: &[StreamId], subscriptions: &[String]) {
        let is_known = |id: &str| known.iter().any(|stream| stream.to_string() == id);
        for (id, mut pending) in std::mem::take(&mut self.pending) {
            match restore::fate(pending.message.body.as_ref(), pending.sent, is_known) {
                Fate::Repeat => {
                    pending.sent = false;
                    self.pending.insert(id, pending);
                }
                Fate::Granted => self.answer(pending, server_message::Body::Ack(v1::Ack {})),
                Fate::Interrupted => {
                    // Whoever asked may be gone.
                    let _ = pending.reply.send(Err(RequestError::Interrupted));
                }
            }
        }
        let Some(connection) = &self.connection else { return };
        for publish in self.published.values().filter(|publish| !is_known(&publish.stream_id)) {
            connection.try_send(&client_message(0, client_message::Body::Publish(publish.clone())));
        }
        for subscribe in self.subscribed.values().filter(|subscribe| !subscriptions.contains(&subscribe.stream_id)) {
            connection.try_send(&client_message(0, client_message::Body::Subscribe(subscribe.clone())));
        }
    }

    fn tick(&mut self) -> Option<SessionEnd> {
        let at = Instant::now();
        if self.leaving.as_ref().is_some_and(|leaving| at >= leaving.deadline) {
            return Some(left());
        }
        let late: Vec<u64> = self.pending.iter().filter(|(_, it)| at >= it.deadline).map(|(id, _)| *id).collect();
        for pending in late.into_iter().filter_map(|id| self.pending.remove(&id)) {
            // Whoever asked may be gone.
            let _ = pending.reply.send(Err(RequestError::Timeout));
        }
        self.flush();
        let now = self.now();
        let Some(connection) = &self.connection else { return None };
        if at.duration_since(self.pinged) >= self.heartbeat {
            self.pinged = at;
            connection.try_send(&client_message(0, client_message::Body::Ping(v1::Ping { sent_at_us: now.as_micros() })));
        }
        if self.is_silent() {
            if self.resuming.is_none() && self.leaving.is_none() {
                self.begin_resume("nothing was heard for a while", true);
            }
        } else {
            self.revive();
        }
        None
    }

    /// Whether nothing has come for a while on the session that is in use.
    fn is_silent(&mut self) -> bool {
        let now = self.now();
        // On a WebSocket only messages count; the server's pong each second is one.
        let packets = self.connection.as_ref().and_then(SignalingConnection::packet_count).map_or(0, |packets| packets.count());
        self.silence.check(packets, now)
    }

    fn publish_roster(&self, events: impl IntoIterator<Item = Event>) {
        // The snapshot first: whoever hears of an event finds it applied.
        self.outlets.roster.send_replace(Arc::new(self.roster.clone()));
        for event in events {
            if let Event::StreamUnpublished { stream_id, .. } = &event {
                self.outlets.records.forget(*stream_id);
            }
            self.tell(event);
        }
    }

    fn tell(&self, event: Event) {
        // Nobody listening is fine.
        let _ = self.outlets.events.send(event);
    }

    async fn finish(mut self, end: SessionEnd) {
        self.commands.close();
        for pending in std::mem::take(&mut self.pending).into_values() {
            // Whoever asked may be gone.
            let _ = pending.reply.send(Err(RequestError::Ended));
        }
        self.outlets.records.close();
        self.tell(Event::Closed { end });
        if let Some(connection) = self.connection.take() {
            connection.close(Code::Normal, "").await;
        }
        for done in self.leaving.take().map(|leaving| leaving.waiting).unwrap_or_default() {
            let _ = done.send(());
        }
    }
}
