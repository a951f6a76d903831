//! A controller that says what the test tells it to, over a WebSocket on loopback.

use std::future::Future;
use std::time::Duration;

use dark_tower_client::{Client, JoinOptions, Joined, Ticket};
use futures_util::{SinkExt, StreamExt};
use prost::Message as _;
use proto::v1::{self, client_message, server_message};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

pub(crate) const ANA: &str = "550e8400-e29b-41d4-a716-446655440001";
pub(crate) const BEN: &str = "550e8400-e29b-41d4-a716-446655440002";
/// Which the client never prints, whatever its log filter.
pub(crate) const JOIN_TOKEN: &str = "a join token of this test";
pub(crate) const RESUME_TOKEN: &str = "the first resume token of this test";
pub(crate) const CAM: &str = "550e8400-e29b-41d4-a716-446655440003";

/// Everything here takes milliseconds, or a second or two on a busy machine; what takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it happens in time")
}

/// A controller's door.
pub(crate) struct Door(TcpListener);

impl Door {
    pub(crate) async fn open() -> Self {
        canary::watch();
        canary::keep("join_token", JOIN_TOKEN);
        canary::keep("resume_token", RESUME_TOKEN);
        Self(TcpListener::bind("127.0.0.1:0").await.expect("a port is free"))
    }

    pub(crate) fn options(&self) -> JoinOptions {
        let url = format!("ws://{}/ws", self.0.local_addr().expect("it is bound"));
        JoinOptions { name: "Ana".into(), ..JoinOptions::new(url, "550e8400-e29b-41d4-a716-446655440000", JOIN_TOKEN) }
    }

    /// A ticket for a new participant at this door.
    pub(crate) fn ticket(&self, join_token: &str) -> Ticket {
        let JoinOptions { meeting_id, meeting_controller_url, .. } = self.options();
        Ticket {
            meeting_id,
            join_token: join_token.to_owned(),
            meeting_controller_url,
            signaling_fallback_url: None,
            media_handler_urls: Vec::new(),
            certificate_hashes: Vec::new(),
        }
    }

    /// The next session, and its first message, which must be a `JoinRequest`.
    pub(crate) async fn accept(&self) -> (Controller, u64, v1::JoinRequest) {
        self.try_accept().await.expect("a client speaks")
    }

    /// The same; `None` when the client is gone before it says anything.
    pub(crate) async fn try_accept(&self) -> Option<(Controller, u64, v1::JoinRequest)> {
        #[expect(clippy::result_large_err, reason = "the library's signature")]
        fn agree(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
            let wanted = request.headers().get("sec-websocket-protocol").cloned().expect("a client says what it speaks");
            assert_eq!(wanted, "darktower.v1");
            response.headers_mut().insert("sec-websocket-protocol", wanted);
            Ok(response)
        }
        let (stream, _) = soon(self.0.accept()).await.expect("a client comes");
        let socket = soon(tokio_tungstenite::accept_hdr_async(stream, agree)).await.ok()?;
        let mut controller = Controller(socket);
        match controller.try_hear().await? {
            v1::ClientMessage { request_id, body: Some(client_message::Body::Join(join)), .. } => Some((controller, request_id, join)),
            other => panic!("the first message is {other:?}"),
        }
    }
}

/// A controller's side of a session.
pub(crate) struct Controller(pub(crate) WebSocketStream<TcpStream>);

impl Controller {
    /// The next message but pings.
    pub(crate) async fn hear(&mut self) -> v1::ClientMessage {
        self.try_hear().await.expect("the client is there")
    }

    /// The same; `None` when the client is gone.
    pub(crate) async fn try_hear(&mut self) -> Option<v1::ClientMessage> {
        loop {
            let Some(Ok(Message::Binary(bytes))) = soon(self.0.next()).await else { return None };
            let message = v1::ClientMessage::decode(bytes).expect("a client sends messages");
            if !matches!(message.body, Some(client_message::Body::Ping(_))) {
                return Some(message);
            }
        }
    }

    /// The next ping, with its number, whatever is said before.
    pub(crate) async fn hear_ping(&mut self) -> (u64, v1::Ping) {
        loop {
            let Some(Ok(Message::Binary(bytes))) = soon(self.0.next()).await else { panic!("the client is gone") };
            let message = v1::ClientMessage::decode(bytes).expect("a client sends messages");
            if let Some(client_message::Body::Ping(ping)) = message.body {
                return (message.request_id, ping);
            }
        }
    }

    /// Waits until the client is gone, whatever it says before.
    pub(crate) async fn gone(&mut self) {
        while let Some(Ok(_)) = self.0.next().await {}
    }

    pub(crate) async fn say(&mut self, request_id: u64, body: server_message::Body) {
        let message = v1::ServerMessage { version: 1, request_id, body: Some(body) };
        self.0.send(Message::Binary(message.encode_to_vec().into())).await.expect("the client listens");
    }

    pub(crate) async fn let_in(&mut self, request_id: u64, response: v1::JoinResponse) {
        let response = v1::JoinResponse { participant_id: ANA.into(), ..response };
        self.say(request_id, server_message::Body::Join(response)).await;
    }
}

pub(crate) fn ben(is_muted: bool) -> v1::Participant {
    v1::Participant { participant_id: BEN.into(), name: "Ben".into(), is_muted, ..Default::default() }
}

pub(crate) fn chat(sequence: u64, client_message_id: &str) -> v1::ChatMessage {
    v1::ChatMessage { sequence, client_message_id: client_message_id.into(), content: format!("message {sequence}"), ..Default::default() }
}

/// Ana joins `door` and is let in with `response`.
pub(crate) async fn join(door: &Door, response: v1::JoinResponse) -> (Joined, Controller) {
    join_with(door, door.options(), response).await
}

/// Ana joins `door` by `options` and is let in with `response`.
pub(crate) async fn join_with(door: &Door, options: JoinOptions, response: v1::JoinResponse) -> (Joined, Controller) {
    let client = Client::new().expect("a UDP port is free");
    let (joined, controller) = tokio::join!(client.join(options), async {
        let (mut controller, request_id, join) = door.accept().await;
        assert_eq!((join.participant_name.as_str(), join.join_token.as_str(), join.auto_subscribe), ("Ana", JOIN_TOKEN, true));
        controller.let_in(request_id, response).await;
        controller
    });
    (joined.expect("she is let in"), controller)
}
