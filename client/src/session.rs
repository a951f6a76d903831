//! The participant's signaling: owns the session and the roster; survives losses of the session.
//!
//! In: commands of the application, messages of the controller, time. Out: events, replies, the roster as a snapshot. One task
//! owns all of it; nobody else changes anything. Its parts own their fields: requests under way ([`requests`]), what stands and has to
//! be said again ([`standing`]), where to dial ([`controllers`]), the heartbeat ([`pulse`]), the way back ([`come_back`]).

mod come_back;
mod controllers;
mod enter;
mod pulse;
mod requests;
mod restore;
mod returning;
mod standing;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use common_core::{Code, Moment, ParticipantId, StreamId};
use proto::v1::{self, client_message, server_message};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use come_back::Back;
pub(crate) use controllers::Controllers;
pub(crate) use enter::{Entered, dial, enter};
use pulse::Pulse;
pub(crate) use requests::Requests;
use requests::{Pending, Reply, RequestTable};
use standing::Standing;

use crate::backoff::Backoff;
use crate::convert::{Heard, heard};
use crate::dial::Dialer;
use crate::encryption::{Encryption, chat_event};
use crate::end::{SessionEnd, left};
use crate::event::Event;
use crate::link::Offer;
use crate::meeting::RequestError;
use crate::oneself;
use crate::options::JoinOptions;
use crate::records::RecordQueue;
use crate::roster::{Change, LeaveReason, Participant, Roster};
use crate::signaling::{SignalingConnection, client_message};
use crate::silence::CHECK_INTERVAL;
use crate::status::{ChatLog, ConnectionState, Status};

/// Commands on their way to the task.
pub(crate) const COMMANDS_MAX: usize = 64;
/// How long the answer to a `Leave` is waited for.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the application (or the link keeper) wants.
pub(crate) enum Command {
    Request {
        body: client_message::Body,
        reply: Reply,
    },
    /// No reply wanted.
    Tell(client_message::Body),
}

/// An attempt to come back, in a task of its own.
struct ComingBack {
    task: AbortOnDropHandle<(Result<Back, SessionEnd>, Backoff)>,
    /// The server may have replaced the old session already: no way back.
    committed: Arc<AtomicBool>,
    /// Begun because nothing was heard: ends when something is.
    by_silence: bool,
}

/// A `Leave` under way.
struct Leaving {
    request_id: u64,
    deadline: Instant,
}

/// How the application ends the session. Neither waits for room in a queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Endings {
    /// Say goodbye, then end.
    pub(crate) leave: CancellationToken,
    /// End at once.
    pub(crate) close: CancellationToken,
}

/// What the task shares with handles.
pub(crate) struct Outlets {
    pub(crate) roster: watch::Sender<Arc<Roster>>,
    pub(crate) me: watch::Sender<Arc<Participant>>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) chat: Arc<ChatLog>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) offers: mpsc::Sender<Offer>,
    pub(crate) records: Arc<RecordQueue>,
    pub(crate) encryption: Option<Arc<Encryption>>,
}

/// The message as it is sent: chat of an encrypted meeting sealed in the name of `me`, with a fresh salt each time; everything else as it is.
/// `None` where it cannot be sealed.
fn sealed<'a>(encryption: Option<&Encryption>, me: ParticipantId, message: &'a v1::ClientMessage) -> Option<Cow<'a, v1::ClientMessage>> {
    let (Some(encryption), Some(client_message::Body::Chat(chat))) = (encryption, &message.body) else {
        return Some(Cow::Borrowed(message));
    };
    let content = encryption.seal_chat(me, &chat.client_message_id, &chat.content).ok()?;
    Some(Cow::Owned(client_message(message.request_id, client_message::Body::Chat(v1::SendChat { content, ..chat.clone() }))))
}

/// The task.
pub(crate) struct Session {
    dialer: Dialer,
    options: Arc<JoinOptions>,
    me: ParticipantId,
    outlets: Outlets,
    commands: mpsc::Receiver<Command>,
    endings: Endings,

    connection: Option<SignalingConnection>,
    coming_back: Option<ComingBack>,
    controllers: Controllers,
    backoff: Backoff,
    resume_token: String,
    origin: Instant,
    pulse: Pulse,

    roster: Roster,
    chat_sequence: u64,
    requests: RequestTable,
    standing: Standing,
    leaving: Option<Leaving>,
    /// We were removed, or the meeting ended: however the session ends now, there is no coming back.
    is_dismissed: bool,
}

/// What the task woke up for.
enum Step {
    Message(Result<v1::ServerMessage, SessionEnd>),
    Command(Option<Command>),
    Back(Result<Back, SessionEnd>, Option<Backoff>),
    Leave,
    Close,
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
        endings: Endings,
    ) -> Self {
        let mut session = Self {
            controllers: Controllers::new(&options),
            chat_sequence: options.chat_after_sequence,
            requests: RequestTable::new(options.request_timeout),
            dialer,
            options,
            me,
            outlets,
            commands,
            endings,
            connection: None,
            coming_back: None,
            backoff: Backoff::default(),
            resume_token: String::new(),
            origin: Instant::now(),
            pulse: Pulse::new(0, Moment::ORIGIN),
            roster: Roster::default(),
            standing: Standing::default(),
            leaving: None,
            is_dismissed: false,
        };
        session.adopt(entered, None);
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
            let (connection, coming_back) = (&mut self.connection, &mut self.coming_back);
            let step = tokio::select! {
                message = async { match connection { Some(it) => it.next().await, None => pending().await } } => Step::Message(message),
                back = async { match coming_back { Some(it) => (&mut it.task).await, None => pending().await } } => match back {
                    Ok((back, backoff)) => Step::Back(back, Some(backoff)),
                    Err(error) => Step::Back(Err(SessionEnd::lost(error)), None),
                },
                command = self.commands.recv() => Step::Command(command),
                () = self.endings.close.cancelled() => Step::Close,
                () = self.endings.leave.cancelled(), if self.leaving.is_none() => Step::Leave,
                _ = ticks.tick() => Step::Tick,
            };
            let end = match step {
                Step::Message(Ok(message)) => self.hear(message),
                Step::Message(Err(end)) => self.lose(end),
                Step::Back(back, backoff) => {
                    self.backoff = backoff.unwrap_or_default();
                    self.came_back(back)
                }
                Step::Command(Some(command)) => {
                    self.command(command);
                    None
                }
                // The link keeper holds a sender for as long as this task runs.
                Step::Command(None) | Step::Leave => {
                    self.leave();
                    None
                }
                Step::Close => Some(left()),
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
                self.requests.add(body, reply, Instant::now());
                self.flush();
            }
            Command::Tell(body) => {
                if let Some(connection) = &self.connection {
                    // Lost while the session is: what wants no reply is of the moment.
                    connection.try_send(&client_message(0, body));
                }
            }
        }
    }

    /// Sends what was not sent, in order, as far as the session takes it.
    fn flush(&mut self) {
        if let Some(connection) = &self.connection {
            let (encryption, me) = (self.outlets.encryption.as_deref(), self.me);
            self.requests.flush(Instant::now(), |message| match sealed(encryption, me, message) {
                Some(message) => connection.try_send(&message),
                // Never in the clear: it fails when its time is over.
                None => true,
            });
        }
    }

    fn leave(&mut self) {
        if self.leaving.is_some() {
            return;
        }
        let request_id = self.requests.number();
        if let Some(connection) = &self.connection {
            connection.try_send(&client_message(request_id, client_message::Body::Leave(v1::Leave {})));
        }
        self.coming_back = None;
        self.leaving = Some(Leaving { request_id, deadline: Instant::now() + LEAVE_TIMEOUT });
    }

    /// Takes a message in; the end, if it answers our leaving.
    fn hear(&mut self, message: v1::ServerMessage) -> Option<SessionEnd> {
        self.pulse.heard(self.now());
        self.revive();
        if self.leaving.as_ref().is_some_and(|leaving| leaving.request_id == message.request_id) {
            return Some(left());
        }
        let body = message.body?;
        match self.requests.take(message.request_id) {
            Some(pending) => self.answer(pending, body),
            None => self.unasked(body),
        }
        None
    }

    fn answer(&mut self, pending: Pending, body: server_message::Body) {
        match body {
            server_message::Body::Error(error) => self.fail(pending, RequestError::refused(error)),
            server_message::Body::Chat(chat) => match crate::convert::chat(chat) {
                Ok(chat) => {
                    self.chat(chat.clone());
                    pending.reply(Ok(server_message::Body::Chat(chat)));
                }
                Err(error) => {
                    tracing::warn!(%error, "an answer of the controller is left out");
                    pending.reply(Err(RequestError::Answer));
                }
            },
            body => {
                self.standing.granted(pending.body());
                if matches!(body, server_message::Body::Ack(_)) {
                    self.outlets.me.send_modify(|me| oneself::granted(Arc::make_mut(me), pending.body()));
                }
                pending.reply(Ok(body));
            }
        }
    }

    fn fail(&mut self, pending: Pending, error: RequestError) {
        let Some(lost) = self.requests.fail(pending, error, Instant::now()) else { return };
        self.standing.give_up(lost.body.as_ref());
        let stream_id = match &lost.body {
            Some(client_message::Body::Publish(publish)) => &publish.stream_id,
            // It was unpublished meanwhile, which an event says.
            Some(client_message::Body::Subscribe(_)) if lost.error.code() == Some(Code::NotFound) => return,
            Some(client_message::Body::Subscribe(subscribe)) => &subscribe.stream_id,
            _ => return tracing::warn!(error = %lost.error, "a state could not be said again"),
        };
        if let Ok(stream_id) = proto::convert::id("stream_id", stream_id) {
            self.tell(Event::NotRestored { stream_id, error: lost.error });
        }
    }

    fn unasked(&mut self, body: server_message::Body) {
        let heard = match heard(body) {
            Ok(heard) => heard,
            Err(error) => return tracing::warn!(%error, "a message of the controller is left out"),
        };
        match heard {
            Heard::Change(Change::Left { participant_id, reason }) if participant_id == self.me => {
                self.is_dismissed |= matches!(reason, LeaveReason::Kicked | LeaveReason::MeetingEnded);
                self.tell(Event::ParticipantLeft { participant_id, reason });
            }
            Heard::Change(change) => self.change_roster(|roster| roster.apply(change).into_iter().collect()),
            Heard::Event(event) => self.tell(event),
            Heard::Chat(chat) => self.chat(chat),
            Heard::MediaServer(info) => self.media_server(info, false),
            Heard::Pong(pong) => {
                if let Some(round_trip) = self.pulse.round_trip(pong.sent_at_us, self.now()) {
                    self.outlets.status.send_modify(|status| status.round_trip = Some(round_trip));
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
            let event = chat_event(self.outlets.encryption.as_deref(), chat);
            if let Event::Chat(chat) = &event {
                self.outlets.chat.push(chat.clone());
            }
            self.tell(event);
        }
    }

    fn media_server(&self, info: v1::MediaServerInfo, is_anew: bool) {
        // A keeper that is so far behind will ask by itself.
        if self.outlets.offers.try_send(Offer { info, is_anew }).is_err() {
            tracing::debug!("a media server was offered while others wait; it is left out");
        }
    }

    fn tick(&mut self) -> Option<SessionEnd> {
        let at = Instant::now();
        if self.leaving.as_ref().is_some_and(|leaving| at >= leaving.deadline) {
            return Some(left());
        }
        for pending in self.requests.overdue(at) {
            self.fail(pending, RequestError::Timeout);
        }
        self.flush();
        let now = self.now();
        let Some(connection) = &self.connection else { return None };
        if self.pulse.is_ping_due(now) {
            // With a number, though nobody waits for the pong: what has none gets no answer.
            let ping = client_message::Body::Ping(v1::Ping { sent_at_us: now.as_micros() });
            connection.try_send(&client_message(self.requests.number(), ping));
        }
        if self.is_silent() {
            if self.coming_back.is_none() && self.leaving.is_none() {
                self.begin_return("nothing was heard for a while", true);
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
        self.pulse.is_silent(packets, now)
    }

    /// Changes the roster, tells it, and forgets what belonged to media streams that are gone.
    fn change_roster(&mut self, change: impl FnOnce(&mut Roster) -> Vec<Event>) {
        let before = self.outlets.roster.borrow().clone();
        let events = change(&mut self.roster);
        let is_loss = |event: &Event| matches!(event, Event::ParticipantLeft { .. } | Event::StreamUnpublished { .. });
        if events.iter().any(is_loss) {
            let after: BTreeSet<StreamId> = self.roster.streams().map(|stream| stream.stream_id).collect();
            for stream in before.streams().filter(|stream| !after.contains(&stream.stream_id)) {
                self.outlets.records.forget(&[stream.frame_ids(), vec![stream.stream_id]].concat());
                self.standing.forget(stream.stream_id);
            }
        }
        // The snapshot first: whoever hears of an event finds it applied.
        self.outlets.roster.send_replace(Arc::new(self.roster.clone()));
        events.into_iter().for_each(|event| self.tell(event));
    }

    fn tell(&self, event: Event) {
        // Nobody listening is fine.
        let _ = self.outlets.events.send(event);
    }

    async fn finish(mut self, end: SessionEnd) {
        self.commands.close();
        self.coming_back = None;
        self.requests.end();
        self.outlets.records.close();
        self.outlets.status.send_modify(|status| status.state = ConnectionState::Ended(end.clone()));
        self.tell(Event::Closed { end });
        if let Some(connection) = self.connection.take() {
            connection.close(Code::Normal, "").await;
        }
    }
}
