//! One connection to the floor or session with the handler. In: a member and its token. Out: streams of either, alike.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use common::quic::TransportLimits;
use common::webtransport::{MessageReader, MessageWriter};
use prost::Message as _;
use proto::v1::media_client_message::Body as Say;
use proto::v1::media_server_message::Body as Said;
use proto::v1::{MediaClientMessage, MediaHello, MediaServerMessage};
use web_transport_quinn::Session;

use super::{Job, Protocol};
use crate::floor;
use crate::workload::{Member, Workload};

/// Members behind one address and socket: as many as the handler's door lets in at once from one address, and more.
const MEMBERS_PER_SOCKET: usize = 25;
/// How long somebody may take to be let in.
const DIAL_MAX: Duration = Duration::from_secs(20);
/// A subscriber's windows and streams, above what any workload has under way.
const LIMITS: TransportLimits = TransportLimits {
    receive_window: 8 * 1024 * 1024,
    stream_receive_window: 2 * 1024 * 1024,
    send_window: 8 * 1024 * 1024,
    bidirectional_streams: 16,
    unidirectional_streams: 256,
    datagram_receive_buffer: Some(16 * 1024),
};
/// Those of one that stands aside: what a browser begins with, so that it is soon felt if it stops reading. Control messages get through.
const ASIDE_LIMITS: TransportLimits = TransportLimits { stream_receive_window: 64 * 1024, ..LIMITS };
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
const CONTROL_BYTES_MAX: usize = 1024 * 1024;

/// See the module.
#[derive(Clone)]
pub enum Link {
    Floor(quinn::Connection),
    Handler(Box<Session>),
}

/// A stream to be written.
pub enum Send {
    Floor(quinn::SendStream),
    Handler(web_transport_quinn::SendStream),
}

/// A stream to be read.
pub enum Receive {
    Floor(quinn::RecvStream),
    Handler(web_transport_quinn::RecvStream),
}

impl Link {
    pub async fn open(&self) -> Result<Send, String> {
        match self {
            Self::Floor(connection) => connection.open_uni().await.map(Send::Floor).map_err(|error| error.to_string()),
            Self::Handler(session) => session.open_uni().await.map(Send::Handler).map_err(|error| error.to_string()),
        }
    }

    pub async fn accept(&self) -> Result<Receive, String> {
        match self {
            Self::Floor(connection) => connection.accept_uni().await.map(Receive::Floor).map_err(|error| error.to_string()),
            Self::Handler(session) => session.accept_uni().await.map(Receive::Handler).map_err(|error| error.to_string()),
        }
    }
}

impl Link {
    /// Resolves when it is over.
    pub async fn closed(&self) {
        match self {
            Self::Floor(connection) => drop(connection.closed().await),
            Self::Handler(session) => drop(session.closed().await),
        }
    }
}

impl Send {
    pub async fn write(&mut self, record: Bytes) -> Result<(), String> {
        match self {
            Self::Floor(stream) => stream.write_chunk(record).await.map_err(|error| error.to_string()),
            Self::Handler(stream) => stream.write_chunk(record).await.map_err(|error| error.to_string()),
        }
    }

    pub fn finish(&mut self) {
        // An error means that the stream is over already, and then the records that are missing tell.
        match self {
            Self::Floor(stream) => drop(stream.finish()),
            Self::Handler(stream) => drop(stream.finish()),
        }
    }

    /// Sound goes before pictures, as publishers have it.
    pub fn prefer(&self, is_audio: bool) {
        // The same.
        match self {
            Self::Floor(stream) => drop(stream.set_priority(i32::from(is_audio))),
            Self::Handler(stream) => drop(stream.set_priority(i32::from(is_audio))),
        }
    }
}

impl Receive {
    pub async fn read(&mut self, chunks: &mut [Bytes]) -> Result<Option<usize>, String> {
        match self {
            Self::Floor(stream) => stream.read_chunks(chunks).await.map_err(|error| error.to_string()),
            Self::Handler(stream) => stream.read_chunks(chunks).await.map_err(|error| error.to_string()),
        }
    }
}

/// Connects members one after the other.
pub struct Dialer {
    protocol: Protocol,
    server: SocketAddr,
    config: quinn::ClientConfig,
    aside_config: quinn::ClientConfig,
    endpoints: Vec<quinn::Endpoint>,
    dialled: usize,
}

impl Dialer {
    pub fn new(job: &Job) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        let certificate = STANDARD.decode(&job.certificate).expect("base64");
        roots.add(certificate.into()).expect("a self-signed certificate is a root");
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3 is there")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let alpn = if job.protocol == Protocol::Floor { floor::ALPN } else { common::webtransport::ALPN };
        tls.alpn_protocols = vec![alpn.to_vec()];
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).expect("the suites serve QUIC");
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(LIMITS.transport()));
        let mut aside_config = config.clone();
        aside_config.transport_config(Arc::new(ASIDE_LIMITS.transport()));
        Self { protocol: job.protocol, server: job.server, config, aside_config, endpoints: Vec::new(), dialled: 0 }
    }

    /// Connects a member. Sockets are on addresses of their own, as clients are.
    pub async fn dial(&mut self, member: &Member, token: &str) -> Link {
        let config = self.config.clone();
        self.dial_with(config, member, token).await
    }

    /// Connects one that is not counted, with small windows.
    pub async fn dial_aside(&mut self, member: &Member, token: &str) -> Link {
        let config = self.aside_config.clone();
        self.dial_with(config, member, token).await
    }

    async fn dial_with(&mut self, config: quinn::ClientConfig, member: &Member, token: &str) -> Link {
        let number = self.dialled / MEMBERS_PER_SOCKET;
        if number == self.endpoints.len() {
            let octet = u8::try_from(number + 2).expect("fewer than 250 sockets");
            let address = SocketAddr::from((Ipv4Addr::new(127, 0, 1, octet), 0));
            self.endpoints.push(endpoint(address, &self.config).expect("a free port"));
        }
        self.dialled += 1;
        let endpoint = &self.endpoints[number];
        let dial = async {
            match self.protocol {
                Protocol::Floor => {
                    let connection =
                        endpoint.connect_with(config, self.server, "localhost").expect("an address").await.expect("the floor accepts");
                    subscribe(&connection, member).await;
                    Link::Floor(connection)
                }
                Protocol::Handler => {
                    let url: url::Url = format!("https://{}/media", self.server).parse().expect("a URL");
                    let client = web_transport_quinn::Client::new(endpoint.clone(), config);
                    let session = client.connect(url).await.expect("the handler accepts");
                    greet(&session, token).await;
                    Link::Handler(Box::new(session))
                }
            }
        };
        tokio::time::timeout(DIAL_MAX, dial).await.expect("the server lets in")
    }
}

/// With buffers as large as the server's: nothing must be lost here.
fn endpoint(address: SocketAddr, config: &quinn::ClientConfig) -> std::io::Result<quinn::Endpoint> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    let mut endpoint = quinn::Endpoint::new(quinn::EndpointConfig::default(), None, socket.into(), Arc::new(quinn::TokioRuntime))?;
    endpoint.set_default_client_config(config.clone());
    Ok(endpoint)
}

async fn subscribe(connection: &quinn::Connection, member: &Member) {
    let (mut wish, mut answer) = connection.open_bi().await.expect("a stream");
    for source in &member.receives {
        wish.write_all(Workload::stream_id(*source).as_bytes()).await.expect("the floor reads");
    }
    wish.finish().expect("it stands");
    answer.read_to_end(0).await.expect("the floor has subscribed it");
}

/// Says hello, waits for the welcome, and reads on: reports and requests for key frames, which come by themselves here.
async fn greet(session: &Session, token: &str) {
    let (mut send, receive) = session.open_bi().await.expect("a stream");
    send.write_all(&[0]).await.expect("the handler reads");
    let (mut writer, mut reader) = (MessageWriter::new(send), MessageReader::new(receive, CONTROL_BYTES_MAX, &[]));
    let hello = Say::Hello(MediaHello { connection_token: token.to_owned(), datagrams: false });
    writer.send(&MediaClientMessage { version: proto::VERSION, body: Some(hello) }.encode_to_vec()).await.expect("the handler reads");
    let welcome = reader.next().await.expect("the session stands").expect("the stream goes on");
    let welcome = MediaServerMessage::decode(welcome).expect("a server message");
    assert!(matches!(welcome.body, Some(Said::Welcome(_))), "no welcome: {welcome:?}");
    tokio::spawn(async move {
        // Kept, so that its half stays open.
        let _writer = writer;
        while let Ok(Some(_)) = reader.next().await {}
    });
}
