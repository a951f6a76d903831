//! The load: a few connections, each with several requests under way, over HTTP/3 or HTTP/2. Every answer's status is asserted.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    #[value(name = "h3")]
    Http3,
    #[value(name = "h2")]
    Http2,
}

impl Protocol {
    pub const ALL: [Protocol; 2] = [Protocol::Http3, Protocol::Http2];

    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Http3 => "h3",
            Protocol::Http2 => "h2",
        }
    }
}

/// Where the server is, and what it shows.
pub struct Target {
    pub address: SocketAddr,
    pub certificate: CertificateDer<'static>,
}

impl Target {
    /// A path on it.
    pub fn uri(&self, path: &str) -> Uri {
        format!("https://{}{path}", self.address).parse().expect("a URI")
    }
}

/// A connection; clones share it.
#[derive(Clone)]
pub enum Connection {
    Http3(h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    pub async fn open(target: &Target, protocol: Protocol) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(target.certificate.clone()).expect("a certificate");
        let mut tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![protocol.name().into()];
        match protocol {
            Protocol::Http3 => {
                let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("TLS 1.3")));
                let endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
                let connecting = endpoint.connect_with(config, target.address, "localhost").expect("an address");
                let connection = h3_quinn::Connection::new(connecting.await.expect("a connection"));
                let (mut driver, send) = h3::client::new(connection).await.expect("HTTP/3");
                tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
                Connection::Http3(send)
            }
            Protocol::Http2 => {
                let stream = TcpStream::connect(target.address).await.expect("a connection");
                stream.set_nodelay(true).expect("a TCP socket");
                let name = ServerName::try_from("localhost").expect("a name");
                let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.expect("TLS");
                let (send, driver) =
                    http2::Builder::new(TokioExecutor::new()).handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.expect("HTTP/2");
                tokio::spawn(driver);
                Connection::Http2(send)
            }
        }
    }

    /// The answer's status and body.
    pub async fn call(&mut self, request: Request<Bytes>) -> (StatusCode, Vec<u8>) {
        let mut whole = Vec::new();
        let status = match self {
            Connection::Http3(send) => {
                let (head, body) = request.into_parts();
                let mut stream = send.send_request(Request::from_parts(head, ())).await.expect("the request goes out");
                if !body.is_empty() {
                    stream.send_data(body).await.expect("its body goes out");
                }
                stream.finish().await.expect("it ends");
                let status = stream.recv_response().await.expect("an answer").status();
                while let Some(mut data) = stream.recv_data().await.expect("its body") {
                    whole.extend_from_slice(&data.copy_to_bytes(data.remaining()));
                }
                status
            }
            Connection::Http2(send) => {
                send.ready().await.expect("the connection stands");
                let response = send.send_request(request.map(Full::new)).await.expect("an answer");
                let (head, mut body) = response.into_parts();
                while let Some(frame) = body.frame().await {
                    if let Ok(data) = frame.expect("its body").into_data() {
                        whole.extend_from_slice(&data);
                    }
                }
                head.status
            }
        };
        (status, whole)
    }
}

/// Requests of one kind.
pub struct Requests {
    pub method: Method,
    /// Asked for in turn.
    pub uris: Vec<Uri>,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// What every one of them must be answered with.
    pub status: StatusCode,
}

impl Requests {
    pub fn request(&self, number: usize) -> Request<Bytes> {
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uris[number % self.uris.len()].clone();
        request.headers_mut().clone_from(&self.headers);
        request
    }
}

/// When to stop.
#[derive(Clone, Copy)]
pub enum Until {
    /// After so long.
    Elapsed(Duration),
    /// After so many requests.
    Count(u64),
}

/// Keeps `in_flight` requests under way, spread over the connections; returns how many were answered, all as they must be. None is under way
/// afterwards.
pub async fn drive(connections: &[Connection], requests: &Rc<Requests>, in_flight: usize, until: Until) -> u64 {
    let begun = Rc::new(Cell::new(0_u64));
    let started = Instant::now();
    let tasks: Vec<_> = (0..in_flight)
        .map(|task| {
            let (mut connection, requests, begun) = (connections[task % connections.len()].clone(), requests.clone(), begun.clone());
            tokio::task::spawn_local(async move {
                loop {
                    let number = begun.get();
                    let done = match until {
                        Until::Elapsed(length) => started.elapsed() >= length,
                        Until::Count(count) => number >= count,
                    };
                    if done {
                        return;
                    }
                    begun.set(number + 1);
                    let request = requests.request(usize::try_from(number).expect("a small number"));
                    let (status, body) = connection.call(request).await;
                    assert_eq!(status, requests.status, "{}", String::from_utf8_lossy(&body));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("every answer is as it must be");
    }
    begun.get()
}
