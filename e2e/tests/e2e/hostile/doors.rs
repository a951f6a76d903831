//! The three doors that a token may be shown at: signaling over WebTransport and over WebSocket, and a media session.

use anyhow::{Context, bail};
use common_core::Code;
use e2e::api::Invitation;
use e2e::ground::Ground;
use e2e::peer::{Signaling, dial_media};
use e2e::raw::{RawWebSocket, foreign_address, opcode};
use e2e::session::{Session, Writer};
use e2e::wire::{self, CONTROL_STREAM};
use prost::Message;
use proto::v1::{self, client_message, media_client_message, media_server_message, server_message};
use tokio::io::AsyncWriteExt;

use super::STACK;

/// How a first message was answered.
pub enum Answer<S> {
    /// Let in; the session, as long as it is kept.
    In(S),
    /// The error's code and words, which the close repeats.
    Refused(Code, String),
}

impl<S> Answer<S> {
    /// The refusal; an error if somebody was let in.
    pub fn refusal(self) -> anyhow::Result<(Code, String)> {
        match self {
            Answer::In(_) => bail!("it was let in"),
            Answer::Refused(code, words) => Ok((code, words)),
        }
    }
}

/// A signaling session by either door.
#[expect(clippy::large_enum_variant, reason = "a test has a hundred at most")]
pub enum Visit {
    WebTransport(Signaling),
    WebSocket(RawWebSocket),
}

impl Visit {
    pub async fn dial(ground: &Ground, invitation: &Invitation, by_websocket: bool) -> anyhow::Result<Self> {
        if !by_websocket {
            return Ok(Self::WebTransport(Signaling::dial(STACK, invitation).await?));
        }
        let socket = RawWebSocket::open(foreign_address(1), ground.signaling_address()?, "").await?;
        anyhow::ensure!(socket.head.starts_with("HTTP/1.1 101"), "{}", socket.head);
        Ok(Self::WebSocket(socket))
    }

    /// Joins, or not.
    pub async fn join(mut self, request: v1::JoinRequest) -> anyhow::Result<Answer<(Self, v1::JoinResponse)>> {
        let body = client_message::Body::Join(request);
        let said = match &mut self {
            Self::WebTransport(signaling) => signaling.request(body).await?,
            Self::WebSocket(socket) => {
                let message = v1::ClientMessage { version: proto::VERSION, request_id: 1, body: Some(body) };
                socket.send(opcode::BINARY, &message.encode_to_vec()).await?;
                loop {
                    let (first, payload) = socket.receive().await?;
                    if first == opcode::BINARY {
                        let message = v1::ServerMessage::decode(payload.as_slice())?;
                        if message.request_id == 1 {
                            break message.body.context("a body")?;
                        }
                    }
                }
            }
        };
        match said {
            server_message::Body::Join(welcome) => Ok(Answer::In((self, welcome))),
            server_message::Body::Error(error) => {
                let code = Code::from(error.code());
                let closed = self.close_number().await?;
                anyhow::ensure!(closed == code.number(), "the reply says {code}, the close {closed}");
                Ok(Answer::Refused(code, error.message))
            }
            other => bail!("instead of an answer came {other:?}"),
        }
    }

    /// With which of the contract's codes the session is closed.
    pub async fn close_number(&mut self) -> anyhow::Result<u32> {
        match self {
            Self::WebTransport(signaling) => Ok(signaling.session.close_code().await?.number()),
            Self::WebSocket(socket) => {
                let code = socket.close_code().await.context("a close frame")?;
                Ok(if code == 1000 { 0 } else { u32::from(code).checked_sub(4000).context("a private code")? })
            }
        }
    }
}

/// Shows a connection token.
pub async fn hello(info: &v1::MediaServerInfo, token: &str) -> anyhow::Result<Answer<(Session, Writer)>> {
    say_hello(dial_media(STACK, info).await?, token).await
}

/// The same on a session that stands.
pub async fn say_hello(media: Session, token: &str) -> anyhow::Result<Answer<(Session, Writer)>> {
    let (mut writer, mut reader) = media.open_bi().await?;
    writer.write_all(&[CONTROL_STREAM]).await?;
    let hello = v1::MediaHello { connection_token: token.to_owned(), datagrams: false };
    let body = Some(media_client_message::Body::Hello(hello));
    wire::send(&mut writer, &v1::MediaClientMessage { version: proto::VERSION, body }).await?;
    let answer: v1::MediaServerMessage = wire::receive(&mut reader).await?;
    match answer.body {
        Some(media_server_message::Body::Welcome(_)) => Ok(Answer::In((media, writer))),
        Some(media_server_message::Body::Error(error)) => {
            let (code, closed) = (Code::from(error.code()), media.close_code().await?);
            anyhow::ensure!(closed == code, "the reply says {code}, the close {closed}");
            Ok(Answer::Refused(code, error.message))
        }
        other => bail!("instead of an answer came {other:?}"),
    }
}

/// An access token of the application that `dark-tower dev` makes.
pub async fn access_token(ground: &Ground) -> anyhow::Result<String> {
    let wish = serde_json::json!({
        "grant_type": "client_credentials", "client_id": ground.file.client_id, "client_secret": ground.file.client_secret,
    });
    let (status, answer) = ground.api.post("/api/v1/auth/token", &wish).await?;
    answer["access_token"].as_str().map(str::to_owned).with_context(|| format!("no access token ({status})"))
}
