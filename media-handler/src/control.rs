//! The control stream of a media session: hello and welcome, key-frame requests both ways, pings, and the last word.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::webtransport::{MessageReader, MessageWriter, ReadMessageError};
use common_core::Code;
use common_core::length_prefix::CLIENT_MESSAGE_BYTES_MAX;
use media_handler_core::Control;
use prost::Message as _;
use proto::convert::error_message;
use proto::v1::media_client_message::Body as Said;
use proto::v1::media_server_message::Body;
use proto::v1::{ErrorMessage, MediaClientMessage, MediaServerMessage, MediaWelcome, Pong, RequestKeyFrame};
use tokio::sync::mpsc;
use web_transport_quinn::{RecvStream, SendStream};

use crate::session::{Visitor, next_control};

/// A client that does not read a control message for so long reads nothing.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// A stream that began as a control stream does.
pub(crate) struct ControlStream {
    pub send: SendStream,
    pub receive: RecvStream,
    /// What was read behind the first byte.
    pub rest: Bytes,
}

/// Why a session is closed from here.
pub(crate) struct Ending {
    pub code: Code,
    pub reason: String,
}

impl Ending {
    pub fn new(code: Code, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}

/// Both halves of the control stream, once hello was said.
pub(crate) struct Speaker {
    reader: MessageReader,
    writer: MessageWriter,
    /// The client has finished its half.
    is_silent: bool,
}

impl Speaker {
    /// Hears the hello and answers it. An error is `Some` if the session is to be closed with it, `None` if it is gone.
    pub async fn greet(visitor: &Arc<Visitor>, stream: ControlStream) -> Result<Self, Option<Ending>> {
        // An error means that the stream is over already: the next read will tell.
        let _ = stream.send.set_priority(i32::MAX);
        let reader = MessageReader::new(stream.receive, CLIENT_MESSAGE_BYTES_MAX, &stream.rest);
        let mut speaker = Self { reader, writer: MessageWriter::new(stream.send), is_silent: false };
        let body = match speaker.hear().await {
            Ok(Some(body)) => body,
            Ok(None) => return Err(Some(speaker.refuse(Code::InvalidRequest, "the control stream ended before a hello").await)),
            Err(ending) => return Err(speaker.last_word(ending).await),
        };
        let Said::Hello(hello) = body else {
            return Err(Some(speaker.refuse(Code::InvalidRequest, "the first control message must be a hello").await));
        };
        let hash = crate::token_hash(&hello.connection_token);
        let now = visitor.handler.now();
        match visitor.handler.with(|hub| hub.hello(now, visitor.key, &hash)) {
            Ok((_, participant)) => {
                let welcome = MediaWelcome { participant_id: participant.to_string(), max_datagram_bytes: 0 };
                speaker.say(Body::Welcome(welcome)).await.map_err(Some)?;
                Ok(speaker)
            }
            Err(error) => Err(Some(speaker.refuse(Code::Unauthorized, &error.to_string()).await)),
        }
    }

    /// Listens and speaks until one side ends the session.
    pub async fn talk(mut self, visitor: &Visitor, controls: &mut mpsc::Receiver<ControlStream>) -> Option<Ending> {
        loop {
            let silent = self.is_silent;
            let ending = tokio::select! {
                heard = self.hear(), if !silent => match heard {
                    Ok(Some(body)) => self.answer(visitor, body).await.err(),
                    Ok(None) => {
                        self.is_silent = true;
                        None
                    }
                    Err(ending) => return self.last_word(ending).await,
                },
                control = next_control(visitor) => match control {
                    Control::KeyFrame(layer) => self.say(Body::KeyFrame(RequestKeyFrame { stream_id: layer.to_string() })).await.err(),
                    Control::Close(Code::Normal, reason) => return Some(Ending::new(Code::Normal, reason)),
                    Control::Close(code, reason) => return Some(self.refuse(code, &reason).await),
                },
                Some(_) = controls.recv() => return Some(self.refuse(Code::InvalidRequest, "a session has one control stream").await),
            };
            if ending.is_some() {
                return ending;
            }
        }
    }

    async fn answer(&mut self, visitor: &Visitor, body: Said) -> Result<(), Ending> {
        match body {
            Said::Hello(_) => Err(self.refuse(Code::InvalidRequest, "hello is said once").await),
            Said::Ping(ping) => {
                let pong = Pong { sent_at_us: ping.sent_at_us, received_at_us: common::clock::unix_micros() };
                self.say(Body::Pong(pong)).await
            }
            Said::KeyFrame(request) => {
                let now = visitor.handler.now();
                let known =
                    request.stream_id.parse().is_ok_and(|id| visitor.handler.with(|hub| hub.request_key_frame(now, visitor.key, id)));
                if known {
                    return Ok(());
                }
                self.say(Body::Error(error_message(Code::NotFound, "you subscribe to no media stream of that id"))).await
            }
        }
    }

    /// The next message's body; `None` when the client has finished. The inner `None` of the error: the session is gone.
    async fn hear(&mut self) -> Result<Option<Said>, Option<(Code, ErrorMessage)>> {
        let invalid = |text: String| Some((Code::InvalidRequest, error_message(Code::InvalidRequest, text)));
        let bytes = match self.reader.next().await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(ReadMessageError::Stream(_)) => return Err(None),
            Err(error) => return Err(invalid(error.to_string())),
        };
        let message = MediaClientMessage::decode(bytes).map_err(|_| invalid("not a MediaClientMessage".to_owned()))?;
        if message.version != proto::VERSION {
            let mut error = error_message(Code::InvalidRequest, format!("version {} is not spoken here", message.version));
            error.details.insert("supported".to_owned(), proto::VERSION.to_string());
            return Err(Some((Code::InvalidRequest, error)));
        }
        message.body.map(Some).ok_or_else(|| invalid("a message without a body that is known here".to_owned()))
    }

    /// Says why, and ends.
    async fn refuse(&mut self, code: Code, reason: &str) -> Ending {
        // The session ends either way.
        let _ = self.say(Body::Error(error_message(code, reason))).await;
        Ending::new(code, reason)
    }

    async fn last_word(&mut self, error: Option<(Code, ErrorMessage)>) -> Option<Ending> {
        let (code, error) = error?;
        let ending = Ending::new(code, error.message.clone());
        // The session ends either way.
        let _ = self.say(Body::Error(error)).await;
        Some(ending)
    }

    async fn say(&mut self, body: Body) -> Result<(), Ending> {
        let message = MediaServerMessage { version: proto::VERSION, body: Some(body) }.encode_to_vec();
        match tokio::time::timeout(WRITE_TIMEOUT, self.writer.send(&message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ending::new(Code::InvalidRequest, "the control stream is gone")),
            Err(_) => Err(Ending::new(Code::Expired, "control messages are not read")),
        }
    }
}
