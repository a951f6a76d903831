//! The store is away: who needs it is told to come again within two seconds, and when it is back everything goes on by itself.

use std::time::{Duration, Instant};

use common::Secret;
use common::shutdown::Shutdown;
use common::tls::{ClusterAuthority, NodeKind};
use global_controller::Config;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::postgres::Postgres;
use crate::world::{STORE_TIMEOUT, World, eventually};

/// Two seconds are promised; the rest is for a busy machine.
const ANSWER_LIMIT: Duration = Duration::from_millis(2500);
/// Requests at once: more than there are connections, so that some wait for one.
const AT_ONCE: usize = 24;

const UNAVAILABLE: &str = "503 UNAVAILABLE: the store is not available";

/// A meeting is created, and shown.
async fn works(world: &World) -> Option<()> {
    let body = json!({"display_name": "Standup"}).to_string();
    let created = world.send(Method::POST, "/api/v1/meetings", None, Some(body)).await;
    let meeting: Value = serde_json::from_str(&created.text).ok()?;
    let shown = world.get(&format!("/api/v1/meetings/{}", meeting["meeting_id"].as_str()?), None).await;
    (created.status == StatusCode::CREATED && shown.status == StatusCode::OK).then_some(())
}

/// Every one of many requests is told to come again, in time.
async fn refuses(world: &World, method: Method, path: &str, body: Option<Value>) {
    let requests = (0..AT_ONCE).map(|_| async {
        let began = Instant::now();
        (world.send(method.clone(), path, None, body.as_ref().map(Value::to_string)).await, began.elapsed())
    });
    for (answer, took) in futures_util::future::join_all(requests).await {
        assert_eq!(answer.refusal(), UNAVAILABLE);
        assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0), "{:?}", answer.headers);
        assert!(took < ANSWER_LIMIT, "{method} {path} took {took:?}");
    }
}

/// What operators are told of the store.
fn store_state(world: &World) -> Result<(), String> {
    let readiness = world.global_controller.readiness();
    readiness.iter().find(|readiness| readiness.name == "store").map(|readiness| (readiness.check)()).expect("it is looked at")
}

async fn is_seen_away(world: &World) {
    let reason = eventually("readiness turns", || async { store_state(world).err() }).await;
    assert_eq!(reason, "not available", "who asks is not told how the store is made");
}

async fn is_back(world: &World) {
    eventually("the API works again", || works(world)).await;
    eventually("readiness turns back", || async { store_state(world).ok() }).await;
}

#[tokio::test]
async fn a_postgres_that_is_away_comes_back() {
    let mut server = Postgres::start().expect("a server");
    let url = server.url();
    let world = World::start(move |config| {
        config.allow_anonymous_create = true;
        config.store.timeout = STORE_TIMEOUT;
        config.store.url = Some(Secret::new(url.clone()));
        config.rates.requests = u32::MAX;
    })
    .await;
    let (_controller, _handler) = (world.controller("mc-1").await, world.handler("mh-1", "eu").await);
    works(&world).await.expect("it works at first");
    let create = || Some(json!({"display_name": "Standup"}));
    let kept = world.meeting().await;
    let path = format!("/api/v1/meetings/{}", kept["meeting_id"].as_str().expect("an id"));

    // Frozen: connections stand, and nobody answers. Twice, since the first round leaves connections in the middle of something.
    server.freeze().expect("frozen");
    refuses(&world, Method::POST, "/api/v1/meetings", create()).await;
    refuses(&world, Method::GET, &path, None).await;
    is_seen_away(&world).await;
    server.thaw().expect("thawed");
    is_back(&world).await;

    // Stopped: connections break, and new ones are refused.
    server.stop().expect("stopped");
    refuses(&world, Method::GET, &path, None).await;
    refuses(&world, Method::DELETE, &path, None).await;
    is_seen_away(&world).await;
    server.resume().expect("started");
    is_back(&world).await;

    // Killed while frozen: what was in the middle of something gets no answer ever.
    server.freeze().expect("frozen");
    refuses(&world, Method::GET, &path, None).await;
    server.kill().expect("killed");
    server.resume().expect("started");
    is_back(&world).await;

    // A start while it is away waits for it.
    server.stop().expect("stopped");
    let resume = tokio::task::spawn_blocking(move || server.resume().map(|()| server));
    let (world, server) = tokio::join!(world.restarted(), resume);
    let _server = server.expect("no panic").expect("started");
    assert_eq!(world.get(&path, None).await.expect(StatusCode::OK)["display_name"], "Standup");
}

/// Whoever holds the file keeps others from writing; reading goes on.
#[tokio::test]
async fn a_sqlite_file_that_is_locked_is_free_again() {
    let world = World::start(|config| {
        config.allow_anonymous_create = true;
        config.store.timeout = STORE_TIMEOUT;
        config.rates.requests = u32::MAX;
    })
    .await;
    let (_controller, _handler) = (world.controller("mc-1").await, world.handler("mh-1", "eu").await);
    let kept = world.meeting().await;
    let path = format!("/api/v1/meetings/{}", kept["meeting_id"].as_str().expect("an id"));
    let file = world.database().await;
    let lock = file.begin_with("BEGIN EXCLUSIVE").await.expect("the lock");
    refuses(&world, Method::POST, "/api/v1/meetings", Some(json!({"display_name": "Standup"}))).await;
    refuses(&world, Method::DELETE, &path, None).await;
    world.get(&path, None).await.expect(StatusCode::OK);
    is_seen_away(&world).await;
    lock.rollback().await.expect("it is free");
    is_back(&world).await;
}

/// A start that waits for the store's server ends when it is asked to, and well.
#[tokio::test]
async fn a_start_that_waits_can_be_ended() {
    common::tls::install_crypto_provider();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = ClusterAuthority::generate().expect("an authority");
    let mut config = Config::default();
    let identity = authority.issue(&config.node_id, NodeKind::GlobalController).expect("a certificate");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a temporary file");
        path
    };
    config.cluster.certificate = file("node.pem", &identity.certificate_pem);
    config.cluster.key = file("node.key", &identity.key_pem);
    config.cluster.authority = file("cluster.pem", &identity.authority_pem);
    config.admin_bind.set_port(0);
    // Nobody answers at port 1.
    config.store.url = Some(Secret::new("postgres://127.0.0.1:1/none"));
    let shutdown = Shutdown::default();
    let asks = async {
        shutdown.drain.cancel();
        Instant::now()
    };
    // In this order: the start is on its way when it is asked to end.
    let (outcome, asked) = tokio::join!(global_controller::run(config, shutdown.clone()), asks);
    assert!(outcome.is_ok() && asked.elapsed() < ANSWER_LIMIT, "{outcome:?} after {:?}", asked.elapsed());
}
