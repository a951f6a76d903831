//! People who come and go, a tenth of them without a word: memory stays where it is, and everything else returns to where it was.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use common::tls::NodeKind;
use e2e::churn::{Churn, Tally};
use e2e::nodes::Nodes;
use e2e::nodes::metrics::Metrics;

/// Joins in `make test`; `CHURN` in the environment asks for more.
const JOINS_DEFAULT: u64 = 1_000;
/// Joins a second at most. What the machine has left for this decides how many it is.
const PACE: f64 = 80.0;
/// Of the value after the first tenth.
const MEMORY_GROWTH_MAX: f64 = 0.05;
/// In a run of fewer than [`JOINS_FULL`] the first tenth is over before the allocator's arenas are warm, and who was removed is remembered for
/// 90 s, which is longer than the run: so much more, in bytes, is neither.
const WARMTH_BYTES: f64 = 2.0 * 1024.0 * 1024.0;
/// From here on a tenth is enough to warm everything.
const JOINS_FULL: u64 = 10_000;
/// QUIC's idle timeout, the reconnection window behind it, and the life of an empty meeting: then nobody is left.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks at what is left.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Descriptors and tasks that come and go with connections between the nodes, and with whoever reads the metrics.
const SLACK: f64 = 6.0;

const NODES: [&str; 3] = ["gc-1", "mc-1", "mh-1"];
/// What must be zero when nobody is there.
const EMPTY: [(&str, &str); 7] = [
    ("mc-1", "dark_tower_controller_meetings"),
    ("mc-1", "dark_tower_controller_participants"),
    ("mc-1", "dark_tower_controller_sessions"),
    ("mc-1", "dark_tower_controller_events_waiting"),
    ("mh-1", "dark_tower_media_participants"),
    ("mh-1", "dark_tower_media_sessions"),
    ("mh-1", "dark_tower_media_held_bytes"),
];

/// What each process takes while nobody is there.
#[derive(Debug)]
struct Rest(BTreeMap<&'static str, Metrics>);

impl Rest {
    /// Waits until everything that counts people is at zero, and tasks and descriptors are at most those of `before`.
    async fn reached(nodes: &Nodes, before: Option<&Rest>) -> anyhow::Result<Self> {
        let began = Instant::now();
        // Seldom enough to be no load itself.
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        let rest = loop {
            looks.tick().await;
            match Self::look(nodes, before).await {
                Ok(rest) => break rest,
                Err(reason) if began.elapsed() > SETTLE_LIMIT => return Err(reason.context(format!("not at rest within {SETTLE_LIMIT:?}"))),
                Err(_) => {}
            }
        };
        eprintln!("at rest after {:.1?}: {}", began.elapsed(), rest.words());
        Ok(rest)
    }

    async fn look(nodes: &Nodes, before: Option<&Rest>) -> anyhow::Result<Self> {
        let mut found = BTreeMap::new();
        for id in NODES {
            found.insert(id, nodes.metrics(id).await?);
        }
        for (id, name) in EMPTY {
            ensure!(found[id].sum(name) == 0.0, "{name} of {id} is {}", found[id].sum(name));
        }
        for (id, name) in NODES.iter().flat_map(|id| [(*id, "dark_tower_tasks"), (*id, "process_open_fds")]) {
            let limit = before.map_or(f64::INFINITY, |before| before.0[id].sum(name) + SLACK);
            ensure!(found[id].sum(name) <= limit, "{name} of {id} is {}, at most {limit}", found[id].sum(name));
        }
        Ok(Self(found))
    }

    fn words(&self) -> String {
        let of = |(id, it): (&&str, &Metrics)| {
            let memory = it.sum("process_resident_memory_bytes") / f64::from(1 << 20);
            format!("{id} {memory:.1} MiB, {} tasks, {} fds, {} series", it.sum("dark_tower_tasks"), it.sum("process_open_fds"), it.len())
        };
        self.0.iter().map(of).collect::<Vec<_>>().join("; ")
    }
}

fn show(what: &str, tally: Tally) {
    let Tally { visits, vanished, turned_away, records, took } = tally;
    let rate = tally.rate();
    eprintln!(
        "{what}: {visits} joins in {took:.1?} ({rate:.0} a second), {vanished} vanished, {turned_away} told to come again, {records} records seen"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_came_and_went_leaves_nothing_behind() -> anyhow::Result<()> {
    let joins = std::env::var("CHURN").ok().map_or(Ok(JOINS_DEFAULT), |text| text.parse()).context("CHURN is a number")?;
    let plans =
        [("gc-1", NodeKind::GlobalController, "eu"), ("mc-1", NodeKind::MeetingController, "eu"), ("mh-1", NodeKind::MediaHandler, "eu")];
    // Short lives of what is kept for a while by design, so that a run sees the end of it.
    let more = [
        (NodeKind::GlobalController, "[tokens]\njoin_life_ms = 5000\nleeway_ms = 1000\n"),
        (NodeKind::MeetingController, "[limits]\nempty_meeting_timeout_ms = 2000\ntoken_leeway_ms = 1000\n"),
    ];
    let nodes = Nodes::start(&plans, &more).await?;
    let churn = Churn::new(&nodes.api);
    let tenth = joins / 10;
    show("the first tenth", churn.run(tenth, PACE).await?);
    let before = Rest::reached(&nodes, None).await?;
    show("the rest", churn.run(joins - tenth, PACE).await?);
    let after = Rest::reached(&nodes, Some(&before)).await?;

    for id in NODES {
        let memory = |rest: &Rest| rest.0[id].sum("process_resident_memory_bytes");
        let growth = memory(&after) / memory(&before) - 1.0;
        eprintln!("{id}: memory {:+.1} %", growth * 100.0);
        let warmth = if joins < JOINS_FULL { WARMTH_BYTES } else { 0.0 };
        let allowed = memory(&before) * (1.0 + MEMORY_GROWTH_MAX) + warmth;
        ensure!(memory(&after) <= allowed, "{id} grew from {:.0} to {:.0} bytes", memory(&before), memory(&after));
        ensure!(after.0[id].len() <= before.0[id].len() + SLACK as usize, "{id} has {} series of metrics", after.0[id].len());
    }
    Ok(())
}
