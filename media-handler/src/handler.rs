//! What every task of the handler shares: the hub behind its one lock, the clock, the limits, the sessions' paths.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use common::clock::Clock;
use common_core::Moment;
use media_handler_core::{Hub, Key, Session};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::config::LimitsConfig;

pub(crate) struct Handler {
    pub clock: Clock,
    pub limits: LimitsConfig,
    pub tasks: TaskTracker,
    hub: Mutex<Hub>,
    /// Changes with each registration and hello: who holds frames of an unknown id tries again.
    changes: watch::Sender<()>,
    /// The connection under each session, for what QUIC knows of its path.
    paths: Mutex<BTreeMap<Key<Session>, quinn::Connection>>,
}

impl Handler {
    pub fn new(limits: LimitsConfig, tasks: TaskTracker) -> Self {
        let hub = Mutex::new(Hub::new(limits.core()));
        Self { clock: Clock::start(), limits, tasks, hub, changes: watch::Sender::new(()), paths: Mutex::default() }
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

/// A panic while the lock was held ended one task; the state is a set of counters and logs that stays usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
