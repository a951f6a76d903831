//! HTTP/3 by itself: what one bad request does to its connection (nothing), and a client for the other tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h3::client::{RequestStream, SendRequest};
use http::{HeaderName, HeaderValue};
use quinn::crypto::rustls::QuicClientConfig;
use reqwest::StatusCode;

use crate::world::{Answer, World};

/// An HTTP/3 connection.
pub struct Http3 {
    send: SendRequest<h3_quinn::OpenStreams, Bytes>,
    pub connection: quinn::Connection,
    authority: String,
    _endpoint: quinn::Endpoint,
}

/// A QUIC connection that offers HTTP/3 and says nothing.
pub struct Raw {
    pub connection: quinn::Connection,
    _endpoint: quinn::Endpoint,
}

pub async fn dial(world: &World) -> Raw {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(world.certificate.chain[0].clone()).expect("a certificate");
    let mut tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("TLS 1.3")));
    let mut transport = quinn::TransportConfig::default();
    // A connection that ends does so for what HTTP/3 says, not for silence.
    transport.keep_alive_interval(Some(Duration::from_secs(1)));
    config.transport_config(Arc::new(transport));
    let endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let address = world.global_controller.public_address();
    let connection = endpoint.connect_with(config, address, "localhost").expect("an address").await.expect("a connection");
    Raw { connection, _endpoint: endpoint }
}

impl Http3 {
    pub async fn connect(world: &World) -> Self {
        let Raw { connection, _endpoint } = dial(world).await;
        let (mut driver, send) = h3::client::new(h3_quinn::Connection::new(connection.clone())).await.expect("HTTP/3");
        tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
        Self { send, connection, authority: world.global_controller.public_address().to_string(), _endpoint }
    }

    fn request(&self, method: &str, path: &str) -> http::Request<()> {
        let uri = format!("https://{}{path}", self.authority);
        http::Request::builder().method(method).uri(uri).header("content-type", "application/json").body(()).expect("a request")
    }

    /// A request without a body, whose answer is still to be read.
    pub async fn begin(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&'static str, &'static str)],
    ) -> RequestStream<h3_quinn::BidiStream<Bytes>, Bytes> {
        let mut request = self.request(method, path);
        request.headers_mut().extend(headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))));
        let mut stream = self.send.send_request(request).await.expect("the request goes out");
        stream.finish().await.expect("it has no body");
        stream
    }

    pub async fn send(&mut self, method: &str, path: &str, body: Option<Vec<u8>>) -> Answer {
        let request = self.request(method, path);
        let mut stream = self.send.send_request(request).await.expect("the request goes out");
        if let Some(body) = body {
            // A server that has read enough may stop it.
            let _ = stream.send_data(body.into()).await;
        }
        let _ = stream.finish().await;
        let head = stream.recv_response().await.expect("an answer");
        let mut body = BytesMut::new();
        while let Some(mut data) = stream.recv_data().await.expect("the body") {
            body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
        Answer { status: head.status(), headers: head.headers().clone(), text: String::from_utf8(body.to_vec()).expect("UTF-8") }
    }
}

#[tokio::test]
async fn a_bad_request_ends_no_connection() {
    let world = World::start(|config| {
        config.allow_anonymous_create = true;
        config.limits.read_timeout = Duration::from_millis(200);
    })
    .await;
    let mut http3 = Http3::connect(&world).await;
    // Begun and abandoned.
    let request = http3.request("POST", "/api/v1/meetings");
    let mut abandoned = http3.send.send_request(request).await.expect("the request goes out");
    abandoned.stop_stream(h3::error::Code::H3_REQUEST_CANCELLED);
    // A stream that breaks off inside its first frame.
    let (mut half, _) = http3.connection.open_bi().await.expect("a stream");
    half.write_all(&[0x01, 0x20, 0x00]).await.expect("written");
    half.reset(quinn::VarInt::from_u32(0x10c)).expect("reset");
    // A stream that never says anything.
    let (mut silent, _held) = http3.connection.open_bi().await.expect("a stream");
    silent.write_all(&[0x01]).await.expect("written");
    // A head over the limit is answered for itself.
    let long = format!("/api/v1/meetings?user_id={}", "x".repeat(40_000));
    let request = http3.request("GET", &long);
    if let Ok(mut stream) = http3.send.send_request(request).await {
        let _ = stream.finish().await;
        let status = stream.recv_response().await.map(|head| head.status());
        assert!(status.as_ref().is_ok_and(|status| *status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE), "{status:?}");
    }
    // A body that never comes is given up, with an answer.
    let request = http3.request("POST", "/api/v1/meetings");
    let mut slow = http3.send.send_request(request).await.expect("the request goes out");
    assert_eq!(slow.recv_response().await.expect("an answer").status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(http3.send("GET", "/healthz", None).await.text, "ok\n");
}

#[tokio::test]
async fn a_hundred_requests_share_a_connection() {
    let world = World::start(|_| {}).await;
    let http3 = Http3::connect(&world).await;
    let asked = (0..100).map(|_| {
        let (mut send, request) = (http3.send.clone(), http3.request("GET", "/healthz"));
        tokio::spawn(async move {
            let mut stream = send.send_request(request).await.expect("the request goes out");
            stream.finish().await.expect("finished");
            stream.recv_response().await.expect("an answer").status()
        })
    });
    for answer in asked.collect::<Vec<_>>() {
        assert_eq!(answer.await.expect("no panic"), StatusCode::OK);
    }
}

/// Bodies that do not come hold the places of their address, for as long as a body may take; health is told all the same.
#[tokio::test]
async fn slow_bodies_hold_the_places_of_their_address_alone() {
    let world = World::start(|config| {
        config.limits.requests_per_address = 1;
        config.limits.read_timeout = Duration::from_secs(1);
    })
    .await;
    let mut http3 = Http3::connect(&world).await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        let request = http3.request("POST", "/api/v1/auth/token");
        slow.push(http3.send.send_request(request).await.expect("the request goes out"));
    }
    assert_eq!(world.get("/healthz", None).await.text, "ok\n");
    let mut statuses = Vec::new();
    for stream in &mut slow {
        let head = stream.recv_response().await.expect("an answer");
        assert!(head.headers().contains_key("x-ratelimit-remaining"), "{head:?}");
        assert_eq!(head.headers().contains_key("retry-after"), head.status() == 503, "{head:?}");
        statuses.push(head.status().as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [408, 503, 503, 503]);
    assert_ne!(world.get("/", None).await.status, 503, "the place came back");
}
