//! One of the two that are compared: a server process on its core, and a load process of its own.

use std::path::{Path, PathBuf};

use benches::child::Child;
use serde_json::json;

use crate::handler::{Build, Handler};
use crate::load::{Job, Outcome, Protocol, Wish};
use crate::workload::{Member, Workload};

/// Which server.
#[derive(Clone, Debug)]
pub enum Kind {
    Floor,
    Handler(Build),
}

/// Cores of the server and of the load, as `taskset` takes them.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    pub server: &'static str,
    pub load: &'static str,
}

/// A core each.
pub const APART: Cores = Cores { server: "0", load: "1" };
/// The server on one core, or on both, and the load wherever there is room: for what more cores bring.
pub const ONE: Cores = Cores { server: "0", load: "0,1" };
pub const TWO: Cores = Cores { server: "0,1", load: "0,1" };

enum Server {
    Floor(Child),
    Handler(Handler),
}

/// See the module. Its processes end with this bench at the latest.
pub struct Side {
    server: Server,
    load: Child,
}

impl Side {
    /// Starts both, with nobody connected.
    pub async fn start(kind: &Kind, workload: &Workload, cores: Cores) -> Self {
        let (server, job) = match kind {
            Kind::Floor => {
                let mut floor = Child::start(cores.server, "floor", None);
                let said = floor.hear().await;
                let text = |name: &str| said[name].as_str().expect("a text").to_owned();
                let server = text("address").parse().expect("an address");
                let job = Job { protocol: Protocol::Floor, server, pid: floor.pid, certificate: text("certificate"), sources: vec![] };
                (Server::Floor(floor), job)
            }
            Kind::Handler(build) => {
                let handler = Handler::start(cores.server, build).await;
                let (protocol, certificate) = (Protocol::Handler, handler.certificate.clone());
                let job = Job { protocol, server: handler.address, pid: handler.pid, certificate, sources: vec![] };
                (Server::Handler(handler), job)
            }
        };
        let mut load = Child::start(cores.load, "load", None);
        load.ask(&json!(Wish::Begin(Job { sources: workload.sources.clone(), ..job }))).await;
        Self { server, load }
    }

    /// Of the server.
    pub fn pid(&self) -> u32 {
        match &self.server {
            Server::Floor(floor) => floor.pid,
            Server::Handler(handler) => handler.pid,
        }
    }

    /// Connects `members`, who publish and are subscribed from then on.
    pub async fn connect(&mut self, workload: &Workload, members: &[Member]) {
        for members in members.chunks(AT_ONCE) {
            let tokens = match &mut self.server {
                Server::Floor(_) => vec![String::new(); members.len()],
                Server::Handler(handler) => handler.admit(workload, members).await,
            };
            let members = members.iter().cloned().zip(tokens).collect();
            self.load.ask(&json!(Wish::Connect(members))).await;
        }
    }

    /// Connects `member`, who is not counted, and reads for so many seconds of the rounds that follow.
    pub async fn connect_aside(&mut self, workload: &Workload, member: &Member, reads_for: f64) {
        let token = match &mut self.server {
            Server::Floor(_) => String::new(),
            Server::Handler(handler) => handler.admit(workload, std::slice::from_ref(member)).await.remove(0),
        };
        self.load.ask(&json!(Wish::Aside(member.clone(), token, reads_for))).await;
    }

    /// Seconds from that one's last read to its close, if it is closed.
    pub async fn aside_closed(&mut self) -> Option<f64> {
        self.load.ask(&json!(Wish::AsideClosed)).await.as_f64()
    }

    /// One round.
    pub async fn round(&mut self, warm_up: f64, seconds: f64) -> Result<Outcome, String> {
        let answer = self.load.ask(&json!(Wish::Round { warm_up, seconds })).await;
        let outcome: Outcome = serde_json::from_value(answer).expect("an outcome");
        let missing = (outcome.received as f64 - outcome.expected as f64).abs() / outcome.expected.max(1) as f64;
        if outcome.problem.is_empty() && outcome.lost_groups == 0 && missing <= MISSING_MAX && outcome.records > 0 {
            return Ok(outcome);
        }
        let Outcome { expected, received, lost_groups, ref problem, late_ms, .. } = outcome;
        let mut told =
            format!("{received} of {expected} records and all but {lost_groups} groups came; {problem}; load late by {late_ms:.1} ms");
        if let Server::Handler(handler) = &self.server {
            told += &format!("\nfates so far: {}\nlog:\n{}", handler.fates(), handler.log());
        }
        Err(told)
    }

    /// Ends both.
    pub async fn stop(self) {
        self.load.stop().await;
        match self.server {
            Server::Floor(floor) => floor.stop().await,
            Server::Handler(handler) => handler.stop().await,
        }
    }
}

/// Registered and connected at a time: connection tokens do not live for ever, and routes are given for all of them at once.
const AT_ONCE: usize = 200;
/// Share of the records that may be missing (or too many) in a round.
const MISSING_MAX: f64 = 0.01;

/// Where cargo puts the handler's program, seen from this one.
pub fn built_handler() -> PathBuf {
    let bench = std::env::current_exe().expect("this program");
    // target/release/deps/media-…, and target/release/media-handler
    bench.parent().and_then(Path::parent).expect("a target folder").join("media-handler")
}
