//! Subscribers who stop reading: nobody else waits for them, each costs a bounded amount of memory, and in the end they are closed.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use common::quic::TransportLimits;
use common_core::StreamId;
use common_core::frame::FrameKind;
use e2e::api::Api;
use e2e::cluster::Dev;
use e2e::ground::{Figures, Scale, scale};
use e2e::hand::Hand;
use e2e::peer::{Peer, fresh_stream_id, join_request, kind_in_groups_of};
use e2e::wire::Record;
use e2e::within;
use proto::v1::{self, StreamType, SubscriptionOptions};
use tokio::io::AsyncWriteExt;
use tokio::time::MissedTickBehavior;

use super::STACK;

/// Pictures of the one that is watched: 25 a second, 4 Mb/s.
const PICTURE_INTERVAL: Duration = Duration::from_millis(40);
const PICTURE_BYTES: usize = 20_000;
const GROUP_PICTURES: u64 = 50;
/// R9.
const ONE_STALLED_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The bound for a connection that withholds reading.
const EACH_STUCK_BYTES_MAX: u64 = 6 * 1024 * 1024;
/// `[limits] stall_timeout_ms`, and what it takes to be noticed.
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

/// Somebody who subscribes with patience, so that nothing is dropped for its age, and reads nothing.
async fn stuck(api: &Api, meeting: &str, stream: Option<StreamId>) -> anyhow::Result<Hand> {
    let invitation = api.invite(meeting, "Stu").await?;
    let request = v1::JoinRequest { auto_subscribe: stream.is_none(), ..join_request(&invitation, "Stu") };
    let mut hand = Hand::join_with(&invitation, request, NARROW).await?;
    if let Some(stream) = stream {
        hand.subscribe(stream, SubscriptionOptions { max_latency_ms: 30_000, ..Default::default() }).await?;
    }
    Ok(hand)
}

/// One of several stalls: the others get every picture, the handler's memory grows by no more than 16 MiB, and at full scale it is seen that
/// it is closed within half a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_several_subscribers_stalls() -> anyhow::Result<()> {
    let dev = Dev::start().await?;
    let (api, admin) = (Api::without_pool(&dev.file.http_url)?, Api::without_pool(&dev.file.admin_url)?);
    let meeting = api.create_meeting().await?.meeting_id;
    let mut publisher = Peer::join(STACK, &api.invite(&meeting, "Vera").await?, "Vera").await?;
    let camera = fresh_stream_id();
    publisher.publish(camera, StreamType::VideoCamera).await?;
    let mut viewers = Vec::new();
    for name in ["Wim", "Xeno", "Yara"] {
        viewers.push(Peer::join(STACK, &api.invite(&meeting, name).await?, name).await?);
    }
    let process = dev.process_id().context("it runs")?;
    let pictures = scale().of(100_u64, 900);
    let baseline = Figures::reset(process, &admin).await?;
    let stalled = stuck(&api, &meeting, Some(camera)).await?;
    let began = Instant::now();

    let publishing = async {
        let mut stream = publisher.media.open_uni().await?;
        let mut pace = tokio::time::interval(PICTURE_INTERVAL);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for sequence in 0..pictures {
            pace.tick().await;
            let kind = kind_in_groups_of(GROUP_PICTURES, sequence);
            if kind == FrameKind::VideoKey && sequence > 0 {
                stream.shutdown().await?;
                stream = publisher.media.open_uni().await?;
            }
            stream.write_all(&Record::numbered(kind, camera, sequence, PICTURE_BYTES).bytes).await?;
        }
        stream.shutdown().await?;
        Ok::<_, anyhow::Error>(())
    };
    let watching = async {
        for viewer in &mut viewers {
            let mut missing: std::collections::BTreeSet<u64> = (0..pictures).collect();
            while !missing.is_empty() {
                let record = viewer.record().await?;
                ensure!(missing.remove(&record.header.sequence), "{} came twice", record.header.sequence);
            }
        }
        Ok(())
    };
    let closing = async {
        if scale() == Scale::Usual {
            return Ok(None);
        }
        // Its windows are full, so that it cannot be told why.
        within(STALL_LIMIT, "who takes nothing is closed", async { Ok(stalled.media.closed().await) }).await?;
        Ok(Some(began.elapsed()))
    };
    let limit = PICTURE_INTERVAL * u32::try_from(pictures)? + Duration::from_secs(15);
    let ((), (), closed) =
        within(limit, "every picture at every viewer", async { tokio::try_join!(publishing, watching, closing) }).await?;
    let now = Figures::of(process, &admin).await?;
    let growth = now.peak_bytes.saturating_sub(baseline.resident_bytes);
    eprintln!(
        "one of four stalls: the others got all of {pictures} pictures; memory +{:.1} MiB; closed: {closed:?}",
        growth as f64 / 1048576.0
    );
    ensure!(growth <= ONE_STALLED_BYTES_MAX, "memory grew by {growth} bytes");
    drop(viewers);
    let (status, _) = dev.stop().await?;
    ensure!(status.success(), "the process ended with {status}");
    Ok(())
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
        subscribers.push(stuck(&api, &meeting, Some(*stream)).await?);
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
