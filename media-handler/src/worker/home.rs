//! Wakes of tasks on other workers, brought there together.
//!
//! In: a task's future, wakes from any thread. Out: the task is polled. Never loses a wake; never delays one on the task's own worker.
//!
//! A record wakes each subscriber that waits for it, and about all but one part in the number of workers are elsewhere. The runtime would write to an
//! eventfd for each of them, a system call of about a microsecond in the publisher's time; here the first one writes, and the others lie beside it
//! until the worker looks.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

use tokio::sync::Notify;

thread_local! {
    /// Of the worker that this thread is; none elsewhere, and where there is one worker alone.
    static HERE: RefCell<Option<Arc<Mailbox>>> = const { RefCell::new(None) };
}

/// Where a worker finds which of its tasks others have woken.
#[derive(Default)]
pub(crate) struct Mailbox {
    /// Each task is here once, so that there are at most as many as tasks.
    woken: Mutex<Vec<Arc<Home>>>,
    /// There are some.
    first: Notify,
}

impl Mailbox {
    /// From now on this thread is the worker with this mailbox.
    pub fn settle(self: &Arc<Self>) {
        HERE.set(Some(self.clone()));
    }

    /// Wakes the tasks that others post, on the worker's thread. Never ends.
    pub async fn deliver(&self) {
        let mut woken = Vec::new();
        loop {
            self.first.notified().await;
            std::mem::swap(&mut woken, &mut self.woken.lock().unwrap_or_else(PoisonError::into_inner));
            for home in woken.drain(..) {
                // First, so that who wakes it from now on posts it anew; who did before is answered by the next line.
                home.is_posted.store(false, Ordering::Release);
                home.task.wake_by_ref();
            }
        }
    }

    fn post(&self, home: Arc<Home>) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        woken.push(home);
        let is_first = woken.len() == 1;
        drop(woken);
        if is_first {
            self.first.notify_one();
        }
    }

    fn is_here(&self) -> bool {
        // While a thread ends there is no place to look at, and the mailbox is the way that always works.
        HERE.try_with(|here| here.borrow().as_ref().is_some_and(|here| std::ptr::eq(&raw const **here, self))).unwrap_or(false)
    }
}

/// A task on a worker, as those see it who wake it.
struct Home {
    mailbox: Arc<Mailbox>,
    task: Waker,
    is_posted: AtomicBool,
}

impl Wake for Home {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.mailbox.is_here() {
            self.task.wake_by_ref();
        } else if !self.is_posted.swap(true, Ordering::AcqRel) {
            self.mailbox.post(self.clone());
        }
    }
}

/// Runs `future` as a task of this worker whose wakes from others come through the mailbox.
pub(crate) async fn at_home<F: Future>(future: F) -> F::Output {
    let Some(mailbox) = HERE.with_borrow(Option::clone) else { return future.await };
    let mut future = pin!(future);
    // The task's waker, and the one that is handed out for it.
    let mut known: Option<(Waker, Waker)> = None;
    poll_fn(move |context| {
        let task = context.waker();
        let (_, waker) = match &mut known {
            Some(known) if known.0.will_wake(task) => known,
            known => {
                let home = Home { mailbox: mailbox.clone(), task: task.clone(), is_posted: AtomicBool::new(false) };
                known.insert((task.clone(), Arc::new(home).into()))
            }
        };
        future.as_mut().poll(&mut std::task::Context::from_waker(waker))
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;
    use std::task::Poll;
    use std::time::Duration;

    use super::*;

    const TASKS: usize = 50;
    const ROUNDS: usize = 200;
    /// Nothing here takes longer, unless it never comes.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A worker with tasks that each say when they are polled and hand out their waker. Ends when nobody listens.
    fn worker(polled: mpsc::Sender<(usize, Waker)>) -> std::thread::JoinHandle<()> {
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let mailbox = Arc::<Mailbox>::default();
            mailbox.settle();
            runtime.block_on(async {
                let tasks: Vec<_> = (0..TASKS)
                    .map(|task| {
                        let polled = polled.clone();
                        tokio::spawn(at_home(poll_fn(move |context| match polled.send((task, context.waker().clone())) {
                            Ok(()) => Poll::Pending,
                            Err(_) => Poll::Ready(()),
                        })))
                    })
                    .collect();
                tokio::spawn(async move { mailbox.deliver().await });
                for task in tasks {
                    task.await.expect("no panic");
                }
            });
        })
    }

    /// Goes on after each round only if no wake is lost.
    #[test]
    fn every_wake_from_another_thread_arrives() {
        let (polled, polls) = mpsc::channel();
        let worker = worker(polled);
        let mut wakers: Vec<Option<Waker>> = vec![None; TASKS];
        let listen = |wakers: &mut Vec<Option<Waker>>| {
            for _ in 0..TASKS {
                let (task, waker) = polls.recv_timeout(PATIENCE).expect("each is polled after each wake");
                assert!(wakers[task].replace(waker).is_none(), "once");
            }
        };
        listen(&mut wakers);
        for _ in 0..ROUNDS {
            wakers.iter_mut().for_each(|waker| waker.take().expect("each was polled").wake());
            listen(&mut wakers);
        }
        // Now they find nobody to tell, and end.
        drop(polls);
        wakers.into_iter().for_each(|waker| waker.expect("each was polled").wake());
        worker.join().expect("no panic");
    }

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_worker_is_woken_once_for_many() {
        let mailbox = Arc::<Mailbox>::default();
        let (carrier, tasks) = (Arc::<Count>::default(), [(); TASKS].map(|()| Arc::<Count>::default()));
        let homes = tasks.each_ref().map(|task| {
            let home = Home { mailbox: mailbox.clone(), task: task.clone().into(), is_posted: AtomicBool::new(false) };
            Waker::from(Arc::new(home))
        });
        let waker = Waker::from(carrier.clone());
        let mut delivers = pin!(mailbox.deliver());
        let mut deliver = || assert!(delivers.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        let counts = || (carrier.0.load(Ordering::Relaxed), tasks.each_ref().map(|task| task.0.load(Ordering::Relaxed)));
        deliver();
        for round in 1..=3 {
            for home in homes.iter().chain(&homes) {
                home.wake_by_ref();
            }
            assert_eq!(counts(), (round, [round - 1; TASKS]), "each is posted once, and the first wakes the worker");
            deliver();
            assert_eq!(counts(), (round, [round; TASKS]));
        }
        mailbox.settle();
        homes[0].wake_by_ref();
        assert_eq!((counts().0, counts().1[0]), (3, 4), "on its own worker a task is woken at once");
    }

    #[test]
    fn without_a_worker_nothing_is_between() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        assert_eq!(runtime.block_on(at_home(async { 7 })), 7);
    }
}
