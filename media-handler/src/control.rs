//! The control stream of a media session: hello and welcome, key-frame requests both ways, layers nobody takes, pings, and the last word.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::webtransport::{MessageReader, MessageWriter, ReadMessageError};
use common_core::authority::Denied;
use common_core::length_prefix::CLIENT_MESSAGE_BYTES_MAX;
use common_core::{Code, MeetingId, ParticipantId};
use media_handler_core::hub::HelloError;
use media_handler_core::{Control, Fate, Pace, Report};
use prost::Message as _;
use proto::convert::error_message;
use proto::v1::media_client_message::Body as Said;
use proto::v1::media_server_message::Body;
use proto::v1::{
    ErrorMessage, LayerControl, MediaClientMessage, MediaServerMessage, MediaWelcome, Pong, RequestKeyFrame, SubscriptionReport,
};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use web_transport_quinn::{ReadError, RecvStream, SendStream};

use crate::handler::refused;
use crate::session::{Visitor, close_order, deliver, next_control};

/// A client that does not read a control message for so long reads nothing.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// The last word is not waited for: a client that is to go goes within a second.
const LAST_WORD_TIMEOUT: Duration = Duration::from_millis(250);

/// Control messages at once: all pictures of a large page ask for a key frame, and again.
const MESSAGES_BURST: u64 = 256;
/// Messages over the rate that are answered with `RATE_LIMITED` and not looked at; who goes on is closed.
const EXCESS_MAX: u32 = 256;

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
    /// What the client says.
    messages: Pace,
    /// Messages over the rate, in a row.
    excess: u32,
    /// What goes to the subscriber, as long as somebody speaks with it.
    delivery: Option<AbortOnDropHandle<()>>,
}

impl Speaker {
    /// Hears the hello and answers it; whose it was. An error is `Some` if the session is to be closed with it, `None` if it is gone.
    pub async fn greet(visitor: &Arc<Visitor>, stream: ControlStream) -> Result<(Self, (MeetingId, ParticipantId)), Option<Ending>> {
        // An error means that the stream is over already: the next read will tell.
        let _ = stream.send.set_priority(i32::MAX);
        let reader = MessageReader::new(stream.receive, CLIENT_MESSAGE_BYTES_MAX, &stream.rest);
        let messages = Pace::new(visitor.handler.limits.max_control_messages, MESSAGES_BURST);
        let mut speaker = Self { reader, writer: MessageWriter::new(stream.send), is_silent: false, messages, excess: 0, delivery: None };
        let body = match speaker.hear().await {
            Ok(Some(body)) => body,
            Ok(None) => return Err(Some(speaker.refuse(Code::InvalidRequest, "the control stream ended before a hello").await)),
            Err(ending) => return Err(speaker.last_word(ending).await),
        };
        let Some(Said::Hello(hello)) = body else {
            return Err(Some(speaker.refuse(Denied::NO_HELLO.code, Denied::NO_HELLO.reason).await));
        };
        let hash = crate::token_hash(&hello.connection_token);
        let now = visitor.handler.now();
        match visitor.handler.with(|hub| hub.hello(now, visitor.key, &hash)) {
            Ok(address) => {
                speaker.delivery = Some(deliver(visitor));
                let welcome = MediaWelcome { participant_id: address.1.to_string(), max_datagram_bytes: 0 };
                speaker.say(visitor, Body::Welcome(welcome)).await.map_err(Some)?;
                Ok((speaker, address))
            }
            Err(error) => {
                let code = if error == HelloError::Full { Code::CapacityExceeded } else { Code::Unauthorized };
                Err(Some(speaker.refuse(code, &error.to_string()).await))
            }
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
                    Control::KeyFrame(layer) => self.say(visitor, Body::KeyFrame(RequestKeyFrame { stream_id: layer.to_string() })).await.err(),
                    Control::Layer { layer, is_paused } => {
                        let control = LayerControl { stream_id: layer.to_string(), paused: is_paused };
                        self.say(visitor, Body::LayerControl(control)).await.err()
                    }
                    Control::Report(report) => self.say(visitor, Body::Report(report_message(visitor, *report))).await.err(),
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

    async fn answer(&mut self, visitor: &Visitor, body: Option<Said>) -> Result<(), Ending> {
        if !self.messages.admits(visitor.handler.now()) {
            return self.answer_excess(visitor).await;
        }
        self.excess = 0;
        let Some(body) = body else {
            return self
                .say(visitor, Body::Error(error_message(Code::InvalidRequest, "a message without a body that is known here")))
                .await;
        };
        match body {
            Said::Hello(_) => Err(self.refuse(Code::InvalidRequest, "hello is said once").await),
            Said::Ping(ping) => {
                let pong = Pong { sent_at_us: ping.sent_at_us, received_at_us: common::clock::unix_micros() };
                self.say(visitor, Body::Pong(pong)).await
            }
            Said::KeyFrame(request) => {
                let now = visitor.handler.now();
                // What is no id is nobody's.
                let asked = request.stream_id.parse().map_err(|_| Denied::NO_SUBSCRIPTION);
                let answer = asked.and_then(|id| visitor.handler.with(|hub| hub.request_key_frame(now, visitor.key, id)));
                match answer {
                    Ok(()) => Ok(()),
                    Err(denied) => self.say(visitor, Body::Error(error_message(denied.code, denied.reason))).await,
                }
            }
        }
    }

    /// Too much in too short a time: said once, then passed over, then the end.
    async fn answer_excess(&mut self, visitor: &Visitor) -> Result<(), Ending> {
        refused("control_messages");
        self.excess += 1;
        let reason = "too many control messages in too short a time";
        match self.excess {
            1 => self.say(visitor, Body::Error(error_message(Code::RateLimited, reason))).await,
            2..=EXCESS_MAX => Ok(()),
            _ => Err(self.refuse(Code::RateLimited, reason).await),
        }
    }

    /// The next message's body, empty if it is of a kind that is not known here; `None` when the client has finished. The
    /// error is `None` if the session is gone.
    async fn hear(&mut self) -> Result<Option<Option<Said>>, Option<ErrorMessage>> {
        let invalid = |text: String| Some(error_message(Code::InvalidRequest, text));
        let bytes = match self.reader.next().await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(ReadMessageError::Stream(ReadError::SessionError(_))) => return Err(None),
            Err(error) => return Err(invalid(error.to_string())),
        };
        let message = MediaClientMessage::decode(bytes).map_err(|_| invalid("not a MediaClientMessage".to_owned()))?;
        if message.version == proto::VERSION {
            return Ok(Some(message.body));
        }
        let mut error = error_message(Code::InvalidRequest, format!("version {} is not spoken here", message.version));
        error.details.insert("supported".to_owned(), proto::VERSION.to_string());
        Err(Some(error))
    }

    /// Says why, and ends.
    async fn refuse(&mut self, code: Code, reason: &str) -> Ending {
        self.say_last(error_message(code, reason)).await;
        Ending::new(code, reason)
    }

    /// The same for what was wrong with a message.
    async fn last_word(&mut self, error: Option<ErrorMessage>) -> Option<Ending> {
        let error = error?;
        let ending = Ending::new(error.code().into(), error.message.clone());
        self.say_last(error).await;
        Some(ending)
    }

    async fn say_last(&mut self, error: ErrorMessage) {
        // The session ends whether it was heard or not.
        let _ = tokio::time::timeout(LAST_WORD_TIMEOUT, self.writer.send(&encode(Body::Error(error)))).await;
    }

    /// Says something, unless the session is to be closed before it is written.
    async fn say(&mut self, visitor: &Visitor, body: Body) -> Result<(), Ending> {
        let message = encode(body);
        tokio::select! {
            written = tokio::time::timeout(WRITE_TIMEOUT, self.writer.send(&message)) => match written {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(Ending::new(Code::InvalidRequest, "the control stream is gone")),
                Err(_) => Err(Ending::new(Code::Expired, "control messages are not read")),
            },
            ending = close_order(visitor) => Err(ending),
        }
    }
}

fn encode(body: Body) -> Vec<u8> {
    MediaServerMessage { version: proto::VERSION, body: Some(body) }.encode_to_vec()
}

fn report_message(visitor: &Visitor, report: Report) -> SubscriptionReport {
    let dropped = Fate::ALL.into_iter().filter(|fate| *fate != Fate::Delivered && report.fates.of(*fate) > 0);
    SubscriptionReport {
        stream_id: report.media_stream.to_string(),
        wanted_layer: report.wanted_layer,
        allowed_layer: report.allowed_layer,
        forwarded_layer: report.forwarded_layer,
        estimated_bitrate: visitor.estimated_bitrate(),
        limiter: report.limiter.name().to_owned(),
        last_change: report.limiter.in_words().to_owned(),
        dropped: dropped.map(|fate| (fate.name().to_owned(), report.fates.of(fate))).collect(),
    }
}
