//! Two processes with one node id: the later one is the node, the earlier one yields and ends.

use std::time::Duration;

use anyhow::ensure;
use common::tls::NodeKind;
use e2e::nodes::{Nodes, read_log};
use e2e::{eventually, within};

use super::{Couple, SEE_LIMIT};

/// From the later one's registration until the earlier one has ended: a heartbeat, its answer, and an orderly end.
const YIELD_LIMIT: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_later_of_two_processes_is_the_node() -> anyhow::Result<()> {
    let plans = [
        ("gc-1", NodeKind::GlobalController, "eu"),
        ("mc-eu-1", NodeKind::MeetingController, "eu"),
        ("mh-eu-1", NodeKind::MediaHandler, "eu"),
    ];
    let mut nodes = Nodes::start(&plans, &[]).await?;
    let couple = Couple::meet(&nodes, "eu").await?;
    for id in ["mh-eu-1", "mc-eu-1"] {
        let (mut later, log) = nodes.twin(id)?;
        let (status, took) = nodes.ended(id, YIELD_LIMIT).await?;
        eprintln!("the earlier {id} ended {took:?} after the later one was started, with {status}");
        ensure!(!status.success(), "whoever started it must see that something is wrong");
        let earlier = nodes.log(id)?;
        let said = earlier.iter().any(|line| line["message"].as_str().is_some_and(|it| it.contains("later process")));
        ensure!(said, "the log does not say why it ended: {:?}", earlier.last());
        // The later one stays, and works.
        let meeting = eventually("a meeting with the later one", SEE_LIMIT, || nodes.api.create_meeting());
        let meeting = meeting.await?;
        let options = nodes.api.admit(&meeting.meeting_id, "Ana").await?;
        within(SEE_LIMIT, "a join with the later one", async { Ok(client::Client::new()?.join(options).await?) }).await?;
        ensure!(later.id().is_some() && !read_log(&log)?.is_empty(), "the later one has ended");
        later.terminate()?;
        later.ended(YIELD_LIMIT).await?;
        nodes.launch(id)?;
        nodes.ready(id).await?;
    }
    drop(couple);
    Ok(())
}
