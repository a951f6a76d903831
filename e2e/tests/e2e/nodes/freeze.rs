//! Processes that stand still and wake up: they must find out that the world went on before they say anything to anybody (R16).

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use client::signaling::{SignalingConnection, client_message};
use client::{Client, SessionEnd};
use common::tls::NodeKind;
use e2e::eventually;
use e2e::nodes::Nodes;
use proto::v1::{self, client_message, server_message};
use tokio::time::timeout;

use super::{Couple, SEE_LIMIT, couples_on_each, leads_elsewhere};

/// Longer than every lease, window and idle timeout.
const FREEZE: Duration = Duration::from_secs(15);
/// Longer than a lease and shorter than QUIC's idle timeout: the sessions over QUIC are whole on both ends.
const SHORT_FREEZE: Duration = Duration::from_secs(5);
/// From the wake-up until whoever has no meeting any more has let it go (R16).
const FENCE_LIMIT: Duration = Duration::from_secs(1);
/// From the loss of a controller until a join leads elsewhere.
const REASSIGN_LIMIT: Duration = Duration::from_secs(6);

/// A participant's signaling by hand: nothing is answered, repeated or resumed by itself.
struct Ear {
    connection: SignalingConnection,
    meeting_id: String,
}

impl Ear {
    /// Joins at `url`, which is over WebSocket or WebTransport.
    async fn join(nodes: &Nodes, meeting_id: &str, over_web_socket: bool) -> anyhow::Result<Self> {
        let options = nodes.api.admit(meeting_id, "Eve").await?;
        let url = if over_web_socket { options.signaling_fallback_url.context("no fallback")? } else { options.meeting_controller_url };
        let trust = client::Trust::from_hashes(&options.certificate_hashes);
        let mut connection = SignalingConnection::open(Client::new()?.dialer(), &url, &trust).await?;
        let join = v1::JoinRequest {
            meeting_id: meeting_id.to_owned(),
            join_token: options.join_token,
            participant_name: "Eve".to_owned(),
            ..Default::default()
        };
        connection.send(&client_message(1, client_message::Body::Join(join))).await?;
        loop {
            match connection.next().await?.body {
                Some(server_message::Body::Join(_)) => break,
                Some(server_message::Body::Error(error)) => bail!("{error:?}"),
                _ => {}
            }
        }
        Ok(Self { connection, meeting_id: meeting_id.to_owned() })
    }

    /// Takes what waits, until there is nothing for a while.
    async fn drain(&mut self) -> anyhow::Result<()> {
        while let Ok(message) = timeout(Duration::from_secs(2), self.connection.next()).await {
            message.context("it ended before it froze")?;
        }
        Ok(())
    }

    /// Hears its session end within `limit`, and nothing else before.
    async fn hears_only_the_end(&mut self, limit: Duration) -> anyhow::Result<SessionEnd> {
        match timeout(limit, self.connection.next()).await {
            Ok(Err(end)) => Ok(end),
            Ok(Ok(message)) => bail!("{} heard of its old controller: {message:?}", self.meeting_id),
            Err(_) => bail!("not within {limit:?}: the old controller lets go of {}", self.meeting_id),
        }
    }
}

/// A controller and a handler freeze for fifteen seconds, another controller for five. Their people meet elsewhere meanwhile; when they
/// wake up, they let go of what is not theirs any more and say nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_frozen_is_fenced() -> anyhow::Result<()> {
    let front = tokio::spawn(the_global_controller_was_frozen());
    let nodes = Nodes::seven().await?;
    let long = nodes.api.create_meeting_in("us").await?;
    let mut short = nodes.api.create_meeting_in("eu").await?;
    while nodes.at(&short.meeting_controller_url)? != "mc-eu-2" {
        short = nodes.api.create_meeting_in("eu").await?;
    }
    let mut over_tcp = Ear::join(&nodes, &long.meeting_id, true).await?;
    let mut over_quic = Ear::join(&nodes, &short.meeting_id, false).await?;
    // On the one controller that does not freeze.
    let pictures = couples_on_each(&nodes, "eu").await?.into_iter().find(|couple| couple.controller == "mc-eu-1").context("a couple")?;

    let frozen = Instant::now();
    for id in ["mc-us-1", "mc-eu-2", "mh-us-1"] {
        nodes.process(id)?.freeze()?;
    }
    tokio::try_join!(over_tcp.drain(), over_quic.drain())?;
    for (meeting_id, old) in [(&short.meeting_id, "mc-eu-2"), (&long.meeting_id, "mc-us-1")] {
        leads_elsewhere(&nodes, meeting_id, old, REASSIGN_LIMIT).await?;
    }
    eprintln!("meetings of frozen controllers are elsewhere after {:?}", frozen.elapsed());
    let (short_again, long_again) =
        tokio::try_join!(Couple::meet_in(&nodes, &short.meeting_id), Couple::meet_in(&nodes, &long.meeting_id))?;

    // The outages themselves, and no wait for something.
    tokio::time::sleep(SHORT_FREEZE.saturating_sub(frozen.elapsed())).await;
    wakes_fenced(&nodes, "mc-eu-2", &mut over_quic).await?;
    tokio::time::sleep(FREEZE.saturating_sub(frozen.elapsed())).await;
    wakes_fenced(&nodes, "mc-us-1", &mut over_tcp).await?;
    nodes.process("mh-us-1")?.wake()?;

    // Those who moved notice nothing of the return.
    for couple in [&pictures, &short_again, &long_again] {
        couple.see_each_other(SEE_LIMIT).await?;
        couple.noticed_nothing()?;
        let names: Vec<String> = couple.ana.meeting.roster().participants().map(|it| it.name.clone()).collect();
        ensure!(names.iter().all(|name| ["Ana", "Ben"].contains(&name.as_str())), "{names:?} are in the meeting");
    }
    for id in ["mc-us-1", "mc-eu-2", "mh-us-1"] {
        nodes.ready(id).await?;
    }
    let again = eventually("the region is used again", SEE_LIMIT, || async {
        let meeting = nodes.api.create_meeting_in("us").await?;
        ensure!(nodes.at(&meeting.meeting_controller_url)? == "mc-us-1", "it is not");
        Ok(meeting)
    });
    Couple::meet_in(&nodes, &again.await?.meeting_id).await?;
    front.await?
}

async fn wakes_fenced(nodes: &Nodes, id: &str, ear: &mut Ear) -> anyhow::Result<()> {
    nodes.process(id)?.wake()?;
    let woken = Instant::now();
    let end = ear.hears_only_the_end(FENCE_LIMIT).await?;
    eprintln!("{id} woke up and let its moved meeting go after {:?}: {end}", woken.elapsed());
    Ok(())
}

/// A global controller that stood still knows nothing of who was there meanwhile, so it revokes nobody.
async fn the_global_controller_was_frozen() -> anyhow::Result<()> {
    let plans = [
        ("gc-1", NodeKind::GlobalController, "eu"),
        ("mc-eu-1", NodeKind::MeetingController, "eu"),
        ("mc-eu-2", NodeKind::MeetingController, "eu"),
        ("mh-eu-1", NodeKind::MediaHandler, "eu"),
    ];
    let nodes = Nodes::start(&plans, &[]).await?;
    let couple = Couple::meet(&nodes, "eu").await?;
    nodes.process("gc-1")?.freeze()?;
    // The outage itself, and no wait for something.
    tokio::time::sleep(FREEZE).await;
    couple.see_each_other(SEE_LIMIT).await?;
    nodes.process("gc-1")?.wake()?;
    let woken = Instant::now();
    let invitation = nodes.api.invite(&couple.meeting_id, "Cleo").await?;
    eprintln!("a global controller that was frozen answers {:?} after it woke up", woken.elapsed());
    ensure!(nodes.at(&invitation.meeting_controller_url)? == couple.controller, "a meeting was moved from a live controller");
    ensure!(nodes.metrics("gc-1").await?.sum("dark_tower_nodes_live") == 3.0, "it gave somebody up");
    couple.noticed_nothing()
}
