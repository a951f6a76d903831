//! A client as a stranger would write one: messages of signaling.proto over WebTransport or WebSocket.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::tls::Certificate;
use common_core::length_prefix::{LengthPrefixed, SERVER_MESSAGE_BYTES_MAX};
use futures_util::{SinkExt, StreamExt};
use prost::Message as _;
use proto::v1;
use proto::v1::client_message::Body as Ask;
use proto::v1::server_message::Body as Say;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use web_transport_quinn::{ClientBuilder, RecvStream, SendStream, Session};

use crate::world::MEETING;

/// Nothing in these tests takes longer, on a busy machine either.
pub const PATIENCE: Duration = Duration::from_secs(15);

#[expect(clippy::large_enum_variant, reason = "a test has a handful of clients")]
pub enum Wire {
    WebTransport { session: Session, send: SendStream, receive: RecvStream, decoder: LengthPrefixed },
    WebSocket(Box<tokio_tungstenite::WebSocketStream<tokio_rustls::client::TlsStream<TcpStream>>>),
}

/// How a session ended: code and reason as its transport tells them.
pub type End = (u32, String);

pub struct Client {
    pub wire: Wire,
    pub id: String,
    pub resume_token: String,
    pub joined: v1::JoinResponse,
    last_request: u64,
    /// Read, and not what was waited for.
    pub unread: VecDeque<v1::ServerMessage>,
}

impl Client {
    fn new(wire: Wire) -> Self {
        Self { wire, id: String::new(), resume_token: String::new(), joined: Default::default(), last_request: 0, unread: VecDeque::new() }
    }

    pub async fn session(url: &str, certificate: &Certificate) -> Session {
        Self::session_from(url, certificate, None).await.expect("a session")
    }

    /// As a page of `origin` would.
    pub async fn session_from(
        url: &str,
        certificate: &Certificate,
        origin: Option<&str>,
    ) -> Result<Session, web_transport_quinn::ClientError> {
        let client = ClientBuilder::new().with_server_certificates(certificate.chain.clone()).expect("a client");
        let mut request = web_transport_quinn::proto::ConnectRequest::new(url.parse::<url::Url>().expect("a URL"));
        if let Some(origin) = origin {
            request.headers.insert(http::header::ORIGIN, origin.parse().expect("a header"));
        }
        client.connect(request).await
    }

    pub async fn webtransport(url: &str, certificate: &Certificate) -> Self {
        let session = Self::session(url, certificate).await;
        let (send, receive) = session.open_bi().await.expect("a stream");
        Self::new(Wire::WebTransport { session, send, receive, decoder: LengthPrefixed::new(SERVER_MESSAGE_BYTES_MAX) })
    }

    pub async fn websocket(url: &str, certificate: &Certificate, subprotocol: Option<&str>) -> Result<Self, u16> {
        let offered = subprotocol.map(|it| ("sec-websocket-protocol", it));
        Self::upgrade(url, certificate, offered.as_slice()).await
    }

    /// A WebSocket whose request has these headers besides; an error is the HTTP status.
    pub async fn upgrade(url: &str, certificate: &Certificate, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        let mut request = url.into_client_request().expect("a URL");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header"));
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.chain[0].clone()).expect("a certificate");
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let address = request.uri().authority().expect("a host").to_string();
        let tcp = TcpStream::connect(&address).await.expect("a connection");
        let name = "127.0.0.1".try_into().expect("a name");
        let tls = tokio_rustls::TlsConnector::from(Arc::new(tls)).connect(name, tcp).await.expect("TLS");
        match tokio_tungstenite::client_async(request, tls).await {
            Ok((socket, _)) => Ok(Self::new(Wire::WebSocket(Box::new(socket)))),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(other) => panic!("{other}"),
        }
    }

    /// Sends one message's bytes.
    pub async fn send_bytes(&mut self, bytes: Vec<u8>) {
        match &mut self.wire {
            Wire::WebTransport { send, .. } => send.write_chunk(LengthPrefixed::frame(&bytes)).await.expect("it is open"),
            Wire::WebSocket(socket) => socket.send(Frame::Binary(bytes.into())).await.expect("it is open"),
        }
    }

    /// Sends bytes as they are, on WebTransport.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        match &mut self.wire {
            Wire::WebTransport { send, .. } => send.write_all(bytes).await.expect("it is open"),
            Wire::WebSocket(_) => panic!("frames have no length"),
        }
    }

    /// Sends a request; returns its id.
    pub async fn ask(&mut self, body: Ask) -> u64 {
        self.last_request += 1;
        let request_id = self.last_request;
        self.send_bytes(v1::ClientMessage { version: 1, request_id, body: Some(body) }.encode_to_vec()).await;
        request_id
    }

    /// Sends a request and waits for its reply.
    pub async fn call(&mut self, body: Ask) -> Say {
        let request_id = self.ask(body).await;
        self.reply(request_id).await
    }

    /// A call that is acknowledged.
    pub async fn done(&mut self, body: Ask) {
        let reply = self.call(body).await;
        assert!(matches!(reply, Say::Ack(_)), "{reply:?}");
    }

    /// A call that is refused, with its code.
    pub async fn refused(&mut self, body: Ask) -> v1::ErrorCode {
        match self.call(body).await {
            Say::Error(error) => error.code(),
            other => panic!("{other:?}"),
        }
    }

    pub async fn reply(&mut self, request_id: u64) -> Say {
        self.wait_for("a reply", |message| message.request_id == request_id).await
    }

    /// The next unasked message that `wanted` accepts.
    pub async fn event<T>(&mut self, what: &str, mut wanted: impl FnMut(&Say) -> Option<T>) -> T {
        let body = self
            .wait_for(what, |message| message.request_id == 0 && message.body.as_ref().is_some_and(|body| wanted(body).is_some()))
            .await;
        wanted(&body).expect("it was wanted")
    }

    async fn wait_for(&mut self, what: &str, mut wanted: impl FnMut(&v1::ServerMessage) -> bool) -> Say {
        if let Some(at) = self.unread.iter().position(&mut wanted) {
            return self.unread.remove(at).and_then(|message| message.body).expect("messages have a body");
        }
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            match tokio::time::timeout_at(until, self.next()).await {
                Ok(Ok(message)) if wanted(&message) => return message.body.expect("messages have a body"),
                Ok(Ok(message)) => self.unread.push_back(message),
                Ok(Err(end)) => panic!("{what} was waited for, and the session ended: {end:?}"),
                Err(_) => panic!("{what} did not come; unread: {:?}", self.unread),
            }
        }
    }

    /// The next message, or how the session ended.
    pub async fn next(&mut self) -> Result<v1::ServerMessage, End> {
        let bytes = match &mut self.wire {
            Wire::WebTransport { session, receive, decoder, .. } => loop {
                if let Some(bytes) = decoder.next_message().expect("the server keeps to its limit") {
                    break bytes;
                }
                match receive.read_chunk(65536, true).await {
                    Ok(Some(chunk)) => decoder.push(&chunk.bytes),
                    _ => return Err(closed(session).await),
                }
            },
            Wire::WebSocket(socket) => loop {
                match socket.next().await {
                    Some(Ok(Frame::Binary(bytes))) => break bytes,
                    Some(Ok(Frame::Close(Some(frame)))) => return Err((u16::from(frame.code).into(), frame.reason.to_string())),
                    Some(Ok(_)) => {}
                    other => return Err((0, format!("{other:?}"))),
                }
            },
        };
        Ok(v1::ServerMessage::decode(bytes).expect("the server speaks protobuf"))
    }

    /// Reads until the session ends.
    pub async fn end(&mut self) -> End {
        let ended = async {
            loop {
                match self.next().await {
                    Ok(message) => self.unread.push_back(message),
                    Err(end) => return end,
                }
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("the session ends")
    }

    pub async fn try_join(&mut self, request: v1::JoinRequest) -> Result<(), v1::ErrorCode> {
        canary::keep("join_token", &request.join_token);
        match self.call(Ask::Join(request)).await {
            Say::Join(joined) => {
                self.id.clone_from(&joined.participant_id);
                canary::keep("resume_token", &joined.resume_token);
                self.resume_token.clone_from(&joined.resume_token);
                self.joined = joined;
                Ok(())
            }
            Say::Error(error) => Err(error.code()),
            other => panic!("{other:?}"),
        }
    }

    pub async fn join(&mut self, token: &str, auto_subscribe: bool) -> Result<(), v1::ErrorCode> {
        self.try_join(v1::JoinRequest { auto_subscribe, ..request(token) }).await
    }

    pub async fn resume(&mut self, resume_token: &str) -> Result<(), v1::ErrorCode> {
        self.try_join(v1::JoinRequest { resume_token: resume_token.into(), ..request("") }).await
    }

    pub async fn say(&mut self, content: &str) -> v1::ChatMessage {
        let chat = v1::SendChat { client_message_id: common::random::token(), content: content.into() };
        match self.call(Ask::Chat(chat)).await {
            Say::Chat(message) => message,
            other => panic!("{other:?}"),
        }
    }

    pub async fn publish(&mut self) -> String {
        let stream_id = common::random::uuid().to_string();
        self.done(Ask::Publish(publish(&stream_id))).await;
        stream_id
    }

    /// Goes without a word.
    pub fn vanish(self) {
        if let Wire::WebTransport { session, .. } = &self.wire {
            session.close(0, b"");
        }
    }
}

async fn closed(session: &Session) -> End {
    match session.closed().await {
        web_transport_quinn::SessionError::WebTransportError(web_transport_quinn::WebTransportError::Closed(code, reason)) => {
            (code, reason)
        }
        other => panic!("{other}"),
    }
}

pub fn request(token: &str) -> v1::JoinRequest {
    v1::JoinRequest { meeting_id: MEETING.into(), join_token: token.into(), ..Default::default() }
}

pub fn publish(stream_id: &str) -> v1::PublishStream {
    let metadata = v1::StreamMetadata { codec: "Opus".into(), ..Default::default() };
    v1::PublishStream { stream_id: stream_id.into(), stream_type: v1::StreamType::Audio.into(), metadata: Some(metadata) }
}

pub fn subscribe(stream_id: &str) -> Ask {
    Ask::Subscribe(v1::SubscribeStream { stream_id: stream_id.into(), options: None })
}

pub fn bytes_of(length: usize) -> Bytes {
    vec![b'x'; length].into()
}
