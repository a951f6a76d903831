//! The world of these tests: a cluster's authority, a global controller, controllers and handlers that only say what a test tells them to,
//! and a client for the API.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::clock::unix_seconds;
use common::grpc::{self, Channel};
use common::tls::{Certificate, ClusterAuthority, NodeIdentity, NodeKind, install_crypto_provider};
use common::token::TokenVerifier;
use common_core::grant::JoinGrant;
use global_controller::{ClientCredentials, Config, Running};
use global_controller_core::Scopes;
use proto::cluster::cluster_registry_client::ClusterRegistryClient;
use proto::cluster::meeting_controller_service_server::{MeetingControllerService, MeetingControllerServiceServer};
use proto::cluster::{
    AssignMeeting, CheckResume, ControllerCapacity, EndMeeting, HandlerCapacity, HealthStatus, Heartbeat, HeartbeatReply, KickFromMeeting,
    KickedFromMeeting, ListParticipants, MeetingAssigned, MeetingEnded, MeetingLoad, MeetingParticipant, MuteRequested, ParticipantList,
    RegisterMediaHandler, RegisterMeetingController, RequestMute, ResumeChecked,
};
use proto::v1;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

const BEAT_INTERVAL: Duration = Duration::from_millis(50);
/// Silence after which a node is lost in these tests: eight heartbeats, so that a busy machine loses nobody by chance.
pub const LEASE: Duration = Duration::from_millis(400);

/// Long enough for a machine that is busy with other tests; short of what a test may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Within which an answer is due although the store is not (DESIGN section 7), as is configured where nobody says otherwise.
pub const STORE_TIMEOUT: Duration = Duration::from_millis(1500);

/// What a test changes in the configuration.
type Adjust = Box<dyn Fn(&mut Config) + Send + Sync>;

/// A cluster with one global controller.
pub struct World {
    folder: tempfile::TempDir,
    authority: ClusterAuthority,
    pub certificate: Certificate,
    pub global_controller: Running,
    pub http: reqwest::Client,
    adjust: Adjust,
}

impl World {
    /// Anonymous creation allowed, a controller `mc-1` and a handler `mh-1`.
    pub async fn with_nodes() -> (Self, FakeController, FakeHandler) {
        let world = Self::start(|config| config.allow_anonymous_create = true).await;
        let controller = world.controller("mc-1").await;
        let handler = world.handler("mh-1", "eu").await;
        (world, controller, handler)
    }

    /// Nobody but the global controller.
    pub async fn start(adjust: impl Fn(&mut Config) + Send + Sync + 'static) -> Self {
        install_crypto_provider();
        canary::watch();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = ClusterAuthority::generate().expect("an authority");
        let certificate = Certificate::self_signed(&["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("a certificate");
        let adjust: Adjust = Box::new(adjust);
        let global_controller = launch(&folder, &authority, &certificate, &adjust).await;
        let http = client(&certificate, |builder| builder);
        Self { folder, authority, certificate, global_controller, http, adjust }
    }

    /// Stops the global controller and starts it again on the same store; nodes have to find it by themselves.
    pub async fn restarted(self) -> Self {
        self.global_controller.stop().await;
        let global_controller = launch(&self.folder, &self.authority, &self.certificate, &self.adjust).await;
        Self { global_controller, ..self }
    }

    /// As an operator's command has it.
    pub fn config(&self) -> Config {
        configuration(&self.folder, &self.adjust)
    }

    /// The store's own file, to be spoiled.
    pub async fn database(&self) -> sqlx::SqlitePool {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.folder.path().join("state/gc.sqlite"));
        sqlx::SqlitePool::connect_with(options).await.expect("the file is there")
    }

    pub fn identity(&self, id: &str, kind: NodeKind) -> NodeIdentity {
        self.authority.issue(&id.parse().expect("a node id"), kind).expect("a certificate")
    }

    pub fn registry(&self, identity: &NodeIdentity) -> ClusterRegistryClient<Channel> {
        let endpoint = self.global_controller.grpc_address().to_string();
        let name = NodeKind::GlobalController.certificate_name();
        ClusterRegistryClient::new(grpc::channel(identity, &endpoint, name).expect("an address"))
    }

    /// A controller that registers in region "eu", beats, and takes what it is given.
    pub async fn controller(&self, id: &str) -> FakeController {
        FakeController::start(self, id, 7).await
    }

    /// Another process of a controller.
    pub async fn controller_process(&self, id: &str, start_number: u64) -> FakeController {
        FakeController::start(self, id, start_number).await
    }

    pub async fn handler(&self, id: &str, region: &str) -> FakeHandler {
        FakeHandler::start(self, id, region).await
    }

    /// An API client with `scopes`, and an access token for it.
    pub async fn api_client(&self, scopes: &str) -> (ClientCredentials, String) {
        let scopes: Scopes = scopes.parse().expect("known scopes");
        let credentials = self.global_controller.create_client("a test", scopes).await.expect("a client");
        canary::keep("client_secret", credentials.client_secret.expose());
        let asked = json!({
            "grant_type": "client_credentials",
            "client_id": credentials.client_id, "client_secret": credentials.client_secret.expose(),
        });
        let answer = self.post("/api/v1/auth/token", None, asked).await.expect(StatusCode::OK);
        let token = answer["access_token"].as_str().expect("a token").to_owned();
        (credentials, token)
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.global_controller.public_url())
    }

    pub async fn get(&self, path: &str, bearer: Option<&str>) -> Answer {
        self.send(Method::GET, path, bearer, None).await
    }

    pub async fn post(&self, path: &str, bearer: Option<&str>, body: Value) -> Answer {
        self.send(Method::POST, path, bearer, Some(body.to_string())).await
    }

    pub async fn delete(&self, path: &str, bearer: Option<&str>) -> Answer {
        self.send(Method::DELETE, path, bearer, None).await
    }

    pub async fn send(&self, method: Method, path: &str, bearer: Option<&str>, body: Option<String>) -> Answer {
        let mut request = self.http.request(method, self.url(path));
        if let Some(token) = bearer {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        Answer::of(request).await
    }

    pub async fn patch(&self, path: &str, bearer: Option<&str>, body: Value) -> Answer {
        self.send(Method::PATCH, path, bearer, Some(body.to_string())).await
    }

    /// A POST under an idempotency key.
    pub async fn post_once(&self, path: &str, bearer: Option<&str>, key: &str, body: Value) -> Answer {
        canary::keep("idempotency key", key);
        let mut request = self.http.post(self.url(path)).header("idempotency-key", key).json(&body);
        if let Some(token) = bearer {
            request = request.bearer_auth(token);
        }
        Answer::of(request).await
    }

    /// Creates a meeting without a bearer.
    pub async fn meeting(&self) -> Value {
        self.post("/api/v1/meetings", None, json!({"display_name": "Standup"})).await.expect(StatusCode::CREATED)
    }

    /// What a join token grants, by the keys that the cluster hands out.
    pub async fn grant(&self, answer: &Value) -> JoinGrant {
        let token = answer["join_token"].as_str().expect("a join token");
        self.verifier().await.verify_join(token).expect("a good token")
    }

    pub async fn verifier(&self) -> TokenVerifier {
        let identity = self.identity("reader", NodeKind::MediaHandler);
        let beat = Heartbeat { controller_id: "reader".into(), handler_capacity: Some(HandlerCapacity::default()), ..Heartbeat::default() };
        let reply = self.registry(&identity).heartbeat(beat).await.expect("an answer").into_inner();
        TokenVerifier::new(reply.token_keys.iter().map(|key| (key.key_id.as_str(), key.public_key.as_ref())), Duration::ZERO)
    }
}

/// What the global controller of these tests is started with.
fn configuration(folder: &tempfile::TempDir, adjust: &Adjust) -> Config {
    let mut config = Config { region: "eu".into(), ..Config::default() };
    config.public.bind = SocketAddr::from(([127, 0, 0, 1], 0));
    config.cluster.grpc_bind = SocketAddr::from(([127, 0, 0, 1], 0));
    config.cluster.heartbeat_interval = BEAT_INTERVAL;
    config.cluster.lease = LEASE;
    config.cluster.grace = Duration::ZERO;
    config.cluster.sweep_interval = Duration::from_millis(100);
    config.store.path = folder.path().join("state/gc.sqlite");
    // What is promised of a store that hangs is `away`'s to look at; all others may run on a busy machine.
    config.store.timeout = Duration::from_secs(10);
    // Tests that are not about rates ask as often as they like.
    config.rates.requests = 1_000_000;
    adjust(&mut config);
    config
}

async fn launch(folder: &tempfile::TempDir, authority: &ClusterAuthority, certificate: &Certificate, adjust: &Adjust) -> Running {
    let config = configuration(folder, adjust);
    let identity = authority.issue(&"gc-1".parse().expect("a node id"), NodeKind::GlobalController).expect("a certificate");
    global_controller::start(config, identity, certificate.clone()).await.expect("it starts")
}

/// A client that trusts the test's certificate alone.
pub fn client(certificate: &Certificate, adjust: fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder) -> reqwest::Client {
    let root = reqwest::Certificate::from_der(&certificate.chain[0]).expect("DER");
    adjust(reqwest::Client::builder().tls_certs_only([root])).build().expect("a client")
}

/// An answer of the API.
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.expect("a text");
        match serde_json::from_str::<Value>(&text) {
            Ok(answer) if status.is_success() => canary::keep_answer(&answer),
            _ => {}
        }
        if status.is_client_error() || status.is_server_error() {
            canary::inspect(&format!("the answer {status}"), &text);
        }
        Self { status, headers, text }
    }

    /// The body, if the status is `status`.
    #[track_caller]
    pub fn expect(&self, status: StatusCode) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        serde_json::from_str(&self.text).expect("JSON")
    }

    /// Status, code and message of a refusal, in the contract's body and nothing besides.
    #[track_caller]
    pub fn refusal(&self) -> String {
        let body: Value = serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{} {:?} is JSON", self.status, self.text));
        assert!(body["error"]["details"].is_object() && body.as_object().is_some_and(|body| body.len() == 1), "{body}");
        let part = |name: &str| body["error"][name].as_str().expect("a string").to_owned();
        format!("{} {}: {}", self.status.as_u16(), part("code"), part("message"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().expect("ASCII")).unwrap_or_default()
    }
}

/// Waits until `check` gives something, at most five seconds; asks every 20 ms, since what it waits for comes by itself.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a controller is told to say and has been told.
#[derive(Default)]
pub struct Told {
    pub meetings: BTreeMap<String, u32>,
    pub assigned: Vec<AssignMeeting>,
    pub ended: Vec<String>,
    /// Who is in which meeting.
    pub participants: BTreeMap<String, Vec<MeetingParticipant>>,
    /// Who comes back, by meeting and hash of the resume token.
    pub resumes: BTreeMap<(String, Vec<u8>), MeetingParticipant>,
    pub kicked: Vec<KickFromMeeting>,
    pub muted: Vec<RequestMute>,
    /// Whether calls to remove someone break off, and no others.
    pub deaf_to_kicks: bool,
    /// Calls to refuse before one is taken.
    pub refuse: usize,
    pub health: HealthStatus,
    pub meetings_max: u32,
}

type Shared = Arc<Mutex<Told>>;

fn lock(told: &Shared) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A meeting controller by its gRPC alone.
pub struct FakeController {
    told: Shared,
    _alive: DropGuard,
}

struct Service(Shared);

impl Service {
    fn take(&self) -> Result<MutexGuard<'_, Told>, Status> {
        let mut told = lock(&self.0);
        if told.refuse > 0 {
            told.refuse -= 1;
            return Err(Status::unavailable("not now"));
        }
        Ok(told)
    }
}

#[tonic::async_trait]
impl MeetingControllerService for Service {
    async fn assign_meeting(&self, request: Request<AssignMeeting>) -> Result<Response<MeetingAssigned>, Status> {
        grpc::caller(&request, NodeKind::GlobalController)?;
        self.take()?.assigned.push(request.into_inner());
        Ok(Response::new(MeetingAssigned {}))
    }

    async fn end_meeting(&self, request: Request<EndMeeting>) -> Result<Response<MeetingEnded>, Status> {
        grpc::caller(&request, NodeKind::GlobalController)?;
        let mut told = self.take()?;
        let meeting = request.into_inner().meeting_id;
        told.meetings.remove(&meeting);
        told.ended.push(meeting);
        Ok(Response::new(MeetingEnded {}))
    }

    async fn list_participants(&self, request: Request<ListParticipants>) -> Result<Response<ParticipantList>, Status> {
        grpc::caller(&request, NodeKind::GlobalController)?;
        let participants = self.take()?.participants.get(&request.into_inner().meeting_id).cloned();
        participants.map(|participants| Response::new(ParticipantList { participants })).ok_or_else(|| Status::not_found("not here"))
    }

    async fn kick_from_meeting(&self, request: Request<KickFromMeeting>) -> Result<Response<KickedFromMeeting>, Status> {
        grpc::caller(&request, NodeKind::GlobalController)?;
        let kick = request.into_inner();
        let mut told = self.take()?;
        if told.deaf_to_kicks {
            return Err(Status::unavailable("not now"));
        }
        let present = told.participants.entry(kick.meeting_id.clone()).or_default();
        let (gone, left): (Vec<_>, Vec<_>) = std::mem::take(present).into_iter().partition(|one| one.subject == kick.subject);
        *present = left;
        let participant_ids = gone.into_iter().filter_map(|one| Some(one.participant?.participant_id)).collect();
        let subject = kick.subject.clone();
        told.kicked.push(kick);
        Ok(Response::new(KickedFromMeeting { participant_ids, subject }))
    }

    async fn request_mute(&self, request: Request<RequestMute>) -> Result<Response<MuteRequested>, Status> {
        grpc::caller(&request, NodeKind::GlobalController)?;
        let asked = request.into_inner();
        let mut told = self.take()?;
        let present = told.participants.get(&asked.meeting_id).into_iter().flatten();
        let is_asked = |one: &&MeetingParticipant| one.participant.as_ref().is_some_and(|it| it.participant_id == asked.participant_id);
        let participant = present.clone().find(is_asked).cloned();
        let participant = Some(participant.ok_or_else(|| Status::not_found("nobody of this id"))?);
        told.muted.push(asked);
        Ok(Response::new(MuteRequested { participant }))
    }

    async fn check_resume(&self, request: Request<CheckResume>) -> Result<Response<ResumeChecked>, Status> {
        grpc::caller(&request, NodeKind::GlobalController)?;
        let CheckResume { meeting_id, token_hash } = request.into_inner();
        let participant = self.take()?.resumes.get(&(meeting_id, token_hash.to_vec())).cloned();
        let participant = Some(participant.ok_or_else(|| Status::not_found("nobody resumes by this"))?);
        Ok(Response::new(ResumeChecked { participant }))
    }
}

/// Somebody in a meeting; without a `user_id` a guest.
pub fn participant(number: u8, name: &str, user_id: &str) -> MeetingParticipant {
    let stream = v1::MediaStream {
        stream_id: format!("00000000-0000-4000-9000-0000000000{number:02}"),
        stream_type: v1::StreamType::VideoCamera.into(),
        metadata: Some(v1::StreamMetadata { codec: "VP9".into(), ..v1::StreamMetadata::default() }),
        ..v1::MediaStream::default()
    };
    let participant = v1::Participant {
        participant_id: format!("00000000-0000-4000-8000-0000000000{number:02}"),
        name: name.into(),
        streams: vec![stream],
        joined_at: 1_737_028_800_000 + u64::from(number),
        is_muted: true,
        role: "attendee".into(),
        user_id: user_id.into(),
        ..v1::Participant::default()
    };
    let subject = if user_id.is_empty() { format!("guest-{number}") } else { user_id.to_owned() };
    MeetingParticipant { participant: Some(participant), subject, connected: true }
}

impl FakeController {
    async fn start(world: &World, id: &str, start_number: u64) -> Self {
        let identity = world.identity(id, NodeKind::MeetingController);
        let told: Shared = Arc::new(Mutex::new(Told { meetings_max: 100, ..Told::default() }));
        let alive = CancellationToken::new();
        let listener = grpc::Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), &identity).await.expect("a free port");
        let endpoint = listener.local_addr().to_string();
        let routes = Routes::new(MeetingControllerServiceServer::new(Service(told.clone())));
        tokio::spawn(listener.serve(routes, 64, alive.clone()));
        let mut registry = world.registry(&identity);
        let register = RegisterMeetingController {
            controller_id: id.into(),
            region: "eu".into(),
            endpoint,
            capacity: Some(capacity(&told)),
            public_url: format!("https://{id}.example.com/wt"),
            fallback_url: format!("wss://{id}.example.com/ws"),
            certificate_hashes: vec![vec![1; 32].into()],
            version: "1".into(),
            start_number,
        };
        registry.register_meeting_controller(register.clone()).await.expect("it is let in");
        let (stopped, said) = (alive.clone(), told.clone());
        tokio::spawn(async move {
            while !stopped.is_cancelled() {
                let beat = heartbeat(&register, &said);
                let known = registry.heartbeat(beat).await.is_ok_and(|reply| reply.into_inner().known);
                if !known {
                    // A failure is answered by the next turn.
                    let _ = registry.register_meeting_controller(register.clone()).await;
                }
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = tokio::time::sleep(BEAT_INTERVAL) => {}
                }
            }
        });
        Self { told, _alive: alive.drop_guard() }
    }

    pub fn told(&self) -> MutexGuard<'_, Told> {
        lock(&self.told)
    }

    /// From now on `one` comes back to the meeting by this resume token.
    pub fn comes_back(&self, meeting: &Value, resume_token: &str, one: &MeetingParticipant) {
        let id = meeting["meeting_id"].as_str().expect("an id").to_owned();
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, resume_token.as_bytes());
        self.told().resumes.insert((id, hash.as_ref().to_vec()), one.clone());
    }

    /// From now on these are in the meeting.
    pub fn holds(&self, meeting: &Value, participants: Vec<MeetingParticipant>) {
        let id = meeting["meeting_id"].as_str().expect("an id").to_owned();
        self.told().participants.insert(id, participants);
    }

    /// From now on it says that `count` take part in the meeting; returns once the global controller has heard.
    pub async fn seats(&self, world: &World, meeting: &Value, count: u32) {
        let id = meeting["meeting_id"].as_str().expect("an id").to_owned();
        self.told().meetings.insert(id.clone(), count);
        eventually("the count is heard", || async {
            let shown = world.get(&format!("/api/v1/meetings/{id}"), None).await.expect(StatusCode::OK);
            (shown["participant_count"] == count).then_some(())
        })
        .await;
    }
}

fn capacity(told: &Shared) -> ControllerCapacity {
    let told = lock(told);
    let current_meetings = u32::try_from(told.meetings.len()).expect("few");
    ControllerCapacity { max_meetings: told.meetings_max, current_meetings, max_participants: 1000, current_participants: 0 }
}

fn heartbeat(register: &RegisterMeetingController, told: &Shared) -> Heartbeat {
    let capacity = Some(capacity(told));
    let told = lock(told);
    let load = |(meeting_id, count): (&String, &u32)| MeetingLoad { meeting_id: meeting_id.clone(), participant_count: *count };
    Heartbeat {
        controller_id: register.controller_id.clone(),
        capacity,
        health: told.health.into(),
        start_number: register.start_number,
        handler_capacity: None,
        meetings: told.meetings.iter().map(load).collect(),
        certificate_hashes: register.certificate_hashes.clone(),
        ..Heartbeat::default()
    }
}

/// A media handler by its heartbeats alone.
pub struct FakeHandler {
    _alive: DropGuard,
}

impl FakeHandler {
    async fn start(world: &World, id: &str, region: &str) -> Self {
        let identity = world.identity(id, NodeKind::MediaHandler);
        let mut registry = world.registry(&identity);
        let capacity = Some(HandlerCapacity { max_participants: 100, current_participants: 0 });
        let register = RegisterMediaHandler {
            handler_id: id.into(),
            region: region.into(),
            endpoint: "127.0.0.1:1".into(),
            capacity,
            public_url: format!("https://{id}.example.com/media"),
            fallback_url: String::new(),
            certificate_hashes: vec![vec![2; 32].into()],
            version: "1".into(),
            start_number: 9,
        };
        registry.register_media_handler(register.clone()).await.expect("it is let in");
        let alive = CancellationToken::new();
        let stopped = alive.clone();
        tokio::spawn(async move {
            while !stopped.is_cancelled() {
                let beat = Heartbeat {
                    controller_id: register.handler_id.clone(),
                    start_number: register.start_number,
                    handler_capacity: capacity,
                    certificate_hashes: register.certificate_hashes.clone(),
                    ..Heartbeat::default()
                };
                let reply: Result<HeartbeatReply, Status> = registry.heartbeat(beat).await.map(Response::into_inner);
                if !reply.is_ok_and(|reply| reply.known) {
                    let _ = registry.register_media_handler(register.clone()).await;
                }
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = tokio::time::sleep(BEAT_INTERVAL) => {}
                }
            }
        });
        Self { _alive: alive.drop_guard() }
    }
}

/// Seconds since the epoch of an RFC 3339 time as the API writes it, by comparing texts only.
pub fn is_recent(text: &str) -> bool {
    let near = |seconds: u64| {
        let time = time::OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).expect("small")).expect("a time");
        time.format(&time::format_description::well_known::Rfc3339).expect("RFC 3339")
    };
    let now = unix_seconds();
    (now - 30..=now).any(|seconds| near(seconds) == text)
}
