//! A handler with a controller at its gRPC door, and clients that publish and subscribe.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::config::load;
use common::quic::TransportLimits;
use common::tls::{Certificate, ClusterAuthority, NodeIdentity, NodeKind};
use common::webtransport::{MessageReader, MessageWriter};
use common_core::frame_reader::{FrameEvent, FrameReader};
use common_core::{Code, FrameFlags, FrameHeader, FrameKind, MeetingId, ParticipantId, StreamId};
use media_handler::Running;
use media_handler::config::Config;
use prost::Message as _;
use proto::cluster::media_handler_service_client::MediaHandlerServiceClient;
use proto::cluster::{RegisterParticipant, RouteDestination, RouteMediaCommand};
use proto::v1;
use proto::v1::media_client_message::Body as Say;
use proto::v1::media_server_message::Body as Said;
use tonic::transport::Channel;
use web_transport_quinn::{ReadError, RecvStream, SendStream, Session, SessionError, WebTransportError};

/// Nothing here takes longer, unless it never comes.
pub const PATIENCE: Duration = Duration::from_secs(5);

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not come within {PATIENCE:?}"))
}

pub struct World {
    pub handler: Running,
    pub authority: ClusterAuthority,
    pub controller: Controller,
    certificate: Certificate,
    pub meeting: MeetingId,
}

impl World {
    pub async fn begin() -> Self {
        Self::with_limits(&[]).await
    }

    /// With `limits.NAME = VALUE` laid over the defaults.
    pub async fn with_limits(limits: &[(&str, &str)]) -> Self {
        common::tls::install_crypto_provider();
        common::telemetry::init_logging(&common::telemetry::LogConfig { filter: "off".into(), ..Default::default() });
        let authority = ClusterAuthority::generate().expect("an authority");
        let certificate = Certificate::self_signed(&["127.0.0.1".into()]).expect("a certificate");
        let flags = limits.iter().map(|(name, value)| (format!("limits.{name}"), (*value).to_owned()));
        let mut config: Config = load(None, [], flags).expect("the limits exist");
        config.public.bind = SocketAddr::from(([127, 0, 0, 1], 0));
        config.grpc_bind = SocketAddr::from(([127, 0, 0, 1], 0));
        let identity = authority.issue(&config.node_id, NodeKind::MediaHandler).expect("a node certificate");
        let handler = media_handler::start(config, identity, certificate.clone()).await.expect("the handler starts");
        let controller = Controller::dial(&authority, "mc-1", NodeKind::MeetingController, handler.grpc_address());
        Self { handler, authority, controller, certificate, meeting: MeetingId::new(common::random::uuid()) }
    }

    pub fn another_controller(&self, id: &str, kind: NodeKind) -> Controller {
        Controller::dial(&self.authority, id, kind, self.handler.grpc_address())
    }

    /// A participant who is registered, publishes `streams`, and has said hello.
    pub async fn participant(&mut self, streams: Vec<v1::MediaStream>) -> Client {
        self.participant_in(self.meeting, streams).await
    }

    pub async fn participant_in(&mut self, meeting: MeetingId, streams: Vec<v1::MediaStream>) -> Client {
        let id = ParticipantId::new(common::random::uuid());
        let token = self.controller.register(meeting, id, 1, streams, true).await.expect("registered");
        let mut client = self.dial().await;
        client.id = id;
        client.hello(&token).await;
        client
    }

    /// A session that has not said hello.
    pub async fn dial(&self) -> Client {
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates({
                let mut roots = rustls::RootCertStore::empty();
                roots.add(self.certificate.chain[0].clone()).expect("a self-signed certificate is a root");
                roots
            })
            .with_no_client_auth();
        self.dial_with(tls, TransportLimits { unidirectional_streams: 100, ..TransportLimits::SIGNALING }).await
    }

    pub async fn dial_narrow(&self, limits: TransportLimits) -> Client {
        let mut client = self.dial_limits(limits).await;
        client.id = ParticipantId::new(common::random::uuid());
        client
    }

    async fn dial_limits(&self, limits: TransportLimits) -> Client {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.chain[0].clone()).expect("a self-signed certificate is a root");
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        self.dial_with(tls, limits).await
    }

    async fn dial_with(&self, mut tls: rustls::ClientConfig, limits: TransportLimits) -> Client {
        tls.alpn_protocols = vec![common::webtransport::ALPN.to_vec()];
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).expect("the suites serve QUIC");
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(limits.transport()));
        let endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a client endpoint");
        let client = web_transport_quinn::Client::new(endpoint, config);
        let url = self.handler.public_url().parse::<web_transport_quinn::http::Url>().expect("the handler's URL is one");
        let session = within("a session", client.connect(url)).await.expect("the handler accepts");
        Client { session, control: None, id: ParticipantId::from_bytes([0; 16]) }
    }
}
