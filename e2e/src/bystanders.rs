//! A meeting of two that has nothing to do with a test's mischief: one publishes picture and sound at a steady pace, the
//! other must get every record, bit for bit.

use std::collections::BTreeMap;
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
use crate::session::Stack;
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
/// How long the last records may take to arrive once the publisher has stopped.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(5);

/// What was published and what arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Pictures, each of which arrived.
    pub pictures: u64,
    /// Sound packets, each of which arrived.
    pub packets: u64,
}

/// The two of them, until [`finish`](Self::finish).
pub struct Bystanders {
    stop: watch::Sender<bool>,
    publishing: JoinHandle<anyhow::Result<(u64, u64)>>,
    watching: JoinHandle<anyhow::Result<Account>>,
}

impl Bystanders {
    /// Opens a meeting of its own, and returns once the first records have arrived.
    pub async fn start(api: &Api) -> anyhow::Result<Self> {
        let meeting = api.create_meeting().await?;
        let mut publisher = Peer::join(Stack::WebTransportQuinn, &api.invite(&meeting.meeting_id, "Vera").await?, "Vera").await?;
        let watcher = Peer::join(Stack::WebTransportQuinn, &api.invite(&meeting.meeting_id, "Wim").await?, "Wim").await?;
        let (video, audio) = (fresh_stream_id(), fresh_stream_id());
        publisher.publish(video, StreamType::VideoCamera).await?;
        publisher.publish(audio, StreamType::Audio).await?;
        let (stop, stopped) = watch::channel(false);
        let (total, published) = watch::channel(None);
        let (seen, mut first) = watch::channel(false);
        let publishing = tokio::spawn(async move {
            let counts = publish(&publisher, video, audio, stopped).await?;
            total.send_replace(Some(counts));
            // Leaving would withdraw the media streams: the publisher stays until the watcher has all.
            total.closed().await;
            Ok(counts)
        });
        let mut watching = tokio::spawn(watch_all(watcher, video, audio, published, seen));
        tokio::select! {
            outcome = first.wait_for(|seen| *seen) => { outcome.context("the watcher ended early")?; }
            outcome = &mut watching => { outcome??; }
        }
        Ok(Self { stop, publishing, watching })
    }

    /// Stops publishing, waits for what is under way, and fails if a single record is missing, doubled or changed.
    pub async fn finish(self) -> anyhow::Result<Account> {
        self.stop.send_replace(true);
        let watched = self.watching.await?;
        let (pictures, packets) = self.publishing.await?.context("a bystander cannot publish")?;
        let account = watched.context("a bystander lost something")?;
        ensure!(account == Account { pictures, packets }, "published {pictures} and {packets}, arrived {account:?}");
        Ok(account)
    }
}

async fn publish(publisher: &Peer, video: StreamId, audio: StreamId, stopped: watch::Receiver<bool>) -> anyhow::Result<(u64, u64)> {
    let mut sound = publisher.media.open_uni().await?;
    let mut picture = publisher.media.open_uni().await?;
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
            picture = publisher.media.open_uni().await?;
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
    Ok((pictures, packets))
}

/// Collects records until it has as many as were published; groups may overtake each other, so order is judged at the end.
async fn watch_all(
    mut watcher: Peer,
    video: StreamId,
    audio: StreamId,
    mut published: watch::Receiver<Option<(u64, u64)>>,
    seen: watch::Sender<bool>,
) -> anyhow::Result<Account> {
    let mut arrived: BTreeMap<(StreamId, u64), Record> = BTreeMap::new();
    let mut deadline = None;
    loop {
        let total = *published.borrow_and_update();
        if let Some((pictures, packets)) = total {
            if arrived.len() as u64 == pictures + packets {
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
        let record = tokio::select! {
            record = watcher.record() => record?,
            changed = published.changed(), if total.is_none() => { changed.context("the publisher failed")?; continue }
            () = late => bail!("of {total:?} records {} arrived; missing: {:?}", arrived.len(), missing(&arrived, video, audio, total)),
        };
        let key = (record.header.stream_id, record.header.sequence);
        if let Some(twin) = arrived.insert(key, record) {
            bail!("{} of {} arrived twice", twin.header.sequence, twin.header.stream_id);
        }
        seen.send_if_modified(|seen| !std::mem::replace(seen, true));
    }
    for record in arrived.values() {
        let expected = Record::numbered(record.header.kind, record.header.stream_id, record.header.sequence, record.bytes.len() - 46);
        ensure!(record.bytes[46..] == expected.bytes[46..], "{} of {} was changed", record.header.sequence, record.header.stream_id);
    }
    let count = |of: StreamId| arrived.range((of, 0)..=(of, u64::MAX)).count() as u64;
    Ok(Account { pictures: count(video), packets: count(audio) })
}

fn missing(
    arrived: &BTreeMap<(StreamId, u64), Record>,
    video: StreamId,
    audio: StreamId,
    total: Option<(u64, u64)>,
) -> Vec<(&'static str, u64)> {
    let (pictures, packets) = total.unwrap_or_default();
    let wanted = (0..pictures).map(|n| ("picture", video, n)).chain((0..packets).map(|n| ("packet", audio, n)));
    wanted.filter(|(_, id, n)| !arrived.contains_key(&(*id, *n))).map(|(name, _, n)| (name, n)).take(20).collect()
}
