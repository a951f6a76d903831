//! A handler with a controller at its gRPC door, and clients that publish and subscribe.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use common::grpc::Channel;
use common::quic::{Port, TransportLimits};
use common::tls::{Certificate, ClusterAuthority, NodeKind};
use common_core::{MeetingId, ParticipantId, StreamId};
use media_handler::Running;
use media_handler::config::{Config, ForwardingConfig, TicksConfig};
use proto::cluster::media_handler_service_client::MediaHandlerServiceClient;
use proto::cluster::{RegisterParticipant, RouteDestination, RouteMediaCommand, TelemetryRequest};
use proto::v1;
use tonic::Status;
use web_transport_quinn::Session;

use crate::client::Client;

/// Any free port.
pub const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Nothing here takes longer, unless it never comes; also on a machine with something else to do.
pub const PATIENCE: Duration = Duration::from_secs(15);

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// A client's endpoint, on a port of its own.
pub fn endpoint() -> quinn::Endpoint {
    quinn::Endpoint::client(LOOPBACK).expect("a client endpoint")
}

pub fn stream_id() -> StreamId {
    StreamId::new(common::random::uuid())
}

/// A published source of one layer.
pub fn published(id: StreamId, kind: v1::StreamType) -> v1::MediaStream {
    let codec = if kind == v1::StreamType::Audio { "Opus" } else { "VP9" };
    v1::MediaStream {
        stream_id: id.to_string(),
        stream_type: kind.into(),
        metadata: Some(v1::StreamMetadata { codec: codec.into(), ..Default::default() }),
        ..Default::default()
    }
}

pub fn camera(id: StreamId) -> v1::MediaStream {
    published(id, v1::StreamType::VideoCamera)
}

pub fn microphone(id: StreamId) -> v1::MediaStream {
    published(id, v1::StreamType::Audio)
}

pub struct World {
    pub handler: Running,
    pub controller: Controller,
    pub meeting: MeetingId,
    authority: ClusterAuthority,
    certificate: Certificate,
}

impl World {
    pub async fn begin() -> Self {
        Self::with_limits(&[]).await
    }

    /// With `limits.NAME = VALUE` laid over the defaults.
    pub async fn with_limits(limits: &[(&str, &str)]) -> Self {
        // Whoever meets in a test meets within a worker or across two, as chance has it.
        Self::with(ForwardingConfig { workers: 2, ..Default::default() }, limits).await
    }

    pub async fn with_workers(workers: u16) -> Self {
        Self::with(ForwardingConfig { workers, ..Default::default() }, &[]).await
    }

    /// Its workers read their sockets on ticks, however little they have to do.
    pub async fn on_ticks(workers: u16) -> Self {
        Self::with(ForwardingConfig { workers, ticks: TicksConfig::Always }, &[]).await
    }

    /// On a kernel that takes no program: it brings packets to workers by their addresses.
    pub async fn unsteered(workers: u16) -> Self {
        Self::on(Port::bind_unsteered(LOOPBACK, workers).expect("a port"), ForwardingConfig::default(), &[]).await
    }

    /// On a kernel that brings every packet to the wrong worker: the first has the second's socket, and so on.
    pub async fn missteered(workers: u16) -> Self {
        let mut port = Port::bind(LOOPBACK, workers).expect("a port");
        port.sockets.rotate_left(1);
        Self::on(port, ForwardingConfig::default(), &[]).await
    }

    async fn with(forwarding: ForwardingConfig, limits: &[(&str, &str)]) -> Self {
        Self::on(Port::bind(LOOPBACK, forwarding.workers).expect("a port"), forwarding, limits).await
    }

    async fn on(port: Port, forwarding: ForwardingConfig, limits: &[(&str, &str)]) -> Self {
        common::tls::install_crypto_provider();
        canary::watch();
        let authority = ClusterAuthority::generate().expect("an authority");
        let certificate = Certificate::self_signed(&["127.0.0.1".into()]).expect("a certificate");
        let flags = limits.iter().map(|(name, value)| (format!("limits.{name}"), (*value).to_owned()));
        let mut config: Config = common::config::load(None, [], flags).expect("the limits exist");
        config.forwarding = forwarding;
        config.cluster.grpc_bind = LOOPBACK;
        let identity = authority.issue(&config.node_id, NodeKind::MediaHandler).expect("a node certificate");
        let handler = media_handler::start_on(port, config, identity, certificate.clone()).await.expect("the handler starts");
        let controller = Controller::dial(&authority, "mc-1", NodeKind::MeetingController, handler.grpc_address());
        Self { handler, controller, meeting: MeetingId::new(common::random::uuid()), authority, certificate }
    }

    pub fn another_node(&self, id: &str, kind: NodeKind) -> Controller {
        Controller::dial(&self.authority, id, kind, self.handler.grpc_address())
    }

    /// A participant who is registered with `streams` and has said hello.
    pub async fn participant(&mut self, streams: Vec<v1::MediaStream>) -> Client {
        self.participant_in(self.meeting, streams, TransportLimits::SIGNALING).await
    }

    pub async fn participant_in(&mut self, meeting: MeetingId, streams: Vec<v1::MediaStream>, limits: TransportLimits) -> Client {
        self.participant_from(&endpoint(), meeting, streams, limits).await
    }

    /// A participant whose client endpoint the test keeps.
    pub async fn participant_from(
        &mut self,
        endpoint: &quinn::Endpoint,
        meeting: MeetingId,
        streams: Vec<v1::MediaStream>,
        limits: TransportLimits,
    ) -> Client {
        let id = ParticipantId::new(common::random::uuid());
        let token = self.controller.register(meeting, id, 1, streams).await.expect("registered");
        let mut client = Client::new(self.dial_from(endpoint, limits).await, id);
        client.hello(&token).await;
        client
    }

    /// A session that has not said hello.
    pub async fn stranger(&self) -> Client {
        Client::new(self.dial(TransportLimits::SIGNALING).await, ParticipantId::new(common::random::uuid()))
    }

    pub async fn dial(&self, limits: TransportLimits) -> Session {
        self.dial_from(&endpoint(), limits).await
    }

    /// A session over a client endpoint that the test keeps.
    pub async fn dial_from(&self, endpoint: &quinn::Endpoint, limits: TransportLimits) -> Session {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.chain[0].clone()).expect("a self-signed certificate is a root");
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3 is there")
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![common::webtransport::ALPN.to_vec()];
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).expect("the suites serve QUIC");
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        let limits = TransportLimits { unidirectional_streams: limits.unidirectional_streams.max(100), ..limits };
        config.transport_config(Arc::new(limits.transport()));
        let url: url::Url = self.handler.public_url().parse().expect("the handler's URL is one");
        within("a session", web_transport_quinn::Client::new(endpoint.clone(), config).connect(url)).await.expect("the handler accepts")
    }

    /// Subscribes `subscriber` to `stream`.
    pub async fn route(&mut self, stream: StreamId, subscriber: &Client, options: v1::SubscriptionOptions) {
        self.controller.route(self.meeting, stream, subscriber.id, options).await.expect("routed");
    }
}

impl World {
    /// Waits until telemetry tells of a record of `stream` that had `fate` for `subscriber`.
    pub async fn sees_fate(&mut self, stream: StreamId, subscriber: &Client, fate: &str) {
        let (stream, subscriber) = (stream.to_string(), subscriber.id.to_string());
        let mut reports = self.controller.grpc.telemetry(TelemetryRequest {}).await.expect("a stream").into_inner();
        within("the fate", async {
            loop {
                let report = reports.message().await.expect("it goes on").expect("a report");
                let entry = report.streams.iter().find(|it| !it.publishes && it.stream_id == stream && it.participant_id == subscriber);
                if entry.is_some_and(|entry| entry.fates.contains_key(fate)) {
                    return;
                }
            }
        })
        .await;
    }
}

/// A node that calls the handler over mTLS.
#[derive(Clone)]
pub struct Controller {
    pub grpc: MediaHandlerServiceClient<Channel>,
}

impl Controller {
    fn dial(authority: &ClusterAuthority, id: &str, kind: NodeKind, handler: SocketAddr) -> Self {
        let identity = authority.issue(&id.parse().expect("a node id"), kind).expect("a node certificate");
        let channel = common::grpc::channel(&identity, &handler.to_string(), "mh-1").expect("a channel");
        Self { grpc: MediaHandlerServiceClient::new(channel) }
    }

    /// The connection token.
    pub async fn register(
        &mut self,
        meeting: MeetingId,
        participant: ParticipantId,
        generation: u64,
        streams: Vec<v1::MediaStream>,
    ) -> Result<String, Status> {
        let request = RegisterParticipant {
            participant_id: participant.to_string(),
            meeting_id: meeting.to_string(),
            streams,
            generation,
            issue_token: true,
            controller_start_number: 1,
        };
        Ok(self.grpc.register_participant(request).await?.into_inner().connection_token)
    }

    pub async fn route(
        &mut self,
        meeting: MeetingId,
        stream: StreamId,
        subscriber: ParticipantId,
        options: v1::SubscriptionOptions,
    ) -> Result<(), Status> {
        let request = RouteMediaCommand {
            source_stream_id: stream.to_string(),
            meeting_id: meeting.to_string(),
            destinations: vec![RouteDestination { participant_id: subscriber.to_string(), options: Some(options) }],
            ..Default::default()
        };
        self.grpc.route_media(request).await.map(|_| ())
    }
}
