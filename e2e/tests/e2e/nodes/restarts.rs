//! Each node of seven restarted in turn while meetings run: what must survive it does.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use client::SessionEnd;
use common::tls::NodeKind;
use e2e::eventually;
use e2e::nodes::Nodes;
use e2e::people::Person;

use super::{Couple, SEE_LIMIT, couples_on_each, is_joinable, leads_elsewhere};

/// From the start of a killed global controller until its API serves again (R4).
const FRONT_LIMIT: Duration = Duration::from_secs(5);
/// How soon pictures move again after a handler is gone; R2 is measured apart, with many.
const MEDIA_LIMIT: Duration = Duration::from_secs(3);
/// From a controller's death until a join of its meeting leads elsewhere: its lease, and what a busy machine adds.
const REASSIGN_LIMIT: Duration = Duration::from_secs(6);
/// From the word of an orderly leave until a join leads elsewhere.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);
/// How long a client tries to come back to its controller; 30 s unless the application says otherwise.
const CLIENT_PATIENCE: Duration = Duration::from_secs(2);
/// A second and a half until it notices the silence, its patience, and the last dial's five seconds.
const GIVEN_UP_LIMIT: Duration = Duration::from_secs(11);
/// Meetings that are created before the global controller is killed.
const CREATED: usize = 20;

/// SIGTERM or SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Orderly,
    Killed,
}

async fn end(nodes: &mut Nodes, id: &str, how: End) -> anyhow::Result<()> {
    match how {
        End::Killed => nodes.kill(id).await,
        End::Orderly => {
            let (status, took): (ExitStatus, Duration) = nodes.stop(id).await?;
            ensure!(status.success(), "{id} ended with {status} after {took:?}");
            Ok(())
        }
    }
}

/// Live sessions and their media do not need the global controller, and it forgets nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_global_controller_may_restart() -> anyhow::Result<()> {
    let mut nodes = Nodes::seven().await?;
    let mut couples = couples_on_each(&nodes, "eu").await?;
    couples.extend(couples_on_each(&nodes, "us").await?);
    for how in [End::Killed, End::Orderly] {
        let mut created = Vec::new();
        for number in 0..CREATED {
            created.push(nodes.api.create_meeting_in(if number % 2 == 0 { "eu" } else { "us" }).await?.meeting_id);
        }
        end(&mut nodes, "gc-1", how).await?;
        for couple in &couples {
            couple.see_each_other(SEE_LIMIT).await?;
        }
        let started = Instant::now();
        nodes.launch("gc-1")?;
        let served = eventually("the API serves joins again", FRONT_LIMIT, || is_joinable(&nodes.api, &couples[0].meeting_id));
        served.await?;
        eprintln!("the global controller ({how:?}) serves joins {:?} after its start", started.elapsed());
        for meeting_id in &created {
            nodes.api.meeting(meeting_id).await?;
            // Until its controller has registered again the answer is 503, in words.
            eventually("a meeting that was acknowledged can be joined", FRONT_LIMIT, || is_joinable(&nodes.api, meeting_id)).await?;
        }
        for couple in &couples {
            couple.see_each_other(SEE_LIMIT).await?;
            couple.noticed_nothing()?;
            let invitation = nodes.api.invite(&couple.meeting_id, "Cleo").await?;
            ensure!(nodes.at(&invitation.meeting_controller_url)? == couple.controller, "a meeting was moved from a live controller");
            let counted = eventually("everybody is counted", FRONT_LIMIT, || async {
                let shown = nodes.api.meeting(&couple.meeting_id).await?;
                ensure!(shown["participant_count"] == 2, "{shown}");
                Ok::<_, anyhow::Error>(())
            });
            counted.await?;
        }
    }
    Ok(())
}

/// A controller that is gone takes down its own meetings' sessions and nothing else: their media goes on on the handler, the next join leads to
/// another controller, and both people can meet there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controllers_may_restart() -> anyhow::Result<()> {
    let mut nodes = Nodes::seven().await?;
    let mut us = couples_on_each(&nodes, "us").await?;
    let rest = us.pop().context("a couple in us")?;
    for (id, how) in [("mc-eu-1", End::Killed), ("mc-eu-2", End::Orderly)] {
        let couples = couples_on_each(&nodes, "eu").await?;
        let (concerned, others): (Vec<_>, Vec<_>) = couples.into_iter().partition(|couple| couple.controller == id);
        let concerned = concerned.into_iter().next().context("nobody is on that controller")?;
        let empty = nodes.api.create_meeting_in("eu").await?;
        let ended = Instant::now();
        end(&mut nodes, id, how).await?;
        if how == End::Killed {
            concerned.see_each_other(SEE_LIMIT).await.context("media ended with the controller")?;
        }
        let limit = if how == End::Killed { REASSIGN_LIMIT } else { LEAVE_LIMIT };
        for meeting_id in [&concerned.meeting_id, &empty.meeting_id] {
            leads_elsewhere(&nodes, meeting_id, id, limit).await?;
        }
        eprintln!("{id} ({how:?}): its meetings are joined elsewhere {:?} after its end", ended.elapsed());
        let again = Couple::meet_in(&nodes, &concerned.meeting_id).await?;
        ensure!(nodes.node(&again.controller)?.region == "eu", "the meeting left its region");
        for couple in others.iter().chain([&rest]) {
            couple.see_each_other(SEE_LIMIT).await?;
            couple.noticed_nothing()?;
        }
        nodes.back(id).await?;
    }
    // The last one of a region: its people go to another, and a client that waits for it ends with words in stated time.
    let mut options = nodes.api.admit(&rest.meeting_id, "Ivo").await?;
    options.resume_within = CLIENT_PATIENCE;
    let ivo = Person::join(options).await?;
    ivo.sees(rest.ana.stream_id, SEE_LIMIT).await?;
    end(&mut nodes, "mc-us-1", End::Killed).await?;
    let killed = Instant::now();
    let ended = eventually("a client whose controller is gone for good ends", GIVEN_UP_LIMIT, || async { ivo.end().context("it goes on") });
    let (at, how) = ended.await?;
    eprintln!("a client that waits {CLIENT_PATIENCE:?} for its controller ended {:?} after the kill: {how}", at - killed);
    ensure!(matches!(&how, SessionEnd::Lost(words) if words.contains("127.0.0.1")), "it does not say what is wrong: {how:?}");
    leads_elsewhere(&nodes, &rest.meeting_id, "mc-us-1", REASSIGN_LIMIT).await?;
    Couple::meet_in(&nodes, &rest.meeting_id).await?;
    nodes.back("mc-us-1").await.map(drop)
}

/// A handler that is gone costs its people moments without pictures; signaling and everybody else's pictures go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_may_restart() -> anyhow::Result<()> {
    let mut nodes = Nodes::seven().await?;
    let mut couples = couples_on_each(&nodes, "eu").await?;
    couples.extend(couples_on_each(&nodes, "us").await?);
    for (id, how) in [("mh-eu-1", End::Orderly), ("mh-eu-2", End::Killed), ("mh-us-1", End::Killed), ("mh-us-1", End::Orderly)] {
        end(&mut nodes, id, how).await?;
        for couple in &couples {
            couple.see_each_other(MEDIA_LIMIT).await.with_context(|| format!("{id} ({how:?}), {}", couple.controller))?;
            let reconnected = |(_, event): &(_, client::Event)| matches!(event, client::Event::Reconnecting { .. });
            ensure!(!couple.ana.events().iter().any(reconnected), "signaling was lost with a handler");
        }
        nodes.back(id).await?;
        let listed = nodes.ids(NodeKind::MediaHandler, None).len();
        let seen = eventually("everybody is live", SEE_LIMIT, || async {
            let live = nodes.metrics("gc-1").await?.series("dark_tower_nodes_live{kind=\"media-handler\"}");
            ensure!(live == Some(listed as f64), "{live:?} handlers are live");
            Ok::<_, anyhow::Error>(())
        });
        seen.await?;
    }
    Ok(())
}
