//! Reads what a member receives and counts it. In: streams. Out: numbers that all tasks share. As little work for a record as can be: the load must
//! not be what is measured.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use benches::latencies::Latencies;
use benches::records::Tally;
use bytes::Bytes;
use common_core::FrameKind;

use super::dial::{Link, Receive};

/// Chunks read at a time; QUIC hands out one per packet.
const CHUNKS_MAX: usize = 32;

/// See the module.
pub struct Counts {
    origin: Instant,
    records: AtomicU64,
    bytes: AtomicU64,
    groups: AtomicU64,
    sources: usize,
    problem: Mutex<String>,
    pub latencies: Latencies,
}

/// Sums since the beginning.
#[derive(Clone, Copy, Debug, Default)]
pub struct State {
    /// Records that came whole, and their bytes.
    pub records: u64,
    pub bytes: u64,
    /// Groups of pictures whose key frame came.
    pub groups: u64,
}

impl Counts {
    pub fn new(sources: usize) -> Self {
        let zero = AtomicU64::default;
        Self {
            origin: Instant::now(),
            records: zero(),
            bytes: zero(),
            groups: zero(),
            sources,
            problem: Mutex::default(),
            latencies: Latencies::default(),
        }
    }

    /// The clock that records are stamped with, nanoseconds.
    pub fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).expect("a bench ends before the clock does")
    }

    pub fn state(&self) -> State {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        State { records: read(&self.records), bytes: read(&self.bytes), groups: read(&self.groups) }
    }

    /// The first that is told stays.
    pub fn tell(&self, problem: &str) {
        let mut told = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_empty() {
            problem.clone_into(&mut told);
        }
    }

    /// What was told since this was asked last; empty: nothing.
    pub fn problem(&self) -> String {
        std::mem::take(&mut self.problem.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads all that comes over `link` until it is gone.
pub fn receive(link: Link, counts: Arc<Counts>) {
    tokio::spawn(async move {
        loop {
            match link.accept().await {
                Ok(stream) => drop(tokio::spawn(group(stream, counts.clone()))),
                Err(error) => return counts.tell(&format!("a session is over: {error}")),
            }
        }
    });
}

async fn group(mut stream: Receive, counts: Arc<Counts>) {
    let mut chunks = [const { Bytes::new() }; CHUNKS_MAX];
    let mut tally = Tally::default();
    let mut next = None;
    let mut is_gapless = true;
    loop {
        let count = match stream.read(&mut chunks).await {
            Ok(Some(count)) => count,
            Ok(None) => break,
            Err(error) => return counts.tell(&format!("a group is broken off: {error}")),
        };
        let now = counts.now();
        for chunk in &mut chunks[..count] {
            let chunk = std::mem::take(chunk);
            let parsed = tally.push(&chunk, |received| {
                counts.records.fetch_add(1, Ordering::Relaxed);
                counts.bytes.fetch_add(received.bytes as u64, Ordering::Relaxed);
                counts.latencies.add(now.saturating_sub(received.stamp));
                is_gapless &= next.is_none_or(|next| next == (received.source, received.sequence));
                let begins = next.is_none() && received.kind != FrameKind::Audio;
                counts.groups.fetch_add(u64::from(begins), Ordering::Relaxed);
                next = Some((received.source, received.sequence + 1));
            });
            if let Err(error) = parsed {
                return counts.tell(&error);
            }
        }
    }
    let is_known = next.is_some_and(|(source, _)| (source as usize) < counts.sources);
    if !is_gapless || !is_known || !tally.is_between_records() {
        counts.tell("a group has gaps");
    }
}
