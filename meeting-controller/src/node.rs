//! What every session and meeting of this controller shares: the meetings, the handlers, the keys, the counts.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use common::clock::Clock;
use common::gate::Gate;
use common::parts::Parts;
use common::tls::LiveCertificate;
use common::token::TokenVerifier;
use common_core::{MeetingId, ParticipantId};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use meeting_controller_core::message::{SessionKey, StreamQuality};
use meeting_controller_core::{EndCause, Settings, Stamp};
use proto::cluster::{ControllerCapacity, HeartbeatReply, MeetingLoad, TokenKey};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::actor::{Command, MeetingHandle};
use crate::config::LimitsConfig;
use crate::dormant::{Asleep, Dormant};
use crate::handlers::{Handlers, TelemetrySink};
use crate::reports::Reports;

/// Ended meetings whose late joiners are told so; an older one is just unknown.
const ENDED_MAX: usize = 10_000;
/// Token keys that are looked at: a rotation has two or three.
const TOKEN_KEYS_MAX: usize = 64;

/// The shared state of one controller.
pub(crate) struct Node {
    pub clock: Clock,
    pub limits: LimitsConfig,
    pub handlers: Arc<Handlers>,
    pub reports: Arc<Reports>,
    pub tasks: TaskTracker,
    /// Nobody new is let in.
    pub stopping: CancellationToken,
    meetings: DashMap<MeetingId, MeetingHandle>,
    ended: Mutex<VecDeque<MeetingId>>,
    dormant: Mutex<Dormant>,
    keys: RwLock<(Vec<TokenKey>, Arc<TokenVerifier>)>,
    last_session: AtomicU64,
    last_actor: AtomicU64,
    sessions: AtomicUsize,
    pub participants: AtomicU32,
    pub gate: Arc<Gate>,
    pub parts: Parts,
    pub certificate: LiveCertificate,
    /// Whether a global controller has ever answered a heartbeat.
    is_heard: AtomicBool,
}

/// What a node stands in.
pub(crate) struct Surroundings {
    /// Nobody new is let in.
    pub stopping: CancellationToken,
    pub tasks: TaskTracker,
    /// What waits while this process does not know whether it may go on.
    pub gate: Arc<Gate>,
    pub parts: Parts,
    /// For clients.
    pub certificate: LiveCertificate,
}

/// Why a meeting is not assigned to this controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AssignError {
    /// As many as configured are here.
    #[error("this controller has all the meetings that it may have")]
    Full,
    /// It was ended here.
    #[error("this meeting has ended")]
    Ended,
    /// This controller stops.
    #[error("this controller stops")]
    Stopping,
}

impl Node {
    pub fn new(limits: LimitsConfig, handlers: Arc<Handlers>, reports: Arc<Reports>, surroundings: Surroundings) -> Arc<Self> {
        let Surroundings { stopping, tasks, gate, parts, certificate } = surroundings;
        let verifier = Arc::new(TokenVerifier::new([], limits.token_leeway));
        let node = Arc::new(Self {
            clock: Clock::start(),
            limits,
            handlers: handlers.clone(),
            reports,
            tasks,
            stopping,
            meetings: DashMap::new(),
            ended: Mutex::new(VecDeque::new()),
            dormant: Mutex::default(),
            keys: RwLock::new((Vec::new(), verifier)),
            last_session: AtomicU64::new(0),
            last_actor: AtomicU64::new(0),
            sessions: AtomicUsize::new(0),
            participants: AtomicU32::new(0),
            gate,
            parts,
            certificate,
            is_heard: AtomicBool::new(false),
        });
        handlers.set_sink(Arc::new(Figures(Arc::downgrade(&node))));
        node
    }

    /// Takes over what a global controller says.
    pub fn apply(&self, reply: &HeartbeatReply) {
        self.handlers.apply(&reply.handlers, reply.is_settled);
        self.apply_keys(&reply.token_keys);
        self.is_heard.store(true, Ordering::Relaxed);
    }

    fn apply_keys(&self, keys: &[TokenKey]) {
        // A global controller that has none yet takes none away.
        if keys.is_empty() || self.keys.read().unwrap_or_else(std::sync::PoisonError::into_inner).0 == keys {
            return;
        }
        let pairs = keys.iter().take(TOKEN_KEYS_MAX).map(|key| (key.key_id.as_str(), &key.public_key[..]));
        let verifier = Arc::new(TokenVerifier::new(pairs, self.limits.token_leeway));
        tracing::info!(keys = keys.len(), "token keys have changed");
        *self.keys.write().unwrap_or_else(std::sync::PoisonError::into_inner) = (keys.to_vec(), verifier);
    }

    /// Judges tokens.
    pub fn verifier(&self) -> Arc<TokenVerifier> {
        self.keys.read().unwrap_or_else(std::sync::PoisonError::into_inner).1.clone()
    }

    /// Whether a global controller has ever answered.
    pub fn is_heard(&self) -> bool {
        self.is_heard.load(Ordering::Relaxed)
    }

    /// All that are awake here.
    pub fn all_meetings(&self) -> Vec<MeetingHandle> {
        self.meetings.iter().map(|meeting| meeting.value().clone()).collect()
    }

    /// Those that are here, awake or lately asleep: a token that was made for one of them is good here.
    pub fn every_meeting(&self) -> Vec<MeetingId> {
        let mut all: Vec<MeetingId> = self.meetings.iter().map(|meeting| *meeting.key()).collect();
        all.extend(self.dormant().newest());
        all
    }

    /// For a request that may create something.
    pub fn stamp(&self) -> Stamp {
        Stamp { unix_micros: common::clock::unix_micros(), id: common::random::uuid().into_bytes() }
    }

    /// A number for a new session, while there is room for it.
    pub fn open_session(self: &Arc<Self>) -> Option<OpenSession> {
        let before = self.sessions.fetch_add(1, Ordering::Relaxed);
        let open = OpenSession { key: SessionKey(self.last_session.fetch_add(1, Ordering::Relaxed) + 1), node: self.clone() };
        metrics::gauge!("dark_tower_controller_sessions").set((before + 1) as f64);
        (before < self.limits.max_sessions).then_some(open)
    }

    /// Whether one more participant fits.
    pub fn has_room(&self) -> bool {
        self.participants.load(Ordering::Relaxed) < self.limits.max_participants
    }

    /// The meeting, if it is here, or was dropped while it was empty and comes to life again.
    pub fn wake(self: &Arc<Self>, meeting_id: MeetingId) -> Result<Option<MeetingHandle>, AssignError> {
        if let Some(meeting) = self.meeting(meeting_id) {
            return Ok(Some(meeting));
        }
        if !self.sleeps(meeting_id) {
            return Ok(None);
        }
        self.assign(meeting_id, Settings::default(), &[])?;
        Ok(self.meeting(meeting_id))
    }

    /// Whether it was dropped here, and may come to life again.
    pub fn sleeps(&self, meeting_id: MeetingId) -> bool {
        self.dormant().contains(meeting_id)
    }

    /// Keeps subjects out of a meeting that sleeps; false if it does not.
    pub fn refuse_asleep(&self, meeting_id: MeetingId, subjects: &[String]) -> bool {
        self.dormant().refuse(self.clock.now(), meeting_id, subjects)
    }

    pub fn dormant(&self) -> std::sync::MutexGuard<'_, Dormant> {
        self.dormant.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The meeting, if it is here and awake.
    pub fn meeting(&self, meeting_id: MeetingId) -> Option<MeetingHandle> {
        self.meetings.get(&meeting_id).map(|meeting| meeting.value().clone())
    }

    /// Whether it was ended here not long ago.
    pub fn has_ended(&self, meeting_id: MeetingId) -> bool {
        self.ended.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains(&meeting_id)
    }

    /// Makes a meeting, or hands out the one that is here already: as it is, so these subjects must be told to it.
    /// One that sleeps wakes as it was created first.
    pub fn assign(
        self: &Arc<Self>,
        meeting_id: MeetingId,
        settings: Settings,
        refused: &[String],
    ) -> Result<Option<MeetingHandle>, AssignError> {
        if self.stopping.is_cancelled() {
            return Err(AssignError::Stopping);
        }
        if self.has_ended(meeting_id) {
            return Err(AssignError::Ended);
        }
        // Counted before the entry is locked; a race may let in one meeting more, which is no harm.
        let is_full = self.meetings.len() >= usize::try_from(self.limits.max_meetings).unwrap_or(usize::MAX);
        match self.meetings.entry(meeting_id) {
            Entry::Occupied(here) => return Ok(Some(here.get().clone())),
            // Looked at under the entry's lock, which whoever ends it waits for after it has said so.
            Entry::Vacant(_) if self.has_ended(meeting_id) => return Err(AssignError::Ended),
            Entry::Vacant(_) if is_full => return Err(AssignError::Full),
            Entry::Vacant(vacant) => {
                let mut asleep = self.dormant().take(meeting_id).unwrap_or_else(|| Asleep { settings, memory: Default::default() });
                asleep.memory.refuse(refused);
                let number = self.last_actor.fetch_add(1, Ordering::Relaxed) + 1;
                vacant.insert(crate::actor::spawn(self, meeting_id, number, asleep));
            }
        }
        tracing::info!(meeting = %meeting_id, "a meeting is assigned here");
        self.show_meetings();
        Ok(None)
    }

    fn show_meetings(&self) {
        metrics::gauge!("dark_tower_controller_meetings").set(self.meetings.len() as f64);
    }

    /// Ends a meeting for good, and waits until everyone was told.
    pub async fn end(&self, meeting_id: MeetingId) {
        {
            let mut ended = self.ended.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if !ended.contains(&meeting_id) {
                if ended.len() == ENDED_MAX {
                    ended.pop_front();
                }
                ended.push_back(meeting_id);
            }
        }
        self.dormant().take(meeting_id);
        if let Some(meeting) = self.meeting(meeting_id) {
            meeting.end(EndCause::Ended).await;
        }
    }

    /// Ends all meetings, because this controller stops.
    pub async fn stop(&self) {
        let meetings = self.all_meetings();
        futures_util::future::join_all(meetings.iter().map(|meeting| meeting.end(EndCause::Stopping))).await;
    }

    /// A meeting's task has ended. With `asleep` it was not the meeting that ended, and may wake again.
    pub fn forget(&self, meeting_id: MeetingId, number: u64, asleep: Option<Asleep>) {
        if let Some(asleep) = asleep {
            self.dormant().put(self.clock.now(), meeting_id, asleep);
        }
        self.meetings.remove_if(&meeting_id, |_, meeting| meeting.number == number);
        self.show_meetings();
    }

    /// For registration and heartbeats.
    pub fn capacity(&self) -> ControllerCapacity {
        ControllerCapacity {
            max_meetings: self.limits.max_meetings,
            current_meetings: u32::try_from(self.meetings.len()).unwrap_or(u32::MAX),
            max_participants: self.limits.max_participants,
            current_participants: self.participants.load(Ordering::Relaxed),
        }
    }

    /// Meetings with someone in them.
    pub fn loads(&self) -> Vec<MeetingLoad> {
        let count = |meeting: &MeetingHandle| meeting.participants.load(Ordering::Relaxed);
        self.meetings
            .iter()
            .filter(|meeting| count(meeting.value()) > 0)
            .map(|meeting| MeetingLoad { meeting_id: meeting.key().to_string(), participant_count: count(meeting.value()) })
            .collect()
    }
}

/// Counts a session while it stands.
pub(crate) struct OpenSession {
    pub key: SessionKey,
    node: Arc<Node>,
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        let before = self.node.sessions.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("dark_tower_controller_sessions").set(before.saturating_sub(1) as f64);
    }
}

struct Figures(std::sync::Weak<Node>);

impl TelemetrySink for Figures {
    fn figures(&self, meeting_id: MeetingId, figures: Vec<(ParticipantId, StreamQuality)>) {
        if let Some(meeting) = self.0.upgrade().and_then(|node| node.meeting(meeting_id)) {
            // A meeting that is busy hears of the next second.
            let _ = meeting.inbox.try_send(Command::Telemetry(figures));
        }
    }
}
