//! A meeting of three that has nothing to do with a test's mischief: two publish picture and sound at a steady pace, everybody
//! must get every record of the others, once and bit for bit. How long each record takes is noted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use common_core::StreamId;
use common_core::frame::FrameKind;
use proto::v1::StreamType;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::api::Api;
use crate::peer::{Peer, fresh_stream_id, kind_in_groups_of};
use crate::session::{Session, Stack};
use crate::wire::Record;

/// 25 pictures a second.
const PICTURE_INTERVAL: Duration = Duration::from_millis(40);
/// Sound packets for each picture: 50 a second.
const PACKETS_PER_PICTURE: u64 = 2;
/// A key frame each second.
const GROUP_PICTURES: u64 = 25;
const PICTURE_BYTES: usize = 3_000;
const PACKET_BYTES: usize = 120;
/// Published after the stop was asked for: a second and a group's change, in which what mischief leaves behind would show.
const AFTERMATH_PICTURES: u64 = 30;
/// How long the last records may take to arrive once the publishers have stopped.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(5);
/// Who they are; the first [`PUBLISHERS`] publish.
const NAMES: [&str; 3] = ["Vera", "Wim", "Xenia"];
const PUBLISHERS: usize = 2;

/// What was published and what arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Pictures, counted for each who was to get them, and got them.
    pub pictures: u64,
    /// Sound packets, likewise.
    pub packets: u64,
}

/// One-way times of records, from the publisher's call to write until a watcher had read all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// How many records.
    pub records: usize,
    /// Half of them took no longer.
    pub p50: Duration,
    /// 99 in 100 took no longer.
    pub p99: Duration,
    /// None took longer.
    pub max: Duration,
}

impl Latency {
    fn of(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        let at = |share: f64| {
            let index = ((micros.len() as f64 * share) as usize).min(micros.len().saturating_sub(1));
            Duration::from_micros(micros.get(index).copied().unwrap_or_default().into())
        };
        Self { records: micros.len(), p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

/// A notebook of one-way times that can be read at any time.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Arc<Mutex<Vec<u32>>>);

impl Latencies {
    /// Notes one.
    pub fn note(&self, micros: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(u32::try_from(micros).unwrap_or(u32::MAX));
    }

    /// How many were noted so far: a mark in the notebook.
    pub fn mark(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Of the records from one mark to another.
    pub fn between(&self, from: usize, to: usize) -> Latency {
        Latency::of(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(from..to).unwrap_or_default().to_vec())
    }
}

/// One who publishes: what, and how much in all, once that is known.
#[derive(Clone)]
struct Programme {
    video: StreamId,
    audio: StreamId,
    total: watch::Receiver<Option<Account>>,
}

/// The three of them, until [`finish`](Self::finish).
pub struct Bystanders {
    stop: watch::Sender<bool>,
    publishing: Vec<JoinHandle<anyhow::Result<Account>>>,
    watching: Vec<JoinHandle<anyhow::Result<Account>>>,
    latencies: Latencies,
}

impl Bystanders {
    /// Opens a meeting of its own, and returns once everybody has got a first record.
    pub async fn start(api: &Api) -> anyhow::Result<Self> {
        let meeting = api.create_meeting().await?;
        let mut people = Vec::new();
        for name in NAMES {
            let invitation = api.invite(&meeting.meeting_id, name).await?;
            people.push(Peer::join(Stack::WebTransportQuinn, &invitation, name).await?);
        }
        let (stop, stopped) = watch::channel(false);
        let (mut programmes, mut senders) = (Vec::new(), Vec::new());
        for publisher in &mut people[..PUBLISHERS] {
            let (video, audio) = (fresh_stream_id(), fresh_stream_id());
            publisher.publish(video, StreamType::VideoCamera).await?;
            publisher.publish(audio, StreamType::Audio).await?;
            let (sender, total) = watch::channel(None);
            programmes.push(Programme { video, audio, total });
            senders.push((publisher.media.clone(), sender));
        }
        let publishing = senders
            .into_iter()
            .zip(&programmes)
            .map(|((media, total), programme)| {
                let (video, audio, stopped) = (programme.video, programme.audio, stopped.clone());
                tokio::spawn(async move {
                    let account = publish(&media, video, audio, stopped).await?;
                    total.send_replace(Some(account));
                    // Leaving would withdraw the media streams: the publisher stays until the watchers have all.
                    total.closed().await;
                    Ok(account)
                })
            })
            .collect();
        let latencies = Latencies::default();
        let (mut watching, mut first) = (Vec::new(), Vec::new());
        for (index, watcher) in people.into_iter().enumerate() {
            let others = programmes.iter().enumerate().filter(|(of, _)| *of != index).map(|(_, programme)| programme.clone()).collect();
            let (seen, got_one) = watch::channel(false);
            watching.push(tokio::spawn(watch_all(watcher, others, latencies.clone(), seen)));
            first.push(got_one);
        }
        drop(programmes);
        let bystanders = Self { stop, publishing, watching, latencies };
        for mut got_one in first {
            if got_one.wait_for(|seen| *seen).await.is_err() {
                bystanders.finish().await.context("a bystander ended early")?;
                bail!("a bystander ended before it had begun");
            }
        }
        Ok(bystanders)
    }

    /// The notebook of one-way times.
    pub fn latencies(&self) -> Latencies {
        self.latencies.clone()
    }

    /// Stops publishing, waits for what is under way, and fails if a single record is missing, doubled or changed.
    pub async fn finish(self) -> anyhow::Result<Account> {
        self.stop.send_replace(true);
        let (mut wanted, mut arrived) = (Account::default(), Account::default());
        let mut lost = Ok(());
        for watched in self.watching {
            match watched.await? {
                Ok(account) => {
                    arrived.pictures += account.pictures;
                    arrived.packets += account.packets;
                }
                Err(error) => lost = Err(error.context("a bystander lost something")),
            }
        }
        for published in self.publishing {
            let account = published.await?.context("a bystander cannot publish")?;
            wanted.pictures += account.pictures * (NAMES.len() - 1) as u64;
            wanted.packets += account.packets * (NAMES.len() - 1) as u64;
        }
        lost?;
        ensure!(arrived == wanted, "published {wanted:?}, arrived {arrived:?}");
        Ok(arrived)
    }
}

async fn publish(media: &Session, video: StreamId, audio: StreamId, stopped: watch::Receiver<bool>) -> anyhow::Result<Account> {
    let mut sound = media.open_uni().await?;
    let mut picture = media.open_uni().await?;
    let mut pace = tokio::time::interval(PICTURE_INTERVAL);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut pictures, mut packets) = (0, 0);
    let mut left = AFTERMATH_PICTURES;
    while left > 0 {
        if *stopped.borrow() {
            left -= 1;
        }
        pace.tick().await;
        if pictures > 0 && pictures % GROUP_PICTURES == 0 {
            picture.shutdown().await?;
            picture = media.open_uni().await?;
        }
        for _ in 0..PACKETS_PER_PICTURE {
            sound.write_all(&Record::numbered(FrameKind::Audio, audio, packets, PACKET_BYTES).bytes).await?;
            packets += 1;
        }
        let kind = kind_in_groups_of(GROUP_PICTURES, pictures);
        picture.write_all(&Record::numbered(kind, video, pictures, PICTURE_BYTES).bytes).await?;
        pictures += 1;
    }
    sound.shutdown().await?;
    picture.shutdown().await?;
    Ok(Account { pictures, packets })
}

/// Collects records until it has as many as were published; groups may overtake each other, so order does not matter.
async fn watch_all(
    mut watcher: Peer,
    mut programmes: Vec<Programme>,
    latencies: Latencies,
    seen: watch::Sender<bool>,
) -> anyhow::Result<Account> {
    let mut arrived: BTreeMap<StreamId, BTreeSet<u64>> = BTreeMap::new();
    for programme in &programmes {
        arrived.insert(programme.video, BTreeSet::new());
        arrived.insert(programme.audio, BTreeSet::new());
    }
    let mut deadline = None;
    loop {
        let totals: Vec<Option<Account>> = programmes.iter_mut().map(|programme| *programme.total.borrow_and_update()).collect();
        let count: u64 = arrived.values().map(|sequences| sequences.len() as u64).sum();
        if let Some(totals) = totals.iter().copied().collect::<Option<Vec<Account>>>() {
            if count == totals.iter().map(|total| total.pictures + total.packets).sum::<u64>() {
                break;
            }
            deadline.get_or_insert_with(|| tokio::time::Instant::now() + ARRIVAL_LIMIT);
        }
        let late = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let open = programmes.iter_mut().zip(&totals).find(|(_, total)| total.is_none()).map(|(programme, _)| programme);
        let changed = async {
            match open {
                Some(programme) => programme.total.changed().await.context("a publisher failed"),
                None => std::future::pending().await,
            }
        };
        let record = tokio::select! {
            record = watcher.record() => record?,
            changed = changed => { changed?; continue }
            () = late => bail!("of {totals:?} only {count} records arrived; missing: {:?}", missing(&arrived, &programmes)),
        };
        latencies.note(common::clock::unix_micros().saturating_sub(record.header.timestamp_us));
        check(&record)?;
        let Some(sequences) = arrived.get_mut(&record.header.stream_id) else { bail!("a record of {}", record.header.stream_id) };
        ensure!(sequences.insert(record.header.sequence), "{} of {} arrived twice", record.header.sequence, record.header.stream_id);
        seen.send_if_modified(|seen| !std::mem::replace(seen, true));
    }
    let mut account = Account::default();
    for Programme { video, audio, .. } in &programmes {
        account.pictures += arrived[video].len() as u64;
        account.packets += arrived[audio].len() as u64;
    }
    Ok(account)
}

/// Whether a record is, to the last bit, the one that was published at its place.
fn check(record: &Record) -> anyhow::Result<()> {
    let header = &record.header;
    let mut expected = Record::numbered(header.kind, header.stream_id, header.sequence, record.bytes.len() - 46);
    expected.header.timestamp_us = header.timestamp_us;
    let bytes = expected.header.encode();
    expected.bytes[..bytes.len()].copy_from_slice(&bytes);
    ensure!(*record == expected, "{} of {} was changed", header.sequence, header.stream_id);
    Ok(())
}

fn missing(arrived: &BTreeMap<StreamId, BTreeSet<u64>>, programmes: &[Programme]) -> Vec<(&'static str, u64)> {
    let wanted = programmes.iter().flat_map(|Programme { video, audio, total }| {
        let Account { pictures, packets } = total.borrow().unwrap_or_default();
        (0..pictures).map(|n| ("picture", *video, n)).chain((0..packets).map(|n| ("packet", *audio, n)))
    });
    wanted.filter(|(_, id, n)| !arrived[id].contains(n)).map(|(name, _, n)| (name, n)).take(20).collect()
}
