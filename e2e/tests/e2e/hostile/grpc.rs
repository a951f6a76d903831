//! The gRPC ports of all three kinds of nodes, met by strangers and by nodes that go beyond what is theirs.

pub mod raw;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use common::grpc::{Channel, channel};
use common::tls::{ClusterAuthority, Holder, NodeIdentity, NodeKind};
use e2e::bystanders::Bystanders;
use e2e::eventually;
use e2e::ground::{MEMORY_GROWTH_MAX, REFUSAL_LIMIT, refused_within, scale};
use e2e::nodes::{Nodes, Plan};
use proto::cluster::cluster_registry_client::ClusterRegistryClient;
use proto::cluster::media_handler_service_client::MediaHandlerServiceClient;
use proto::cluster::meeting_controller_service_client::MeetingControllerServiceClient;
use proto::cluster::{
    AssignMeeting, ControllerCapacity, Deregister, HandlerCapacity, Heartbeat, ListParticipants, RegisterMediaHandler,
    RegisterMeetingController, RegisterParticipant, ReportEvents, TelemetryRequest,
};
use raw::{Closed, Http2, Shown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::{Code, Status};

const NODES: [Plan<'static>; 3] =
    [("gc-1", NodeKind::GlobalController, "eu"), ("mc-1", NodeKind::MeetingController, "eu"), ("mh-1", NodeKind::MediaHandler, "eu")];
/// From the first byte of a handshake to its end by the server (`HANDSHAKE_TIMEOUT` of `common::grpc`), and a busy machine.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(8);
/// How long tasks and file descriptors may take to come back.
const SETTLE_LIMIT: Duration = Duration::from_secs(15);
/// Calls and requests under way at the moment of looking.
const SLACK: f64 = 16.0;
/// Greater than that of any process of these tests.
const LATER: u64 = u64::MAX / 2;

/// The cluster, with people in it, and what its processes took before the mischief.
struct Scene {
    nodes: Nodes,
    bystanders: Bystanders,
    baseline: Vec<[f64; 3]>,
}

const MEASURES: [&str; 3] = ["process_resident_memory_bytes", "dark_tower_tasks", "process_open_fds"];

impl Scene {
    async fn open() -> anyhow::Result<Self> {
        let nodes = Nodes::start(&NODES, &[]).await?;
        let bystanders = Bystanders::start(&nodes.api).await?;
        let mut scene = Self { nodes, bystanders, baseline: Vec::new() };
        for (id, ..) in NODES {
            // What the first call of all touches, every later one finds.
            scene.identity("warm", NodeKind::MeetingController)?;
            raw::shake(scene.port(id)?, &Shown::Nothing).await.context("a first stranger")?;
            scene.baseline.push(scene.figures(id).await?);
        }
        Ok(scene)
    }

    fn port(&self, id: &str) -> anyhow::Result<SocketAddr> {
        Ok(self.nodes.node(id)?.at.grpc)
    }

    fn identity(&self, id: &str, kind: NodeKind) -> anyhow::Result<NodeIdentity> {
        Ok(self.nodes.authority().issue(&id.parse()?, kind)?)
    }

    /// A channel of somebody to a node.
    fn channel(&self, (id, kind): (&str, NodeKind), to: &str) -> anyhow::Result<Channel> {
        Ok(channel(self.identity(id, kind)?, &self.port(to)?.to_string(), to)?)
    }

    async fn figures(&self, id: &str) -> anyhow::Result<[f64; 3]> {
        let metrics = self.nodes.metrics(id).await?;
        Ok(MEASURES.map(|name| metrics.sum(name)))
    }

    /// A call of a controller that is one gets through at once, on each port.
    async fn serves_nodes(&self) -> anyhow::Result<()> {
        let capacity = Some(ControllerCapacity::default());
        let beat = Heartbeat { controller_id: "mc-9".into(), start_number: 1, capacity, ..Heartbeat::default() };
        let mut registry = ClusterRegistryClient::new(self.channel(("mc-9", NodeKind::MeetingController), "gc-1")?);
        refused_within(REFUSAL_LIMIT, "not, but answered: a heartbeat", async { Ok(registry.heartbeat(beat).await?) }).await?;
        let mut controller = MeetingControllerServiceClient::new(self.channel(("gc-9", NodeKind::GlobalController), "mc-1")?);
        let absent = ListParticipants { meeting_id: uuid::Uuid::new_v4().to_string() };
        is_refused("a question about no meeting", Code::NotFound, controller.list_participants(absent)).await?;
        let mut handler = MediaHandlerServiceClient::new(self.channel(("mc-9", NodeKind::MeetingController), "mh-1")?);
        is_refused("a participant without an id", Code::InvalidArgument, handler.register_participant(RegisterParticipant::default())).await
    }

    /// The end: nobody lost anything, every process lives, and what it took came back.
    async fn settled(self, name: &str) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut told = Vec::new();
        for ((id, ..), before) in NODES.iter().zip(&self.baseline) {
            let what = format!("{id} is back at its baseline");
            let after = eventually(&what, SETTLE_LIMIT, || async {
                let now = self.figures(id).await?;
                let is_back = now[0] <= before[0] + MEMORY_GROWTH_MAX as f64 && now[1] <= before[1] + SLACK && now[2] <= before[2] + SLACK;
                ensure!(is_back, "{now:?}, and {before:?} before");
                Ok::<_, anyhow::Error>(now)
            });
            let after = after.await?;
            told.push(format!(
                "{id}: memory {:.0} -> {:.0} MiB, tasks {} -> {}, fds {} -> {}",
                before[0] / 1048576.0,
                after[0] / 1048576.0,
                before[1],
                after[1],
                before[2],
                after[2]
            ));
        }
        let settled = began.elapsed();
        let latencies = self.bystanders.latencies();
        let account = self.bystanders.finish().await?;
        let beside = latencies.between(0, latencies.mark());
        eprintln!("{name}: {}; back in {settled:?}; bystanders got {account:?}, p99 {:?}", told.join("; "), beside.p99);
        Ok(())
    }
}

/// The call is refused with `code` within a second.
async fn is_refused<T>(what: &str, code: Code, call: impl Future<Output = Result<T, Status>>) -> anyhow::Result<()> {
    refused_within(REFUSAL_LIMIT, what, async {
        match call.await {
            Ok(_) => bail!("{what}: it was not refused"),
            Err(status) if status.code() == code => Ok(()),
            Err(status) => bail!("{what}: {status}, and {code:?} is right"),
        }
    })
    .await
}

/// Who is no node of the cluster gets no further than the handshake, and holds nobody up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_end_at_the_handshake() -> anyhow::Result<()> {
    let scene = Scene::open().await?;
    let other = ClusterAuthority::generate()?;
    let holder = Holder { id: "mc-1".parse()?, kind: NodeKind::MeetingController };
    let foreign = other.issue(&holder.id, holder.kind)?;
    let expired = scene.nodes.authority().issue_for(&holder, Duration::ZERO, None)?;
    eventually("its time is over", Duration::from_secs(3), || async {
        if expired.check().is_ok() { Err("it is good still") } else { Ok(()) }
    })
    .await?;
    for (id, ..) in NODES {
        let port = scene.port(id)?;
        for shown in [
            Shown::Nothing,
            Shown::Certificate(&foreign),
            Shown::Certificate(&expired),
            Shown::OldTls(&scene.identity("mc-1", NodeKind::MeetingController)?),
        ] {
            let closed = refused_within(REFUSAL_LIMIT, &format!("{shown:?} at {id}"), raw::shake(port, &shown)).await?;
            ensure!(closed == Closed::ByServer, "{shown:?} at {id}: {closed:?}");
        }
        let plain = [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..],
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            &[0xFF; 4096],
            &[0x16, 3, 1, 0xFF, 0xFF, 1, 0xFF, 0xFF, 0xFF],
        ];
        for bytes in plain {
            let what = format!("{:?} at {id}", String::from_utf8_lossy(&bytes[..8.min(bytes.len())]));
            refused_within(REFUSAL_LIMIT, &what, raw::says(port, bytes)).await?;
        }
    }
    // Half handshakes, held: the newest gets in all the same, since the oldest gives way.
    let (many, began) = (scale().of(400, 2000), Instant::now());
    let mut held = Vec::new();
    for (id, ..) in NODES {
        let port = scene.port(id)?;
        for number in 0..many {
            let mut stream = TcpStream::connect(port).await?;
            if number % 2 == 0 {
                // The head of a ClientHello, and then nothing.
                stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC]).await?;
            }
            held.push(stream);
        }
        scene.serves_nodes().await.with_context(|| format!("beside {many} half handshakes at {id}"))?;
    }
    let opened = began.elapsed();
    for mut stream in held {
        let mut byte = [0];
        let left = (opened + HANDSHAKE_LIMIT).saturating_sub(began.elapsed());
        let read = tokio::time::timeout(left, stream.read(&mut byte)).await.context("a half handshake is held open")?;
        // An alert before the end, a reset, or the end itself.
        ensure!(!matches!(read, Ok(1) if byte[0] != 0x15), "{read:?}");
    }
    eprintln!("{many} half handshakes at each port, opened within {opened:?}, are over after {:?}", began.elapsed());
    let metrics = scene.nodes.metrics("gc-1").await?;
    let refused: f64 = metrics.sum("dark_tower_refused_total");
    ensure!(refused >= many as f64, "{refused} refusals are counted");
    scene.settled("strangers").await
}

/// Whoever is let in speaks for itself alone, and as what it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_speak_for_themselves_alone() -> anyhow::Result<()> {
    use NodeKind::{GlobalController, MediaHandler, MeetingController, Operator};
    let scene = Scene::open().await?;
    let registry = |who| Ok::<_, anyhow::Error>(ClusterRegistryClient::new(scene.channel(who, "gc-1")?));
    let controller = |id: &str| RegisterMeetingController {
        controller_id: id.into(),
        region: "eu".into(),
        endpoint: "127.0.0.1:1".into(),
        capacity: Some(ControllerCapacity { max_meetings: 1000, max_participants: 1000, ..ControllerCapacity::default() }),
        public_url: "https://stolen.example.com/wt".into(),
        fallback_url: "wss://stolen.example.com/ws".into(),
        version: "1".into(),
        start_number: LATER,
        ..RegisterMeetingController::default()
    };
    let handler = |id: &str| RegisterMediaHandler {
        handler_id: id.into(),
        region: "eu".into(),
        endpoint: "127.0.0.1:1".into(),
        capacity: Some(HandlerCapacity { max_participants: 1000, current_participants: 0 }),
        public_url: "https://stolen.example.com/media".into(),
        version: "1".into(),
        start_number: LATER,
        ..RegisterMediaHandler::default()
    };
    let beat = |id: &str| Heartbeat { controller_id: id.into(), start_number: LATER, ..Heartbeat::default() };
    let denied = Code::PermissionDenied;

    // Of the wrong kind, or for another.
    for who in [("mh-9", MediaHandler), ("ana", Operator), ("gc-9", GlobalController), ("mc-9", MeetingController)] {
        let mut registry = registry(who)?;
        let what = format!("{who:?}");
        is_refused(&what, denied, registry.register_meeting_controller(controller("mc-1"))).await?;
        is_refused(&what, denied, registry.register_media_handler(handler("mh-1"))).await?;
        is_refused(&what, denied, registry.heartbeat(beat("mc-1"))).await?;
        is_refused(&what, denied, registry.heartbeat(beat("mh-1"))).await?;
        is_refused(&what, denied, registry.deregister(Deregister { node_id: "mc-1".into(), start_number: LATER })).await?;
        is_refused(&what, denied, registry.deregister(Deregister { node_id: "mh-1".into(), start_number: LATER })).await?;
        let report = ReportEvents { controller_id: "mc-1".into(), start_number: LATER, events: Vec::new() };
        is_refused(&what, denied, registry.report_events(report)).await?;
    }
    is_refused("a handler as a controller", denied, registry(("mh-9", MediaHandler))?.register_meeting_controller(controller("mh-9")))
        .await?;
    is_refused("an operator as itself", denied, registry(("ana", Operator))?.register_media_handler(handler("ana"))).await?;

    // What only a global controller, and what only a controller may ask.
    let meeting_id = scene.nodes.api.create_meeting().await?.meeting_id;
    for who in [("mc-9", MeetingController), ("mh-1", MediaHandler), ("ana", Operator)] {
        let mut client = MeetingControllerServiceClient::new(scene.channel(who, "mc-1")?);
        let assign = AssignMeeting { meeting_id: meeting_id.clone(), config: None };
        is_refused(&format!("{who:?} assigns"), denied, client.assign_meeting(assign)).await?;
        let list = ListParticipants { meeting_id: meeting_id.clone() };
        is_refused(&format!("{who:?} asks who is there"), denied, client.list_participants(list)).await?;
    }
    for who in [("gc-1", GlobalController), ("mh-9", MediaHandler), ("ana", Operator)] {
        let mut client = MediaHandlerServiceClient::new(scene.channel(who, "mh-1")?);
        is_refused(&format!("{who:?} registers"), denied, client.register_participant(RegisterParticipant::default())).await?;
        is_refused(&format!("{who:?} listens"), denied, client.telemetry(TelemetryRequest {})).await?;
    }

    // A participant of an older generation.
    let mut media = MediaHandlerServiceClient::new(scene.channel(("mc-9", MeetingController), "mh-1")?);
    let participant = |generation| RegisterParticipant {
        participant_id: "5b1f2f0e-6c0e-4c6e-9d3c-1c1b7c0d8e11".into(),
        meeting_id: meeting_id.clone(),
        generation,
        ..RegisterParticipant::default()
    };
    media.register_participant(participant(7)).await?;
    is_refused("an old generation", Code::FailedPrecondition, media.register_participant(participant(6))).await?;
    let mut thief = MediaHandlerServiceClient::new(scene.channel(("mc-8", MeetingController), "mh-1")?);
    is_refused("another controller's participant", denied, thief.register_participant(participant(7))).await?;
    scene.settled("nodes").await
}

/// Bytes that a certificate of the cluster entitles to, and that no honest node sends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_costs_no_more_than_it_may() -> anyhow::Result<()> {
    let scene = Scene::open().await?;
    let node = scene.identity("mc-9", NodeKind::MeetingController)?;
    // Over the limit of every one of them: 4 MiB, 2 MiB, 1 MiB.
    let long = "a".repeat(5 * 1024 * 1024);
    let mut registry = ClusterRegistryClient::new(scene.channel(("mc-9", NodeKind::MeetingController), "gc-1")?);
    let register = RegisterMeetingController { controller_id: long.clone(), ..RegisterMeetingController::default() };
    is_refused("five megabytes to the registry", Code::OutOfRange, registry.register_meeting_controller(register)).await?;
    let mut controller = MeetingControllerServiceClient::new(scene.channel(("gc-9", NodeKind::GlobalController), "mc-1")?);
    let list = ListParticipants { meeting_id: long.clone() };
    is_refused("five megabytes to a controller", Code::OutOfRange, controller.list_participants(list)).await?;
    let mut handler = MediaHandlerServiceClient::new(scene.channel(("mc-9", NodeKind::MeetingController), "mh-1")?);
    let register = RegisterParticipant { participant_id: long, ..RegisterParticipant::default() };
    is_refused("five megabytes to a handler", Code::OutOfRange, handler.register_participant(register)).await?;

    // What buffers on the way swallow comes on top: some ten thousand.
    let resets = scale().of(50_000, 100_000);
    for (id, ..) in NODES {
        let port = scene.port(id)?;
        let bomb = |what: &str| format!("{what} at {id}");
        let mut bombs = Http2::open(port, &node).await?;
        refused_within(REFUSAL_LIMIT, &bomb("a head of 1 MiB"), bombs.head_of(1024 * 1024)).await?;
        let mut endless = Http2::open(port, &node).await?;
        refused_within(REFUSAL_LIMIT, &bomb("a head without an end"), endless.endless_head()).await?;
        let mut rapid = Http2::open(port, &node).await?;
        let done = refused_within(HANDSHAKE_LIMIT, &bomb("rapid resets"), rapid.rapid_resets(resets)).await?;
        ensure!(done < resets, "{done} streams were opened and reset at {id}");
        let mut many = Http2::open(port, &node).await?;
        let open = refused_within(HANDSHAKE_LIMIT, &bomb("many streams"), many.open_streams(2000)).await?;
        ensure!(open <= 256, "{open} streams are open at {id}");
        let mut wrong = Http2::open(port, &node).await?;
        refused_within(REFUSAL_LIMIT, &bomb("a frame of 16 MiB"), wrong.frame_of(16 * 1024 * 1024 - 1)).await?;
        eprintln!("{id}: {done} rapid resets until it closed, {open} streams open at most");
    }
    scene.serves_nodes().await?;
    scene.settled("limits").await
}
