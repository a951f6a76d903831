//! A client that says what it is told to say, byte for byte, and keeps what it hears.

use bytes::Bytes;
use common::webtransport::{MessageReader, MessageWriter};
use common_core::{Code, FrameFlags, FrameHeader, FrameKind, ParticipantId, StreamId};
use prost::Message as _;
use proto::v1::media_client_message::Body as Say;
use proto::v1::media_server_message::Body as Said;
use proto::v1::{MediaClientMessage, MediaHello, MediaServerMessage, SubscriptionReport};
use web_transport_quinn::{ReadError, RecvStream, SendStream, Session, SessionError, WebTransportError};

use crate::world::within;

/// A record as it stands on the wire.
pub fn record(id: StreamId, kind: FrameKind, sequence: u64, payload: usize) -> Bytes {
    let header = FrameHeader {
        kind,
        stream_id: id,
        timestamp_us: sequence * 33_333,
        sequence,
        payload_length: u32::try_from(payload).expect("payloads are small here"),
        flags: FrameFlags::END_OF_FRAME.with(FrameFlags(0x8000)),
        reserved: [1, 2, 3, 4, 5, 6],
    };
    let mut wire = header.encode().to_vec();
    wire.extend((0..payload).map(|index| (index as u64 ^ sequence) as u8));
    wire.into()
}

/// A key frame and deltas after it, numbered from `sequence`.
pub fn group(id: StreamId, sequence: u64, deltas: u64, payload: usize) -> Vec<Bytes> {
    let kind = |index| if index == 0 { FrameKind::VideoKey } else { FrameKind::VideoDelta };
    (0..=deltas).map(|index| record(id, kind(index), sequence + index, payload)).collect()
}

pub struct Client {
    pub session: Session,
    pub id: ParticipantId,
    control: Option<(MessageWriter, MessageReader)>,
}

impl Client {
    pub fn new(session: Session, id: ParticipantId) -> Self {
        Self { session, id, control: None }
    }

    /// Says hello and waits for the welcome.
    pub async fn hello(&mut self, token: &str) {
        self.say_hello(token).await;
        match self.hear().await {
            Said::Welcome(welcome) => assert_eq!((welcome.participant_id, welcome.max_datagram_bytes), (self.id.to_string(), 0)),
            other => panic!("no welcome: {other:?}"),
        }
    }

    /// Says hello; whether it was welcomed.
    pub async fn try_hello(&mut self, token: &str) -> bool {
        let Ok((mut send, receive)) = within("a control stream", self.session.open_bi()).await else { return false };
        if send.write_all(&[0]).await.is_err() {
            return false;
        }
        self.control = Some((MessageWriter::new(send), MessageReader::new(receive, 1 << 20, &[])));
        if !self.try_say(Say::Hello(MediaHello { connection_token: token.to_owned(), datagrams: false })).await {
            return false;
        }
        let (_, reader) = self.control.as_mut().expect("it was opened above");
        let Ok(Some(message)) = within("a control message", reader.next()).await else { return false };
        let message = MediaServerMessage::decode(message).expect("a server message");
        matches!(message.body, Some(Said::Welcome(_)))
    }

    /// Says something; whether the session stands.
    pub async fn try_say(&mut self, body: Say) -> bool {
        let (writer, _) = self.control.as_mut().expect("the control stream is open");
        writer.send(&MediaClientMessage { version: 1, body: Some(body) }.encode_to_vec()).await.is_ok()
    }

    pub async fn say_hello(&mut self, token: &str) {
        canary::keep("connection_token", token);
        self.open_control(&[0]).await;
        self.say(Say::Hello(MediaHello { connection_token: token.to_owned(), datagrams: false })).await;
    }

    /// Opens a bidirectional stream, writes `first` and takes it for the control stream.
    pub async fn open_control(&mut self, first: &[u8]) {
        let (mut send, receive) = within("a control stream", self.session.open_bi()).await.expect("the session stands");
        send.write_all(first).await.expect("the session stands");
        self.control = Some((MessageWriter::new(send), MessageReader::new(receive, 1 << 20, &[])));
    }

    pub async fn say(&mut self, body: Say) {
        self.say_message(&MediaClientMessage { version: 1, body: Some(body) }).await;
    }

    pub async fn say_message(&mut self, message: &MediaClientMessage) {
        let (writer, _) = self.control.as_mut().expect("the control stream is open");
        writer.send(&message.encode_to_vec()).await.expect("the session stands");
    }

    /// The next control message; reports, and what is said of layers, come when they like, and are passed over.
    pub async fn hear(&mut self) -> Said {
        loop {
            match self.hear_any().await {
                Said::Report(_) | Said::LayerControl(_) => {}
                other => return other,
            }
        }
    }

    async fn hear_any(&mut self) -> Said {
        let (_, reader) = self.control.as_mut().expect("the control stream is open");
        let message = within("a control message", reader.next()).await.expect("the session stands").expect("the stream goes on");
        MediaServerMessage::decode(message).expect("a server message").body.expect("with a body")
    }

    /// The next that is said of a layer: its id, and whether it is paused.
    pub async fn hear_layer(&mut self) -> (String, bool) {
        loop {
            if let Said::LayerControl(control) = self.hear_any().await {
                return (control.stream_id, control.paused);
            }
        }
    }

    pub async fn hear_report(&mut self) -> SubscriptionReport {
        loop {
            if let Said::Report(report) = self.hear_any().await {
                return report;
            }
        }
    }

    /// The layer of the next key-frame request.
    pub async fn hear_key_frame_request(&mut self) -> String {
        match self.hear().await {
            Said::KeyFrame(request) => request.stream_id,
            other => panic!("no key-frame request: {other:?}"),
        }
    }

    /// Writes `records` on one unidirectional stream, which goes on.
    pub async fn publish(&self, records: &[Bytes]) -> SendStream {
        let mut stream = within("a stream", self.session.open_uni()).await.expect("the session stands");
        write(&mut stream, records).await;
        stream
    }

    /// The next group stream, from its start.
    pub async fn accept(&self) -> Group {
        let stream = within("a group", self.session.accept_uni()).await.expect("the session stands");
        Group { stream, bytes: Vec::new() }
    }

    /// Reads the next group stream until it has `records`, which must be what comes to the byte.
    pub async fn expect(&self, records: &[Bytes]) -> Group {
        let mut group = self.accept().await;
        group.expect(records).await;
        group
    }

    /// With which code the handler closes the session.
    pub async fn closed(&self) -> Code {
        match within("a close", self.session.closed()).await {
            SessionError::WebTransportError(WebTransportError::Closed(code, _)) => Code::from_number(code).expect("a contract code"),
            other => panic!("not closed by code: {other}"),
        }
    }
}

pub async fn write(stream: &mut SendStream, records: &[Bytes]) {
    for record in records {
        stream.write_all(record).await.expect("the handler reads");
    }
}

/// The code with which the handler stops a stream.
pub async fn stopped(stream: &SendStream) -> Option<Code> {
    let code = within("a stop", stream.stopped()).await.expect("the session stands");
    code.and_then(Code::from_number)
}

/// How a group stream ended.
#[derive(Debug, PartialEq, Eq)]
pub enum GroupEnd {
    Finished,
    Reset(Code),
}

pub struct Group {
    stream: RecvStream,
    bytes: Vec<u8>,
}

impl Group {
    /// Reads until as many bytes have come as `records` have, and compares.
    pub async fn expect(&mut self, records: &[Bytes]) {
        let expected = records.concat();
        within("a group's bytes", async {
            while self.bytes.len() < expected.len() {
                let chunk = self.stream.read_chunk(usize::MAX, true).await.expect("the group goes on").expect("the group is not over");
                self.bytes.extend_from_slice(&chunk.bytes);
            }
        })
        .await;
        assert!(self.bytes == expected, "{} bytes came, {} were expected, and they differ", self.bytes.len(), expected.len());
        self.bytes.clear();
    }

    /// Reads to the end; what came besides, and how it ended.
    pub async fn end(&mut self) -> (Vec<u8>, GroupEnd) {
        let end = within("a group's end", async {
            loop {
                match self.stream.read_chunk(usize::MAX, true).await {
                    Ok(Some(chunk)) => self.bytes.extend_from_slice(&chunk.bytes),
                    Ok(None) => return GroupEnd::Finished,
                    Err(ReadError::Reset(code)) => return GroupEnd::Reset(Code::from_number(code).expect("a contract code")),
                    Err(error) => panic!("the group ended oddly: {error}"),
                }
            }
        })
        .await;
        (std::mem::take(&mut self.bytes), end)
    }
}

/// A length and nothing behind it.
pub fn length(length: u32) -> Vec<u8> {
    length.to_be_bytes().to_vec()
}
