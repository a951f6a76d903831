//! A media handler that sends what no handler should: garbage for groups, broken records, control messages that are none. The client leaves it out
//! and takes what is good.

use std::sync::Arc;

use bytes::Bytes;
use common_core::{FrameFlags, FrameHeader, FrameKind, StreamId};
use dark_tower_client::{ConnectionState, JoinOptions, Trust};
use prost::Message as _;
use proto::v1::{self, media_server_message::Body};
use quinn::crypto::rustls::QuicServerConfig;
use rustls::pki_types::PrivateKeyDer;
use web_transport_quinn::{ALPN, SendStream, Server, Session};

use crate::dice::Dice;
use crate::door::{Door, JOIN_TOKEN, join_with, soon};

/// Group streams of a run.
const GROUPS: usize = 1_500;
/// Control messages of a run.
const CONTROL_MESSAGES: usize = 1_000;
const CONNECTION_TOKEN: &str = "a connection token of this test";

pub(crate) struct Handler {
    url: String,
    server: Server,
}

impl Handler {
    pub(crate) fn open() -> Self {
        canary::keep("connection_token", CONNECTION_TOKEN);
        let signed = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate can be made");
        let key = PrivateKeyDer::Pkcs8(signed.signing_key.serialize_der().into());
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![signed.cert.der().clone()], key)
            .expect("the key fits");
        tls.alpn_protocols = vec![ALPN.as_bytes().to_vec()];
        let crypto = QuicServerConfig::try_from(tls).expect("TLS 1.3 has a cipher for QUIC");
        let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse().expect("an address")).expect("a port is free");
        let url = format!("https://{}/media", endpoint.local_addr().expect("it is bound"));
        Self { url, server: Server::new(endpoint) }
    }

    pub(crate) fn info(&self) -> v1::MediaServerInfo {
        v1::MediaServerInfo { media_handler_url: self.url.clone(), connection_token: CONNECTION_TOKEN.into(), ..Default::default() }
    }

    /// The next session, and the control stream on which it has said hello.
    pub(crate) async fn accept(&mut self) -> (Session, SendStream) {
        let request = soon(self.server.accept()).await.expect("a client comes");
        let session = soon(request.ok()).await.expect("it is a session");
        let (send, mut recv) = soon(session.accept_bi()).await.expect("a control stream");
        let mut first = [0; 5];
        soon(recv.read_exact(&mut first)).await.expect("a hello");
        assert_eq!(first[0], dark_tower_client::media::CONTROL_STREAM);
        (session, send)
    }
}

/// Says something on the control stream.
pub(crate) async fn say(control: &mut SendStream, body: Body) {
    let message = v1::MediaServerMessage { version: 1, body: Some(body) }.encode_to_vec();
    let length = u32::try_from(message.len()).expect("small").to_be_bytes();
    soon(control.write_all(&[&length[..], &message].concat())).await.expect("the client reads");
}

fn header(dice: &mut Dice, payload_length: u32) -> FrameHeader {
    FrameHeader {
        kind: [FrameKind::Audio, FrameKind::VideoKey, FrameKind::VideoDelta][dice.roll(3)],
        stream_id: StreamId::from_bytes([u8::try_from(dice.roll(256)).expect("a byte"); 16]),
        timestamp_us: if dice.roll(3) == 0 { u64::MAX } else { 0 },
        sequence: if dice.roll(5) == 0 { u64::MAX } else { u64::try_from(dice.roll(10_000)).expect("small") },
        payload_length,
        flags: FrameFlags(u16::try_from(dice.roll(65_536)).expect("sixteen bits")),
        reserved: [7; 6],
    }
}

/// What may stand on a group stream: noise, headers that lie, records that are cut, or good ones with bytes turned over.
fn group(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=dice.roll(4) {
        match dice.roll(4) {
            0 => bytes.extend((0..dice.roll(300)).map(|_| u8::try_from(dice.roll(256)).expect("a byte"))),
            1 => bytes.extend(header(dice, u32::MAX).encode()),
            2 => {
                bytes.extend(header(dice, 500).encode());
                bytes.extend(vec![1; dice.roll(500)]);
            }
            _ => {
                bytes.extend(header(dice, 20).encode());
                bytes.extend([2; 20]);
            }
        }
    }
    if dice.roll(2) == 0 {
        dice.turn_bytes_over(&mut bytes);
    }
    bytes
}

fn control_message(dice: &mut Dice) -> Vec<u8> {
    let body = match dice.roll(6) {
        0 => Some(Body::KeyFrame(v1::RequestKeyFrame { stream_id: dice.text() })),
        1 => Some(Body::LayerControl(v1::LayerControl { stream_id: dice.text(), paused: dice.roll(2) == 0 })),
        2 => {
            let dropped = [(dice.text(), u64::MAX)].into();
            Some(Body::Report(v1::SubscriptionReport { stream_id: dice.text(), last_change: dice.text(), dropped, ..Default::default() }))
        }
        3 => Some(Body::Error(v1::ErrorMessage { code: -1, message: dice.text(), ..Default::default() })),
        4 => Some(Body::Pong(v1::Pong { sent_at_us: u64::MAX, received_at_us: 0 })),
        _ => None,
    };
    let mut message = v1::MediaServerMessage { version: 9, body }.encode_to_vec();
    if dice.roll(2) == 0 {
        dice.turn_bytes_over(&mut message);
    }
    let mut framed = u32::try_from(message.len()).expect("small").to_be_bytes().to_vec();
    framed.extend(message);
    framed
}

#[tokio::test]
async fn garbage_is_left_out_and_good_records_come_through() {
    let (door, mut handler, mut dice) = (Door::open().await, Handler::open(), Dice::new(3));
    let options = JoinOptions { trust: Trust::Anything, ..door.options() };
    assert_eq!(options.join_token, JOIN_TOKEN);
    let response = v1::JoinResponse { media_server: Some(handler.info()), ..Default::default() };
    let ((mut ana, _controller), (session, mut control)) = tokio::join!(join_with(&door, options, response), handler.accept());

    let good = StreamId::from_bytes([0xee; 16]);
    let sending = tokio::spawn(async move {
        for _ in 0..CONTROL_MESSAGES {
            soon(control.write_all(&control_message(&mut dice))).await.expect("the client reads");
        }
        for number in 0..GROUPS {
            let mut stream = soon(session.open_uni()).await.expect("the client lets streams go");
            // The client may stop reading at any byte.
            let _ = soon(stream.write_all(&group(&mut dice))).await;
            match number % 3 {
                0 => drop(stream.reset(u32::try_from(dice.roll(1 << 20)).expect("small"))),
                _ => drop(stream.finish()),
            }
        }
        let last = FrameHeader { stream_id: good, payload_length: 4, flags: FrameFlags::END_OF_FRAME, ..header(&mut dice, 4) };
        let mut stream = soon(session.open_uni()).await.expect("the client lets streams go");
        soon(stream.write_all(&[last.encode().as_slice(), b"good"].concat())).await.expect("the client reads");
        let _ = stream.finish();
        // The session lives until the client ends it.
        session.closed().await;
    });

    let record = loop {
        let record = soon(ana.records.next()).await.expect("the meeting goes on");
        if record.header.stream_id == good {
            break record;
        }
    };
    assert_eq!(record.payload, Bytes::from_static(b"good"));
    assert_eq!(ana.meeting.state(), ConnectionState::Connected);
    let stats = ana.meeting.stats();
    assert!(stats.subscriptions.iter().any(|it| it.stream_id == good && it.frames == 1), "{stats:?}");
    assert!(!stats.handler_url.is_empty());
    soon(ana.meeting.close()).await;
    soon(sending).await.expect("no panic");
}
