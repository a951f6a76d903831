//! A media handler that remembers what it is told, and fails when it is asked to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use common::grpc::{Listener, caller};
use common::tls::{ClusterAuthority, NodeKind};
use proto::cluster::media_handler_service_server::{MediaHandlerService, MediaHandlerServiceServer};
use proto::cluster::{
    HandlerEntry, MediaRouted, MediaUnrouted, ParticipantRemoved, RegisterParticipant, RegisterParticipantResponse, RemoveParticipant,
    RouteMediaCommand, TelemetryReport, TelemetryRequest, UnrouteMedia,
};
use tokio::sync::broadcast;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// What the handler knows.
#[derive(Debug, Default)]
pub struct Known {
    /// Media streams by participant.
    pub participants: BTreeMap<String, BTreeSet<String>>,
    /// The newest generation of each participant.
    pub generations: BTreeMap<String, u64>,
    /// (media stream, participant)
    pub routes: BTreeSet<(String, String)>,
    /// (participant, code)
    pub removed: Vec<(String, i32)>,
    pub tokens: u64,
    pub fails: bool,
}

#[derive(Clone)]
struct Service {
    known: Arc<Mutex<Known>>,
    reports: broadcast::Sender<TelemetryReport>,
    url: String,
}

/// A handler that stands.
pub struct TestHandler {
    pub id: &'static str,
    pub known: Arc<Mutex<Known>>,
    pub reports: broadcast::Sender<TelemetryReport>,
    pub address: SocketAddr,
    pub url: String,
    pub start_number: u64,
    runtime: Option<tokio::runtime::Runtime>,
}

impl TestHandler {
    pub fn start(authority: &ClusterAuthority, id: &'static str) -> Self {
        let identity = authority.issue(&id.parse().expect("a node id"), NodeKind::MediaHandler).expect("a certificate");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("it is a socket");
        let address = listener.local_addr().expect("it is bound");
        let (known, reports) = (Arc::new(Mutex::new(Known::default())), broadcast::Sender::new(64));
        let url = format!("https://{id}.test/media");
        let service = Service { known: known.clone(), reports: reports.clone(), url: url.clone() };
        let routes = Routes::new(MediaHandlerServiceServer::new(service));
        // On a runtime of its own, which takes every connection along when it dies.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("it is a socket");
            Listener::new(listener, identity).expect("the identity serves").serve(routes, 64, CancellationToken::new()).await;
        });
        Self { id, known, reports, address, url, start_number: 1, runtime: Some(runtime) }
    }

    pub fn entry(&self) -> HandlerEntry {
        HandlerEntry {
            handler_id: self.id.into(),
            region: "default".into(),
            endpoint: self.address.to_string(),
            public_url: self.url.clone(),
            start_number: self.start_number,
            ..Default::default()
        }
    }

    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no test panics with it")
    }

    pub fn die(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for TestHandler {
    fn drop(&mut self) {
        self.die();
    }
}

impl Service {
    fn known<T>(&self, request: &Request<T>) -> Result<MutexGuard<'_, Known>, Status> {
        caller(request, NodeKind::MeetingController)?;
        let known = self.known.lock().expect("no test panics with it");
        if known.fails { Err(Status::unavailable("asked to fail")) } else { Ok(known) }
    }
}

#[tonic::async_trait]
impl MediaHandlerService for Service {
    async fn register_participant(&self, request: Request<RegisterParticipant>) -> Result<Response<RegisterParticipantResponse>, Status> {
        let mut known = self.known(&request)?;
        let it = request.into_inner();
        if known.generations.get(&it.participant_id).is_some_and(|generation| *generation > it.generation) {
            return Err(Status::failed_precondition("stale"));
        }
        known.generations.insert(it.participant_id.clone(), it.generation);
        let streams = it.streams.into_iter().map(|stream| stream.stream_id).collect();
        known.participants.insert(it.participant_id, streams);
        let mut connection_token = String::new();
        if it.issue_token {
            known.tokens += 1;
            connection_token = format!("token-{}", known.tokens);
        }
        Ok(Response::new(RegisterParticipantResponse { connection_token, media_handler_url: self.url.clone(), ..Default::default() }))
    }

    async fn remove_participant(&self, request: Request<RemoveParticipant>) -> Result<Response<ParticipantRemoved>, Status> {
        let mut known = self.known(&request)?;
        let it = request.into_inner();
        let gone = known.participants.remove(&it.participant_id).unwrap_or_default();
        known.routes.retain(|(stream, participant)| *participant != it.participant_id && !gone.contains(stream));
        known.removed.push((it.participant_id, it.code));
        Ok(Response::new(ParticipantRemoved {}))
    }

    async fn route_media(&self, request: Request<RouteMediaCommand>) -> Result<Response<MediaRouted>, Status> {
        let mut known = self.known(&request)?;
        let it = request.into_inner();
        if !known.participants.values().any(|streams| streams.contains(&it.source_stream_id)) {
            return Err(Status::not_found("no such media stream"));
        }
        for destination in it.destinations {
            known.routes.insert((it.source_stream_id.clone(), destination.participant_id));
        }
        Ok(Response::new(MediaRouted {}))
    }

    async fn unroute_media(&self, request: Request<UnrouteMedia>) -> Result<Response<MediaUnrouted>, Status> {
        let mut known = self.known(&request)?;
        let it = request.into_inner();
        for participant in it.destination_participant_ids {
            known.routes.remove(&(it.source_stream_id.clone(), participant));
        }
        Ok(Response::new(MediaUnrouted {}))
    }

    type TelemetryStream = Pin<Box<dyn Stream<Item = Result<TelemetryReport, Status>> + Send>>;

    async fn telemetry(&self, request: Request<TelemetryRequest>) -> Result<Response<Self::TelemetryStream>, Status> {
        caller(&request, NodeKind::MeetingController)?;
        let mut reports = self.reports.subscribe();
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        tokio::spawn(async move {
            let mut seconds = tokio::time::interval(Duration::from_secs(1));
            loop {
                let report = tokio::select! {
                    report = reports.recv() => report.unwrap_or_default(),
                    _ = seconds.tick() => TelemetryReport::default(),
                };
                if sender.send(Ok(report)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver).map(|report| report))))
    }
}
