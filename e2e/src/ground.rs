//! The ground of the hostile suite: a `dark-tower dev` process, a meeting of three that goes on in it, and the account of what the
//! mischief beside it costs.
//!
//! In: mischief by whatever bytes. Out: whether the process lives, whether the bystanders lost a record, how long theirs took,
//! and whether memory, tasks and file descriptors stayed within their bounds and came back.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use common_core::Code;
use serde_json::json;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use crate::api::{Api, Invitation};
use crate::bystanders::{Account, Bystanders, Latencies, Latency};
use crate::cluster::{Dev, DevFile};
use crate::peer::{Peer, Signaling};
use crate::session::Stack;
use crate::{eventually, within};

mod figures;

pub use figures::{Figures, metric};

/// What DESIGN and the bars promise for every refusal: held where the machine has nothing else to do, at [full scale](Scale::Full).
const PROMISED_LIMIT: Duration = Duration::from_secs(1);
/// And what a busy machine makes of that second: who is refused only when something runs out takes longer.
pub const REFUSAL_LIMIT: Duration = Duration::from_secs(5);
/// What mischief may cost in memory at its height.
pub const MEMORY_GROWTH_MAX: u64 = 64 * 1024 * 1024;
/// How long memory, tasks and file descriptors may take to come back: the idle timeout of QUIC (10 s), that of a first message
/// (10 s), and the reconnection window (5 s) behind it.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);
/// What an allocator keeps for the next time: glibc gives back only what lies at the end of its heaps. That it is used again and does not
/// pile up, a test shows that does the same twice (`hostile::stuck`).
const MEMORY_SLACK: u64 = MEMORY_GROWTH_MAX;
/// Requests and calls under way at the moment of looking: heartbeats, reports, the look itself.
const TASKS_SLACK: u64 = 16;
/// Their sockets.
const FDS_SLACK: u64 = 8;
/// Between two looks at tasks and file descriptors while mischief goes on.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How much the bystanders' p99 may grow besides by half: what a machine of two cores, shared by server, strangers and
/// bystanders, takes to give everybody a turn; less than the 500 ms after which records would be dropped as late.
const LATENCY_NOISE: Duration = Duration::from_millis(400);
const STACK: Stack = Stack::WebTransportQuinn;

/// How much of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As in `make test`: a tenth or less.
    Usual,
    /// As in `make hostile`.
    Full,
}

impl Scale {
    /// The one or the other.
    pub fn of<T>(self, usual: T, full: T) -> T {
        match self {
            Self::Usual => usual,
            Self::Full => full,
        }
    }
}

/// `HOSTILE_SCALE=full` asks for all of it.
pub fn scale() -> Scale {
    if std::env::var("HOSTILE_SCALE").is_ok_and(|it| it == "full") { Scale::Full } else { Scale::Usual }
}

/// `attempt`, which must have been refused by then; gives what it gives.
pub async fn refused_within<T>(limit: Duration, what: &str, attempt: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let limit = if limit == REFUSAL_LIMIT { scale().of(limit, PROMISED_LIMIT) } else { limit };
    within(limit, &format!("refused: {what}"), attempt).await
}

/// `attempt` gives the code with which it was refused, within [`REFUSAL_LIMIT`].
pub async fn refused(what: &str, expected: Code, attempt: impl Future<Output = anyhow::Result<Code>>) -> anyhow::Result<()> {
    let code = refused_within(REFUSAL_LIMIT, what, attempt).await?;
    ensure!(code == expected, "{what}: refused with {code}, and {expected} is the contract's");
    Ok(())
}

/// What a test cost and what its bystanders felt.
#[derive(Clone, Copy, Debug)]
pub struct Settled {
    /// Before the mischief.
    pub baseline: Figures,
    /// The highest while it went on.
    pub peak: Figures,
    /// After it.
    pub after: Figures,
    /// How long the figures took to come back.
    pub settled_in: Duration,
    /// The bystanders' one-way times before the mischief.
    pub calm: Latency,
    /// And from its beginning to the end.
    pub beside: Latency,
    /// What they got.
    pub account: Account,
}

/// See the module.
pub struct Ground {
    /// The public API at the plain door.
    pub api: Api,
    /// What the process wrote to dev.json.
    pub file: DevFile,
    /// A meeting for strangers, apart from that of the bystanders.
    pub meeting_id: String,
    name: &'static str,
    dev: Dev,
    metrics: Api,
    beside: Beside,
    baseline: Figures,
    calm: Latency,
    mark: usize,
    began: Instant,
    looking: AbortOnDropHandle<Figures>,
    stop_looking: oneshot::Sender<()>,
}

impl Ground {
    /// Starts the process and the bystanders, and takes the baseline. `name` stands before the line of figures.
    pub async fn start(name: &'static str) -> anyhow::Result<Self> {
        let dev = Dev::start_with_usual_log().await?;
        let (api, metrics) = (Api::without_pool(&dev.file.http_url)?, Api::without_pool(&dev.file.admin_url)?);
        let beside = Beside::start(dev.file.http_url.clone()).await?;
        // Floods come with hundreds of participants, who are expected back for a while after each.
        let wish = json!({"display_name": "Strangers", "max_participants": 1000});
        let (status, meeting) = api.post("/api/v1/meetings", &wish).await?;
        let meeting_id = meeting["meeting_id"].as_str().with_context(|| format!("no meeting ({status}): {meeting}"))?.to_owned();
        // Once before anything counts: what the first stranger of all touches, every later one finds.
        let stranger = Peer::join(STACK, &api.invite(&meeting_id, "Yan").await?, "Yan").await?;
        stranger.leave().await?;
        // Records are what time is counted in: none comes while the machine stands still.
        let calm_records = scale().of(150, 1500);
        let quiet = beside.latencies.mark();
        eventually("the bystanders' latency in calm", SETTLE_LIMIT, || async {
            let seen = beside.latencies.mark() - quiet;
            if seen >= calm_records { Ok(()) } else { Err(format!("{seen} records so far")) }
        })
        .await?;
        let mark = beside.latencies.mark();
        let process_id = dev.process_id().context("the process runs")?;
        let baseline = Figures::reset(process_id, &metrics).await?;
        let (stop_looking, stopped) = oneshot::channel();
        let looking = AbortOnDropHandle::new(tokio::spawn(look(process_id, metrics.clone(), baseline, stopped)));
        Ok(Self {
            api,
            file: dev.file.clone(),
            meeting_id,
            name,
            metrics,
            baseline,
            calm: beside.latencies.between(quiet, mark),
            mark,
            began: Instant::now(),
            looking,
            stop_looking,
            dev,
            beside,
        })
    }

    /// An invitation to the strangers' meeting.
    pub async fn invite(&self, name: &str) -> anyhow::Result<Invitation> {
        self.api.invite(&self.meeting_id, name).await
    }

    /// A stranger who has joined the strangers' meeting.
    pub async fn stranger(&self, name: &str) -> anyhow::Result<Peer> {
        Peer::join(STACK, &self.invite(name).await?, name).await
    }

    /// A stranger whose signaling session stands and who has not said anything yet.
    pub async fn silent_stranger(&self, name: &str) -> anyhow::Result<(Signaling, Invitation)> {
        let invitation = self.invite(name).await?;
        Ok((Signaling::dial(STACK, &invitation).await?, invitation))
    }

    /// Where signaling is served over UDP and TCP.
    pub fn signaling_address(&self) -> anyhow::Result<SocketAddr> {
        address(&self.file.signaling_url)
    }

    /// Where media is served over UDP.
    pub fn media_address(&self) -> anyhow::Result<SocketAddr> {
        address(&self.file.media_url)
    }

    /// The SHA-256 of the certificate that all doors show.
    pub fn certificate_hash(&self) -> anyhow::Result<Vec<u8>> {
        use base64::Engine;
        Ok(base64::engine::general_purpose::STANDARD.decode(&self.file.certificate_sha256)?)
    }

    /// What the process takes now.
    pub async fn figures(&self) -> anyhow::Result<Figures> {
        Figures::of(self.process_id()?, &self.metrics).await
    }

    /// Of a metric, all its label sets together; 0 if it was never counted. `labels` must all be in the line, as `door="wt"`.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> anyhow::Result<f64> {
        Ok(figures::metric(&figures::metrics(&self.metrics).await?, name, labels))
    }

    /// How much the process has logged so far.
    pub fn log_bytes(&self) -> anyhow::Result<u64> {
        Ok(std::fs::metadata(self.dev.data_dir().join("stderr.log"))?.len())
    }

    /// All that operators read of it.
    pub async fn metrics_text(&self) -> anyhow::Result<String> {
        self.dev.metrics().await
    }

    fn process_id(&self) -> anyhow::Result<u32> {
        self.dev.process_id().context("the process has ended")
    }

    /// Ends the test. Fails if the process is gone or its figures are out of bounds, or do not come back, or if the bystanders
    /// lost a record or, at full scale, were held up; prints a line of figures.
    pub async fn settled(self) -> anyhow::Result<Settled> {
        let mischief = self.began.elapsed();
        // Nobody may be listening: the looking ends with an error then, which is told below.
        let _ = self.stop_looking.send(());
        let peak = self.looking.await.context("the figures were looked at")?;
        let (process_id, began, baseline) = (self.dev.process_id().context("the process has ended")?, Instant::now(), self.baseline);
        let after = eventually("memory, tasks and file descriptors back at the baseline", SETTLE_LIMIT, || async {
            let now = Figures::of(process_id, &self.metrics).await?;
            let is_back = now.resident_bytes <= baseline.resident_bytes + MEMORY_SLACK
                && now.tasks <= baseline.tasks + TASKS_SLACK
                && now.fds <= baseline.fds + FDS_SLACK;
            ensure!(is_back, "baseline {baseline}; now {now}");
            Ok(now)
        })
        .await;
        let settled_in = began.elapsed();
        let (account, latencies) = self.beside.finish().await.with_context(|| format!("beside {}", self.name))?;
        let beside = latencies.between(self.mark, latencies.mark());
        let after = after?;
        let peak = Figures { resident_bytes: peak.resident_bytes.max(after.peak_bytes), ..peak };
        eprintln!(
            "{}: {:.1} s; memory {} -> {} -> {} MiB, tasks {} -> {} -> {}, fds {} -> {} -> {}, back in {:.1} s; bystanders got {} records, p50 {:?} p99 {:?} max {:?} \
             (calm: p50 {:?} p99 {:?})",
            self.name,
            mischief.as_secs_f64(),
            baseline.resident_bytes >> 20,
            peak.resident_bytes >> 20,
            after.resident_bytes >> 20,
            baseline.tasks,
            peak.tasks,
            after.tasks,
            baseline.fds,
            peak.fds,
            after.fds,
            settled_in.as_secs_f64(),
            account.pictures + account.packets,
            beside.p50,
            beside.p99,
            beside.max,
            self.calm.p50,
            self.calm.p99,
        );
        let growth = peak.resident_bytes.saturating_sub(baseline.resident_bytes);
        ensure!(growth <= MEMORY_GROWTH_MAX, "memory grew by {} MiB, and {} are allowed", growth >> 20, MEMORY_GROWTH_MAX >> 20);
        let bound = self.calm.p99 + self.calm.p99 / 2 + LATENCY_NOISE;
        // What the usual scale runs beside decides there.
        ensure!(
            scale() == Scale::Usual || beside.p99 <= bound,
            "the bystanders' p99 grew from {:?} to {:?}, over {bound:?}",
            self.calm.p99,
            beside.p99
        );
        let (status, _) = self.dev.stop().await?;
        ensure!(status.success(), "the process ended with {status}");
        Ok(Settled { baseline, peak, after, settled_in, calm: self.calm, beside, account })
    }
}

/// The highest figures until `stopped`.
async fn look(process_id: u32, metrics: Api, baseline: Figures, mut stopped: oneshot::Receiver<()>) -> Figures {
    let mut peak = baseline;
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // The sender is dropped when a test has failed.
            _ = &mut stopped => return peak,
            _ = looks.tick() => {}
        }
        // An admin endpoint that does not answer in time is told of by the last look.
        if let Ok(Ok(now)) = tokio::time::timeout(REFUSAL_LIMIT, Figures::of(process_id, &metrics)).await {
            peak = peak.max(now);
        }
    }
}

/// The address in one of dev.json's URLs.
fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let url: reqwest::Url = url.parse()?;
    let port = url.port().with_context(|| format!("{url} has a port"))?;
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// The bystanders on a thread of their own, so that a test's own work does not hold them up.
struct Beside {
    latencies: Latencies,
    stop: oneshot::Sender<()>,
    over: oneshot::Receiver<anyhow::Result<Account>>,
}

impl Beside {
    async fn start(base: String) -> anyhow::Result<Self> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (over_sender, over) = oneshot::channel();
        let (started, standing) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("bystanders".to_owned()).spawn(move || {
            let account = runtime.block_on(async {
                let bystanders = Bystanders::start(&Api::without_pool(base)?).await?;
                // A test that has failed meanwhile needs neither of them any more.
                let _ = started.send(bystanders.latencies());
                let _ = stopped.await;
                bystanders.finish().await
            });
            let _ = over_sender.send(account);
        })?;
        match standing.await {
            Ok(latencies) => Ok(Self { latencies, stop, over }),
            Err(_) => {
                over.await.context("the bystanders' thread panicked")??;
                anyhow::bail!("the bystanders ended before they had begun")
            }
        }
    }

    async fn finish(self) -> anyhow::Result<(Account, Latencies)> {
        // If they are over already, the account says why.
        let _ = self.stop.send(());
        Ok((self.over.await.context("the bystanders' thread panicked")??, self.latencies))
    }
}
