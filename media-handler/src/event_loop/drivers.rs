//! When QUIC's connection drivers run: right after the task that gave them something to send, while the connection is warm in the
//! cache, and for one who only subscribes not for every acknowledgement by itself.
//!
//! In: the drivers' futures and their wakes. Out: runs of them, in the order that costs least; every wake is followed by a run.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::ThreadId;

/// Runs in a row of one driver that has more to do each time; then others first. QUIC sends 20 datagrams in each: a key frame.
const RUNS_MAX: usize = 6;

type Driving = Pin<Box<dyn Future<Output = ()> + Send>>;

thread_local! {
    /// Drivers woken by the task that runs now, if it will run them itself.
    static WOKEN: RefCell<Option<Vec<Arc<Driver>>>> = const { RefCell::new(None) };
    /// Its memory, when it is not in use.
    static SPARE: RefCell<Vec<Arc<Driver>>> = const { RefCell::new(Vec::new()) };
}

/// A connection's driver, or the endpoint's.
pub(crate) struct Driver {
    /// `None` once it has ended.
    driving: Mutex<Option<Driving>>,
    thread: ThreadId,
    /// Woken and not run yet.
    is_woken: AtomicBool,
    /// Whether it may wait for its session's next delivery in this tick.
    is_patient: AtomicBool,
    /// Wakes the task that runs it when nobody else does.
    task: Mutex<Option<Waker>>,
    deferred: Arc<Deferred>,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("is_patient", &self.is_patient).finish_non_exhaustive()
    }
}

/// Drivers that wait for the end of this tick.
#[derive(Debug)]
pub(super) struct Deferred {
    is_active: AtomicBool,
    drivers: Mutex<Vec<Arc<Driver>>>,
    /// The task that runs them then.
    last: Mutex<Option<Waker>>,
    /// How many were put off, since whoever tells of it asked last.
    put_off: AtomicU64,
}

impl Deferred {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { is_active: AtomicBool::new(false), drivers: Mutex::default(), last: Mutex::default(), put_off: AtomicU64::new(0) })
    }

    /// How many drivers were put off to the end of their tick since the last call.
    pub fn put_off(&self) -> u64 {
        self.put_off.swap(0, Ordering::Relaxed)
    }

    pub fn set_active(&self, is_active: bool) {
        self.is_active.store(is_active, Ordering::Relaxed);
    }

    /// The tick's deliveries are done: whoever still waits has its turn.
    pub fn run(&self) {
        let drivers = std::mem::take(&mut *lock(&self.drivers));
        for driver in drivers {
            driver.run_or_wake();
        }
    }
}

impl Driver {
    /// Whether it may wait until the end of a tick for its session's deliveries: so for those that publish nothing.
    pub fn set_patient(&self, is_patient: bool) {
        self.is_patient.store(is_patient, Ordering::Relaxed);
    }

    /// Runs it if it was woken, until it rests or others should have a turn.
    fn run_or_wake(self: &Arc<Self>) {
        let waker = Waker::from(self.clone());
        let mut context = Context::from_waker(&waker);
        let mut driving = lock(&self.driving);
        for _ in 0..RUNS_MAX {
            if !self.is_woken.swap(false, Ordering::AcqRel) {
                return;
            }
            let Some(running) = driving.as_mut() else { return };
            if running.as_mut().poll(&mut context).is_ready() {
                *driving = None;
                self.wake_task();
                return;
            }
        }
        drop(driving);
        if self.is_woken.load(Ordering::Acquire) {
            self.wake_task();
        }
    }

    fn wake_task(&self) {
        let task = lock(&self.task).clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Wake for Driver {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let was_woken = self.is_woken.swap(true, Ordering::AcqRel);
        let is_here = std::thread::current().id() == self.thread;
        // Also if it waits already: it need not wait longer.
        if is_here && WOKEN.with_borrow_mut(|woken| woken.as_mut().map(|woken| woken.push(self.clone())).is_some()) {
            return;
        }
        if was_woken {
            return;
        }
        if is_here && self.is_patient.load(Ordering::Relaxed) && self.deferred.is_active.load(Ordering::Relaxed) {
            self.deferred.put_off.fetch_add(1, Ordering::Relaxed);
            lock(&self.deferred.drivers).push(self.clone());
            let last = lock(&self.deferred.last).clone();
            if let Some(last) = last {
                last.wake();
            }
            return;
        }
        self.wake_task();
    }
}

/// Ends the collection of [`WOKEN`], also in a panic.
struct Collection;

impl Drop for Collection {
    fn drop(&mut self) {
        let Some(mut woken) = WOKEN.take() else { return };
        for driver in woken.drain(..) {
            if std::thread::panicking() {
                driver.wake_task();
            } else {
                driver.run_or_wake();
            }
        }
        SPARE.set(woken);
    }
}

/// Does `act`, and then runs the drivers that it woke, as long as they are warm.
pub(crate) fn with_drivers<R>(act: impl FnOnce() -> R) -> R {
    debug_assert!(WOKEN.with_borrow(Option::is_none), "tasks do not run inside each other");
    WOKEN.set(Some(SPARE.take()));
    let _collection = Collection;
    act()
}

/// Inside [`with_drivers`]: the first driver that was woken so far.
pub(crate) fn first_woken() -> Option<Arc<Driver>> {
    WOKEN.with_borrow(|woken| woken.as_ref()?.first().cloned())
}

/// Owns a driver's future, which its wakers would keep otherwise.
struct Owner(Arc<Driver>);

impl Drop for Owner {
    fn drop(&mut self) {
        let driving = lock(&self.0.driving).take();
        drop(driving);
    }
}

/// Drives `future` on the current runtime.
pub(super) fn spawn(future: Driving, deferred: Arc<Deferred>) {
    let driver = Driver {
        driving: Mutex::new(Some(future)),
        thread: std::thread::current().id(),
        is_woken: AtomicBool::new(true),
        is_patient: AtomicBool::new(false),
        task: Mutex::default(),
        deferred,
    };
    let owner = Owner(Arc::new(driver));
    tokio::spawn(poll_fn(move |context| {
        let driver = &owner.0;
        let mut task = lock(&driver.task);
        if !task.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            *task = Some(context.waker().clone());
        }
        drop(task);
        driver.run_or_wake();
        if lock(&driver.driving).is_some() { Poll::Pending } else { Poll::Ready(()) }
    }));
}

/// Runs the deferred drivers after the other tasks that are ready.
pub(super) async fn run_deferred(deferred: Arc<Deferred>) {
    loop {
        poll_fn(|context| {
            let mut last = lock(&deferred.last);
            if !last.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
                *last = Some(context.waker().clone());
            }
            drop(last);
            if lock(&deferred.drivers).is_empty() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        // The runtime runs whoever is ready before it comes back.
        tokio::task::yield_now().await;
        deferred.run();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// A driver that counts its runs and leaves its waker.
    struct Probe {
        runs: Arc<AtomicUsize>,
        waker: Arc<Mutex<Option<Waker>>>,
    }

    impl Probe {
        fn spawn(deferred: &Arc<Deferred>) -> Self {
            let (runs, waker) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None)));
            let (counted, left) = (runs.clone(), waker.clone());
            let driving = poll_fn(move |context| {
                counted.fetch_add(1, Ordering::Relaxed);
                *lock(&left) = Some(context.waker().clone());
                Poll::Pending
            });
            spawn(Box::pin(driving), deferred.clone());
            Self { runs, waker }
        }

        fn wake(&self) {
            let waker = lock(&self.waker).clone();
            waker.expect("it ran").wake();
        }

        /// How often it ran since the last call.
        fn runs(&self) -> usize {
            self.runs.swap(0, Ordering::Relaxed)
        }
    }

    async fn settle() {
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_a_task_wakes_runs_right_after_it() {
        let probe = Probe::spawn(&Deferred::new());
        settle().await;
        assert_eq!(probe.runs(), 1, "spawned");
        with_drivers(|| {
            probe.wake();
            probe.wake();
            assert_eq!(probe.runs(), 0, "not inside the task");
        });
        assert_eq!(probe.runs(), 1, "before anything else");
        settle().await;
        assert_eq!(probe.runs(), 0, "and not again");
        probe.wake();
        settle().await;
        assert_eq!(probe.runs(), 1, "by its own task where nobody runs it");
    }

    #[tokio::test]
    async fn a_patient_one_waits_for_the_end_of_the_tick_or_for_its_delivery() {
        let deferred = Deferred::new();
        let last = tokio::spawn(run_deferred(deferred.clone()));
        let probe = Probe::spawn(&deferred);
        settle().await;
        let driver = with_drivers(|| {
            probe.wake();
            first_woken().expect("it is of this thread")
        });
        driver.set_patient(true);
        probe.runs();
        deferred.set_active(true);
        probe.wake();
        assert_eq!((probe.runs(), lock(&deferred.drivers).len()), (0, 1), "it waits");
        with_drivers(|| probe.wake());
        assert_eq!(probe.runs(), 1, "its delivery came");
        settle().await;
        assert_eq!(probe.runs(), 0, "nothing was left for the end");
        probe.wake();
        settle().await;
        assert_eq!((probe.runs(), lock(&deferred.drivers).len()), (1, 0), "the end came");
        last.abort();
    }

    #[tokio::test]
    async fn another_thread_only_wakes() {
        let probe = Probe::spawn(&Deferred::new());
        settle().await;
        probe.runs();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                with_drivers(|| probe.wake());
                assert_eq!(probe.runs(), 0, "it belongs to the other thread");
            });
        });
        settle().await;
        assert_eq!(probe.runs(), 1);
    }

    #[tokio::test]
    async fn whoever_has_more_to_do_lets_others_have_a_turn() {
        let (runs, counted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counter = runs.clone();
        let busy = poll_fn(move |context: &mut Context<'_>| {
            counter.fetch_add(1, Ordering::Relaxed);
            context.waker().wake_by_ref();
            Poll::Pending
        });
        spawn(Box::pin(busy), Deferred::new());
        tokio::task::yield_now().await;
        counted.store(runs.load(Ordering::Relaxed), Ordering::Relaxed);
        tokio::task::yield_now().await;
        assert!(
            counted.load(Ordering::Relaxed) >= RUNS_MAX && runs.load(Ordering::Relaxed) > counted.load(Ordering::Relaxed),
            "it goes on"
        );
    }
}
