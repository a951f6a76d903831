use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::post;
use common_core::MeetingId;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::store::{Event, EventKind, Webhook};

fn delivery(url: String) -> Delivery {
    let webhook = Webhook {
        id: common::random::uuid(),
        client: "a client".into(),
        tenant: common::random::uuid(),
        url,
        events: 1,
        secret: signature::new_secret(),
        created_at: 0,
        delivered_at: None,
        failing: None,
    };
    let event = Event {
        id: common::random::uuid(),
        meeting: MeetingId::from_bytes([1; 16]),
        sequence: 1,
        kind: EventKind::MeetingCreated,
        occurred_at: 0,
        data: json!({}),
    };
    Delivery { webhook, event, attempts: 0 }
}

fn config() -> WebhooksConfig {
    common::tls::install_crypto_provider();
    WebhooksConfig { allow_private: true, timeout: Duration::from_secs(5), ..WebhooksConfig::default() }
}

/// A target on 127.0.0.1 that closes each connection behind its answer; its port.
async fn target(status: StatusCode) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let router = Router::new().route("/", post(move || async move { (status, [(header::CONNECTION, "close")], "x".repeat(100_000)) }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

/// The name leads to the target at the first look-up and elsewhere from the second on: each connection is made to an address that was looked up
/// and checked for it.
#[tokio::test]
async fn a_name_that_changes_its_mind_gets_nowhere() {
    let port = target(StatusCode::OK).await;
    let looked_up = Arc::new(AtomicUsize::new(0));
    let counter = looked_up.clone();
    let lookup: Lookup = Arc::new(move |_| {
        let first = counter.fetch_add(1, Ordering::SeqCst) == 0;
        let address = if first { [127, 0, 0, 1] } else { [127, 0, 0, 2] };
        Box::pin(std::future::ready(Ok(vec![IpAddr::from(address)])))
    });
    let caller = Caller::with(&config(), lookup, |address| address == IpAddr::from([127, 0, 0, 1])).expect("a caller");
    let due = delivery(format!("http://target.example:{port}/"));
    assert_eq!((caller.call(&due).await, looked_up.load(Ordering::SeqCst)), (Outcome::Delivered, 1));
    let refused = Outcome::failed("not_public", "the host is not on the public internet");
    assert_eq!((caller.call(&due).await, looked_up.load(Ordering::SeqCst)), (refused, 2));
}

/// An address in a URL is never looked up, so it is checked before the call: also of webhooks that were registered when it was allowed.
#[tokio::test]
async fn addresses_inside_are_not_called() {
    let port = target(StatusCode::OK).await;
    let strict = WebhooksConfig { allow_private: false, ..config() };
    let caller = Caller::new(&strict).expect("a caller");
    for host in ["127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "localhost"] {
        let outcome = caller.call(&delivery(format!("https://{host}:{port}/"))).await;
        assert_eq!(outcome.label(), "not_public", "{host}");
    }
}

#[tokio::test]
async fn how_a_call_ends_is_told_in_words() {
    let caller = Caller::new(&config()).expect("a caller");
    let check = async |status: StatusCode| caller.call(&delivery(format!("http://127.0.0.1:{}/", target(status).await))).await;
    assert_eq!(check(StatusCode::NO_CONTENT).await, Outcome::Delivered);
    assert_eq!(check(StatusCode::GONE).await, Outcome::Gone);
    let refused = |reason: &str| Outcome::failed("refused", reason);
    assert_eq!(check(StatusCode::FOUND).await, refused("the target answered 302 Found; redirects are not followed"));
    assert_eq!(check(StatusCode::INTERNAL_SERVER_ERROR).await, refused("the target answered 500 Internal Server Error"));
    // Bound and not served: nothing listens there.
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("an address").port();
    match caller.call(&delivery(format!("http://127.0.0.1:{free}/"))).await {
        Outcome::Failed { label: "unreachable", reason, .. } => {
            assert!(reason.starts_with("cannot connect: Connection refused"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
    let spoiled = Delivery { webhook: Webhook { secret: "x".into(), ..delivery(String::new()).webhook }, ..delivery(String::new()) };
    assert_eq!(caller.call(&spoiled).await.label(), "failed");
}

#[test]
fn an_authority_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("targets.pem");
    let refused = |path: &Path| {
        let config = WebhooksConfig { authority: Some(path.into()), ..config() };
        Caller::new(&config).err().expect("it is refused").to_string()
    };
    assert!(refused(&path).contains("targets.pem: No such file"), "{}", refused(&path));
    std::fs::write(&path, "no certificate").expect("written");
    assert!(refused(&path).ends_with("targets.pem: holds no certificate"), "{}", refused(&path));
}
