//! Sends the records of every media stream when they are due, evenly and out of step with each other: a thread of its own keeps the time, since
//! the runtime's timers have steps of a millisecond.
//!
//! In: links, and when to stop. Out: records; how many; how late the latest of them was.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::records::record;
use tokio::sync::{mpsc, watch};

use super::dial::{Link, Send};
use super::subscribe::Counts;
use crate::workload::Source;

/// Fraction of an interval by which each media stream is behind the one before: the golden ratio spreads any number of them well.
const PHASE: f64 = 0.618_033_988_75;

/// Records that are due and not sent yet: when the load is behind, time waits for it.
const DUE_MAX: usize = 64;

/// See the module.
pub struct Publisher {
    counts: Arc<Counts>,
    outlets: Vec<Outlet>,
}

/// Where one media stream goes.
struct Outlet {
    source: Source,
    link: Option<Link>,
    stream: Option<Send>,
    sequence: u64,
    /// Place of the next record in its group.
    place: u64,
    groups: u64,
}

impl Publisher {
    pub fn new(sources: &[Source], counts: Arc<Counts>) -> Self {
        let outlet = |source: &Source| Outlet { source: *source, link: None, stream: None, sequence: 0, place: 0, groups: 0 };
        Self { counts, outlets: sources.iter().map(outlet).collect() }
    }

    /// The media stream with this number goes over `link`.
    pub fn publish(&mut self, source: u32, link: Link) {
        self.outlets[source as usize].link = Some(link);
    }

    /// Records and groups of pictures sent so far, of each media stream.
    pub fn sent(&self) -> Vec<(u64, u64)> {
        self.outlets.iter().map(|outlet| (outlet.sequence, outlet.groups)).collect()
    }

    /// Sends until `stopped`, and ends the groups then. The result is how late the latest record was.
    pub async fn run(&mut self, mut stopped: watch::Receiver<bool>) -> Duration {
        let (say, mut due) = mpsc::channel(DUE_MAX);
        let rates: Vec<u32> = self.outlets.iter().map(|outlet| outlet.source.rate).collect();
        let clock = std::thread::spawn(move || keep_time(&rates, &say));
        let mut latest = Duration::ZERO;
        loop {
            let (at, number): (Instant, usize) = tokio::select! {
                Some(next) = due.recv() => next,
                // Its sender lives as long as the round.
                _ = stopped.wait_for(|stopped| *stopped) => break,
            };
            latest = latest.max(at.elapsed());
            if let Err(error) = self.outlets[number].send(number, &self.counts).await {
                self.counts.tell(&format!("a publisher cannot write: {error}"));
                break;
            }
        }
        for outlet in &mut self.outlets {
            outlet.end();
        }
        drop(due);
        // It ends with the next record that is due.
        clock.join().expect("it does not panic");
        latest
    }
}

/// Says of each media stream when its next record is due, until nobody listens.
#[expect(clippy::disallowed_methods, reason = "to keep time is what this thread is for")]
fn keep_time(rates: &[u32], say: &mpsc::Sender<(Instant, usize)>) {
    let started = Instant::now();
    let intervals: Vec<Duration> = rates.iter().map(|rate| Duration::from_secs_f64(1.0 / f64::from(*rate))).collect();
    let phase = |number: usize, interval: &Duration| interval.mul_f64((number as f64 * PHASE).fract());
    let mut due: BinaryHeap<Reverse<(Instant, usize)>> =
        intervals.iter().enumerate().map(|(number, interval)| Reverse((started + phase(number, interval), number))).collect();
    while let Some(Reverse((at, number))) = due.pop() {
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        if say.blocking_send((at, number)).is_err() {
            return;
        }
        due.push(Reverse((at + intervals[number], number)));
    }
}

impl Outlet {
    async fn send(&mut self, number: usize, counts: &Counts) -> Result<(), String> {
        if self.place == self.source.group {
            self.end();
        }
        let Some(link) = &self.link else { return Ok(()) };
        let (kind, payload) = self.source.record(self.place);
        let stream = match &mut self.stream {
            Some(stream) => stream,
            stream => {
                let opened = link.open().await?;
                opened.prefer(self.source.is_audio);
                self.groups += u64::from(!self.source.is_audio);
                stream.insert(opened)
            }
        };
        let source = u32::try_from(number).expect("few");
        let record = record(kind, source, self.sequence, payload, counts.now());
        self.sequence += 1;
        self.place += 1;
        stream.write(record).await
    }

    /// Ends the group, if one is begun.
    fn end(&mut self) {
        if let Some(mut stream) = self.stream.take() {
            stream.finish();
        }
        self.place = 0;
    }
}
