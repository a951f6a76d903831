//! Floods on media sessions: streams opened and reset, streams left silent, groups stopped, requests, more media than is allowed. Whoever
//! floods is slowed down or closed; nobody else notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use common::quic::TransportLimits;
use common_core::frame::FrameKind;
use common_core::{Code, StreamId};
use e2e::ground::{Ground, refused, scale};
use e2e::hand::Hand;
use e2e::peer::{fresh_stream_id, join_request};
use e2e::wire::Record;
use proto::v1::{JoinRequest, Ping, RequestKeyFrame, StreamType, SubscriptionOptions, media_client_message};

use super::storm::{publisher, storm};

/// What one participant may send by default: `[limits] max_ingress_bitrate`, bytes a second.
const INGRESS_BYTES_PER_SECOND: f64 = 50_000_000.0 / 8.0;
/// How long the flood of media goes on.
const FLOOD: Duration = Duration::from_secs(3);
/// What the bystanders send meanwhile (two at 75 records a second and under 100 kB), and what QUIC's windows hold.
const BESIDE_BYTES: f64 = 2_500_000.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_opened_and_reset_are_slowed_down() -> anyhow::Result<()> {
    let ground = Arc::new(Ground::start("streams opened and reset").await?);
    let blows = scale().of(2_500, 100_000);
    storm(&ground, "one-way streams opened and reset", blows, 4, |hand, _, number| {
        Box::pin(async move {
            let mut stream = hand.media.open_uni().await?;
            if number % 2 == 0 {
                stream.write_all(&[1]).await?;
            }
            stream.reset(0)?;
            Ok(())
        })
    })
    .await?;
    storm(&ground, "both-way streams opened and reset", blows, 4, |hand, _, number| {
        Box::pin(async move {
            let (mut to, mut from) = hand.media.open_bi().await?;
            if number % 2 == 0 {
                to.write_all(&[1]).await?;
            }
            to.reset(0)?;
            from.stop(0)?;
            Ok(())
        })
    })
    .await?;
    let ground = Arc::into_inner(ground).context("all strangers are gone")?;

    // Opened up to the limit and left silent: the next one is not to be had, and the control stream goes on.
    let (mut silent, _) = publisher(&ground, "Sid").await?;
    let mut held = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(300), silent.media.open_uni()).await {
        let mut stream = stream?;
        stream.write_all(&[1]).await?;
        held.push(stream);
        ensure!(held.len() <= 128, "{} streams are open", held.len());
    }
    ensure!(held.len() >= 64, "only {} streams could be opened", held.len());
    eprintln!("{} silent streams were open", held.len());
    silent.leave().await?;
    drop(held);
    ground.settled().await?;
    Ok(())
}

/// A subscriber who stops every group as it comes: pictures that come in a group each are over by then, and cost nothing; sound is begun anew
/// with each stop, and who does that too often is closed. Who asks and asks is closed in any case.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stops_and_requests_end_the_session_that_floods() -> anyhow::Result<()> {
    let ground = Ground::start("stops and requests").await?;
    let (mut vera, camera) = publisher(&ground, "Vera").await?;
    let microphone = fresh_stream_id();
    vera.publish(microphone, StreamType::Audio).await?;
    for (what, kind, of) in [("pictures", FrameKind::VideoKey, camera), ("sound", FrameKind::Audio, microphone)] {
        let (stops, closed, lasted) = stop_everything(&ground, &vera, kind, of, scale().of(2_000, 50_000)).await?;
        eprintln!("{stops} groups of {what} were stopped within {lasted:?}, {closed} sessions closed with RATE_LIMITED");
    }

    // Requests for key frames: merged for the publisher, then passed over, then the end. Pings likewise.
    let requests = scale().of(2, 20);
    for number in 0..requests {
        let invitation = ground.invite("Mallory").await?;
        let mut mallory = Hand::join(&invitation, "Mallory").await?;
        mallory.subscribe(camera, SubscriptionOptions::default()).await?;
        let asked = if number % 2 == 0 {
            media_client_message::Body::KeyFrame(RequestKeyFrame { stream_id: camera.to_string() })
        } else {
            media_client_message::Body::Ping(Ping { sent_at_us: 1 })
        };
        let count = refused("a flood of control messages", Code::RateLimited, async {
            for _ in 0..5_000 {
                // The session ends while this goes on.
                if mallory.say(asked.clone()).await.is_err() {
                    break;
                }
            }
            mallory.closed().await
        });
        count.await?;
        mallory.leave().await?;
    }
    let asked = ground.metric("dark_tower_media_key_frame_requests_total", &[]).await?;
    ensure!(asked < 1_000.0, "the publishers were asked for {asked} key frames");
    ensure!(ground.metric("dark_tower_refused_total", &["door=\"media\"", "reason=\"control_messages\""]).await? >= 256.0, "it is counted");
    vera.leave().await?;
    ground.settled().await?;
    Ok(())
}

/// Ten times the bandwidth of a participant, as fast as the machine can: the handler reads what is allowed, and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_is_read_no_faster_than_it_may_send() -> anyhow::Result<()> {
    let ground = Ground::start("a flood of media").await?;
    let (mut mallory, camera) = publisher(&ground, "Mallory").await?;
    let received = || ground.metric("dark_tower_media_bytes_total", &["direction=\"in\""]);
    let (before, began) = (received().await?, Instant::now());
    let mut sent = 0_usize;
    for sequence in 0.. {
        let record = Record::numbered(FrameKind::VideoKey, camera, sequence, 500_000);
        let mut stream = mallory.media.open_uni().await?;
        let left = FLOOD.saturating_sub(began.elapsed());
        if tokio::time::timeout(left, stream.write_all(&record.bytes)).await.is_err() {
            break;
        }
        stream.finish()?;
        sent += record.bytes.len();
    }
    let (seconds, read) = (began.elapsed().as_secs_f64(), received().await? - before);
    let allowed = INGRESS_BYTES_PER_SECOND * (seconds + 1.0) + BESIDE_BYTES;
    eprintln!("in {seconds:.1} s {:.1} MB were sent, {:.1} MB read, {:.1} MB allowed", sent as f64 / 1e6, read / 1e6, allowed / 1e6);
    ensure!(read <= allowed, "{read} bytes were read, and {allowed} are allowed");
    ensure!(mallory.media.close_reason().is_none(), "who sends too fast is slowed down, not closed");
    mallory.leave().await?;
    ground.settled().await?;
    Ok(())
}

/// Stops each group of a media stream as it comes, under as many names as it takes, until `wanted` were stopped or it took too long; how
/// many were, how many sessions were closed for it, and how long it lasted.
async fn stop_everything(ground: &Ground, vera: &Hand, kind: FrameKind, of: StreamId, wanted: u64) -> anyhow::Result<(u64, u64, Duration)> {
    let (began, limit) = (Instant::now(), scale().of(Duration::from_millis(1500), Duration::from_secs(60)));
    let stops = Arc::new(AtomicU64::new(0));
    let (mut closed, mut sequence) = (0, 0);
    let mut stream = vera.media.open_uni().await?;
    let mut heard_at = Instant::now();
    while stops.load(Ordering::Relaxed) < wanted && began.elapsed() < limit {
        let invitation = ground.invite("Mallory").await?;
        let windows = TransportLimits { unidirectional_streams: 100, ..TransportLimits::SIGNALING };
        let request = JoinRequest { auto_subscribe: false, ..join_request(&invitation, "Mallory") };
        let mut mallory = Hand::join_with(&invitation, request, windows).await?;
        mallory.subscribe(of, SubscriptionOptions::default()).await?;
        let (media, counted) = (mallory.media.clone(), stops.clone());
        let taking = tokio::spawn(async move {
            while let Ok(mut group) = media.accept_uni().await {
                // An error means that the group is over already.
                counted.fetch_add(u64::from(group.stop(0).is_ok()), Ordering::Relaxed);
            }
        });
        let mut before = stops.load(Ordering::Relaxed);
        while mallory.media.close_reason().is_none() && stops.load(Ordering::Relaxed) < wanted && began.elapsed() < limit {
            stream.write_all(&Record::numbered(kind, of, sequence, 20).bytes).await?;
            sequence += 1;
            tokio::task::yield_now().await;
            let now = stops.load(Ordering::Relaxed);
            if now > before {
                (before, heard_at) = (now, Instant::now());
            }
            ensure!(heard_at.elapsed() < Duration::from_secs(10), "nothing came to be stopped any more after {now} groups");
        }
        if mallory.media.close_reason().is_some() {
            let code = mallory.closed().await?;
            ensure!(code == Code::RateLimited, "who stops every group is closed with {code}");
            closed += 1;
        }
        mallory.leave().await?;
        taking.await?;
    }
    stream.finish()?;
    Ok((stops.load(Ordering::Relaxed), closed, began.elapsed()))
}
