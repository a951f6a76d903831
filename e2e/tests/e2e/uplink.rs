//! A publisher's way to the handler.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use client::{Client, Frame, StreamDescription};
use common_core::media::StreamType;
use e2e::in_process::{InProcess, Options};
use e2e::link::Conditions;
use e2e::peer::Peer;
use e2e::session::Stack;
use e2e::within;

/// A lost first packet is sent again after 0.3, 0.9 and 2.1 s; what waits for the session is kept for two.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(3);
/// A join and a publication that take longer leave the dial in a pause that is longer than those two seconds.
const PUBLISHED_LIMIT: Duration = Duration::from_millis(1_500);
/// On a machine that never manages that, the test says so.
const ATTEMPTS: usize = 8;

/// The controller acks a publication before the session with the handler stands: the first frame waits, and arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_early_waits_for_the_handler() -> anyhow::Result<()> {
    let cluster = InProcess::start(Options { path: Some(Conditions::default()), ..Options::default() }).await?;
    let meeting = cluster.api.create_meeting().await?.meeting_id;
    let mut onlooker = Peer::join(Stack::WebTransportQuinn, &cluster.invite_nearby(&meeting, "Olga").await?, "Olga").await?;
    let media_path = cluster.media_path.clone().context("a path")?;

    let mut attempts = 0;
    let (joined, mut publisher) = loop {
        attempts += 1;
        media_path.cut();
        let options = cluster.api.admit(&meeting, "Ana").await?;
        let began = Instant::now();
        let joined = Client::new()?.join(options).await?;
        let publisher = joined.meeting.publish(StreamDescription::new(StreamType::VideoCamera, "VP9")).await?;
        if began.elapsed() < PUBLISHED_LIMIT {
            break (joined, publisher);
        }
        ensure!(attempts < ATTEMPTS, "no publication within {PUBLISHED_LIMIT:?}: this machine is too busy to say anything");
        media_path.heal();
        joined.meeting.leave().await;
    };
    ensure!(!joined.meeting.has_media(), "the session with the handler cannot stand yet");
    publisher.send(Frame::video(true, common::clock::unix_micros(), vec![7; 3_000].into()))?;
    media_path.heal();

    let first = within(ARRIVAL_LIMIT, "the first frame arrives", onlooker.record()).await?;
    ensure!(first.header.stream_id == publisher.stream().stream_id && first.header.sequence == 0, "{:?}", first.header);
    publisher.flush().await;
    ensure!(publisher.counts().dropped == 0, "{:?}", publisher.counts());
    joined.meeting.leave().await;
    cluster.stop().await;
    Ok(())
}
