//! The load: a process on a core of its own that publishes and subscribes, and counts what arrives.
//!
//! In: wishes in lines of JSON: whom to connect to, and then rounds. Out: a line for each. Delivery is judged here, where the records arrive; the
//! server's CPU time is read here as well, at the very moments at which the counting begins and ends.

mod aside;
mod dial;
mod publish;
mod subscribe;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::measure::{busy_seconds, cpu_seconds};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::workload::{Member, Source};
use aside::Aside;
use dial::Dialer;
use publish::Publisher;
use subscribe::Counts;

/// How long what is under way at the end of a round may take to arrive.
const DRAIN_MAX: Duration = Duration::from_secs(2);
const DRAIN_INTERVAL: Duration = Duration::from_millis(20);

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// Plain QUIC.
    Floor,
    /// WebTransport, a hello and a connection token.
    Handler,
}

/// Whom to connect to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub protocol: Protocol,
    pub server: SocketAddr,
    /// The server's process, whose CPU time counts.
    pub pid: u32,
    /// DER in base64.
    pub certificate: String,
    pub sources: Vec<Source>,
}

/// What is to be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Wish {
    /// The first.
    Begin(Job),
    /// Connects these, each with its connection token (empty for the floor).
    Connect(Vec<(Member, String)>),
    /// Connects one more, with its token, who is not counted; it reads for so many seconds of the next rounds, and then no more.
    Aside(Member, String, f64),
    /// How long after it stopped reading that one was closed, in seconds; null while it is not.
    AsideClosed,
    /// Publishes for so many seconds, and then counts for so many.
    Round { warm_up: f64, seconds: f64 },
}

/// What a round has brought.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// While it was counted: records delivered, their bytes, seconds by the clock, and on a core: the server's and the load's.
    pub records: u64,
    pub bytes: u64,
    pub seconds: f64,
    pub server_cpu: f64,
    pub load_cpu: f64,
    /// The same of everything else on this machine.
    pub others_cpu: f64,
    /// From the write at the publisher to the last byte at a subscriber, milliseconds.
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    /// How late a publisher was with a record, at most, milliseconds.
    pub late_ms: f64,
    /// Over the whole round: what subscribers should have had, and had.
    pub expected: u64,
    pub received: u64,
    /// Groups of pictures whose key frame did not come.
    pub lost_groups: u64,
    /// What went wrong first, in words; empty: nothing.
    pub problem: String,
}

/// Does what standard input says until it ends.
pub fn run() {
    common::tls::install_crypto_provider();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        // A thread waits for them, so that connections live on meanwhile.
        let (say, mut wishes) = tokio::sync::mpsc::channel::<String>(1);
        std::thread::spawn(move || {
            for line in std::io::stdin().lines() {
                say.blocking_send(line.expect("standard input can be read")).expect("it is heard");
            }
        });
        let mut load: Option<Load> = None;
        while let Some(line) = wishes.recv().await {
            match (serde_json::from_str(&line).expect("a wish"), &mut load) {
                (Wish::Begin(job), load) => {
                    *load = Some(Load::new(job));
                    println!("{}", json!({}));
                }
                (Wish::Connect(members), Some(load)) => {
                    load.connect(members).await;
                    println!("{}", json!({}));
                }
                (Wish::Round { warm_up, seconds }, Some(load)) => {
                    let outcome = load.round(Duration::from_secs_f64(warm_up), Duration::from_secs_f64(seconds)).await;
                    println!("{}", serde_json::to_string(&outcome).expect("JSON"));
                }
                (Wish::Aside(member, token, reads_for), Some(load)) => {
                    load.aside = Some(Aside::begin(load.dialer.dial_aside(&member, &token).await, reads_for));
                    println!("{}", json!({}));
                }
                (Wish::AsideClosed, Some(load)) => {
                    println!("{}", json!(load.aside.as_ref().and_then(Aside::closed_after)));
                }
                (_, None) => panic!("nobody said whom to connect to"),
            }
        }
    });
}

struct Load {
    job: Job,
    dialer: Dialer,
    counts: Arc<Counts>,
    members: Vec<Member>,
    publisher: Publisher,
    links: Vec<dial::Link>,
    aside: Option<Aside>,
}

impl Load {
    fn new(job: Job) -> Self {
        let counts = Arc::new(Counts::new(job.sources.len()));
        let publisher = Publisher::new(&job.sources, counts.clone());
        let dialer = Dialer::new(&job);
        Self { job, dialer, counts, members: Vec::new(), publisher, links: Vec::new(), aside: None }
    }

    async fn connect(&mut self, members: Vec<(Member, String)>) {
        for (member, token) in members {
            let link = self.dialer.dial(&member, &token).await;
            subscribe::receive(link.clone(), self.counts.clone());
            for source in &member.publishes {
                self.publisher.publish(*source, link.clone());
            }
            self.members.push(member);
            self.links.push(link);
        }
    }

    async fn round(&mut self, warm_up: Duration, window: Duration) -> Outcome {
        let before = self.counts.state();
        let sent_before = self.publisher.sent();
        let started = Instant::now();
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let measure = async {
            tokio::time::sleep(warm_up).await;
            self.counts.latencies.clear();
            let from = Look::at(self.job.pid, &self.counts);
            tokio::time::sleep((warm_up + window).saturating_sub(started.elapsed())).await;
            let to = Look::at(self.job.pid, &self.counts);
            let latencies = &self.counts.latencies;
            let quantiles = (latencies.quantile_ms(0.5), latencies.quantile_ms(0.99), latencies.longest_ms());
            stop.send_replace(true);
            (from, to, quantiles)
        };
        let ((from, to, (p50_ms, p99_ms, max_ms)), late) = tokio::join!(measure, self.publisher.run(stopped));
        let sent: Vec<(u64, u64)> =
            self.publisher.sent().iter().zip(&sent_before).map(|(now, before)| (now.0 - before.0, now.1 - before.1)).collect();
        let over_all = |part: fn(&(u64, u64)) -> u64| -> u64 {
            self.members.iter().flat_map(|member| &member.receives).map(|source| part(&sent[*source as usize])).sum()
        };
        let (expected, groups) = (over_all(|sent| sent.0), over_all(|sent| sent.1));
        let drained = Instant::now();
        let mut now = self.counts.state();
        while (now.records - before.records < expected || now.groups - before.groups < groups) && drained.elapsed() < DRAIN_MAX {
            tokio::time::sleep(DRAIN_INTERVAL).await;
            now = self.counts.state();
        }
        Outcome {
            records: to.records - from.records,
            bytes: to.bytes - from.bytes,
            seconds: (to.at - from.at).as_secs_f64(),
            server_cpu: to.server_cpu - from.server_cpu,
            load_cpu: to.load_cpu - from.load_cpu,
            others_cpu: ((to.busy - to.server_cpu - to.load_cpu) - (from.busy - from.server_cpu - from.load_cpu)).max(0.0),
            p50_ms,
            p99_ms,
            max_ms,
            late_ms: late.as_secs_f64() * 1e3,
            expected,
            received: now.records - before.records,
            lost_groups: groups.saturating_sub(now.groups - before.groups),
            problem: self.counts.problem(),
        }
    }
}

/// What stands at one moment.
struct Look {
    at: Instant,
    records: u64,
    bytes: u64,
    server_cpu: f64,
    load_cpu: f64,
    busy: f64,
}

impl Look {
    fn at(pid: u32, counts: &Counts) -> Self {
        let state = counts.state();
        let (server_cpu, load_cpu) = (cpu_seconds(pid, ""), cpu_seconds(std::process::id(), ""));
        Self { at: Instant::now(), records: state.records, bytes: state.bytes, server_cpu, load_cpu, busy: busy_seconds() }
    }
}
