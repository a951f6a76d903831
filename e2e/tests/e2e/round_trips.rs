//! How many round trips lie between the wish to join and the first frame.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use client::Client;
use common_core::frame::FrameKind;
use e2e::camera::Camera;
use e2e::in_process::{InProcess, Options};
use e2e::link::{Conditions, Link};
use e2e::within;
use tokio::net::UdpSocket;

/// Each way; a round trip takes 100 ms.
const DELAY: Duration = Duration::from_millis(50);
/// We aim at 4 (DESIGN section 1), and the figure that the test prints is what we quote. Beyond this something waits for a
/// timer.
const ROUND_TRIPS_MAX: f64 = 8.0;
const PATIENCE: Duration = Duration::from_secs(10);
const JOINERS: usize = 5;

/// With URLs and token in hand, joiners far away see the first frame of a running publisher.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_join_to_the_first_frame() -> anyhow::Result<()> {
    let cluster = InProcess::start(Options { path: Some(Conditions::delayed(DELAY)), ..Options::default() }).await?;
    let meeting = cluster.api.create_meeting().await?.meeting_id;
    let camera = Camera::start(&cluster.invite_nearby(&meeting, "Ana").await?, "Ana").await?;
    let round_trip = round_trip_of_a_path().await?;

    let mut figures = Vec::new();
    for number in 1..=JOINERS {
        let options = cluster.api.admit(&meeting, &format!("Ben {number}")).await?;
        let client = Client::new()?;
        let started = Instant::now();
        let (joined, joined_after, first) = within(PATIENCE, "the first frame", async {
            let mut joined = client.join(options).await?;
            let joined_after = started.elapsed();
            let first = joined.records.next().await.context("the meeting ended before a frame came")?;
            Ok((joined, joined_after, first))
        })
        .await?;
        let took = started.elapsed();
        ensure!(first.header.stream_id == camera.stream_id && first.header.kind == FrameKind::VideoKey, "{:?}", first.header);
        let round_trips = took.as_secs_f64() / round_trip.as_secs_f64();
        eprintln!(
            "join to first frame: {} ms = {round_trips:.2} RTT; joined after {} ms = {:.2} RTT; one RTT, measured on such a path: {:.1} ms",
            took.as_millis(),
            joined_after.as_millis(),
            joined_after.as_secs_f64() / round_trip.as_secs_f64(),
            round_trip.as_secs_f64() * 1000.0,
        );
        figures.push(round_trips);
        joined.meeting.leave().await;
    }
    figures.sort_by(f64::total_cmp);
    let median = figures[figures.len() / 2];
    eprintln!("join to first frame: median {median:.2} RTT of {JOINERS} joins");
    ensure!(median < ROUND_TRIPS_MAX, "{median:.2} round trips are over {ROUND_TRIPS_MAX}");
    cluster.stop().await;
    Ok(())
}

/// What one datagram needs there and back on a path like those before the cluster.
async fn round_trip_of_a_path() -> anyhow::Result<Duration> {
    let (far, near) = (UdpSocket::bind("127.0.0.1:0").await?, UdpSocket::bind("127.0.0.1:0").await?);
    let link = Link::start(far.local_addr()?, Conditions::delayed(DELAY)).await?;
    near.connect(link.address()).await?;
    let (mut there, mut back) = ([0; 8], [0; 8]);
    let started = Instant::now();
    near.send(b"a letter").await?;
    let (length, from) = far.recv_from(&mut there).await?;
    far.send_to(&there[..length], from).await?;
    near.recv(&mut back).await?;
    Ok(started.elapsed())
}
