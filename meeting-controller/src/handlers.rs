//! Which media handlers there are, which one a meeting should use, and how they are called.
//!
//! In: the directory in a global controller's heartbeat reply, and how calls fare. Out: a choice with its channel.

mod telemetry;
mod withdrawals;
mod worker;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use common::gate::Gate;
use common::grpc;
use common::grpc::Channel;
use common::tls::LiveIdentity;
use common_core::{Generation, MeetingId, NodeId, ParticipantId};
use proto::cluster::media_handler_service_client::MediaHandlerServiceClient;
use proto::cluster::{HandlerEntry, HealthStatus, RemoveParticipant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use telemetry::TelemetrySink;
pub(crate) use worker::{Answer, HandlerQueue};

/// A handler that no directory lists any more is forgotten after this: two leases, as two global controllers may have seen it last at
/// different moments.
const UNLISTED_MAX: Duration = Duration::from_secs(6);
/// Directories come each second; after a longer pause than this a list is no evidence that a handler was gone meanwhile.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A handler that a call did not reach is passed over for this long, unless another sign of life comes first.
const SUSPECT: Duration = Duration::from_secs(3);
/// Whoever notices so late that its time is over has stood still itself: what did not come meanwhile says nothing about the handler. More than
/// a task waits for its turn on a busy machine, so that a handler that is silent is noticed there too.
const OWN_PAUSE: Duration = Duration::from_secs(1);
/// A handler's largest answer: telemetry of its hundred thousand subscriptions.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Media sessions at the handler that a meeting has left end by themselves, when the new ones stand; after this they are ended.
const MOVED_GRACE: Duration = Duration::from_secs(5);
/// Handlers of a cluster that are looked at: a bound for hostile or broken directories.
const HANDLERS_MAX: usize = 4096;

/// One handler as this controller sees it.
pub(crate) struct Handler {
    /// As in its certificate.
    pub id: NodeId,
    pub region: String,
    pub endpoint: String,
    pub public_url: String,
    pub start_number: u64,
    health: HealthStatus,
    pub client: MediaHandlerServiceClient<Channel>,
    reach: Arc<Reach>,
}

/// Whether calls get through; outlives changes of the directory's entry.
#[derive(Default)]
struct Reach {
    suspect_until: Mutex<Option<Instant>>,
}

impl Handler {
    /// A call got through, or did not.
    fn note(&self, reached: bool) {
        let mut suspect = self.reach.suspect_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *suspect = (!reached).then(|| Instant::now() + SUSPECT);
    }

    /// Whether calls were getting through, last we know.
    pub fn is_reachable(&self) -> bool {
        let suspect = self.reach.suspect_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        suspect.is_none_or(|until| until <= Instant::now())
    }

    /// Lower is better; `None`: not to be used for anyone new.
    fn rank(&self) -> Option<u8> {
        match (self.health, self.is_reachable()) {
            (HealthStatus::Unhealthy, _) | (_, false) => None,
            (HealthStatus::Healthy, true) => Some(0),
            (HealthStatus::Degraded, true) => Some(1),
        }
    }

    /// Whether a meeting may stay on it.
    pub fn is_healthy(&self) -> bool {
        self.rank().is_some()
    }
}

struct Listed {
    handler: Arc<Handler>,
    last_listed: Instant,
}

/// The directory of handlers.
pub(crate) struct Handlers {
    identity: LiveIdentity,
    region: String,
    listed: RwLock<BTreeMap<NodeId, Listed>>,
    /// When the last directory came.
    last_applied: Mutex<Option<Instant>>,
    /// Whether the last word of a settled global controller is that there is no handler at all.
    is_none_listed: AtomicBool,
    telemetry: Mutex<BTreeMap<NodeId, CancellationToken>>,
    sink: std::sync::OnceLock<Arc<dyn TelemetrySink>>,
    /// Bumped when a handler restarts, goes, or is reached or not reached again.
    changes: watch::Sender<u64>,
    withdrawals: withdrawals::Withdrawals,
    /// Of this process, for handlers to know who is gone.
    start_number: u64,
    gate: Arc<Gate>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Handlers {
    pub fn new(
        identity: impl Into<LiveIdentity>,
        region: String,
        (start_number, gate): (u64, Arc<Gate>),
        (stop, tasks): (CancellationToken, TaskTracker),
    ) -> Arc<Self> {
        let handlers = Arc::new(Self {
            identity: identity.into(),
            region,
            listed: RwLock::new(BTreeMap::new()),
            last_applied: Mutex::new(None),
            is_none_listed: AtomicBool::new(false),
            telemetry: Mutex::new(BTreeMap::new()),
            sink: std::sync::OnceLock::new(),
            changes: watch::Sender::new(0),
            withdrawals: withdrawals::Withdrawals::default(),
            start_number,
            gate,
            stop,
            tasks,
        });
        handlers.tasks.spawn(withdrawals::run(handlers.clone(), handlers.stop.clone()));
        handlers
    }

    /// These participants of a meeting have gone on to another handler: this one is told once their old sessions have had time to end by
    /// themselves, and for as long as it takes.
    pub fn withdraw(&self, handler: &Handler, meeting_id: MeetingId, participants: impl IntoIterator<Item = (ParticipantId, Generation)>) {
        let after = tokio::time::Instant::now() + MOVED_GRACE;
        for (participant_id, generation) in participants {
            let removal = RemoveParticipant {
                participant_id: participant_id.to_string(),
                meeting_id: meeting_id.to_string(),
                generation: generation.0,
                code: proto::v1::ErrorCode::from(common_core::Code::Moved).into(),
                reason: "the meeting uses another handler".to_owned(),
            };
            self.withdrawals.add(&handler.id, handler.start_number, (meeting_id, participant_id), removal, after);
        }
    }

    /// Where telemetry goes; set once, before the first meeting.
    pub fn set_sink(&self, sink: Arc<dyn TelemetrySink>) {
        // A second sink would be a bug of `start`, and harmless.
        let _ = self.sink.set(sink);
    }

    /// A meeting uses this handler from now on.
    pub fn take_back(&self, handler: &NodeId, meeting_id: MeetingId) {
        self.withdrawals.take_back(handler, meeting_id);
    }

    /// To be told when a meeting should look at its handler again.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Takes a directory over. What it does not list stays for a while (see [`UNLISTED_MAX`]).
    pub fn apply(&self, entries: &[HandlerEntry], is_settled: bool) {
        self.apply_at(Instant::now(), entries, is_settled);
    }

    fn apply_at(&self, now: Instant, entries: &[HandlerEntry], is_settled: bool) {
        let mut has_changed = false;
        let mut listed = self.listed.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = self.last_applied.lock().unwrap_or_else(std::sync::PoisonError::into_inner).replace(now);
        // A global controller that does not know yet who is there says nothing about who is not; one that knows nobody at all takes no
        // handler away from the meetings that have one, but operators are told of it.
        let says_nothing = !is_settled || entries.is_empty();
        if is_settled || !entries.is_empty() {
            self.is_none_listed.store(entries.is_empty(), Ordering::Relaxed);
        }
        if says_nothing || before.is_some_and(|before| now.duration_since(before) > PAUSE_MAX) {
            listed.values_mut().for_each(|it| it.last_listed = now);
        }
        for entry in entries.iter().take(HANDLERS_MAX) {
            let Ok(id) = entry.handler_id.parse::<NodeId>() else {
                tracing::warn!(
                    handler = common_core::name::escape(&entry.handler_id, 64),
                    "the directory names a handler that is no node id"
                );
                continue;
            };
            let before = listed.get(&id).map(|it| it.handler.clone());
            if let Some(before) = &before
                && is_same(before, entry)
            {
                listed.insert(id, Listed { handler: before.clone(), last_listed: now });
                continue;
            }
            match self.handler(id.clone(), entry, before.as_deref()) {
                Ok(handler) => {
                    tracing::info!(handler = %id, region = handler.region, start = handler.start_number, health = ?handler.health, "a handler is listed");
                    listed.insert(id, Listed { handler: Arc::new(handler), last_listed: now });
                    has_changed = true;
                }
                Err(error) => tracing::warn!(handler = %id, %error, "a handler cannot be called"),
            }
        }
        let count = listed.len();
        listed.retain(|id, it| {
            let stays = now.duration_since(it.last_listed) < UNLISTED_MAX;
            if !stays {
                tracing::warn!(handler = %id, "a handler is listed no more");
                self.stop_telemetry(id);
            }
            stays
        });
        has_changed |= listed.len() != count;
        metrics::gauge!("dark_tower_controller_handlers").set(listed.len() as f64);
        drop(listed);
        if has_changed {
            self.changed();
        }
    }

    fn handler(&self, id: NodeId, entry: &HandlerEntry, before: Option<&Handler>) -> Result<Handler, grpc::DialError> {
        let client = match before {
            Some(before) if before.endpoint == entry.endpoint => before.client.clone(),
            _ => MediaHandlerServiceClient::new(grpc::channel(&self.identity, &entry.endpoint, id.as_str())?)
                .max_decoding_message_size(ANSWER_BYTES_MAX),
        };
        // A restarted handler deserves a fresh judgement.
        let reach =
            before.filter(|before| before.start_number == entry.start_number).map(|before| before.reach.clone()).unwrap_or_default();
        Ok(Handler {
            id,
            region: entry.region.clone(),
            endpoint: entry.endpoint.clone(),
            public_url: entry.public_url.clone(),
            start_number: entry.start_number,
            health: entry.health(),
            client,
            reach,
        })
    }

    /// As listed now.
    pub fn find(&self, id: &NodeId) -> Option<Arc<Handler>> {
        self.listed.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(id).map(|it| it.handler.clone())
    }

    /// The handler for a meeting: the first healthy one of `preferred`, else the best of all, this region first; ties by id.
    /// Never `except`.
    pub fn choose(&self, preferred: &[NodeId], except: Option<&NodeId>) -> Option<Arc<Handler>> {
        let listed = self.listed.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let eligible = |id: &NodeId| {
            listed.get(id).map(|it| &it.handler).filter(|handler| Some(&handler.id) != except && handler.rank() == Some(0)).cloned()
        };
        if let Some(handler) = preferred.iter().find_map(eligible) {
            return Some(handler);
        }
        listed
            .values()
            .map(|it| &it.handler)
            .filter(|handler| Some(&handler.id) != except)
            .filter_map(|handler| Some(((handler.region != self.region, handler.rank()?, &handler.id), handler)))
            .min_by_key(|(key, _)| *key)
            .map(|(_, handler)| handler.clone())
    }

    /// Whether any handler could take a meeting, as far as is known: what operators and global controllers are told.
    pub fn any_healthy(&self) -> bool {
        !self.is_none_listed.load(Ordering::Relaxed) && self.choose(&[], None).is_some()
    }

    fn stop_telemetry(&self, id: &NodeId) {
        let mut telemetry = self.telemetry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(token) = telemetry.remove(id) {
            token.cancel();
        }
    }
}

/// Whether this process stood still when a time ended at `due`, if that is noticed `now`.
fn stood_still(due: tokio::time::Instant, now: tokio::time::Instant) -> bool {
    now.saturating_duration_since(due) > OWN_PAUSE
}

fn is_same(handler: &Handler, entry: &HandlerEntry) -> bool {
    handler.endpoint == entry.endpoint
        && handler.start_number == entry.start_number
        && handler.health == entry.health()
        && handler.region == entry.region
        && handler.public_url == entry.public_url
}

#[cfg(test)]
mod tests;
