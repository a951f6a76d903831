//! What an application holds: a [`Client`] that joins, a [`Meeting`] to act in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use common_core::media::{MediaStream, StreamType, SubscriptionOptions, VideoShape};
use common_core::{Code, ParticipantId, StreamId};
use proto::convert::FieldError;
use proto::v1::{self, client_message::Body, server_message};
use thiserror::Error;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::DropGuard;
use uuid::Uuid;

use crate::dial::{DialError, Dialer};
use crate::e2ee::MeetingKeys;
use crate::e2ee::chat::{TooLong, check_length};
use crate::encryption::{Encryption, EncryptionError, EncryptionInfo};
use crate::end::SessionEnd;
use crate::event::{EVENTS_MAX, Event, Events};
use crate::link::{Link, LinkKeeper, standby};
use crate::oneself::oneself;
use crate::options::JoinOptions;
use crate::paused::Paused;
use crate::publisher::{Counters, Publisher};
use crate::records::{RecordQueue, Records, unix_micros};
use crate::roster::{Participant, Roster, StateUpdate};
use crate::session::{COMMANDS_MAX, Command, Controllers, Endings, Outlets, Requests, Session, dial, enter};
use crate::stats::Stats;
use crate::status::{ChatLog, ConnectionState, Status};
use crate::ticket::{TicketError, TicketSource, Why};

/// Handlers on offer that the link keeper has not looked at: one by the snapshot, one by an order to move, and some room.
const OFFERS_MAX: usize = 4;

/// Why joining failed.
#[derive(Debug, Error)]
pub enum JoinError {
    /// The source of tickets gave none.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// No session with the controller.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The controller refused.
    #[error("the controller refused: {message} ({code})")]
    Refused {
        /// Why, by number.
        code: Code,
        /// Why, in words, escaped.
        message: String,
    },
    /// The secret in hand does not fit the meeting, or there is none. The participant has left again.
    #[error(transparent)]
    Encryption(#[from] EncryptionError),
    /// The session ended before the answer.
    #[error("the session ended before the answer: {0}")]
    Ended(SessionEnd),
    /// The controller did not answer.
    #[error("the controller did not answer in time")]
    Timeout,
    /// The answer is not what the contract says.
    #[error("the controller's answer makes no sense: {0}")]
    Answer(String),
    /// No UDP socket.
    #[error("no UDP socket: {0}")]
    Socket(#[from] std::io::Error),
}

/// Why a request was not granted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The server refused.
    #[error("{message} ({code})")]
    Refused {
        /// Why, by number.
        code: Code,
        /// Why, in words, escaped.
        message: String,
        /// As the server gave them, up to a bound.
        details: BTreeMap<String, String>,
    },
    /// No answer came in time.
    #[error("no answer came in time")]
    Timeout,
    /// The session was lost before the answer; it may or may not have been done, and twice would be wrong.
    #[error("the session was lost before the answer came; it may have been done")]
    Interrupted,
    /// A chat message that does not fit into an encrypted one.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// A media stream with this id was published before, and the meeting is encrypted: keys belong to ids, so each publication needs a new one.
    #[error("a media stream with this id was published before; in an encrypted meeting each needs a new id")]
    StreamIdUsed,
    /// The answer is of another kind than the contract says.
    #[error("the answer is of the wrong kind")]
    Answer,
    /// Too many requests are under way.
    #[error("too many requests are under way")]
    TooMany,
    /// The meeting is over for this participant.
    #[error("the meeting is over")]
    Ended,
}

impl RequestError {
    /// The server's words for a refusal.
    pub(crate) fn refused(error: v1::ErrorMessage) -> Self {
        let code = Code::from(v1::ErrorCode::try_from(error.code).unwrap_or(v1::ErrorCode::Unknown));
        Self::Refused { code, message: common_core::name::escape(&error.message, 300), details: crate::convert::details(error.details) }
    }

    /// The server's code, if it refused.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// Joins meetings, all from one UDP socket. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    dialer: Dialer,
}

/// What a meeting was created with, as its controller tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeetingInfo {
    /// For people; may hold anything printable, so escape it before a terminal or a page.
    pub display_name: String,
    /// Participants at a time; 0: the controller did not say.
    pub max_participants: u32,
    /// Whoever created it asked for end-to-end encryption. It says nothing about whether anything is encrypted.
    pub wants_end_to_end_encryption: bool,
    /// What is said and shown may be recorded.
    pub may_be_recorded: bool,
}

impl From<v1::MeetingInfo> for MeetingInfo {
    fn from(it: v1::MeetingInfo) -> Self {
        Self {
            display_name: it.display_name,
            max_participants: it.max_participants,
            wants_end_to_end_encryption: it.enable_e2e_encryption,
            may_be_recorded: it.recording_enabled,
        }
    }
}

/// A meeting that has been joined.
pub struct Joined {
    /// To act.
    pub meeting: Meeting,
    /// What happens, from the snapshot on; chat that was asked for comes first.
    pub events: Events,
    /// What is received.
    pub records: Records,
}

impl Client {
    /// A client with a socket of its own. Needs a tokio runtime.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { dialer: Dialer::new()? })
    }

    /// A client that dials by `dialer`.
    pub fn with_dialer(dialer: Dialer) -> Self {
        Self { dialer }
    }

    /// What it dials by, for raw protocol.
    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// Joins by a ticket of `tickets`, which is asked again when this participant cannot come back any more: the client then joins anew by itself,
    /// as a new participant ([`Event::Rejoined`]), for at most [`JoinOptions::rejoin_within`]. Never after it was removed, after the meeting
    /// ended, or when the participant came in elsewhere. Of `wishes` everything counts but the ticket's own fields.
    ///
    /// When the future is dropped, nothing is left behind but a ticket that may be spent.
    pub async fn join_with(&self, tickets: impl TicketSource, wishes: JoinOptions) -> Result<Joined, JoinError> {
        let ticket = tickets.ticket(Why::Join).await?;
        self.join(JoinOptions { tickets: Some(Arc::new(tickets)), ..wishes.with_ticket(ticket) }).await
    }

    /// Joins. Dials the controller and the best handler at once, and sends each token as soon as a session takes it: to the
    /// first frame it is four round trips. When the future is dropped, nothing is left behind.
    pub async fn join(&self, options: JoinOptions) -> Result<Joined, JoinError> {
        let keys = options.keys()?;
        let standby = standby(&self.dialer, &options);
        let (connection, url) = dial(&self.dialer, &Controllers::new(&options)).await?;
        let key_id = keys.as_ref().map(MeetingKeys::key_id).unwrap_or_default();
        let entered = enter(connection, url, options.join_request(key_id)).await?;
        let me: ParticipantId = proto::convert::id("participant_id", &entered.response.participant_id)
            .map_err(|error: FieldError| JoinError::Answer(error.to_string()))?;

        let info = MeetingInfo::from(entered.response.meeting.clone().unwrap_or_default());
        let options = Arc::new(options);
        let (status_tx, status) = watch::channel(Status::new(me));
        let (commands, commands_rx) = mpsc::channel(COMMANDS_MAX);
        let (events_tx, events) = broadcast::channel(EVENTS_MAX);
        let (roster_tx, roster) = watch::channel(Arc::new(Roster::default()));
        let (me_tx, myself) = watch::channel(Arc::new(oneself(me, &options, unix_micros() / 1_000)));
        let paused = Arc::new(Paused::default());
        let (offers_tx, offers) = mpsc::channel(OFFERS_MAX);
        let (link_tx, link) = watch::channel(None);
        let queue = Arc::new(RecordQueue::default());
        let chat = Arc::new(ChatLog::default());
        let requests = Requests { commands };
        let encryption = keys.map(|keys| Arc::new(Encryption::new(keys, &events_tx)));
        let endings = Endings::default();
        let outlets = Outlets {
            roster: roster_tx,
            me: me_tx,
            status: status_tx,
            chat: chat.clone(),
            events: events_tx.clone(),
            offers: offers_tx,
            records: queue.clone(),
            encryption: encryption.clone(),
        };
        let keeper = LinkKeeper {
            dialer: self.dialer.clone(),
            options: options.clone(),
            requests: requests.clone(),
            offers,
            link: link_tx,
            events: events_tx.clone(),
            records: queue.clone(),
            encryption: encryption.clone(),
            paused: paused.clone(),
            standby,
        };
        let session = Session::new(self.dialer.clone(), options, me, entered, outlets, commands_rx, endings.clone());
        tokio::spawn(keeper.run());
        tokio::spawn(session.run());

        let guard = endings.leave.clone().drop_guard();
        let inner = Inner {
            info,
            encryption,
            requests,
            roster,
            me: myself,
            status,
            chat,
            paused,
            link,
            events: events_tx.downgrade(),
            endings,
            records: queue.clone(),
            publications: Mutex::default(),
            _guard: guard,
        };
        Ok(Joined { meeting: Meeting { inner: Arc::new(inner) }, events: Events::new(events), records: Records { queue } })
    }
}

/// What a new media stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDescription {
    /// Unique in the meeting; [`StreamDescription::new`] makes a random one.
    pub stream_id: StreamId,
    /// Sound, camera or screen.
    pub stream_type: StreamType,
    /// "VP8", "VP9", "AV1", "H264", "Opus", or a WebCodecs string.
    pub codec: String,
    /// Bits per second; 0: not stated.
    pub max_bitrate: u32,
    /// Pixels and frames per second, of a picture.
    pub video: Option<VideoShape>,
    /// In Hz, of sound.
    pub sample_rate: u32,
    /// Of sound.
    pub channels: u32,
}

impl StreamDescription {
    /// A media stream with a random id and nothing but a codec.
    pub fn new(stream_type: StreamType, codec: impl Into<String>) -> Self {
        Self {
            stream_id: StreamId::new(Uuid::new_v4()),
            stream_type,
            codec: codec.into(),
            max_bitrate: 0,
            video: None,
            sample_rate: 0,
            channels: 0,
        }
    }
}

/// A meeting to act in. Cheap to clone; when the last one is dropped, the participant leaves.
///
/// Each request has one answer, or fails after [`JoinOptions::request_timeout`]. When its future is dropped, it may be done all the same, and its answer is lost.
#[derive(Clone)]
pub struct Meeting {
    inner: Arc<Inner>,
}

struct Inner {
    info: MeetingInfo,
    encryption: Option<Arc<Encryption>>,
    requests: Requests,
    roster: watch::Receiver<Arc<Roster>>,
    me: watch::Receiver<Arc<Participant>>,
    paused: Arc<Paused>,
    status: watch::Receiver<Status>,
    chat: Arc<ChatLog>,
    link: watch::Receiver<Option<Link>>,
    /// Weak, so that the events end with the tasks that tell them.
    events: broadcast::WeakSender<Event>,
    endings: Endings,
    records: Arc<RecordQueue>,
    /// Those whose publisher still stands are told in statistics.
    publications: Mutex<Vec<(MediaStream, Weak<Counters>)>>,
    _guard: DropGuard,
}

impl Meeting {
    /// Oneself; another after [`Event::Rejoined`].
    pub fn participant_id(&self) -> ParticipantId {
        self.inner.status.borrow().participant_id
    }

    /// Oneself, as the others see one: name and role, what is on, what is published.
    pub fn me(&self) -> Arc<Participant> {
        self.inner.me.borrow().clone()
    }

    /// The same, to be watched: marked as changed whenever what was asked for is granted, and after each return.
    pub fn watch_me(&self) -> watch::Receiver<Arc<Participant>> {
        self.inner.me.clone()
    }

    /// Whether signaling stands.
    pub fn state(&self) -> ConnectionState {
        self.inner.status.borrow().state.clone()
    }

    /// Waits until the state is another than `known`, and returns it; at once if it is. Cancel-safe.
    pub async fn state_changed(&self, known: &ConnectionState) -> ConnectionState {
        let mut status = self.inner.status.clone();
        let changed = status.wait_for(|status| status.state != *known).await.map(|status| status.state.clone());
        // The task tells its end before it goes; only a runtime that shuts down takes it away without.
        changed.unwrap_or_else(|_| ConnectionState::Ended(SessionEnd::lost("the runtime is shutting down")))
    }

    /// What the meeting was created with.
    pub fn meeting_info(&self) -> &MeetingInfo {
        &self.inner.info
    }

    /// How to tell that everybody holds the same secret; `None`: the meeting is not encrypted end to end.
    pub fn encryption(&self) -> Option<EncryptionInfo> {
        self.inner.encryption.as_ref().map(|encryption| encryption.info())
    }

    /// With which this participant comes back when this process cannot: through [`Api::rejoin`](crate::api::Api::rejoin) and
    /// [`JoinOptions::resume_token`]. Changes with each resume. A secret.
    pub fn resume_token(&self) -> String {
        self.inner.status.borrow().resume_token.clone()
    }

    /// Everybody else, as of the event that was told last.
    pub fn roster(&self) -> Arc<Roster> {
        self.inner.roster.borrow().clone()
    }

    /// The same, to be watched: marked as changed whenever somebody comes, goes, publishes or says something about themselves.
    pub fn watch_roster(&self) -> watch::Receiver<Arc<Roster>> {
        self.inner.roster.clone()
    }

    /// What was said, oldest first: the newest [`CHAT_KEPT_MAX`](crate::CHAT_KEPT_MAX) of what has come as events.
    pub fn chat_history(&self) -> Vec<v1::ChatMessage> {
        self.inner.chat.snapshot()
    }

    /// Events from now on, for one more listener.
    pub fn events(&self) -> Events {
        let receiver = match self.inner.events.upgrade() {
            Some(events) => events.subscribe(),
            // The meeting is over: a channel without a sender ends at once.
            None => broadcast::channel(1).1,
        };
        Events::new(receiver)
    }

    /// To the controller and back, when it was measured.
    pub fn round_trip(&self) -> Option<Duration> {
        self.inner.status.borrow().round_trip
    }

    /// What the meeting costs and how well it goes, now.
    pub fn stats(&self) -> Stats {
        let (signaling, round_trip) = {
            let status = self.inner.status.borrow();
            (status.signaling, status.round_trip)
        };
        let (handler_url, media_round_trip) = match self.inner.link.borrow().as_ref() {
            Some(link) => (link.connection.url().to_owned(), Some(link.connection.round_trip())),
            None => (String::new(), None),
        };
        let publications = self.inner.publications.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = publications
            .iter()
            .filter_map(|(stream, counters)| Some(counters.upgrade()?.stats(stream, self.inner.paused.all(&stream.frame_ids()))));
        let publications = standing.collect();
        let (subscriptions, dropped_groups) = self.inner.records.stats(&self.roster());
        let at_ms = unix_micros() / 1_000;
        Stats { at_ms, signaling, round_trip, handler_url, media_round_trip, publications, subscriptions, dropped_groups }
    }

    /// A publisher's counters count for statistics as long as it stands.
    pub(crate) fn measure(&self, stream: &MediaStream, counters: &Arc<Counters>) {
        let mut publications = self.inner.publications.lock().unwrap_or_else(PoisonError::into_inner);
        publications.retain(|(_, counters)| counters.strong_count() > 0);
        publications.push((stream.clone(), Arc::downgrade(counters)));
    }

    /// Whether a session with a handler stands; media flows only then.
    pub fn has_media(&self) -> bool {
        self.inner.link.borrow().is_some()
    }

    async fn acked(&self, body: Body) -> Result<(), RequestError> {
        match self.inner.requests.request(body).await? {
            server_message::Body::Ack(_) => Ok(()),
            _ => Err(RequestError::Answer),
        }
    }

    /// Publishes a media stream. When it returns, the handler takes frames. In an encrypted meeting its frames are sealed, and each id is good for
    /// one publication. When the future is dropped, the media stream may stand without a publisher: [`unpublish`](Self::unpublish) takes it back.
    pub async fn publish(&self, description: StreamDescription) -> Result<Publisher, RequestError> {
        let stream = MediaStream {
            stream_id: description.stream_id,
            participant_id: self.participant_id(),
            stream_type: description.stream_type,
            codec: description.codec,
            max_bitrate: description.max_bitrate,
            video: description.video,
            sample_rate: description.sample_rate,
            channels: description.channels,
        };
        let sealer = match &self.inner.encryption {
            Some(encryption) => Some(encryption.sealer(stream.stream_id).ok_or(RequestError::StreamIdUsed)?),
            None => None,
        };
        let wire = v1::MediaStream::from(&stream);
        let publish = v1::PublishStream { stream_id: wire.stream_id, stream_type: wire.stream_type, metadata: wire.metadata };
        if let Err(error) = self.acked(Body::Publish(publish)).await {
            self.inner.encryption.as_ref().inspect(|encryption| encryption.unused(stream.stream_id));
            return Err(error);
        }
        let events = self.inner.events.upgrade().ok_or(RequestError::Ended)?;
        Ok(Publisher::start(self.clone(), stream, sealer, self.inner.link.clone(), events))
    }

    /// Takes a media stream back.
    pub async fn unpublish(&self, stream_id: StreamId) -> Result<(), RequestError> {
        self.acked(Body::Unpublish(v1::UnpublishStream { stream_id: stream_id.to_string() })).await
    }

    /// Subscribes, or changes the options of a subscription. When it returns, frames flow.
    pub async fn subscribe(&self, stream_id: StreamId, options: &SubscriptionOptions) -> Result<(), RequestError> {
        self.acked(Body::Subscribe(v1::SubscribeStream { stream_id: stream_id.to_string(), options: Some(options.into()) })).await
    }

    /// Ends a subscription.
    pub async fn unsubscribe(&self, stream_id: StreamId) -> Result<(), RequestError> {
        self.acked(Body::Unsubscribe(v1::UnsubscribeStream { stream_id: stream_id.to_string() })).await
    }

    /// Says something to everybody. When it returns, the message is stored; it comes as an event too, at its place in the order. What a lost session
    /// was not told yet is said after the return, also by the new participant that one may be then.
    pub async fn chat(&self, content: impl Into<String>) -> Result<v1::ChatMessage, RequestError> {
        let (client_message_id, words) = (Uuid::new_v4().to_string(), content.into());
        let is_sealed = self.inner.encryption.is_some();
        if is_sealed {
            check_length(&words)?;
        }
        // In plain as far as the session, which seals in the name that it has when it is sent.
        match self.inner.requests.request(Body::Chat(v1::SendChat { client_message_id, content: words.clone() })).await? {
            server_message::Body::Chat(chat) if is_sealed => Ok(v1::ChatMessage { content: words, ..chat }),
            server_message::Body::Chat(chat) => Ok(chat),
            _ => Err(RequestError::Answer),
        }
    }

    /// Says whether one is muted, shows a picture, speaks.
    pub async fn update_state(&self, update: StateUpdate) -> Result<(), RequestError> {
        let StateUpdate { is_muted, is_video_on, audio_level } = update;
        self.acked(Body::State(v1::UpdateState { is_muted, is_video_on, audio_level })).await
    }

    /// Removes somebody; for hosts.
    pub async fn kick(&self, participant_id: ParticipantId) -> Result<(), RequestError> {
        self.acked(Body::Kick(v1::KickParticipant { participant_id: participant_id.to_string() })).await
    }

    /// Sends a message to one participant, at most 48 KiB.
    pub async fn relay(&self, target: ParticipantId, kind: impl Into<String>, payload: impl Into<Bytes>) -> Result<(), RequestError> {
        let relay =
            v1::RelayMessage { target_id: target.to_string(), source_id: String::new(), kind: kind.into(), payload: payload.into() };
        self.acked(Body::Relay(relay)).await
    }

    /// Tells how a subscribed media stream arrives. When the future is dropped, it may not be told.
    pub async fn report_quality(&self, quality: v1::StreamQualityUpdate) {
        // The meeting being over is told by events.
        let _ = self.inner.requests.commands.send(Command::Tell(Body::Quality(quality))).await;
    }

    /// Asks for a key frame of a subscribed media stream. No answer comes but the key frame.
    pub fn request_key_frame(&self, stream_id: StreamId) {
        if let Some(link) = self.inner.link.borrow().as_ref() {
            self.inner.records.key_frame_requested(stream_id);
            link.control.request_key_frame(stream_id.to_string());
        }
    }

    /// Whether nobody takes a media stream of ours, in any of its layers, as the handler in use says.
    pub fn is_paused(&self, stream: &MediaStream) -> bool {
        self.inner.paused.all(&stream.frame_ids())
    }

    /// Leaves: the others are told at once. Returns when the controller knows, or after two seconds at most. When the future is dropped, the
    /// participant leaves all the same.
    pub async fn leave(&self) {
        self.inner.endings.leave.cancel();
        self.over().await;
    }

    /// Ends at once, without a word: the others see the participant lost when the server has waited for it to come back. Returns within a second.
    /// When the future is dropped, it ends all the same.
    pub async fn close(&self) {
        self.inner.endings.close.cancel();
        self.over().await;
    }

    /// Waits for the end of the session's task, which holds the only sender.
    async fn over(&self) {
        let mut status = self.inner.status.clone();
        while status.changed().await.is_ok() {}
    }
}
