//! One media session, raw: the control stream, media streams out and in (DESIGN section 5).
//!
//! [`MediaConnection`] opens and accepts streams; [`MediaControl`] carries control messages; [`RecordReader`] makes records
//! of a stream's bytes. Nothing is checked on the way out, so that tests and tools can say wrong things.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use common_core::frame::PAYLOAD_BYTES_MAX;
use common_core::frame_reader::{FrameEvent, FrameReader};
use common_core::length_prefix::{CLIENT_MESSAGE_BYTES_MAX, LengthPrefixed};
use common_core::{Code, FrameHeader, FrameHeaderError};
use prost::Message as _;
use proto::v1::{MediaClientMessage, MediaHello, MediaServerMessage, Ping, RequestKeyFrame, media_client_message};
use thiserror::Error;
use tokio::sync::mpsc;
use web_transport_quinn::{ReadError, RecvStream, SendStream, Session};

use crate::dial::{DialError, Dialer, Purpose};
use crate::end::SessionEnd;
use crate::records::ReceivedRecord;
use crate::trust::Trust;

/// The first byte of a control stream.
pub const CONTROL_STREAM: u8 = 0;
/// Control messages handed in and not yet written, and read and not yet taken.
const CONTROL_MAX: usize = 64;
/// How much is read at a time.
const READ_BYTES_MAX: usize = 256 * 1024;
/// How long a close may take to be delivered.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A media session. Cheap to clone; it lives until it is closed.
#[derive(Clone)]
pub struct MediaConnection {
    session: Arc<Session>,
    url: String,
}

impl MediaConnection {
    /// Dials a handler. Needs no token yet: that comes with [`hello`](Self::hello).
    pub async fn open(dialer: &Dialer, url: &str, trust: &Trust) -> Result<Self, DialError> {
        let session = dialer.web_transport(url, trust, Purpose::Media).await?;
        Ok(Self { session: Arc::new(session), url: url.to_owned() })
    }

    /// Where it leads.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The session itself.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// QUIC packets received so far.
    pub fn packets_received(&self) -> u64 {
        quinn::Connection::stats(&self.session).udp_rx.datagrams
    }

    /// To the handler and back, smoothed.
    pub fn round_trip(&self) -> Duration {
        quinn::Connection::stats(&self.session).path.rtt
    }

    /// Opens the control stream and says hello. Returns as soon as the hello is on its way: media may follow right behind it.
    pub async fn hello(&self, connection_token: &str) -> Result<MediaControl, SessionEnd> {
        let hello = MediaHello { connection_token: connection_token.to_owned(), datagrams: false };
        let message = media_message(media_client_message::Body::Hello(hello)).encode_to_vec();
        let mut first = BytesMut::with_capacity(1 + 4 + message.len());
        first.put_u8(CONTROL_STREAM);
        first.put(LengthPrefixed::frame(&message));
        self.control(first.freeze()).await
    }

    /// Opens a bidirectional stream, writes `first` as it is, and speaks control messages on it from there on. When the future is
    /// dropped, the stream is reset.
    pub async fn control(&self, first: Bytes) -> Result<MediaControl, SessionEnd> {
        let (mut send, recv) = self.session.open_bi().await?;
        send.write_chunk(first).await.map_err(SessionEnd::lost)?;
        // Control goes before media of every kind; messages are small.
        let _ = send.set_priority(i32::MAX);
        let (outgoing, mut outgoing_rx) = mpsc::channel::<Bytes>(CONTROL_MAX);
        let (incoming_tx, incoming) = mpsc::channel(CONTROL_MAX);
        tokio::spawn(async move {
            while let Some(bytes) = outgoing_rx.recv().await {
                if send.write_chunk(bytes).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(read_control(recv, incoming_tx));
        Ok(MediaControl { outgoing, incoming, session: self.session.clone() })
    }

    /// Opens a stream for media. Cancel-safe.
    pub async fn open_stream(&self) -> Result<SendStream, SessionEnd> {
        Ok(self.session.open_uni().await?)
    }

    /// Opens a bidirectional stream. Cancel-safe.
    pub async fn open_bidirectional(&self) -> Result<(SendStream, RecvStream), SessionEnd> {
        Ok(self.session.open_bi().await?)
    }

    /// The next stream that the handler opened: one group. Cancel-safe.
    pub async fn accept_stream(&self) -> Result<RecvStream, SessionEnd> {
        Ok(self.session.accept_uni().await?)
    }

    /// How the session ended; waits for the end. Cancel-safe.
    pub async fn closed(&self) -> SessionEnd {
        self.session.closed().await.into()
    }

    /// Closes with `code` and waits, at most a second, until the other side knows.
    pub async fn close(&self, code: Code, reason: &str) {
        self.session.close(code.number(), reason.as_bytes());
        // Past the timeout the other side notices by its own.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.session.closed()).await;
    }
}

/// A control message.
pub fn media_message(body: media_client_message::Body) -> MediaClientMessage {
    MediaClientMessage { version: proto::VERSION, body: Some(body) }
}

/// The sending half of a control stream. Cheap to clone.
#[derive(Clone)]
pub struct ControlSender {
    outgoing: mpsc::Sender<Bytes>,
}

impl ControlSender {
    /// Asks for a key frame of a media stream. Lost when 64 messages are unwritten: the asker asks again.
    pub fn request_key_frame(&self, stream_id: String) {
        self.try_send(media_client_message::Body::KeyFrame(RequestKeyFrame { stream_id }));
    }

    /// Asks for a pong.
    pub fn ping(&self, sent_at_us: u64) {
        self.try_send(media_client_message::Body::Ping(Ping { sent_at_us }));
    }

    fn try_send(&self, body: media_client_message::Body) {
        let bytes = LengthPrefixed::frame(&media_message(body).encode_to_vec());
        if self.outgoing.try_send(bytes).is_err() {
            tracing::debug!("a control message was dropped: the control stream is full or over");
        }
    }
}

/// A control stream.
pub struct MediaControl {
    outgoing: mpsc::Sender<Bytes>,
    incoming: mpsc::Receiver<MediaServerMessage>,
    session: Arc<Session>,
}

impl MediaControl {
    /// Sends a message. When the future is dropped, it may not be sent.
    pub async fn send(&self, body: media_client_message::Body) -> Result<(), SessionEnd> {
        self.send_bytes(LengthPrefixed::frame(&media_message(body).encode_to_vec())).await
    }

    /// Writes bytes as they are, without a length before them.
    pub async fn send_bytes(&self, bytes: impl Into<Bytes>) -> Result<(), SessionEnd> {
        if self.outgoing.send(bytes.into()).await.is_err() {
            return Err(self.session.closed().await.into());
        }
        Ok(())
    }

    /// The next message, or how the session ended. Cancel-safe.
    pub async fn next(&mut self) -> Result<MediaServerMessage, SessionEnd> {
        match self.incoming.recv().await {
            Some(message) => Ok(message),
            None => Err(self.session.closed().await.into()),
        }
    }

    /// The sending half, to be used besides.
    pub fn sender(&self) -> ControlSender {
        ControlSender { outgoing: self.outgoing.clone() }
    }
}

/// Reads control messages until the stream ends; the session's end says why.
async fn read_control(mut stream: RecvStream, incoming: mpsc::Sender<MediaServerMessage>) {
    let mut decoder = LengthPrefixed::new(CLIENT_MESSAGE_BYTES_MAX);
    loop {
        loop {
            match decoder.next_message() {
                Ok(Some(bytes)) => match MediaServerMessage::decode(bytes) {
                    Ok(message) => {
                        if incoming.send(message).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => tracing::warn!(%error, "the handler sent what is no message; it is left out"),
                },
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "the handler's control stream cannot be read any further");
                    // An error means that the stream is over already.
                    let _ = stream.stop(Code::InvalidRequest.number());
                    return;
                }
            }
        }
        match stream.read_chunk(READ_BYTES_MAX, true).await {
            Ok(Some(chunk)) => decoder.push(&chunk.bytes),
            Ok(None) | Err(_) => return,
        }
    }
}

/// Why a media stream gives no further record.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The bytes are no record.
    #[error(transparent)]
    Header(#[from] FrameHeaderError),
    /// The stream was finished inside a record.
    #[error("the stream ended inside a record")]
    Truncated,
    /// The stream was reset, or its session is gone.
    #[error(transparent)]
    Stream(#[from] ReadError),
}

impl RecordError {
    /// The code with which the stream was reset, if it was.
    pub fn reset_code(&self) -> Option<Code> {
        match self {
            Self::Stream(ReadError::Reset(code)) => Code::from_number(*code),
            _ => None,
        }
    }
}

/// Makes records of one stream's bytes. Cancel-safe: parts are kept.
pub struct RecordReader {
    stream: RecvStream,
    reader: FrameReader,
    group: u64,
    header: Option<(FrameHeader, Bytes)>,
    payload: Vec<Bytes>,
}

impl RecordReader {
    /// A reader at the start of a stream; `group` is passed on in its records.
    pub fn new(stream: RecvStream, group: u64) -> Self {
        Self { stream, reader: FrameReader::new(PAYLOAD_BYTES_MAX), group, header: None, payload: Vec::new() }
    }

    /// The next record; `None` at a clean end. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<ReceivedRecord>, RecordError> {
        loop {
            while let Some(event) = self.reader.next_event()? {
                match event {
                    FrameEvent::Begin { header, raw } => self.header = Some((header, raw)),
                    FrameEvent::Payload(bytes) => self.payload.push(bytes),
                    FrameEvent::End => {
                        if let Some((header, raw)) = self.header.take() {
                            let payload = join(&mut self.payload);
                            return Ok(Some(ReceivedRecord { header, raw, payload, group: self.group }));
                        }
                    }
                }
            }
            match self.stream.read_chunk(READ_BYTES_MAX, true).await? {
                Some(chunk) => self.reader.push(chunk.bytes),
                None if self.header.is_some() || !self.reader.is_between_records() => return Err(RecordError::Truncated),
                None => return Ok(None),
            }
        }
    }

    /// Tells the handler to stop sending this group.
    pub fn stop(&mut self, code: Code) {
        // An error means that the stream is over already.
        let _ = self.stream.stop(code.number());
    }
}

/// One `Bytes` out of parts; a single part is not copied.
fn join(parts: &mut Vec<Bytes>) -> Bytes {
    match parts.len() {
        0 => Bytes::new(),
        1 => parts.pop().unwrap_or_default(),
        _ => {
            let mut whole = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
            for part in parts.drain(..) {
                whole.extend_from_slice(&part);
            }
            whole.freeze()
        }
    }
}
