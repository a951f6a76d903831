//! Clients that break the rules of HTTP itself, on every protocol. Each test has a bystander, who must never notice.

mod http1;
mod http2;
mod http3;

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::world::World;

/// Longer than anything here may take, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// What the tests give clients that should hurry.
const SHORT: Duration = Duration::from_millis(300);

/// Somebody who keeps asking, on a connection of its own.
struct Bystander {
    stop: CancellationToken,
    task: JoinHandle<u32>,
}

impl Bystander {
    fn of(world: &World) -> Self {
        let (request, stop) = (world.http.get(world.url("/healthz")), CancellationToken::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(20));
            let mut answers = 0;
            while !stopped.is_cancelled() {
                ticks.tick().await;
                let asked = request.try_clone().expect("it has no body").send();
                let answer = tokio::time::timeout(PATIENCE, asked).await.expect("in time").expect("an answer");
                assert_eq!(answer.status(), 200);
                answers += 1;
            }
            answers
        });
        Self { stop, task }
    }

    /// It was always served, and is now.
    async fn was_served(self) {
        self.stop.cancel();
        assert!(self.task.await.expect("always served") > 0);
    }
}

/// A TLS connection to the world that speaks `alpn`.
async fn dial(world: &World, alpn: &[u8]) -> TlsStream<TcpStream> {
    try_dial(world, alpn).await.expect("a TLS connection")
}

async fn try_dial(world: &World, alpn: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(world.certificate.chain[0].clone()).expect("a certificate");
    let mut tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(world.global_controller.public_address()).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(tls)).connect(name, stream).await
}

/// What holds one connection holds no more than its share, and gives it back.
#[tokio::test]
async fn an_address_has_a_share_of_the_connections() {
    let world = World::start(|config| config.limits.connections_per_address = 2).await;
    let first = dial(&world, b"h2").await;
    let _second = dial(&world, b"http/1.1").await;
    assert!(try_dial(&world, b"h2").await.is_err(), "a third over TCP");
    let quic = crate::http3::dial(&world).await;
    let _quic = crate::http3::dial(&world).await;
    let refused = crate::http3::dial(&world).await;
    let closed = tokio::time::timeout(PATIENCE, refused.connection.closed()).await.expect("a third over QUIC is closed");
    assert_eq!(code_of(&closed), 0x107, "H3_EXCESSIVE_LOAD");
    drop((first, quic));
    crate::world::eventually("a place is given back", || async { try_dial(&world, b"h2").await.ok() }).await;
}

/// The HTTP/3 code that the server closed with.
fn code_of(error: &quinn::ConnectionError) -> u64 {
    match error {
        quinn::ConnectionError::ApplicationClosed(closed) => closed.error_code.into_inner(),
        other => panic!("closed otherwise: {other}"),
    }
}
