//! A meeting runs through a rotation of everything: the cluster's authority, every node's certificate, the public ones. Files are
//! replaced by `dark-tower certs` where the nodes read them, and nobody is told.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use common::admin::Readiness;
use common::grpc::channel;
use common::tls::{Holder, IdentityFiles, LiveCertificate, LiveIdentity, NodeIdentity, NodeKind, PublicSource, Upkeep};
use e2e::api::Api;
use e2e::bystanders::Bystanders;
use e2e::eventually;
use e2e::peer::Peer;
use e2e::process::dark_tower;
use e2e::session::{Session, Stack};
use proto::cluster::cluster_registry_client::ClusterRegistryClient;
use proto::cluster::{ControllerCapacity, Heartbeat};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::hostile::Http2;

/// Files are looked at each two seconds.
const NOTICED: Duration = Duration::from_secs(6);
/// Until connections by an identity of before are gone (`common::grpc::RENEWAL_TIMEOUT`, 5 s), and a busy machine.
const RENEWED: Duration = Duration::from_secs(8);
/// Of a self-signed certificate: used for six seconds, known for six before that.
const SELF_SIGNED: Duration = Duration::from_secs(13);
const READY_LIMIT: Duration = Duration::from_secs(10);
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const STACK: Stack = Stack::WebTransportQuinn;

fn certs(dir: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(dark_tower()?).arg("certs").args(arguments).arg("--dir").arg(dir).output()?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// One node's certificates, kept from files as its process keeps them.
struct Kept {
    holder: Holder,
    identity: LiveIdentity,
    certificate: LiveCertificate,
    readiness: Vec<Readiness>,
}

struct Cluster {
    front: global_controller::Running,
    controller: meeting_controller::Running,
    handler: media_handler::Running,
    kept: [Kept; 3],
}

fn keep(dir: &Path, id: &str, kind: NodeKind, public: PublicSource, stop: &CancellationToken, tasks: &TaskTracker) -> anyhow::Result<Kept> {
    let folder = dir.join("nodes").join(id);
    let at = |name: &str| folder.join(name);
    let files = IdentityFiles { certificate: at("node.pem"), key: at("node.key"), authority: at("cluster.pem") };
    let holder = Holder { id: id.parse()?, kind };
    let (upkeep, identity) = Upkeep::of_node(files, holder.clone(), public)?;
    let kept = Kept { holder, identity, certificate: upkeep.certificate(), readiness: upkeep.readiness() };
    tasks.spawn(upkeep.run(stop.clone()));
    Ok(kept)
}

impl Cluster {
    async fn start(dir: &Path, public: [PathBuf; 2], stop: &CancellationToken, tasks: &TaskTracker) -> anyhow::Result<Self> {
        let self_signed = || PublicSource::SelfSigned { names: vec!["localhost".into(), "127.0.0.1".into()], life: SELF_SIGNED };
        let [certificate, key] = public;
        let front_kept = keep(dir, "gc-1", NodeKind::GlobalController, PublicSource::Files { certificate, key }, stop, tasks)?;
        let mut config = global_controller::config::Config { node_id: "gc-1".parse()?, allow_anonymous_create: true, ..Default::default() };
        (config.cluster.grpc_bind, config.public.bind) = (ANY_PORT, ANY_PORT);
        config.store.path = dir.join("global-controller.sqlite");
        (config.rates.requests, config.rates.anonymous_joins) = (1_000_000, 1_000_000);
        let front = global_controller::start(config, &front_kept.identity, front_kept.certificate.clone()).await?;
        let global_controllers = vec![front.grpc_address().to_string()];

        let handler_kept = keep(dir, "mh-1", NodeKind::MediaHandler, self_signed(), stop, tasks)?;
        let mut config = media_handler::config::Config { node_id: "mh-1".parse()?, ..Default::default() };
        (config.cluster.grpc_bind, config.public.bind) = (ANY_PORT, ANY_PORT);
        config.cluster.global_controllers.clone_from(&global_controllers);
        let handler = media_handler::start(config, &handler_kept.identity, handler_kept.certificate.clone()).await?;

        let controller_kept = keep(dir, "mc-1", NodeKind::MeetingController, self_signed(), stop, tasks)?;
        let mut config = meeting_controller::config::Config { node_id: "mc-1".parse()?, ..Default::default() };
        (config.cluster.grpc_bind, config.public.bind) = (ANY_PORT, ANY_PORT);
        config.cluster.global_controllers = global_controllers;
        let controller = meeting_controller::start(config, &controller_kept.identity, controller_kept.certificate.clone()).await?;

        let it = Self { front, controller, handler, kept: [front_kept, controller_kept, handler_kept] };
        let readiness = it.readiness();
        eventually("the cluster is ready", READY_LIMIT, || async { all_ready(&readiness) }).await?;
        Ok(it)
    }

    fn readiness(&self) -> Vec<Readiness> {
        let mut all = [self.front.readiness(), self.controller.readiness(), self.handler.readiness()].concat();
        all.extend(self.kept.iter().flat_map(|kept| kept.readiness.clone()));
        all
    }

    fn ports(&self) -> [SocketAddr; 3] {
        [self.front.grpc_address(), self.controller.grpc_address(), self.handler.grpc_address()]
    }

    /// What each node shows now.
    fn shown(&self) -> [Arc<NodeIdentity>; 3] {
        self.kept.each_ref().map(|kept| kept.identity.current())
    }

    async fn noticed(&self, what: &str, is_so: impl Fn(&NodeIdentity) -> bool) -> anyhow::Result<()> {
        eventually(what, NOTICED, || async {
            let late: Vec<&str> = self.kept.iter().filter(|it| !is_so(&it.identity.current())).map(|it| it.holder.id.as_str()).collect();
            if late.is_empty() { Ok(()) } else { Err(format!("not yet: {late:?}")) }
        })
        .await
    }
}

fn all_ready(readiness: &[Readiness]) -> Result<(), String> {
    readiness.iter().try_for_each(|it| (it.check)().map_err(|reason| format!("{}: {reason}", it.name)))
}

async fn joins(api: &Api, meeting_id: &str, name: &str) -> anyhow::Result<()> {
    Peer::join(STACK, &api.invite(meeting_id, name).await?, name).await.with_context(|| format!("{name} joins"))?.leave().await
}

/// Whether a node answers a caller that shows `identity`.
async fn is_answered(identity: &NodeIdentity, registry: SocketAddr) -> bool {
    let Ok(channel) = channel(identity, &registry.to_string(), NodeKind::GlobalController.certificate_name()) else { return false };
    let capacity = Some(ControllerCapacity::default());
    // Of a process that is none: it is not known, and changes nothing.
    let beat = Heartbeat { controller_id: "mc-1".into(), capacity, ..Heartbeat::default() };
    ClusterRegistryClient::new(channel).heartbeat(beat).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_meeting_runs_through_a_rotation() -> anyhow::Result<()> {
    common::tls::install_crypto_provider();
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("cluster");
    certs(&dir, &["init"])?;
    for (id, kind) in [("gc-1", "global-controller"), ("mc-1", "meeting-controller"), ("mh-1", "media-handler"), ("front", "operator")] {
        certs(&dir, &["issue", id, "--kind", kind])?;
    }
    // The global controller's public certificate is a pair of files, as an authority of the world would hand out.
    let public = ["public.pem", "public.key"].map(|name| folder.path().join(name));
    let publish = || -> anyhow::Result<()> {
        for (from, to) in ["node.pem", "node.key"].into_iter().zip(&public) {
            std::fs::copy(dir.join("nodes/front").join(from), to)?;
        }
        Ok(())
    };
    publish()?;
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let cluster = Cluster::start(&dir, public.clone(), &stop, &tasks).await?;
    let api = Api::without_pool(cluster.front.public_url())?;
    let bystanders = Bystanders::start(&api).await?;
    let meeting_id = api.create_meeting().await?.meeting_id;

    // Whether anybody was ever lost from somebody's sight.
    let (readiness, was_lost, looking) = (cluster.readiness(), Arc::new(AtomicBool::new(false)), CancellationToken::new());
    let (lost, looked) = (was_lost.clone(), looking.clone());
    let watch = tokio::spawn(async move {
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        let mut reasons = Vec::new();
        while !looked.is_cancelled() {
            looks.tick().await;
            if let Err(reason) = all_ready(&readiness) {
                lost.store(true, Ordering::Relaxed);
                reasons.push(reason);
            }
        }
        reasons
    });

    let first = cluster.shown();
    let first_hashes = cluster.kept[1].certificate.hashes();
    let front_certificate = cluster.kept[0].certificate.current().sha256();
    let mut held = Vec::new();
    for port in cluster.ports() {
        held.push(tokio::spawn(Http2::open(port, &first[1]).await?.until_over()));
    }
    let began = Instant::now();

    certs(&dir, &["renew", "--authority", "begin"])?;
    cluster.noticed("both authorities are believed", |it| it.authorities().is_ok_and(|all| all.len() == 2)).await?;
    let replaced = Instant::now();
    joins(&api, &meeting_id, "Ana").await?;

    certs(&dir, &["renew", "--authority", "switch"])?;
    cluster.noticed("each node shows its new certificate", |it| !first.iter().any(|old| old.certificate_pem == it.certificate_pem)).await?;
    joins(&api, &meeting_id, "Ben").await?;
    // As a node whose new certificate is still on its way: it believes both, and shows what it has.
    let late = |cluster: &Cluster| NodeIdentity { authority_pem: cluster.shown()[1].authority_pem.clone(), ..(*first[1]).clone() };
    ensure!(is_answered(&late(&cluster), cluster.front.grpc_address()).await, "the old authority is believed until the last step");

    certs(&dir, &["renew", "--authority", "finish"])?;
    cluster.noticed("one authority is believed", |it| it.authorities().is_ok_and(|all| all.len() == 1)).await?;
    joins(&api, &meeting_id, "Cleo").await?;
    ensure!(!is_answered(&late(&cluster), cluster.front.grpc_address()).await, "the old authority is believed still");
    ensure!(is_answered(&cluster.shown()[1], cluster.front.grpc_address()).await, "the new one is");
    eprintln!("the authority and all node certificates: {:?}", began.elapsed());
    for connection in held {
        let left = RENEWED.saturating_sub(replaced.elapsed());
        let ended = tokio::time::timeout(left, connection).await;
        let is_announced = ended.with_context(|| format!("a connection of before stands after {:?}", replaced.elapsed()))???;
        ensure!(is_announced, "a connection of before broke off without a word");
    }
    eprintln!("connections of before are gone by {:?} after the first replacement", replaced.elapsed());

    publish()?;
    let front = &cluster.kept[0].certificate;
    eventually("the front door shows its new certificate", NOTICED, || async {
        if front.current().sha256() == front_certificate { Err("the old one") } else { Ok(()) }
    })
    .await?;
    joins(&api, &meeting_id, "Dora").await?;

    // Self-signed ones: the second hash of before is the first of now, and the first leads nowhere any more.
    let controller = &cluster.kept[1].certificate;
    eventually("the next self-signed certificate takes over twice", 2 * SELF_SIGNED, || async {
        if controller.hashes().iter().any(|hash| first_hashes.contains(hash)) { Err("not yet") } else { Ok(()) }
    })
    .await?;
    let invitation = eventually("answers name what the controller shows, now and next", NOTICED, || async {
        let invitation = api.invite(&meeting_id, "Emil").await?;
        let (offered, hashes) = (invitation.hashes()?, controller.hashes());
        ensure!(offered.contains(&hashes[0].to_vec()), "what is shown was published long before");
        // What follows is published with the next heartbeat.
        ensure!(offered.len() == 4 && offered.contains(&hashes[1].to_vec()), "two of the controller and two of the handler");
        Ok::<_, anyhow::Error>(invitation)
    })
    .await?;
    let url = &invitation.meeting_controller_url;
    let old: Vec<Vec<u8>> = first_hashes.iter().map(|hash| hash.to_vec()).collect();
    ensure!(Session::dial(STACK, url, &old).await.is_err(), "a certificate of before is shown");
    joins(&api, &meeting_id, "Emil").await?;

    looking.cancel();
    let reasons = watch.await?;
    ensure!(!was_lost.load(Ordering::Relaxed), "somebody was lost: {reasons:?}");
    let latencies = bystanders.latencies();
    let account = bystanders.finish().await?;
    let beside = latencies.between(0, latencies.mark());
    eprintln!("a rotation of {:?}: {account:?}, p99 {:?}, max {:?}", began.elapsed(), beside.p99, beside.max);
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    cluster.controller.stop().await;
    cluster.handler.stop().await;
    cluster.front.stop().await;
    Ok(())
}
