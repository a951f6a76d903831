//! Timers of one event loop: many, mostly put off before they fire, so putting one off costs a store.
//!
//! In: deadlines. Out: wakes, when the loop says that it has read its socket. A timer stays queued under the deadline it had when it was
//! queued; when that comes and it was put off meanwhile, it is queued anew.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use quinn::AsyncTimer;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Timers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// When to look at which slot.
    queue: BTreeSet<(Instant, usize)>,
    /// The task that reads the socket and then fires timers, and until when it sleeps.
    reader: Option<Waker>,
    reader_sleeps_until: Option<Instant>,
}

#[derive(Debug, Default)]
struct Slot {
    deadline: Option<Instant>,
    queued: Option<Instant>,
    waker: Option<Waker>,
}

impl State {
    fn set(&mut self, index: usize, at: Instant) -> Option<Waker> {
        let slot = &mut self.slots[index];
        slot.deadline = Some(at);
        if slot.queued.is_some_and(|queued| queued <= at) {
            return None;
        }
        if let Some(queued) = slot.queued.replace(at) {
            self.queue.remove(&(queued, index));
        }
        self.queue.insert((at, index));
        // The reader sleeps too long; it is woken once for that.
        if self.reader_sleeps_until.is_some_and(|until| until <= at) {
            return None;
        }
        self.reader.take()
    }
}

impl Timers {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn timer(self: &Arc<Self>, at: Instant) -> Timer {
        let mut state = self.lock();
        let index = state.free.pop().unwrap_or_else(|| {
            state.slots.push(Slot::default());
            state.slots.len() - 1
        });
        let reader = state.set(index, at);
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        Timer { timers: self.clone(), index }
    }

    /// Wakes who is due at `now`. To be called after the socket was read.
    pub fn fire(&self, now: Instant, due: &mut Vec<Waker>) {
        let mut state = self.lock();
        while let Some((at, index)) = state.queue.first().copied()
            && at <= now
        {
            state.queue.pop_first();
            let slot = &mut state.slots[index];
            slot.queued = None;
            match slot.deadline {
                Some(deadline) if deadline <= now => {
                    slot.deadline = None;
                    due.extend(slot.waker.take());
                }
                Some(deadline) => {
                    slot.queued = Some(deadline);
                    state.queue.insert((deadline, index));
                }
                None => {}
            }
        }
    }

    /// The reader is about to sleep, at the latest until `latest`: until when, that is. It is woken when a timer needs it sooner.
    pub fn rest(&self, reader: &Waker, latest: Option<Instant>) -> Option<Instant> {
        let mut state = self.lock();
        let next = state.queue.first().map(|(at, _)| *at);
        // A tick comes anyway, and timers wait for it.
        let until = latest.or(next);
        state.reader_sleeps_until = until;
        if !state.reader.as_ref().is_some_and(|known| known.will_wake(reader)) {
            state.reader = Some(reader.clone());
        }
        until
    }

    pub fn wake_reader(&self) {
        let reader = self.lock().reader.take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// One timer; it is due from its deadline on, and wakes who waits for it after the loop has read its socket.
#[derive(Debug)]
pub(crate) struct Timer {
    timers: Arc<Timers>,
    index: usize,
}

impl Timer {
    /// It fires at `at` instead.
    pub fn put_off(&self, at: Instant) {
        let reader = self.timers.lock().set(self.index, at);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Whether it has fired; if not, the task is woken when it does.
    pub fn is_due(&self, context: &Context<'_>) -> bool {
        let mut state = self.timers.lock();
        let slot = &mut state.slots[self.index];
        if slot.deadline.is_none() {
            return true;
        }
        if !slot.waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            slot.waker = Some(context.waker().clone());
        }
        false
    }
}

impl AsyncTimer for Timer {
    fn reset(self: Pin<&mut Self>, at: Instant) {
        self.put_off(at);
    }

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.is_due(context) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let mut state = self.timers.lock();
        let slot = std::mem::take(&mut state.slots[self.index]);
        if let Some(queued) = slot.queued {
            state.queue.remove(&(queued, self.index));
        }
        state.free.push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    use super::*;

    /// Counts its wakes.
    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Bell {
        fn rung(&self) -> usize {
            self.0.swap(0, Ordering::Relaxed)
        }
    }

    fn bell() -> (Arc<Bell>, Waker) {
        let bell = Arc::new(Bell::default());
        (bell.clone(), bell.into())
    }

    fn fire(timers: &Timers, now: Instant) {
        let mut due = Vec::new();
        timers.fire(now, &mut due);
        due.into_iter().for_each(Waker::wake);
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_timer_that_is_put_off_fires_once_and_then() {
        let (timers, start) = (Timers::new(), Instant::now());
        let (bell, waker) = bell();
        let context = Context::from_waker(&waker);
        let timer = timers.timer(start + SECOND);
        assert!(!timer.is_due(&context));
        timer.put_off(start + 3 * SECOND);
        fire(&timers, start + 2 * SECOND);
        assert_eq!((bell.rung(), timer.is_due(&context)), (0, false), "it was put off");
        fire(&timers, start + 3 * SECOND);
        assert_eq!((bell.rung(), timer.is_due(&context)), (1, true));
        fire(&timers, start + 9 * SECOND);
        assert_eq!(bell.rung(), 0, "once");
        timer.put_off(start + 10 * SECOND);
        assert!(!timer.is_due(&context));
        timer.put_off(start + 9 * SECOND);
        fire(&timers, start + 9 * SECOND);
        assert_eq!(bell.rung(), 1, "sooner than it was");
    }

    /// The reader sleeps until the first of them or the tick; only what comes sooner than its sleep wakes it.
    #[test]
    fn the_reader_is_woken_when_it_sleeps_too_long() {
        let (timers, start) = (Timers::new(), Instant::now());
        let (bell, reader) = bell();
        assert_eq!(timers.rest(&reader, None), None);
        let first = timers.timer(start + 2 * SECOND);
        assert_eq!(bell.rung(), 1, "it slept without end");
        assert_eq!(timers.rest(&reader, None), Some(start + 2 * SECOND));
        let second = timers.timer(start + 3 * SECOND);
        assert_eq!(bell.rung(), 0, "later than the first");
        second.put_off(start + SECOND);
        assert_eq!(bell.rung(), 1);
        assert_eq!(timers.rest(&reader, Some(start + SECOND / 2)), Some(start + SECOND / 2), "a tick");
        second.put_off(start + SECOND * 3 / 4);
        assert_eq!(bell.rung(), 0, "a tick comes anyway");
        drop((first, second));
        assert_eq!(timers.rest(&reader, None), None, "nothing is left of those that are gone");
        assert_eq!(timers.lock().queue.len(), 0);
    }
}
