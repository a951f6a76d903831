//! Several nodes as processes: where meetings go, what a restart, a freeze and a death of each kind cost whom.

mod failover;
mod freeze;
mod placement;
mod rejoin;
mod restarts;
mod twin;

use std::time::{Duration, Instant};

use anyhow::ensure;
use common::tls::NodeKind;
use e2e::api::Api;
use e2e::eventually;
use e2e::nodes::Nodes;
use e2e::people::{Person, see_each_other};

/// How long two people may take to see each other: a join, a subscription, and a key frame that is asked for.
const SEE_LIMIT: Duration = Duration::from_secs(10);
/// Until meetings are placed on every controller that is ready: it says with its next heartbeat that it has handlers.
const CHOSEN_LIMIT: Duration = Duration::from_secs(5);

/// Two people in a meeting who see each other.
struct Couple {
    meeting_id: String,
    /// The controller and the first handler that the joins named.
    controller: String,
    ana: Person,
    ben: Person,
}

impl Couple {
    /// A meeting in `region`, with the two of them in it.
    async fn meet(nodes: &Nodes, region: &str) -> anyhow::Result<Self> {
        let meeting = nodes.api.create_meeting_in(region).await?;
        Self::meet_in(nodes, &meeting.meeting_id).await
    }

    /// The two of them, in a meeting that is there.
    async fn meet_in(nodes: &Nodes, meeting_id: &str) -> anyhow::Result<Self> {
        let invitation = nodes.api.admit(meeting_id, "Ana").await?;
        let controller = nodes.at(&invitation.meeting_controller_url)?;
        let ana = Person::join(invitation).await?;
        let ben = Person::join(nodes.api.admit(meeting_id, "Ben").await?).await?;
        see_each_other(&ana, &ben, SEE_LIMIT).await?;
        Ok(Self { meeting_id: meeting_id.to_owned(), controller, ana, ben })
    }

    /// Both see the other from now on.
    async fn see_each_other(&self, within: Duration) -> anyhow::Result<()> {
        see_each_other(&self.ana, &self.ben, within).await
    }

    /// Neither was told of anything that a person would notice.
    fn noticed_nothing(&self) -> anyhow::Result<()> {
        use client::Event;
        for (name, person) in [("Ana", &self.ana), ("Ben", &self.ben)] {
            let noticed = |(_, event): &(_, Event)| {
                matches!(event, Event::Reconnecting { .. } | Event::MediaLost { .. } | Event::Closed { .. } | Event::ParticipantLeft { .. })
            };
            let events: Vec<_> = person.events().into_iter().filter(noticed).map(|(_, event)| event).collect();
            ensure!(events.is_empty(), "{name} in {} noticed {events:?}", self.meeting_id);
        }
        Ok(())
    }
}

/// A meeting in `region` on each of its controllers, with two people in it.
async fn couples_on_each(nodes: &Nodes, region: &str) -> anyhow::Result<Vec<Couple>> {
    let wanted = nodes.ids(NodeKind::MeetingController, Some(region)).len();
    let mut couples: Vec<Couple> = Vec::new();
    let until = Instant::now() + CHOSEN_LIMIT;
    while couples.len() < wanted {
        ensure!(Instant::now() < until, "{} of {wanted} controllers in {region} are chosen within {CHOSEN_LIMIT:?}", couples.len());
        // The emptier of two takes the next one; a controller that has just started hears of its handlers first.
        let meeting = nodes.api.create_meeting_in(region).await?;
        let controller = nodes.at(&meeting.meeting_controller_url)?;
        let placed = nodes.log("gc-1")?.into_iter().rev().find(|line| line["meeting"] == meeting.meeting_id.as_str());
        let is_degraded = placed.is_none_or(|line| line["placement"].as_str().is_none_or(|reason| reason.contains("degraded")));
        if !is_degraded && couples.iter().all(|couple| couple.controller != controller) {
            couples.push(Couple::meet_in(nodes, &meeting.meeting_id).await?);
        }
    }
    Ok(couples)
}

/// Whether a meeting can be joined through the API.
async fn is_joinable(api: &Api, meeting_id: &str) -> anyhow::Result<()> {
    api.invite(meeting_id, "Somebody").await.map(drop)
}

/// Waits until joins of a meeting lead to another controller than `old`.
async fn leads_elsewhere(nodes: &Nodes, meeting_id: &str, old: &str, within: Duration) -> anyhow::Result<()> {
    eventually("a join leads to another controller", within, || async {
        let invitation = nodes.api.invite(meeting_id, "Cleo").await?;
        ensure!(nodes.at(&invitation.meeting_controller_url)? != old, "it leads to {old}");
        Ok::<_, anyhow::Error>(())
    })
    .await
}
