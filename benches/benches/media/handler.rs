//! The media handler under measurement: its real process with its own configuration, and this bench as the meeting controller that tells it who is
//! there and what goes to whom, and that listens to its telemetry.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::grpc::Channel;
use common::tls::{ClusterAuthority, NodeKind};
use common_core::{MeetingId, ParticipantId};
use proto::cluster::media_handler_service_client::MediaHandlerServiceClient;
use proto::cluster::{RegisterParticipant, RouteMediaCommand, TelemetryReport, TelemetryRequest};
use proto::v1;

use crate::workload::{Member, Workload};

const NODE: &str = "mh-1";
const CONTROLLER: &str = "mc-1";
/// How long a process may take to start.
const START_MAX: Duration = Duration::from_secs(20);
/// Between looks whether it has.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What is measured, and how it is told apart.
#[derive(Clone, Debug)]
pub struct Build {
    pub program: PathBuf,
    /// Pairs of a dotted key of the handler's configuration and a value.
    pub settings: Vec<(String, String)>,
}

/// See the module. Ends with this bench at the latest.
pub struct Handler {
    pub pid: u32,
    pub address: SocketAddr,
    /// DER in base64.
    pub certificate: String,
    grpc: MediaHandlerServiceClient<Channel>,
    meetings: Vec<MeetingId>,
    members: Vec<(Member, ParticipantId)>,
    last_report: Arc<Mutex<TelemetryReport>>,
    process: tokio::process::Child,
    folder: tempfile::TempDir,
}

impl Handler {
    /// Starts it on `cores`.
    pub async fn start(cores: &str, build: &Build) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("a temporary file");
            path
        };
        let authority = ClusterAuthority::generate().expect("an authority");
        let issue = |id: &str, kind| authority.issue(&id.parse().expect("a node id"), kind).expect("a certificate");
        let own = issue(NODE, NodeKind::MediaHandler);
        let public = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("a certificate");
        let tcp = || SocketAddr::from((Ipv4Addr::LOCALHOST, free(TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()))));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free(UdpSocket::bind("127.0.0.1:0").and_then(|it| it.local_addr()))));
        let grpc_address = tcp();
        let log = std::fs::File::create(folder.path().join("log")).expect("a file");
        let mut command = benches::child::pinned(cores, &build.program);
        command.stdin(std::process::Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        let mut set = |key: &str, value: &str| {
            let name = format!("{}{}", common::config::ENVIRONMENT_PREFIX, key.replace('.', "__").to_ascii_uppercase());
            command.env(name, value);
        };
        let text = |path: PathBuf| path.to_str().expect("a path in UTF-8").to_owned();
        set("node_id", NODE);
        set("admin_bind", &tcp().to_string());
        set("cluster.grpc_bind", &grpc_address.to_string());
        set("cluster.certificate", &text(write("node.pem", &own.certificate_pem)));
        set("cluster.key", &text(write("node.key", &own.key_pem)));
        set("cluster.authority", &text(write("cluster.pem", &own.authority_pem)));
        set("public.bind", &address.to_string());
        set("public.certificate", &text(write("public.pem", &public.cert.pem())));
        set("public.key", &text(write("public.key", &public.signing_key.serialize_pem())));
        for (key, value) in &build.settings {
            set(key, value);
        }
        let mut process = command.spawn().expect("taskset is there (util-linux)");
        let started = Instant::now();
        while tokio::net::TcpStream::connect(grpc_address).await.is_err() {
            let ended = process.try_wait().expect("it can be asked for");
            if ended.is_some() || started.elapsed() > START_MAX {
                let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
                panic!("{} does not start ({ended:?}):\n{log}", build.program.display());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        let channel = common::grpc::channel(issue(CONTROLLER, NodeKind::MeetingController), &grpc_address.to_string(), NODE);
        let grpc = MediaHandlerServiceClient::new(channel.expect("a channel"));
        let last_report = Arc::default();
        tokio::spawn(listen(grpc.clone(), Arc::clone(&last_report)));
        let pid = process.id().expect("it runs");
        let certificate = STANDARD.encode(public.cert.der());
        Self { pid, address, certificate, grpc, meetings: Vec::new(), members: Vec::new(), last_report, process, folder }
    }

    /// Registers `members` and routes to them what they receive; their connection tokens. May be called again for more.
    pub async fn admit(&mut self, workload: &Workload, members: &[Member]) -> Vec<String> {
        let mut tokens = Vec::new();
        for member in members {
            while self.meetings.len() <= member.meeting {
                self.meetings.push(MeetingId::new(common::random::uuid()));
            }
            let id = ParticipantId::new(common::random::uuid());
            let streams = member.publishes.iter().map(|source| published(workload, *source)).collect();
            let request = RegisterParticipant {
                participant_id: id.to_string(),
                meeting_id: self.meetings[member.meeting].to_string(),
                streams,
                generation: 1,
                issue_token: true,
                controller_start_number: 1,
            };
            let registered = self.grpc.register_participant(request).await.expect("the participant is registered").into_inner();
            tokens.push(registered.connection_token);
            self.members.push((member.clone(), id));
        }
        let fresh = &self.members[self.members.len() - members.len()..];
        for (source, _) in workload.sources.iter().enumerate() {
            let source = u32::try_from(source).expect("few");
            let wanting = fresh.iter().filter(|(member, _)| member.receives.contains(&source));
            let destinations: Vec<String> = wanting.clone().map(|(_, id)| id.to_string()).collect();
            let Some((member, _)) = wanting.clone().next() else { continue };
            let command = RouteMediaCommand {
                source_stream_id: Workload::stream_id(source).to_string(),
                meeting_id: self.meetings[member.meeting].to_string(),
                destination_participant_ids: destinations,
                ..Default::default()
            };
            self.grpc.route_media(command).await.expect("it is routed");
        }
        tokens
    }

    /// What it says became of records that were not delivered, by fate, since the beginning.
    pub fn fates(&self) -> String {
        let report = self.last_report.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fates = std::collections::BTreeMap::<&str, u64>::new();
        for (fate, records) in report.streams.iter().flat_map(|stream| &stream.fates) {
            *fates.entry(fate).or_default() += records;
        }
        format!("{fates:?}")
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Ends it at once: nobody is there to be told.
    pub async fn stop(mut self) {
        self.process.kill().await.expect("it ends");
    }
}

fn free(bound: std::io::Result<SocketAddr>) -> u16 {
    bound.expect("a free port").port()
}

/// Reads telemetry as a controller does, for as long as the handler lives.
async fn listen(mut grpc: MediaHandlerServiceClient<Channel>, last: Arc<Mutex<TelemetryReport>>) {
    let mut reports = grpc.telemetry(TelemetryRequest {}).await.expect("a stream of telemetry").into_inner();
    while let Ok(Some(report)) = reports.message().await {
        *last.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }
}

fn published(workload: &Workload, source: u32) -> v1::MediaStream {
    let is_audio = workload.sources[source as usize].is_audio;
    let (kind, codec) = if is_audio { (v1::StreamType::Audio, "Opus") } else { (v1::StreamType::VideoCamera, "VP9") };
    v1::MediaStream {
        stream_id: Workload::stream_id(source).to_string(),
        stream_type: kind.into(),
        metadata: Some(v1::StreamMetadata { codec: codec.into(), ..Default::default() }),
        ..Default::default()
    }
}
