//! People who come and go, some without a farewell: the load under which nothing may pile up.
//!
//! In: a cluster's API, how many come, how fast. Out: what became of them. Each has a socket of its own and uses the Rust client; who a
//! participant is and how it goes follows from its number, so that a run can be repeated.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use client::{Client, Frame, JoinError, JoinOptions, Joined, StreamDescription};
use common_core::Code;
use common_core::media::StreamType;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::api::Api;
use crate::link::{Conditions, Link};
use crate::mute::Socket;

/// At the same time; the servers' memory at its height follows from it, so it is the same in a short run and a long one.
const TOGETHER: u64 = 12;
/// How many come to one meeting before the next one is begun.
const PER_MEETING: u64 = 25;
/// How long somebody stays: long enough to see the others.
const STAY: Duration = Duration::from_millis(150);
/// How often somebody knocks who is told to come again (`UNAVAILABLE`): on a busy machine a handler's answer may be late.
const KNOCKS_MAX: u32 = 3;
/// Between two knocks.
const KNOCK_INTERVAL: Duration = Duration::from_secs(1);
/// A connection that was cut is kept for so long, until the servers must have noticed by themselves.
const CUT_FOR: Duration = Duration::from_secs(8);
/// Pictures that somebody shows who publishes.
const PICTURES: u64 = 3;
const PICTURE_BYTES: usize = 4_000;

/// How somebody goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    /// Says that it leaves.
    Leaves,
    /// Closes its sessions, and is missed until the reconnection window is over.
    Closes,
    /// Nothing is ever heard of it again.
    Vanishes,
}

/// Who somebody is, by number.
#[derive(Clone, Copy, Debug)]
struct Visitor {
    farewell: Farewell,
    publishes: bool,
    over_web_socket: bool,
}

impl Visitor {
    /// Of ten, one vanishes and two close; each third publishes, each fourth comes over WebSocket.
    fn numbered(number: u64) -> Self {
        let farewell = match number % 10 {
            3 => Farewell::Vanishes,
            5 | 8 => Farewell::Closes,
            _ => Farewell::Leaves,
        };
        Self { farewell, publishes: number.is_multiple_of(3), over_web_socket: (number / 2).is_multiple_of(4) }
    }
}

/// What became of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Who came in and went again.
    pub visits: u64,
    /// Of these, who vanished.
    pub vanished: u64,
    /// Told to come again, and let in later.
    pub turned_away: u64,
    /// Records that arrived at somebody.
    pub records: u64,
    /// From the first to the last.
    pub took: Duration,
}

impl Tally {
    /// Joins a second.
    pub fn rate(&self) -> f64 {
        self.visits as f64 / self.took.as_secs_f64()
    }
}

/// The load, which goes on where it was with each [`run`](Self::run).
pub struct Churn {
    api: Api,
    next: Arc<AtomicU64>,
    /// The meeting that people come to now, by its number.
    meeting: Arc<Mutex<(u64, String)>>,
}

impl Churn {
    /// Nobody has come yet.
    pub fn new(api: &Api) -> Self {
        Self { api: api.clone(), next: Arc::default(), meeting: Arc::new(Mutex::new((u64::MAX, String::new()))) }
    }

    /// `count` people come and go, no more than `pace` a second; fails with the first who cannot.
    pub async fn run(&self, count: u64, pace: f64) -> anyhow::Result<Tally> {
        let (began, first) = (Instant::now(), self.next.load(Ordering::Relaxed));
        let (records, turned_away) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut coming = JoinSet::new();
        for _ in 0..TOGETHER.min(count) {
            let (api, next, meeting) = (self.api.clone(), self.next.clone(), self.meeting.clone());
            let (records, turned_away) = (records.clone(), turned_away.clone());
            coming.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= first + count {
                        return anyhow::Ok(());
                    }
                    let due = began + Duration::from_secs_f64((number - first) as f64 / pace);
                    tokio::time::sleep_until(due.into()).await;
                    let meeting_id = meeting_of(&api, &meeting, number / PER_MEETING).await?;
                    let seen = visit(&api, &meeting_id, number).await.with_context(|| format!("visitor {number}"))?;
                    records.fetch_add(seen.records, Ordering::Relaxed);
                    turned_away.fetch_add(seen.turned_away, Ordering::Relaxed);
                }
            });
        }
        while let Some(ended) = coming.join_next().await {
            ended??;
        }
        self.next.store(first + count, Ordering::Relaxed);
        let vanished = (first..first + count).filter(|number| Visitor::numbered(*number).farewell == Farewell::Vanishes).count();
        Ok(Tally {
            visits: count,
            vanished: vanished as u64,
            turned_away: turned_away.load(Ordering::Relaxed),
            records: records.load(Ordering::Relaxed),
            took: began.elapsed(),
        })
    }
}

/// The meeting for those who come now; whoever is first makes it.
async fn meeting_of(api: &Api, current: &Mutex<(u64, String)>, number: u64) -> anyhow::Result<String> {
    let mut current = current.lock().await;
    // A straggler goes where everybody is by now.
    if current.0 == u64::MAX || current.0 < number {
        *current = (number, api.create_meeting().await?.meeting_id);
    }
    Ok(current.1.clone())
}

/// What one visit adds to the tally.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    records: u64,
    turned_away: u64,
}

/// One visit.
async fn visit(api: &Api, meeting_id: &str, number: u64) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    let (visitor, socket) = (Visitor::numbered(number), Socket::bind()?);
    let (mut joined, path) = loop {
        let mut options = api.admit(meeting_id, &format!("Visitor {number}")).await?;
        let path = if visitor.over_web_socket { Some(over_web_socket(&mut options).await?) } else { None };
        match Client::with_dialer(socket.dialer.clone()).join(options).await {
            Ok(joined) => break (joined, path),
            Err(JoinError::Refused { code: Code::Unavailable, .. }) if seen.turned_away + 1 < u64::from(KNOCKS_MAX) => {
                seen.turned_away += 1;
                tokio::time::sleep(KNOCK_INTERVAL).await;
            }
            Err(error) => return Err(error.into()),
        }
    };
    if visitor.publishes {
        show(&joined, &mut seen).await?;
    }
    tokio::time::sleep(STAY).await;
    while joined.records.try_next().is_some() {
        seen.records += 1;
    }
    go(joined, visitor.farewell, &socket, path).await;
    Ok(seen)
}

/// Signaling over WebSocket, through a path that can be cut.
async fn over_web_socket(options: &mut JoinOptions) -> anyhow::Result<Link> {
    let url = options.signaling_fallback_url.take().context("there is no fallback URL")?;
    let host = url.strip_prefix("wss://").and_then(|rest| rest.split('/').next()).context("the fallback URL is no wss URL")?;
    let path = Link::start(host.parse::<SocketAddr>()?, Conditions::default()).await?;
    options.meeting_controller_url = url.replace(host, &path.address().to_string());
    Ok(path)
}

async fn show(joined: &Joined, seen: &mut Seen) -> anyhow::Result<()> {
    let mut publisher = loop {
        match joined.meeting.publish(StreamDescription::new(StreamType::VideoCamera, "VP9")).await {
            Ok(publisher) => break publisher,
            Err(error) if error.code() == Some(Code::Unavailable) && seen.turned_away + 1 < u64::from(KNOCKS_MAX) => {
                seen.turned_away += 1;
                tokio::time::sleep(KNOCK_INTERVAL).await;
            }
            Err(error) => return Err(error.into()),
        }
    };
    let picture = Bytes::from(vec![7; PICTURE_BYTES]);
    for sequence in 0..PICTURES {
        publisher.send(Frame::video(sequence == 0, common::clock::unix_micros(), picture.clone()))?;
    }
    publisher.flush().await;
    ensure!(publisher.counts().sent == PICTURES, "{:?}", publisher.counts());
    Ok(())
}

async fn go(joined: Joined, farewell: Farewell, socket: &Socket, path: Option<Link>) {
    match farewell {
        Farewell::Leaves => joined.meeting.leave().await,
        Farewell::Closes => {
            // Before the client can say that it leaves.
            socket.close();
            drop(path);
            drop(joined);
        }
        Farewell::Vanishes => {
            socket.fall_silent();
            if let Some(path) = path {
                path.cut();
                tokio::spawn(async move {
                    tokio::time::sleep(CUT_FOR).await;
                    drop(path);
                });
            }
            drop(joined);
        }
    }
}
