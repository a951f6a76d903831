//! One signaling session, raw: messages out, messages in, how it ended (DESIGN section 4).
//!
//! Reading and writing are tasks of their own, so that [`SignalingConnection::next`] may be dropped at any time without
//! losing a byte. [`SignalingConnection::send_bytes`] says wrong things, for tests and tools.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common_core::Code;
use common_core::length_prefix::{LengthPrefixed, SERVER_MESSAGE_BYTES_MAX};
use futures_util::{SinkExt, StreamExt};
use prost::Message as _;
use proto::v1::{ClientMessage, ServerMessage, client_message};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use web_transport_quinn::{RecvStream, SendStream, Session};

use crate::dial::{DialError, Dialer, Purpose, WebSocket};
use crate::end::SessionEnd;
use crate::trust::Trust;

/// Messages read and not yet taken: a snapshot's worth of events. A reader that lags behind stops reading the session.
const INCOMING_MAX: usize = 256;
/// Messages handed in and not yet written.
const OUTGOING_MAX: usize = 64;
/// How much is read at a time.
const READ_BYTES_MAX: usize = 64 * 1024;
/// How long a close code may take to follow the end of the stream, or to be delivered.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// A code of RFC 6455 for "no code at all".
const WEBSOCKET_NO_CODE: u16 = 1005;
/// Codes of the contract start here on a WebSocket.
const WEBSOCKET_CODES: u16 = 4000;

/// What the writing task is to do.
enum Outgoing {
    /// A whole message, without its length.
    Message(Bytes),
    /// Bytes as they are.
    Raw(Bytes),
    /// Close the session.
    Close { code: Code, reason: String },
    /// End the stream and keep the session.
    Finish,
}

/// A message with number 0 for "no reply wanted".
pub fn client_message(request_id: u64, body: client_message::Body) -> ClientMessage {
    ClientMessage { version: proto::VERSION, request_id, body: Some(body) }
}

/// A signaling session. Dropping it ends the session without a code.
pub struct SignalingConnection {
    outgoing: mpsc::Sender<Outgoing>,
    incoming: mpsc::Receiver<ServerMessage>,
    end: watch::Receiver<Option<SessionEnd>>,
    session: Option<Arc<Session>>,
}

impl SignalingConnection {
    /// Dials `url`: `https` is WebTransport, on which one bidirectional stream is opened; `wss` (or `ws`) a WebSocket.
    pub async fn open(dialer: &Dialer, url: &str, trust: &Trust) -> Result<Self, DialError> {
        if url.starts_with("ws") {
            Ok(Self::from_web_socket(dialer.web_socket(url, trust, SERVER_MESSAGE_BYTES_MAX).await?))
        } else {
            let session = dialer.web_transport(url, trust, Purpose::Signaling).await?;
            let opened = tokio::time::timeout(CLOSE_TIMEOUT, session.open_bi()).await;
            match opened {
                Ok(Ok((send, recv))) => Ok(Self::from_stream(session, send, recv)),
                Ok(Err(error)) => Err(DialError::Protocol { url: url.to_owned(), cause: error.to_string() }),
                Err(_) => Err(DialError::Protocol { url: url.to_owned(), cause: "the server allows no bidirectional stream".into() }),
            }
        }
    }

    /// Speaks on a stream of a session.
    pub fn from_stream(session: Session, send: SendStream, recv: RecvStream) -> Self {
        let (outgoing, outgoing_rx) = mpsc::channel(OUTGOING_MAX);
        let (incoming_tx, incoming) = mpsc::channel(INCOMING_MAX);
        let (end_tx, end) = watch::channel(None);
        tokio::spawn(write_stream(session.clone(), send, outgoing_rx));
        let read_session = session.clone();
        tokio::spawn(async move {
            let cause = read_stream(recv, &incoming_tx).await;
            // The end is known before the channel closes: whoever sees the one finds the other.
            end_tx.send_replace(Some(stream_end(&read_session, cause).await));
            drop(incoming_tx);
        });
        Self { outgoing, incoming, end, session: Some(Arc::new(session)) }
    }

    /// Speaks on a WebSocket.
    pub fn from_web_socket(socket: WebSocket) -> Self {
        let (outgoing, mut outgoing_rx) = mpsc::channel(OUTGOING_MAX);
        let (incoming_tx, incoming) = mpsc::channel(INCOMING_MAX);
        let (end_tx, end) = watch::channel(None);
        let (mut sink, mut stream) = socket.split();
        tokio::spawn(async move {
            while let Some(outgoing) = outgoing_rx.recv().await {
                let message = match outgoing {
                    Outgoing::Message(bytes) | Outgoing::Raw(bytes) => Message::Binary(bytes),
                    Outgoing::Close { code, reason } => {
                        Message::Close(Some(CloseFrame { code: code.websocket().into(), reason: reason.into() }))
                    }
                    Outgoing::Finish => break,
                };
                if sink.send(message).await.is_err() {
                    return;
                }
            }
            // An error means that the socket is closed already.
            let _ = sink.close().await;
        });
        tokio::spawn(async move {
            let end = loop {
                match stream.next().await {
                    Some(Ok(Message::Binary(bytes))) => {
                        if let Err(end) = deliver(&incoming_tx, &bytes).await {
                            break end;
                        }
                    }
                    Some(Ok(Message::Close(frame))) => break web_socket_end(frame),
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                    Some(Ok(Message::Text(_))) => break SessionEnd::lost("the server sent text where protobuf was agreed"),
                    Some(Err(error)) => break SessionEnd::lost(error),
                    None => break SessionEnd::lost("the connection was closed without a code"),
                }
            };
            end_tx.send_replace(Some(end));
            drop(incoming_tx);
        });
        Self { outgoing, incoming, end, session: None }
    }

    /// Hands a message to the writer. Waits while 64 are unwritten. When the future is dropped, it may not be sent; never a part of it.
    pub async fn send(&self, message: &ClientMessage) -> Result<(), SessionEnd> {
        self.write(Outgoing::Message(message.encode_to_vec().into())).await
    }

    /// Hands a message to the writer, or gives it back as `false` when `OUTGOING_MAX` are unwritten or the session is over.
    pub(crate) fn try_send(&self, message: &ClientMessage) -> bool {
        self.outgoing.try_send(Outgoing::Message(message.encode_to_vec().into())).is_ok()
    }

    /// Writes bytes as they are: on WebTransport without a length before them, on a WebSocket as one binary message.
    pub async fn send_bytes(&self, bytes: impl Into<Bytes>) -> Result<(), SessionEnd> {
        self.write(Outgoing::Raw(bytes.into())).await
    }

    /// Ends the sending side of the stream; the session stands.
    pub async fn finish(&self) -> Result<(), SessionEnd> {
        self.write(Outgoing::Finish).await
    }

    async fn write(&self, outgoing: Outgoing) -> Result<(), SessionEnd> {
        if self.outgoing.send(outgoing).await.is_err() {
            return Err(self.ended().await);
        }
        Ok(())
    }

    /// The next message, or how the session ended. Cancel-safe.
    pub async fn next(&mut self) -> Result<ServerMessage, SessionEnd> {
        match self.incoming.recv().await {
            Some(message) => Ok(message),
            None => Err(self.ended().await),
        }
    }

    /// How the session ended; waits for the end. Cancel-safe.
    pub async fn ended(&self) -> SessionEnd {
        let mut end = self.end.clone();
        match end.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or_else(|| SessionEnd::lost("the session ended")),
            Err(_) => SessionEnd::lost("the runtime is shutting down"),
        }
    }

    /// Closes with `code` and waits, at most a second, until the other side knows. When the future is dropped, the session is closed all
    /// the same.
    pub async fn close(self, code: Code, reason: &str) {
        let closing = async {
            if self.outgoing.send(Outgoing::Close { code, reason: reason.to_owned() }).await.is_ok() {
                self.ended().await;
            }
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, closing).await.is_err()
            && let Some(session) = &self.session
        {
            // The writer is stuck behind a path that carries nothing: what it holds is given up, and the other side notices by its own.
            session.close(code.number(), reason.as_bytes());
        }
    }

    /// Counts QUIC packets that were received; `None` on a WebSocket.
    pub(crate) fn packet_count(&self) -> Option<PacketCount> {
        self.session.clone().map(PacketCount)
    }

    /// The WebTransport session; `None` on a WebSocket.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_deref()
    }
}

/// Counts the packets of a session, also when the session's handle is elsewhere.
#[derive(Clone)]
pub(crate) struct PacketCount(Arc<Session>);

impl PacketCount {
    /// Received so far.
    pub(crate) fn count(&self) -> u64 {
        quinn::Connection::stats(&self.0).udp_rx.datagrams
    }

    /// Whether the session is over.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.close_reason().is_some()
    }
}

async fn write_stream(session: Session, mut stream: SendStream, mut outgoing: mpsc::Receiver<Outgoing>) {
    while let Some(next) = outgoing.recv().await {
        let written = match next {
            Outgoing::Message(bytes) => stream.write_chunk(LengthPrefixed::frame(&bytes)).await,
            Outgoing::Raw(bytes) => stream.write_chunk(bytes).await,
            Outgoing::Close { code, reason } => {
                session.close(code.number(), reason.as_bytes());
                return;
            }
            Outgoing::Finish => {
                // An error means that the stream is over already.
                let _ = stream.finish();
                // Nothing more can be written, but a close may still be asked for.
                continue;
            }
        };
        if written.is_err() {
            return;
        }
    }
    // The handle was dropped.
    session.close(Code::Normal.number(), b"");
}

/// Reads until the stream ends or breaks, and says how.
async fn read_stream(mut stream: RecvStream, incoming: &mpsc::Sender<ServerMessage>) -> SessionEnd {
    let mut decoder = LengthPrefixed::new(SERVER_MESSAGE_BYTES_MAX);
    loop {
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => {
                    if let Err(end) = deliver(incoming, &message).await {
                        return end;
                    }
                }
                Ok(None) => break,
                Err(error) => return SessionEnd::lost(error),
            }
        }
        match stream.read_chunk(READ_BYTES_MAX, true).await {
            Ok(Some(chunk)) => decoder.push(&chunk.bytes),
            Ok(None) => return SessionEnd::lost("the server ended the signaling stream"),
            Err(error) => return SessionEnd::lost(error),
        }
    }
}

/// A close code may come a moment after the stream's end; it says more than the stream does.
async fn stream_end(session: &Session, cause: SessionEnd) -> SessionEnd {
    match tokio::time::timeout(CLOSE_TIMEOUT, session.closed()).await {
        Ok(error) => match SessionEnd::from(error) {
            closed @ SessionEnd::Closed { .. } => closed,
            SessionEnd::Lost(_) => cause,
        },
        Err(_) => {
            session.close(Code::InvalidRequest.number(), b"the signaling stream ended");
            cause
        }
    }
}

/// Decodes and passes on. A message that is none is left out: one bad message is not worth the meeting.
async fn deliver(incoming: &mpsc::Sender<ServerMessage>, bytes: &[u8]) -> Result<(), SessionEnd> {
    match ServerMessage::decode(bytes) {
        Ok(message) => incoming.send(message).await.map_err(|_| SessionEnd::lost("this side gave the session up")),
        Err(error) => {
            tracing::warn!(%error, bytes = bytes.len(), "the server sent what is no message; it is left out");
            Ok(())
        }
    }
}

fn web_socket_end(frame: Option<CloseFrame>) -> SessionEnd {
    let Some(frame) = frame else {
        return SessionEnd::lost("the connection was closed without a code");
    };
    match u16::from(frame.code) {
        1000 => SessionEnd::closed(Code::Normal.number(), &frame.reason),
        code @ WEBSOCKET_CODES.. => SessionEnd::closed(u32::from(code - WEBSOCKET_CODES), &frame.reason),
        WEBSOCKET_NO_CODE => SessionEnd::lost("the connection was closed without a code"),
        code => SessionEnd::lost(format!("the WebSocket was closed with {code}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn websocket_codes_are_the_contracts() {
        fn check(code: u16, expected: Option<Code>) {
            let frame = CloseFrame { code: code.into(), reason: "".into() };
            assert_eq!(web_socket_end(Some(frame)).code(), expected, "{code}");
        }
        for code in Code::ALL {
            check(code.websocket(), Some(code));
        }
        check(1001, None);
        check(4999, None);
        assert_eq!(web_socket_end(None).code(), None);
    }
}
