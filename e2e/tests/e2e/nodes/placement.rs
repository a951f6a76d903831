//! Where meetings go, and what the answers and logs say about it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use common::tls::NodeKind;
use e2e::api::Api;
use e2e::nodes::{Nodes, SEVEN};
use e2e::{eventually, within};
use serde_json::Value;

use super::{Couple, SEE_LIMIT, couples_on_each};

/// Of each region in the first test, at least so many are placed while all its controllers are as good.
const MEETINGS: usize = 30;
/// Meetings that may be placed until there are so many and they are spread: a busy machine makes a controller say now and then that it is degraded,
/// and then the others take them, as they should, until it makes up for it.
const MEETINGS_MAX: usize = 120;
/// A lease and a heartbeat, and what a busy machine adds.
const LOST_LIMIT: Duration = Duration::from_secs(6);
/// A new node registers at its start; the directory reaches the controllers with their next heartbeat.
const NEW_LIMIT: Duration = Duration::from_secs(5);

/// Meetings are spread over the controllers of the region that is wished for, with handlers from there, and everything that is said
/// about it is true: the answers, and the log with its reasons.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meetings_go_where_they_are_wished_and_spread() -> anyhow::Result<()> {
    let mut nodes = Nodes::seven().await?;
    // From here on every controller is chosen.
    let mut couples = couples_on_each(&nodes, "eu").await?;
    couples.extend(couples_on_each(&nodes, "us").await?);
    let before = placements(&nodes)?.len();
    let mut placed = 0;
    for region in ["eu", "us"] {
        let controllers = nodes.ids(NodeKind::MeetingController, Some(region));
        let (mut free, mut made) = (0, 0);
        loop {
            let counts = placed_on(&nodes, &controllers)?;
            if free >= MEETINGS && is_spread(&counts) {
                eprintln!("{made} meetings in {region}, {free} of them with a free choice; with those before them: {counts:?}");
                break;
            }
            ensure!(made < MEETINGS_MAX, "after {made} meetings in {region}, {free} of them with a free choice: {counts:?}");
            let meeting = nodes.api.create_meeting_in(region).await?;
            let controller = nodes.at(&meeting.meeting_controller_url)?;
            ensure!(nodes.node(&controller)?.region == region, "a meeting for {region} went to {controller}");
            let shown = nodes.api.meeting(&meeting.meeting_id).await?;
            ensure!(shown["meeting_controller_region"] == region, "{shown}");
            handlers_are_of(&nodes, region, &meeting.media_handler_urls)?;
            handlers_are_of(&nodes, region, &nodes.api.invite(&meeting.meeting_id, "Ana").await?.media_handler_urls)?;
            free += usize::from(was_free(&nodes, &meeting.meeting_id, controllers.len())?);
            made += 1;
        }
        placed += made;
    }
    let unknown = nodes.api.create_meeting_in("ap").await?;
    let region = &nodes.node(&nodes.at(&unknown.meeting_controller_url)?)?.region;
    ensure!(nodes.api.meeting(&unknown.meeting_id).await?["meeting_controller_region"] == region.as_str(), "a region that is not true");

    let reasons = placements(&nodes)?.split_off(before);
    ensure!(reasons.len() == placed + 1, "{} placements are in the log", reasons.len());
    let of = |reason: &str| reasons.iter().filter(|it| it.contains(reason)).count();
    ensure!(of("(in the wished region") == placed && of("(no fit controller in the wished region") == 1, "{reasons:?}");

    // Two people on each controller: their media goes over a handler of the controller's region, whichever the controller chose.
    for Couple { controller, meeting_id, .. } in &couples {
        let chosen: Vec<Value> = nodes.log(controller)?.into_iter().filter(|line| line["meeting"] == meeting_id.as_str()).collect();
        let chosen = chosen.iter().find_map(|line| line["handler"].as_str()).context("the choice of a handler is not in the log")?;
        ensure!(nodes.node(chosen)?.region == nodes.node(controller)?.region, "{controller} took {chosen}");
    }
    drop(couples);

    region_joins_by_configuration_alone(&mut nodes).await
}

/// A new region: two more processes, whose files name the global controller. Nobody else is told, and meetings go there at once.
async fn region_joins_by_configuration_alone(nodes: &mut Nodes) -> anyhow::Result<()> {
    let started = std::time::Instant::now();
    nodes.add(("mc-ap-1", NodeKind::MeetingController, "ap"))?;
    nodes.add(("mh-ap-1", NodeKind::MediaHandler, "ap"))?;
    let placed = eventually("a meeting in the new region", NEW_LIMIT, || async {
        let meeting = nodes.api.create_meeting_in("ap").await?;
        let (controller, handler) = (nodes.at(&meeting.meeting_controller_url)?, meeting.media_handler_urls.first().context("none")?);
        ensure!(controller == "mc-ap-1" && nodes.at(handler)? == "mh-ap-1", "it is at {controller} with {handler}");
        Ok(meeting)
    });
    placed.await?;
    eprintln!("a new region takes meetings after {:?}", started.elapsed());
    Couple::meet(nodes, "ap").await?;
    Ok(())
}

/// Joins say so, in words, or lead elsewhere, while a region is dead; it is used again when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_region_is_left_alone_until_it_is_back() -> anyhow::Result<()> {
    let mut nodes = Nodes::start(&SEVEN, &[]).await?;
    let meeting = nodes.api.create_meeting_in("us").await?;
    for id in ["mc-us-1", "mh-us-1"] {
        nodes.kill(id).await?;
    }
    let killed = std::time::Instant::now();
    for what in ["a new meeting", "a join of one that was there"] {
        let elsewhere = eventually(what, LOST_LIMIT, || async {
            let answer =
                if what == "a new meeting" { nodes.api.create_in("us").await? } else { join(&nodes.api, &meeting.meeting_id).await? };
            let Some(url) = answer.1["meeting_controller_url"].as_str() else {
                says_so_in_words(&answer)?;
                anyhow::bail!("{answer:?}");
            };
            let controller = nodes.at(url)?;
            ensure!(nodes.node(&controller)?.region == "eu", "it leads to {controller}, which is dead");
            Ok(())
        });
        elsewhere.await?;
        eprintln!("{what} leads to another region {:?} after the death of its own", killed.elapsed());
    }
    // Two people of the dead region meet in the other one.
    within(SEE_LIMIT, "they meet elsewhere", Couple::meet_in(&nodes, &meeting.meeting_id)).await?;

    for id in ["mh-us-1", "mc-us-1"] {
        nodes.back(id).await?;
    }
    let back = nodes.api.create_meeting_in("us").await?;
    ensure!(nodes.at(&back.meeting_controller_url)? == "mc-us-1", "the region is back and not used");
    Couple::meet_in(&nodes, &back.meeting_id).await.map(drop)
}

async fn join(api: &Api, meeting_id: &str) -> anyhow::Result<(u16, Value)> {
    api.post(&format!("/api/v1/meetings/{meeting_id}/join"), &serde_json::json!({"display_name": "Ana"})).await
}

/// A refusal that a program can act on and a person can read.
fn says_so_in_words((status, body): &(u16, Value)) -> anyhow::Result<()> {
    let (code, message) = (body["error"]["code"].as_str(), body["error"]["message"].as_str());
    ensure!(*status == 503 && code == Some("UNAVAILABLE") && message.is_some_and(|it| it.contains(' ')), "{status}: {body}");
    Ok(())
}

/// The first is of `region`, and none of it stands behind one of another.
fn handlers_are_of(nodes: &Nodes, region: &str, urls: &[String]) -> anyhow::Result<()> {
    let regions = urls.iter().map(|url| Ok(nodes.node(&nodes.at(url)?)?.region.as_str())).collect::<anyhow::Result<Vec<_>>>()?;
    let here = nodes.ids(NodeKind::MediaHandler, Some(region)).len().min(regions.len());
    ensure!(here > 0 && regions[..here].iter().all(|it| *it == region), "handlers for {region} are in {regions:?}");
    Ok(())
}

/// Whether a meeting could have gone to any of `controllers` that its region has: none of them said that it is degraded.
fn was_free(nodes: &Nodes, meeting_id: &str, controllers: usize) -> anyhow::Result<bool> {
    let lines = nodes.log("gc-1")?;
    let assigned = lines.iter().rev().find(|line| line["message"] == "meeting assigned" && line["meeting"] == meeting_id);
    let reason = assigned.and_then(|line| line["placement"].as_str()).context("the choice of a controller is not in the log")?;
    Ok(controllers == 1 || reason.ends_with(&format!("of {controllers} choices)")))
}

/// How many meetings went to each of `controllers` since the cluster began.
fn placed_on(nodes: &Nodes, controllers: &[String]) -> anyhow::Result<BTreeMap<String, usize>> {
    let placements = placements(nodes)?;
    let count = |id: &String| placements.iter().filter(|it| it.split_once(' ').is_some_and(|(chosen, _)| chosen == id)).count();
    Ok(controllers.iter().map(|id| (id.clone(), count(id))).collect())
}

/// Whether none is a fifth off an even share. The less loaded of two is chosen, which makes up for what one could not take while it was degraded or
/// had not yet heard of its handlers.
fn is_spread(counts: &BTreeMap<String, usize>) -> bool {
    let even = counts.values().sum::<usize>() / counts.len();
    counts.values().all(|count| count.abs_diff(even) * 5 <= even)
}

/// Why each meeting is where it is, as the global controller's log says.
fn placements(nodes: &Nodes) -> anyhow::Result<Vec<String>> {
    let lines = nodes.log("gc-1")?;
    let assigned = lines.iter().filter(|line| line["message"] == "meeting assigned");
    Ok(assigned.filter_map(|line| line["placement"].as_str().map(str::to_owned)).collect())
}
