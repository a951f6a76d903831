//! A participant whose network goes away: back in time it is the same participant and nobody else is told; too late, the
//! others see it leave.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use client::{Client, Event, Events, Joined};
use e2e::camera::{Camera, KEY_BYTES};
use e2e::ground::scale;
use e2e::in_process::{InProcess, Options};
use e2e::link::Conditions;
use e2e::peer::Peer;
use e2e::session::Stack;
use e2e::within;
use proto::v1::server_message;

/// The cut that a session must survive (R7 of the reliability bars).
const SHORT_CUT: Duration = Duration::from_secs(3);
/// Longer than the controller takes to notice (three to four seconds), shorter than with the window behind it.
const NOTICED_CUT: Duration = Duration::from_secs(5);
/// How long a resumed session may take to stand once the path is whole, dialling with backoff.
const RESUME_LIMIT: Duration = Duration::from_secs(10);
/// How soon pictures move again after the path is whole (R7), where the machine has nothing else to do.
const MEDIA_LIMIT: Duration = Duration::from_secs(2);
/// Three seconds until the silence is a loss, five to come back in, and what a busy machine takes to tell.
const LEAVE_LIMIT: Duration = Duration::from_secs(20);
/// No participant is given up before this.
const LEAVE_EARLIEST: Duration = Duration::from_secs(7);

/// A meeting with a camera and an onlooker nearby, and Ben behind paths that can be cut.
struct World {
    cluster: InProcess,
    ben: Joined,
    onlooker: Peer,
    camera: Camera,
}

impl World {
    /// Ben has nothing but the paths that can be cut.
    async fn start() -> anyhow::Result<Self> {
        Self::with_ben(|options| options.signaling_fallback_url = None).await
    }

    async fn with_ben(change: impl FnOnce(&mut client::JoinOptions)) -> anyhow::Result<Self> {
        let cluster = InProcess::start(Options { path: Some(Conditions::default()), ..Options::default() }).await?;
        let meeting = cluster.api.create_meeting().await?.meeting_id;
        let camera = Camera::start(&cluster.invite_nearby(&meeting, "Camera").await?, "Camera", KEY_BYTES).await?;
        let onlooker = Peer::join(Stack::WebTransportQuinn, &cluster.invite_nearby(&meeting, "Olga").await?, "Olga").await?;
        let mut options = cluster.api.admit(&meeting, "Ben").await?;
        change(&mut options);
        let mut ben = Client::new()?.join(options).await?;
        ben.records.next().await.context("the camera's picture")?;
        Ok(Self { cluster, ben, onlooker, camera })
    }

    fn paths(&self) -> anyhow::Result<[&e2e::link::Link; 2]> {
        let (signaling, media) = (self.cluster.signaling_path.as_deref(), self.cluster.media_path.as_deref());
        Ok([signaling.context("a path")?, media.context("a path")?])
    }

    fn cut(&self) -> anyhow::Result<()> {
        self.paths()?.into_iter().for_each(e2e::link::Link::cut);
        Ok(())
    }

    fn heal(&self) -> anyhow::Result<()> {
        self.paths()?.into_iter().for_each(e2e::link::Link::heal);
        Ok(())
    }
}

async fn event_of<T>(events: &mut Events, pick: impl Fn(&Event) -> Option<T>) -> anyhow::Result<T> {
    let mut others = Vec::new();
    while let Some(event) = events.next().await {
        match pick(&event) {
            Some(picked) => return Ok(picked),
            None => others.push(event),
        }
    }
    bail!("the meeting ended before that event; what happened: {others:?}")
}

/// Three seconds without a network: pictures move again soon, and the session goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_cut_is_nobody_elses_business() -> anyhow::Result<()> {
    comes_back_after(SHORT_CUT, scale().of(RESUME_LIMIT, MEDIA_LIMIT)).await
}

/// Five seconds: the controller has noticed the loss, and Ben comes back by his resume token, inside the window.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_that_was_noticed_is_nobody_elses_business_either() -> anyhow::Result<()> {
    comes_back_after(NOTICED_CUT, RESUME_LIMIT).await
}

/// Ben is the same participant, sees pictures within `media_limit` of the path being whole, and what the onlooker hears next
/// is his chat.
async fn comes_back_after(cut: Duration, media_limit: Duration) -> anyhow::Result<()> {
    let mut world = World::start().await?;
    let ben = world.ben.meeting.participant_id();
    world.cut()?;
    // This is the outage itself, and no wait for something.
    tokio::time::sleep(cut).await;
    // What arrived before the cut is still in the queue.
    while world.ben.records.try_next().is_some() {}
    world.heal()?;
    let healed = Instant::now();
    let picture = within(media_limit, "pictures move again", async { world.ben.records.next().await.context("the meeting is over") });
    ensure!(picture.await?.header.stream_id == world.camera.stream_id, "it is another's picture");
    let media_after = healed.elapsed();
    let resumed = event_of(&mut world.ben.events, |event| matches!(event, Event::Resumed).then_some(()));
    within(RESUME_LIMIT, "signaling is resumed", resumed).await?;
    eprintln!("after a cut of {cut:?}: pictures after {media_after:?}, signaling after {:?}", healed.elapsed());

    ensure!(world.ben.meeting.participant_id() == ben, "Ben is another participant now");
    world.ben.meeting.chat("I am back").await?;
    let heard = world.onlooker.signaling.event(|body| match body {
        server_message::Body::ParticipantLeft(left) => Some(format!("{left:?}")),
        server_message::Body::ParticipantJoined(joined) if joined.participant.as_ref()?.participant_id != ben.to_string() => {
            Some(format!("{joined:?}"))
        }
        server_message::Body::Chat(chat) => Some(chat.content),
        _ => None,
    });
    let heard = within(RESUME_LIMIT, "the onlooker hears of Ben", heard).await?;
    ensure!(heard == "I am back", "the onlooker heard {heard}");
    world.cluster.stop().await;
    Ok(())
}

/// UDP stops passing and TCP goes on: Ben's signaling comes back over a WebSocket, inside the window.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_udp_stops_passing_signaling_goes_on_over_a_websocket() -> anyhow::Result<()> {
    let mut world = World::with_ben(|_| ()).await?;
    let ben = world.ben.meeting.participant_id();
    world.cut()?;
    let resumed = event_of(&mut world.ben.events, |event| matches!(event, Event::Resumed).then_some(()));
    within(LEAVE_EARLIEST, "signaling is resumed", resumed).await?;
    ensure!(world.ben.meeting.participant_id() == ben, "Ben is another participant now");
    ensure!(world.ben.meeting.stats().signaling == client::SignalingTransport::WebSocket, "it stands on UDP");
    world.ben.meeting.chat("I am back").await?;
    world.cluster.stop().await;
    Ok(())
}

/// Without a network for longer than the window: the others see Ben leave as lost, and his program learns that it is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_window_the_others_see_it_leave() -> anyhow::Result<()> {
    let mut world = World::start().await?;
    let ben = world.ben.meeting.participant_id();
    world.cut()?;
    let cut = Instant::now();
    let left = world.onlooker.signaling.event(|body| match body {
        server_message::Body::ParticipantLeft(left) => Some(left),
        _ => None,
    });
    let left = within(LEAVE_LIMIT, "the onlooker sees Ben leave", left).await?;
    let after = cut.elapsed();
    eprintln!("a participant without a network left after {after:?}");
    ensure!(left.participant_id == ben.to_string(), "{left:?} is not Ben");
    ensure!(left.reason() == proto::v1::LeaveReason::ConnectionLost, "{left:?}");
    ensure!(after > LEAVE_EARLIEST, "Ben was given up after {after:?}");

    world.heal()?;
    let closed = event_of(&mut world.ben.events, |event| match event {
        Event::Closed { end } => Some(end.clone()),
        _ => None,
    });
    let end = within(LEAVE_LIMIT, "Ben's program learns that it is over", closed).await?;
    ensure!(end.code() == Some(common_core::Code::Unauthorized), "it was told: {end}");
    world.cluster.stop().await;
    Ok(())
}
