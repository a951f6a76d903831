//! Publishers of key frames alone: each is a group of its own, and none leaves anything behind.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use common::quic::TransportLimits;
use common_core::StreamId;
use e2e::api::Api;
use e2e::cluster::Dev;
use e2e::ground::{Figures, metric};
use e2e::hand::Hand;
use e2e::peer::{fresh_stream_id, join_request, kind_in_groups_of};
use e2e::wire::{self, Record};
use e2e::{eventually, within};
use proto::v1::{JoinRequest, StreamType, SubscriptionOptions};
use tokio::sync::watch;
use tokio::task::JoinSet;

const VIEWERS: usize = 2;
/// Records a round: 20,000 groups, or 10,000 of two records.
const RECORDS: u64 = 20_000;
const RECORD_BYTES: usize = 1_000;
/// Groups that travel at a time, so that nobody lags behind and every group is delivered.
const UNDER_WAY: u64 = 16;
/// Groups on one QUIC stream of the publisher: a handler takes 250 streams a second.
const GROUPS_A_STREAM: u64 = 10;
/// What 10,000 groups more may leave behind: less than 110 bytes each.
const GROWTH_MAX: u64 = 1024 * 1024;
/// What is under way has arrived, and groups of which nobody knows any more are gone.
const REST_LIMIT: Duration = Duration::from_secs(10);
/// A round takes the 4 s in which a participant may send so many records, and what a busy machine adds.
const ROUND_LIMIT: Duration = Duration::from_secs(45);

/// Who publishes, who watches, and how far they are.
struct Show {
    publisher: Hand,
    camera: StreamId,
    sequence: u64,
    seen: Vec<watch::Receiver<u64>>,
    /// Viewers, until they are dropped.
    watching: JoinSet<anyhow::Result<()>>,
}

impl Show {
    async fn begin(api: &Api) -> anyhow::Result<Self> {
        let meeting = api.create_meeting().await?.meeting_id;
        let mut publisher = join(api, &meeting, "Vera").await?;
        let camera = fresh_stream_id();
        publisher.publish(camera, StreamType::VideoCamera).await?;
        let (mut seen, mut watching) = (Vec::new(), JoinSet::new());
        for _ in 0..VIEWERS {
            let mut viewer = join(api, &meeting, "Wim").await?;
            viewer.subscribe(camera, SubscriptionOptions { max_latency_ms: 20_000, ..Default::default() }).await?;
            let (sender, receiver) = watch::channel(0);
            seen.push(receiver);
            watching.spawn(watch_all(viewer, sender));
        }
        Ok(Self { publisher, camera, sequence: 0, seen, watching })
    }

    /// Publishes `records` more in groups of `group`, and waits until everybody has them all.
    async fn run(&mut self, records: u64, group: u64) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let mut stream = self.publisher.media.open_uni().await?;
        for number in 0..records {
            if number > 0 && number.is_multiple_of(group * GROUPS_A_STREAM) {
                stream.finish()?;
                stream = self.publisher.media.open_uni().await?;
            }
            stream.write_all(&Record::numbered(kind_in_groups_of(group, number), self.camera, self.sequence, RECORD_BYTES).bytes).await?;
            self.sequence += 1;
            self.seen_by_all(self.sequence.saturating_sub(UNDER_WAY * group)).await?;
        }
        stream.finish()?;
        self.seen_by_all(self.sequence).await?;
        Ok(began.elapsed())
    }

    async fn seen_by_all(&mut self, count: u64) -> anyhow::Result<()> {
        for seen in &mut self.seen {
            if seen.wait_for(|seen| *seen >= count).await.is_err() {
                self.watching
                    .join_next()
                    .await
                    .context("a viewer has ended")??
                    .with_context(|| format!("a viewer at record {}", *seen.borrow()))?;
            }
        }
        Ok(())
    }
}

/// Takes every record and counts it, as long as groups come.
async fn watch_all(viewer: Hand, seen: watch::Sender<u64>) -> anyhow::Result<()> {
    loop {
        let mut group = viewer.media.accept_uni().await?;
        while wire::read_record(&mut group).await?.is_some() {
            seen.send_modify(|count| *count += 1);
        }
    }
}

async fn join(api: &Api, meeting: &str, name: &str) -> anyhow::Result<Hand> {
    let invitation = api.invite(meeting, name).await?;
    let windows = TransportLimits { unidirectional_streams: 100, ..TransportLimits::SIGNALING };
    let request = JoinRequest { auto_subscribe: false, ..join_request(&invitation, name) };
    Hand::join_with(&invitation, request, windows).await
}

/// As many records in half as many groups, and then each a group: the process is no bigger afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twice_as_many_groups_leave_nothing_behind() -> anyhow::Result<()> {
    let dev = Dev::start_with_usual_log().await?;
    let (api, admin) = (Api::without_pool(&dev.file.http_url)?, Api::without_pool(&dev.file.admin_url)?);
    let process = dev.process_id().context("it runs")?;
    let mut show = Show::begin(&api).await?;
    let mut rounds = Vec::new();
    // The first warms what the others use: as many streams, as many records under way.
    for (name, group) in [("at first", 1), ("half as many groups", 2), ("all of them groups", 1)] {
        let before = metric(&dev.metrics().await?, "dark_tower_media_groups_total", &[]);
        let took = within(ROUND_LIMIT, name, show.run(RECORDS, group)).await?;
        let groups = eventually("every group was counted, and is over", REST_LIMIT, || async {
            let text = dev.metrics().await?;
            let (groups, open) =
                (metric(&text, "dark_tower_media_groups_total", &[]) - before, metric(&text, "dark_tower_media_group_streams", &[]));
            ensure!(groups as u64 == RECORDS / group && open == 0.0, "{groups} groups, {open} group streams");
            Ok(groups)
        })
        .await?;
        let figures = Figures::of(process, &admin).await?;
        let each_minute = groups / took.as_secs_f64() * 60.0;
        eprintln!(
            "{name}: {RECORDS} records in {groups} groups to {VIEWERS} viewers in {took:.1?} ({each_minute:.0} groups a minute): {:.2} MiB, {} tasks",
            figures.resident_bytes as f64 / 1048576.0,
            figures.tasks
        );
        rounds.push(figures);
    }
    let growth = rounds[2].resident_bytes.saturating_sub(rounds[1].resident_bytes);
    eprintln!("{} more groups left {:.2} MiB behind", RECORDS / 2, growth as f64 / 1048576.0);
    ensure!(growth <= GROWTH_MAX, "memory grew by {growth} bytes");
    drop(show);
    let (status, _) = dev.stop().await?;
    ensure!(status.success(), "the process ended with {status}");
    Ok(())
}
