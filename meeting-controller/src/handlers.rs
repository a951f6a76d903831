//! Which media handlers there are, which one a meeting should use, and how they are called.
//!
//! In: the directory in a global controller's heartbeat reply, and how calls fare. Out: a choice with its channel.

mod telemetry;
mod worker;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use common::grpc;
use common::grpc::Channel;
use common::tls::LiveIdentity;
use common_core::NodeId;
use proto::cluster::media_handler_service_client::MediaHandlerServiceClient;
use proto::cluster::{HandlerEntry, HealthStatus};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use telemetry::TelemetrySink;
pub(crate) use worker::{Answer, HandlerQueue};

/// A handler that no directory lists any more is forgotten after this: two leases, so that a global controller that has
/// just started, and knows nobody yet, takes nothing away.
const UNLISTED_MAX: Duration = Duration::from_secs(6);
/// Directories come each second; after a longer pause than this a list is no evidence that a handler was gone meanwhile.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A handler that a call did not reach is passed over for this long, unless another sign of life comes first.
const SUSPECT: Duration = Duration::from_secs(3);
/// A handler's largest answer: telemetry of its hundred thousand subscriptions.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
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
    telemetry: Mutex<BTreeMap<NodeId, CancellationToken>>,
    sink: std::sync::OnceLock<Arc<dyn TelemetrySink>>,
    /// Bumped when a handler restarts, goes, or is reached or not reached again.
    changes: watch::Sender<u64>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Handlers {
    pub fn new(identity: impl Into<LiveIdentity>, region: String, stop: CancellationToken, tasks: TaskTracker) -> Arc<Self> {
        Arc::new(Self {
            identity: identity.into(),
            region,
            listed: RwLock::new(BTreeMap::new()),
            last_applied: Mutex::new(None),
            telemetry: Mutex::new(BTreeMap::new()),
            sink: std::sync::OnceLock::new(),
            changes: watch::Sender::new(0),
            stop,
            tasks,
        })
    }

    /// Where telemetry goes; set once, before the first meeting.
    pub fn set_sink(&self, sink: Arc<dyn TelemetrySink>) {
        // A second sink would be a bug of `start`, and harmless.
        let _ = self.sink.set(sink);
    }

    /// To be told when a meeting should look at its handler again.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Takes a directory over. What it does not list stays for a while (see [`UNLISTED_MAX`]).
    pub fn apply(&self, entries: &[HandlerEntry]) {
        self.apply_at(Instant::now(), entries);
    }

    fn apply_at(&self, now: Instant, entries: &[HandlerEntry]) {
        let mut has_changed = false;
        let mut listed = self.listed.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = self.last_applied.lock().unwrap_or_else(std::sync::PoisonError::into_inner).replace(now);
        if before.is_some_and(|before| now.duration_since(before) > PAUSE_MAX) {
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
            .filter_map(|handler| Some(((handler.rank()?, handler.region != self.region, &handler.id), handler)))
            .min_by_key(|(key, _)| *key)
            .map(|(_, handler)| handler.clone())
    }

    /// Whether any handler could take a meeting.
    pub fn any_healthy(&self) -> bool {
        self.choose(&[], None).is_some()
    }

    fn stop_telemetry(&self, id: &NodeId) {
        let mut telemetry = self.telemetry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(token) = telemetry.remove(id) {
            token.cancel();
        }
    }
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
