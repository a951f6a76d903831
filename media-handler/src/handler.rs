//! What every task of the handler shares: the hub behind its one lock, the clock, the limits, the sessions' paths and paces.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;

use common::clock::Clock;
use common::gate::Gate;
use common_core::{MeetingId, Moment, ParticipantId};
use media_handler_core::{Hub, Key, Pace, Session};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::config::LimitsConfig;
use crate::waiting::Waiting;

pub(crate) struct Handler {
    pub clock: Clock,
    pub limits: LimitsConfig,
    pub tasks: TaskTracker,
    /// What waits while this process does not know whether it may go on.
    pub gate: Arc<Gate>,
    hub: Mutex<Hub>,
    /// Changes with each registration and hello: who holds frames of an unknown id tries again.
    changes: watch::Sender<()>,
    /// The connection under each session, for what QUIC knows of its path.
    paths: Mutex<BTreeMap<Key<Session>, quinn::Connection>>,
    /// Sessions that have not said hello.
    pub waiting: Arc<Waiting>,
    /// What each participant sends, over all its sessions.
    paces: Mutex<BTreeMap<(MeetingId, ParticipantId), Weak<Incoming>>>,
    /// When upkeep ran last, in microseconds.
    upkept_at: AtomicU64,
}

/// What one participant sends, against what it may.
pub(crate) struct Incoming {
    bytes: Mutex<Pace>,
    records: Mutex<Pace>,
}

impl Incoming {
    fn new(limits: &LimitsConfig) -> Self {
        let records = Pace::new(limits.max_ingress_records, limits.max_ingress_records);
        Self { bytes: Mutex::new(Pace::of_bitrate(limits.max_ingress_bitrate)), records: Mutex::new(records) }
    }

    /// Counts what was read; how long to wait before more is.
    pub fn count(&self, now: Moment, bytes: usize, records: usize) -> Duration {
        let of = |pace: &Mutex<Pace>, units: usize| lock(pace).count(now, u64::try_from(units).unwrap_or(u64::MAX));
        of(&self.bytes, bytes).max(of(&self.records, records))
    }
}

impl Handler {
    pub fn new(limits: LimitsConfig, tasks: TaskTracker, gate: Arc<Gate>) -> Self {
        let hub = Mutex::new(Hub::new(limits.core()));
        let waiting = Waiting::new(&limits);
        Self {
            clock: Clock::start(),
            limits,
            tasks,
            gate,
            hub,
            changes: watch::Sender::new(()),
            paths: Mutex::default(),
            waiting,
            paces: Mutex::default(),
            upkept_at: AtomicU64::new(0),
        }
    }

    /// What the participant of a session sends, shared by all its sessions.
    pub fn incoming(&self, address: (MeetingId, ParticipantId)) -> Arc<Incoming> {
        let mut paces = lock(&self.paces);
        if let Some(known) = paces.get(&address).and_then(Weak::upgrade) {
            return known;
        }
        let incoming = Arc::new(Incoming::new(&self.limits));
        paces.insert(address, Arc::downgrade(&incoming));
        incoming
    }

    /// Forgets those whose sessions are over.
    pub fn forget_paces(&self) {
        lock(&self.paces).retain(|_, incoming| incoming.strong_count() > 0);
    }

    pub fn keep_upkept(&self, now: Moment) {
        self.upkept_at.store(now.as_micros(), Ordering::Relaxed);
    }

    /// How long upkeep has not run.
    pub fn since_upkeep(&self) -> Duration {
        self.now().since(Moment::from_micros(self.upkept_at.load(Ordering::Relaxed)))
    }

    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Does something to the hub, and then wakes whom it concerns.
    pub fn with<R>(&self, act: impl FnOnce(&mut Hub) -> R) -> R {
        self.with_wakes(&mut Vec::new(), act)
    }

    /// [`with`](Self::with), for those who do it often and keep a list for it.
    pub fn with_wakes<R>(&self, wakes: &mut Vec<Waker>, act: impl FnOnce(&mut Hub) -> R) -> R {
        let result = {
            let mut hub = lock(&self.hub);
            let result = act(&mut hub);
            hub.take_wakes(wakes);
            result
        };
        for waker in wakes.drain(..) {
            waker.wake();
        }
        result
    }

    /// Tells those who hold frames of an unknown id to try again.
    pub fn changed(&self) {
        self.changes.send_replace(());
    }

    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    pub fn keep_path(&self, session: Key<Session>, connection: quinn::Connection) {
        lock(&self.paths).insert(session, connection);
    }

    pub fn forget_path(&self, session: Key<Session>) {
        lock(&self.paths).remove(&session);
    }

    pub fn path(&self, session: Key<Session>) -> Option<quinn::Connection> {
        lock(&self.paths).get(&session).cloned()
    }
}

/// Counts something refused at the media door; `reason` is one of a closed set of words, which docs/limits.md lists.
pub(crate) fn refused(reason: &'static str) {
    common::door::count_refusal("media", reason);
}

/// A panic while the lock was held ended one task; the state is a set of counters and logs that stays usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
