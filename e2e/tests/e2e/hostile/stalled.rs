//! Subscribers who stop reading: nobody else waits for them, each costs a bounded amount of memory, and in the end they are closed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use common::quic::TransportLimits;
use common_core::StreamId;
use common_core::frame::FrameKind;
use e2e::api::Api;
use e2e::bystanders::Latencies;
use e2e::cluster::Dev;
use e2e::ground::{Figures, Scale, scale};
use e2e::hand::Hand;
use e2e::peer::{Peer, fresh_stream_id, join_request};
use e2e::wire::{self, Record};
use e2e::within;
use proto::v1::{self, StreamType, SubscriptionOptions, media_server_message};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::STACK;

/// Pictures of the one that is watched: 25 a second, 4 Mb/s.
const PICTURE_INTERVAL: Duration = Duration::from_millis(40);
const PICTURE_BYTES: usize = 20_000;
const GROUP_PICTURES: u64 = 50;
/// R9.
const ONE_STALLED_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Beside the one that stalls.
const OTHERS: usize = 19;
/// A second of its pictures, by the publisher's clock: it is as slow as everything else on a busy machine.
const RETURN_PICTURES_MAX: u64 = 25;
/// The bound for a connection that withholds reading.
const EACH_STUCK_BYTES_MAX: u64 = 6 * 1024 * 1024;
/// `[limits] stall_timeout_ms`, and what a busy machine takes to notice.
const STALL_LIMIT: Duration = Duration::from_secs(33);
/// A subscriber's windows that are full at once.
const NARROW: TransportLimits = TransportLimits {
    receive_window: 32 * 1024,
    stream_receive_window: 16 * 1024,
    send_window: 64 * 1024,
    bidirectional_streams: 16,
    unidirectional_streams: 100,
    datagram_receive_buffer: Some(2048),
};
/// The same where there is room beside media, so that it can still be spoken with.
const NARROW_STREAMS: TransportLimits = TransportLimits { receive_window: 8 * 1024 * 1024, ..NARROW };

/// Somebody who subscribes, with patience or (0) the usual latency budget, and reads no media.
async fn stuck(api: &Api, meeting: &str, stream: StreamId, windows: TransportLimits, max_latency_ms: u32) -> anyhow::Result<Hand> {
    let invitation = api.invite(meeting, "Stu").await?;
    let request = v1::JoinRequest { auto_subscribe: false, ..join_request(&invitation, "Stu") };
    let mut hand = Hand::join_with(&invitation, request, windows).await?;
    hand.subscribe(stream, SubscriptionOptions { max_latency_ms, ..Default::default() }).await?;
    Ok(hand)
}

/// A publisher and viewers who take everything, in a meeting with one that stops reading.
struct Meeting {
    dev: Dev,
    api: Api,
    admin: Api,
    meeting_id: String,
    publisher: Hand,
    camera: StreamId,
    viewers: Vec<Peer>,
    /// One-way times at the viewers.
    latencies: Latencies,
    /// Pictures published so far.
    sequence: u64,
}

impl Meeting {
    async fn begin(viewers: usize) -> anyhow::Result<Self> {
        let dev = Dev::start_with_usual_log().await?;
        let (api, admin) = (Api::without_pool(&dev.file.http_url)?, Api::without_pool(&dev.file.admin_url)?);
        let meeting_id = api.create_meeting().await?.meeting_id;
        let invitation = api.invite(&meeting_id, "Vera").await?;
        let request = v1::JoinRequest { auto_subscribe: false, ..join_request(&invitation, "Vera") };
        let mut publisher = Hand::join_with(&invitation, request, TransportLimits::SIGNALING).await?;
        let camera = fresh_stream_id();
        publisher.publish(camera, StreamType::VideoCamera).await?;
        let mut others = Vec::new();
        for number in 0..viewers {
            let name = format!("Viewer {number}");
            others.push(Peer::join(STACK, &api.invite(&meeting_id, &name).await?, &name).await?);
        }
        Ok(Self { dev, api, admin, meeting_id, publisher, camera, viewers: others, latencies: Latencies::default(), sequence: 0 })
    }

    fn process(&self) -> anyhow::Result<u32> {
        self.dev.process_id().context("it runs")
    }

    /// Publishes so many pictures, with a key frame whenever one is due or asked for, and has every viewer get each of them. `sent` is told
    /// the number of each.
    async fn show(&mut self, pictures: u64, sent: &watch::Sender<u64>) -> anyhow::Result<()> {
        let Self { publisher, viewers, latencies, sequence, camera, .. } = self;
        let (first, camera, media) = (*sequence, *camera, publisher.media.clone());
        let is_key_wanted = AtomicBool::new(false);
        let obeying = async {
            loop {
                if let media_server_message::Body::KeyFrame(_) = publisher.hear().await? {
                    is_key_wanted.store(true, Ordering::Relaxed);
                }
            }
        };
        let publishing = async {
            let mut pace = tokio::time::interval(PICTURE_INTERVAL);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut stream = media.open_uni().await?;
            for sequence in first..first + pictures {
                pace.tick().await;
                let is_due = sequence == first || sequence.is_multiple_of(GROUP_PICTURES);
                let kind = if is_due || is_key_wanted.swap(false, Ordering::Relaxed) { FrameKind::VideoKey } else { FrameKind::VideoDelta };
                if kind == FrameKind::VideoKey && sequence > first {
                    stream.finish()?;
                    stream = media.open_uni().await?;
                }
                stream.write_all(&Record::numbered(kind, camera, sequence, PICTURE_BYTES).bytes).await?;
                sent.send_replace(sequence);
            }
            stream.finish()?;
            Ok::<_, anyhow::Error>(())
        };
        let watching = futures_util::future::try_join_all(viewers.iter_mut().map(|viewer| watch_all(viewer, first, pictures, latencies)));
        let limit = PICTURE_INTERVAL * u32::try_from(pictures)? + Duration::from_secs(15);
        within(limit, "every picture at every viewer", async {
            tokio::select! {
                shown = async { tokio::try_join!(publishing, watching) } => shown.map(|_| ()),
                heard = obeying => heard,
            }
        })
        .await?;
        *sequence += pictures;
        Ok(())
    }

    async fn end(self) -> anyhow::Result<()> {
        drop((self.viewers, self.publisher));
        let (status, _) = self.dev.stop().await?;
        ensure!(status.success(), "the process ended with {status}");
        Ok(())
    }
}

/// Takes `pictures` from `first` on, each once.
async fn watch_all(viewer: &mut Peer, first: u64, pictures: u64, latencies: &Latencies) -> anyhow::Result<()> {
    let mut missing: BTreeSet<u64> = (first..first + pictures).collect();
    while !missing.is_empty() {
        let record = viewer.record().await?;
        latencies.note(common::clock::unix_micros().saturating_sub(record.header.timestamp_us));
        ensure!(missing.remove(&record.header.sequence), "{} came twice", record.header.sequence);
    }
    Ok(())
}

/// One of twenty reads what it is told and no media, for a minute at full scale: the others get every picture, the memory grows by no more
/// than 16 MiB, and at full scale it is seen that the one is closed within half a minute, and told why. How soon the others have their pictures is
/// printed here, and measured by `make bench-media-stall`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_twenty_subscribers_stalls() -> anyhow::Result<()> {
    let mut meeting = Meeting::begin(OTHERS).await?;
    let (process, sent) = (meeting.process()?, watch::Sender::new(0));
    // Everybody's windows and buffers have been used before anything counts.
    meeting.show(scale().of(50, 250), &sent).await?;
    let mark = meeting.latencies.mark();
    let baseline = Figures::reset(process, &meeting.admin).await?;
    let mut stalled = stuck(&meeting.api, &meeting.meeting_id, meeting.camera, NARROW_STREAMS, 0).await?;
    let began = Instant::now();
    let closing = async {
        if scale() == Scale::Usual {
            return Ok(None);
        }
        within(STALL_LIMIT, "who takes nothing is closed", async {
            loop {
                if let media_server_message::Body::Error(error) = stalled.hear().await? {
                    ensure!(error.code() == v1::ErrorCode::Expired, "told {error:?}");
                    return stalled.closed().await;
                }
            }
        })
        .await?;
        Ok(Some(began.elapsed()))
    };
    let pictures = scale().of(100, 1500);
    let ((), closed) = tokio::try_join!(meeting.show(pictures, &sent), closing)?;
    let now = Figures::of(process, &meeting.admin).await?;
    let growth = now.peak_bytes.saturating_sub(baseline.resident_bytes);
    let (calm, beside) = (meeting.latencies.between(0, mark), meeting.latencies.between(mark, meeting.latencies.mark()));
    eprintln!(
        "one of twenty stalls for {:.1?}: the others got all of {pictures} pictures, p50 {:?} p99 {:?} (before: p50 {:?} p99 {:?}); \
         memory +{:.1} MiB; closed: {closed:.1?}",
        began.elapsed(),
        beside.p50,
        beside.p99,
        calm.p50,
        calm.p99,
        growth as f64 / 1048576.0
    );
    ensure!(growth <= ONE_STALLED_BYTES_MAX, "memory grew by {growth} bytes");
    drop(stalled);
    meeting.end().await
}

/// Who reads again before it is closed, and asks for nothing, is served from a key frame within a second: long before the publisher would
/// send one by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_returns_is_served_from_a_key_frame() -> anyhow::Result<()> {
    // When the group under way is late, and the next is more than a second away.
    let away = scale().of(4, 10) * GROUP_PICTURES + 16;
    let mut meeting = Meeting::begin(2).await?;
    let invitation = meeting.api.invite(&meeting.meeting_id, "Rita").await?;
    let request = v1::JoinRequest { auto_subscribe: false, ..join_request(&invitation, "Rita") };
    let mut returner = Hand::join_with(&invitation, request, NARROW).await?;
    returner.subscribe(meeting.camera, SubscriptionOptions::default()).await?;
    let sent = watch::Sender::new(0);
    let mut shown = sent.subscribe();
    let returning = async {
        shown.wait_for(|sequence| *sequence >= away).await?;
        let back_at = Instant::now();
        let first = first_picture(&returner).await?;
        Ok::<_, anyhow::Error>((first.header, back_at.elapsed(), *sent.borrow()))
    };
    let ((), (header, waited, by_then)) = tokio::try_join!(meeting.show(away + 2 * GROUP_PICTURES, &sent), returning)?;
    eprintln!(
        "who read nothing for {:.1} s had picture {} of {away}, a {:?}, {waited:.1?} after it came back, when picture {by_then} was sent",
        (PICTURE_INTERVAL * u32::try_from(away)?).as_secs_f64(),
        header.sequence,
        header.kind
    );
    ensure!(header.kind == FrameKind::VideoKey, "a group does not begin with {:?}", header.kind);
    ensure!(by_then <= away + RETURN_PICTURES_MAX, "it waited for {} pictures", by_then - away);
    drop(returner);
    meeting.end().await
}

/// The first record that comes whole; what was late meanwhile is reset.
async fn first_picture(viewer: &Hand) -> anyhow::Result<Record> {
    loop {
        let mut group = viewer.media.accept_uni().await?;
        if let Ok(Some(record)) = wire::read_record(&mut group).await {
            return Ok(record);
        }
    }
}

/// Twenty that read nothing, each with a media stream of its own to lag behind in: at most 6 MiB each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_stuck_subscriber_costs_at_most_six_mebibytes() -> anyhow::Result<()> {
    const STREAMS_EACH: usize = 5;
    const GROUP_BYTES: usize = 140_000;
    const GROUPS: u64 = 60;
    let dev = Dev::start().await?;
    let (api, admin) = (Api::without_pool(&dev.file.http_url)?, Api::without_pool(&dev.file.admin_url)?);
    let meeting = api.create_meeting().await?.meeting_id;
    let count = scale().of(5, 20);
    let mut publishers = Vec::new();
    let mut subscribers = Vec::new();
    for _ in 0..count / STREAMS_EACH {
        let invitation = api.invite(&meeting, "Vera").await?;
        let request = v1::JoinRequest { auto_subscribe: false, ..join_request(&invitation, "Vera") };
        let mut publisher = Hand::join_with(&invitation, request, TransportLimits::SIGNALING).await?;
        let mut streams = Vec::new();
        for _ in 0..STREAMS_EACH {
            let stream = fresh_stream_id();
            publisher.publish(stream, StreamType::VideoCamera).await?;
            streams.push(stream);
        }
        publishers.push((publisher, streams));
    }
    let process = dev.process_id().context("it runs")?;
    let baseline = Figures::reset(process, &admin).await?;
    for stream in publishers.iter().flat_map(|(_, streams)| streams) {
        subscribers.push(stuck(&api, &meeting, *stream, NARROW, 30_000).await?);
    }
    // Twice as much as one may lag behind, in as many groups as fill it.
    let mut sending = tokio::task::JoinSet::new();
    for (publisher, streams) in &publishers {
        let (media, streams) = (publisher.media.clone(), streams.clone());
        sending.spawn(async move {
            for sequence in 0..GROUPS {
                for stream in &streams {
                    let mut to = media.open_uni().await?;
                    to.write_all(&Record::numbered(FrameKind::VideoKey, *stream, sequence, GROUP_BYTES).bytes).await?;
                    to.finish()?;
                }
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    sending.join_all().await.into_iter().collect::<anyhow::Result<()>>()?;
    let now = Figures::of(process, &admin).await?;
    let each = now.peak_bytes.saturating_sub(baseline.resident_bytes) / count as u64;
    eprintln!("{count} stuck subscribers: {:.2} MiB each", each as f64 / 1048576.0);
    ensure!(each <= EACH_STUCK_BYTES_MAX, "each costs {each} bytes");
    drop((publishers, subscribers));
    dev.stop().await?;
    Ok(())
}
