//! Packets that one worker has read and another serves: handed over, at most once.
//!
//! In: datagrams as a worker read them. Out: the same without what is another worker's, which lies in that one's inbox then and wakes it. Never looks
//! beyond the id that a packet is for, and never hands over again what was handed over: whoever an id names answers for it, with a stateless reset
//! if the connection is gone.
//!
//! Usually every packet is the reader's own, and costs a comparison. Others come where a network card or the kernel has merged packets of several
//! connections from one address (UDP GRO) and brought them all to the worker of the first; and where the kernel goes by addresses and a client has moved.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use common::quic::{Port, Steering};
use quinn::udp::RecvMeta;

/// What may wait for one worker, with its bookkeeping: a quarter of what the kernel holds for a socket. What is beyond is dropped, as it would
/// be there: QUIC sends it again.
const INBOX_BYTES_MAX: usize = 1024 * 1024;

/// Datagrams that wait for a worker.
#[derive(Debug, Default)]
struct Inbox {
    /// Whether there are any: looked at before the lock is taken.
    is_filled: AtomicBool,
    waiting: Mutex<Waiting>,
    /// Packets that were left here since the start.
    passed: AtomicU64,
    /// And that found it full.
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    datagrams: VecDeque<Datagram>,
    bytes: usize,
    /// Wakes the worker's task that reads.
    reader: Option<Waker>,
}

/// One packet, or several of one size in a row, as in [`RecvMeta`].
#[derive(Debug)]
struct Datagram {
    meta: RecvMeta,
    payload: Box<[u8]>,
}

impl Datagram {
    /// What it takes.
    fn cost(&self) -> usize {
        size_of::<Self>() + self.payload.len()
    }
}

/// A worker's place among those of a port; clones are the same place. It outlives the worker: one that is begun anew finds what waits for it.
#[derive(Clone, Debug)]
pub(crate) struct Handover {
    index: u16,
    steering: Steering,
    /// Of all workers, in order.
    inboxes: Arc<[Inbox]>,
}

impl Handover {
    /// One for each worker of `port`, in order.
    pub fn among(port: &Port) -> Vec<Self> {
        let steering = port.steering();
        let inboxes: Arc<[Inbox]> = port.sockets.iter().map(|_| Inbox::default()).collect();
        (0..).zip(inboxes.iter()).map(|(index, _)| Self { index, steering, inboxes: inboxes.clone() }).collect()
    }

    /// Takes out of what was read whatever is another worker's, and leaves it to that one. A datagram of which nothing is left has length 0.
    pub fn hand_over(&self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) {
        if self.inboxes.len() < 2 {
            return;
        }
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            if !buffer[..meta.len].chunks(meta.stride.max(1)).all(|packet| self.owner(packet) == self.index) {
                self.divide(buffer, meta);
            }
        }
    }

    /// Whose packet it is that this worker has read.
    fn owner(&self, packet: &[u8]) -> u16 {
        self.steering.owner(packet).unwrap_or(self.index)
    }

    #[cold]
    fn divide(&self, buffer: &mut [u8], meta: &mut RecvMeta) {
        let (length, stride) = (meta.len, meta.stride.max(1));
        let after = |at: usize| length.min(at + stride);
        let (mut kept, mut from) = (0, 0);
        while from < length {
            let owner = self.owner(&buffer[from..after(from)]);
            // Those in a row that are one worker's stay together. Only the last of all may be shorter, and it is the last of its row.
            let mut to = after(from);
            while to < length && self.owner(&buffer[to..after(to)]) == owner {
                to = after(to);
            }
            if owner == self.index {
                buffer.copy_within(from..to, kept);
                kept += to - from;
            } else if let Some(inbox) = self.inboxes.get(usize::from(owner)) {
                let meta = RecvMeta { len: to - from, stride: stride.min(to - from), ..*meta };
                inbox.leave(Datagram { meta, payload: buffer[from..to].into() });
            }
            from = to;
        }
        meta.len = kept;
    }

    /// Fetches what others have left for this worker; how many datagrams.
    pub fn fetch(&self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> usize {
        let inbox = self.own();
        if !inbox.is_filled.load(Ordering::Acquire) {
            return 0;
        }
        let mut waiting = inbox.lock();
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let Some(datagram) = waiting.datagrams.pop_front() else { break };
            waiting.bytes -= datagram.cost();
            // All workers read into buffers of one size.
            let Some(room) = buffer.get_mut(..datagram.payload.len()) else { continue };
            room.copy_from_slice(&datagram.payload);
            *meta = datagram.meta;
            count += 1;
        }
        inbox.is_filled.store(!waiting.datagrams.is_empty(), Ordering::Release);
        count
    }

    /// From now on `reader` is woken when something is left for this worker; to be called before [`fetch`](Self::fetch), or it may lie there.
    pub fn wakes(&self, reader: &Waker) {
        self.own().lock().reader = Some(reader.clone());
    }

    /// Packets that others have left for this worker since the start, and that they could not.
    pub fn totals(&self) -> (u64, u64) {
        let Inbox { passed, dropped, .. } = self.own();
        (passed.load(Ordering::Relaxed), dropped.load(Ordering::Relaxed))
    }

    fn own(&self) -> &Inbox {
        &self.inboxes[usize::from(self.index)]
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, datagram: Datagram) {
        let packets = u64::try_from(datagram.payload.len().div_ceil(datagram.meta.stride.max(1))).unwrap_or(u64::MAX);
        let mut waiting = self.lock();
        let bytes = waiting.bytes + datagram.cost();
        if bytes > INBOX_BYTES_MAX {
            drop(waiting);
            self.dropped.fetch_add(packets, Ordering::Relaxed);
            return;
        }
        // Who has been woken and has not fetched everything yet comes again by itself.
        let reader = waiting.datagrams.is_empty().then(|| waiting.reader.clone()).flatten();
        waiting.bytes = bytes;
        waiting.datagrams.push_back(datagram);
        self.is_filled.store(true, Ordering::Release);
        drop(waiting);
        self.passed.fetch_add(packets, Ordering::Relaxed);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

#[cfg(test)]
mod tests;
