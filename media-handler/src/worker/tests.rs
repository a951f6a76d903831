//! A worker that hangs, fails, and fails again.

use std::net::{Ipv4Addr, SocketAddr};

use common::quic::TransportLimits;
use common::tls::{Certificate, ClusterAuthority, NodeKind};
use web_transport_quinn::Session;

use super::*;
use crate::Running;
use crate::config::Config;

/// Clients choose their worker by chance: that so many come to one of two happens once in 10^12 runs.
const COMERS_MAX: usize = 40;
/// Nothing here takes longer, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_worker_that_hangs_is_named() {
    let beats = |seconds: [u64; 3]| seconds.map(|second| Moment::from_micros(second * 1_000_000)).into_iter();
    let now = Moment::from_micros(20_000_000);
    assert_eq!(alive(now, beats([20, 17, 18])), Ok(()));
    assert_eq!(alive(now, beats([20, 16, 18])), Err("worker 1 has not been seen for 4 s".to_owned()));
}

#[test]
fn who_fails_at_once_and_again_is_given_up() {
    let mut failures = Failures::default();
    let mut lives = |seconds: &[u64]| seconds.iter().map(|life| failures.are_too_many(Duration::from_secs(*life))).collect::<Vec<_>>();
    assert_eq!(lives(&[3600, 1, 1, 1, 1]), [false; 5]);
    assert_eq!(lives(&[11, 1, 1, 1, 1, 1]), [false, false, false, false, false, true], "a long life counts for new");
}

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A handler with two workers on `port`, and what clients need to trust it.
async fn handler(port: Port) -> (Running, quinn::ClientConfig) {
    common::tls::install_crypto_provider();
    let authority = ClusterAuthority::generate().expect("an authority");
    let certificate = Certificate::self_signed(&["127.0.0.1".into()]).expect("a certificate");
    let mut config = Config::default();
    config.cluster.grpc_bind = LOOPBACK;
    // Strangers may stay for as long as the test takes.
    config.limits.hello_timeout = Duration::from_secs(60);
    let identity = authority.issue(&config.node_id, NodeKind::MediaHandler).expect("a node certificate");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.chain[0].clone()).expect("a self-signed certificate is a root");
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3 is there")
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![common::webtransport::ALPN.to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).expect("the suites serve QUIC");
    let mut client = quinn::ClientConfig::new(Arc::new(crypto));
    client.transport_config(Arc::new(TransportLimits::SIGNALING.transport()));
    (crate::start_on(port, config, identity, certificate).await.expect("the handler starts"), client)
}

/// Lets clients come until one is on `worker`, whom it returns; the others stay, and are in `crowd`.
async fn comes_to(running: &Running, config: &quinn::ClientConfig, worker: usize, crowd: &mut Vec<Session>) -> Session {
    let url: url::Url = running.public_url().parse().expect("the handler's URL is one");
    for _ in 0..COMERS_MAX {
        let before = running.sessions_by_worker();
        let endpoint = quinn::Endpoint::client(LOOPBACK).expect("a client endpoint");
        let session = web_transport_quinn::Client::new(endpoint, config.clone()).connect(url.clone()).await.expect("the handler accepts");
        // Whoever is answered is served or about to be.
        let deadline = Instant::now() + PATIENCE;
        let found = loop {
            let now = running.sessions_by_worker();
            if let Some(found) = (0..now.len()).find(|index| now[*index] > before[*index]) {
                break found;
            }
            assert!(Instant::now() < deadline, "nobody serves the client");
            tokio::task::yield_now().await;
        };
        if found == worker {
            return session;
        }
        crowd.push(session);
    }
    panic!("of {COMERS_MAX} none came to worker {worker}");
}

/// Those on the worker that panics are told at once by its successor; those on the other notice nothing; new ones are served by both.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_panics_is_begun_anew_and_nobody_elses_session_ends() {
    one_panics(Port::bind(LOOPBACK, 2).expect("a port")).await;
}

/// The same where each reads what is the other's: its successor finds what was left for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_panics_is_handed_its_packets_when_it_is_begun_anew() {
    let mut port = Port::bind(LOOPBACK, 2).expect("a port");
    port.sockets.swap(0, 1);
    one_panics(port).await;
}

async fn one_panics(port: Port) {
    let (running, config) = handler(port).await;
    let mut crowd = Vec::new();
    let ill = comes_to(&running, &config, 0, &mut crowd).await;
    let well = comes_to(&running, &config, 1, &mut crowd).await;
    running.workers.seen[0].panics.store(true, Ordering::Relaxed);
    let ended = async {
        // Until it has panicked the worker takes what is sent.
        while ill.close_reason().is_none() {
            let _ = ill.send_datagram(vec![0].into());
            let _ = tokio::time::timeout(Duration::from_millis(20), ill.closed()).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the successor knows nothing of its predecessor's sessions, and says so");
    let again = tokio::time::timeout(PATIENCE, comes_to(&running, &config, 0, &mut crowd)).await.expect("the successor serves");
    assert!(well.close_reason().is_none() && again.close_reason().is_none());
    assert_eq!(running.workers.check()(), Ok(()));
    running.stop().await;
}
