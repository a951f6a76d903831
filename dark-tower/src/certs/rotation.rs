//! To a new authority without a moment at which two nodes do not believe each other.
//!
//! `begin` has every node believe both, `switch` has the new one sign, `finish` has nobody believe the old one. Between two steps the
//! files are copied to the nodes; a step out of order is refused.

use std::time::Duration;

use anyhow::{bail, ensure};
use clap::ValueEnum;
use common::tls::{ClusterAuthority, moment};

use super::folder::{Folder, certificates};
use super::{DAY, NODE_DAYS};

/// See the module.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Step {
    /// Makes the new authority; nodes are to believe both.
    Begin,
    /// The new authority signs; every node gets a new certificate.
    Switch,
    /// The old authority is believed no more.
    Finish,
}

/// Takes a step; says what is to be done before the next.
pub(super) fn take(folder: &Folder, step: Step, authority_days: u64) -> anyhow::Result<String> {
    match step {
        Step::Begin => begin(folder, authority_days),
        Step::Switch => switch(folder),
        Step::Finish => finish(folder),
    }
}

fn begin(folder: &Folder, days: u64) -> anyhow::Result<String> {
    let (authority, believed) = (folder.authority()?, folder.believed()?);
    let next = match folder.next()? {
        Some(next) if believed.contains(next.certificate_pem()) => {
            bail!("a rotation has begun already: copy cluster.pem to every node and go on with `--authority switch`")
        }
        // This step ended half-way.
        Some(next) => next,
        None => {
            ensure!(
                certificates(&believed)?.len() == 1,
                "nodes still believe the authority before: end that rotation first, with `--authority finish`"
            );
            let next = ClusterAuthority::generate_for(Duration::from_secs(days * DAY))?;
            folder.write_next(&next)?;
            next
        }
    };
    folder.write_believed(&format!("{}{}", authority.certificate_pem(), next.certificate_pem()))?;
    Ok(format!(
        "The new authority is good until {}. The old one still signs.\n\
         1. Copy cluster.pem ({}, or the one in each node's folder) to every node and operator. They read it within seconds.\n\
         2. When the log of each says that its certificate was replaced with authorities=2: --authority switch\n",
        moment(next.not_after()),
        folder.believed_path().display()
    ))
}

fn switch(folder: &Folder) -> anyhow::Result<String> {
    let Some(next) = folder.next()? else {
        bail!("no rotation has begun: `--authority begin` makes the new authority first");
    };
    let issued = folder.issued()?;
    for node in &issued {
        let identity = next.issue_for(&node.holder, Duration::from_secs(NODE_DAYS * DAY), None)?;
        folder.write_node(&node.holder, identity, None)?;
    }
    // Last, so that a switch that ended half-way can be made again.
    folder.switch()?;
    let ids: Vec<&str> = issued.iter().map(|it| it.holder.id.as_str()).collect();
    Ok(format!(
        "The new authority signs. These have new certificates: {}.\n\
         1. Copy node.pem and node.key of each to where it runs. Running nodes take them within seconds, and calls go on.\n\
         2. When every node and operator has its own: --authority finish\n",
        if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
    ))
}

fn finish(folder: &Folder) -> anyhow::Result<String> {
    let (authority, believed) = (folder.authority()?, folder.believed()?);
    ensure!(folder.next()?.is_none(), "the new authority does not sign yet: `--authority switch` comes first");
    ensure!(certificates(&believed)?.len() > 1, "nodes believe one authority alone: there is nothing to finish");
    let mut left = folder.issued()?;
    left.retain(|node| !node.is_signed_by(&authority));
    let names: Vec<String> = left.iter().map(|node| format!("{} {}", node.holder.kind.name(), node.holder.id)).collect();
    ensure!(
        names.is_empty(),
        "these have no good certificate of the new authority: {}; `dark-tower certs renew NODE_ID` first",
        names.join(", ")
    );
    folder.write_believed(authority.certificate_pem())?;
    Ok(format!(
        "One authority is believed, good until {}.\n\
         Copy cluster.pem ({}, or the one in each node's folder) to every node and operator: then the old authority is worth nothing.\n",
        moment(authority.not_after()),
        folder.believed_path().display()
    ))
}
