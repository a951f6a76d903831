//! The measured process: a global controller with its production defaults, and bare axum handlers on the same listeners.
//!
//! In: a first line on standard input with what it needs to start, then one line per wish. Out: one JSON line for each. It ends with its input.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use bytes::Bytes;
use common::telemetry::{LogConfig, init_logging, init_metrics};
use common::tls::{Certificate, NodeIdentity, hash_base64, install_crypto_provider};
use common_core::MeetingId;
use global_controller::config::StoreConfig;
use global_controller::store::{self, Assignment, Limits, NewMeeting, Settings, Store};
use global_controller::{Config, Running};
use serde_json::{Value, json};

use crate::measure::store_calls;

/// Much longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the handlers beside ours answer, constant once said: as long as our own answers.
#[derive(Default)]
struct Bodies {
    get: OnceLock<Bytes>,
    create: OnceLock<Bytes>,
    join: OnceLock<Bytes>,
}

static BODIES: Bodies = Bodies { get: OnceLock::new(), create: OnceLock::new(), join: OnceLock::new() };

/// Serves until standard input ends. This thread reads it; the workers do not wait for it.
pub fn run() {
    install_crypto_provider();
    let metrics = init_metrics();
    init_logging(&LogConfig::default());
    // As many workers as there are cores to run on: the one that the process is pinned to.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut wishes = std::io::stdin().lines().map(|line| -> Value {
        let line = line.expect("standard input can be read");
        serde_json::from_str(&line).expect("JSON")
    });
    let wish = wishes.next().expect("how to start");
    let folder = PathBuf::from(text(&wish, "folder"));
    let running = runtime.block_on(start(&wish, &folder));
    for wish in wishes {
        match text(&wish, "do") {
            "answer" => {
                for (name, body) in [("get", &BODIES.get), ("create", &BODIES.create), ("join", &BODIES.join)] {
                    body.set(text(&wish, name).to_owned().into()).expect("said once");
                }
                say(&json!({}));
            }
            "create" => say(&runtime.block_on(create_alone(&folder, wish["count"].as_u64().expect("a number")))),
            "store calls" => say(&json!(store_calls(&metrics.render()))),
            other => panic!("{other} is nothing that can be done"),
        }
    }
    runtime.block_on(running.stop());
}

async fn start(wish: &Value, folder: &Path) -> Running {
    let pem = |name: &str| text(wish, name).to_owned();
    let identity = NodeIdentity { certificate_pem: pem("certificate"), key_pem: pem("key"), authority_pem: pem("authority") };
    let mut config = Config::default();
    config.public.bind = "127.0.0.1:0".parse().expect("an address");
    config.cluster.grpc_bind = config.public.bind;
    // The nodes come once, and stay.
    config.cluster.grace = Duration::ZERO;
    // What is measured is CPU time: a machine that is busy with something else, or a slow disk, must not end the run.
    (config.cluster.lease, config.cluster.call_timeout, config.store.timeout) = (PATIENCE, PATIENCE, PATIENCE);
    config.store.path = folder.join("store.sqlite");
    // Requests are counted all the same; nobody reaches these.
    (config.rates.requests, config.rates.anonymous_joins) = (u32::MAX, u32::MAX);
    let certificate = Certificate::self_signed(&["localhost".to_owned()]).expect("a certificate");
    let der = hash_base64(&certificate.chain[0]);
    let running = global_controller::start_beside(config, identity, certificate, bare()).await.expect("it starts");
    let scopes = "meetings:create meetings:read meetings:join meetings:end".parse().expect("scopes");
    let client = running.create_client("the bench", scopes).await.expect("an API client");
    say(&json!({
        "address": running.public_address(), "registry": running.grpc_address().to_string(), "certificate": der,
        "client_id": client.client_id, "client_secret": client.client_secret.expose(),
    }));
    running
}

fn text<'a>(wish: &'a Value, name: &str) -> &'a str {
    wish[name].as_str().expect("a text")
}

fn say(answer: &Value) {
    println!("{answer}");
}

/// What a request costs that does nothing: the listener, axum, and as many bytes.
fn bare() -> Router {
    async fn answer(State(body): State<&'static OnceLock<Bytes>>, _request: Bytes) -> impl IntoResponse {
        ([(header::CONTENT_TYPE, "application/json")], body.get().cloned().unwrap_or_default())
    }
    async fn constant() -> impl IntoResponse {
        ([(header::CONTENT_TYPE, "application/json")], BODIES.get.get().cloned().unwrap_or_default())
    }
    Router::new()
        .route("/bare/get", get(constant))
        .route("/bare/create", post(answer).with_state(&BODIES.create))
        .route("/bare/join", post(answer).with_state(&BODIES.join))
}

/// Creates meetings in a store of its own without any HTTP, as many at once as the load does: the fastest that a create can be.
async fn create_alone(folder: &Path, count: u64) -> Value {
    let config = StoreConfig::default();
    let limits = Limits { connections: config.connections, timeout: PATIENCE };
    let store = store::sqlite::open(&folder.join("alone.sqlite"), limits).await.expect("a store");
    let tenant = common::random::uuid();
    let started = Instant::now();
    let tasks: Vec<_> = (0..crate::IN_FLIGHT)
        .map(|task| {
            let (store, share) = (store.clone(), count / crate::IN_FLIGHT as u64 + u64::from(task == 0));
            tokio::spawn(async move {
                for _ in 0..share {
                    let new = meeting(tenant);
                    store.create_meeting(&new, None).await.expect("kept");
                }
                share
            })
        })
        .collect();
    let mut created = 0;
    for task in tasks {
        created += task.await.expect("it does not panic");
    }
    json!({"requests": created, "seconds": started.elapsed().as_secs_f64()})
}

fn meeting(tenant: uuid::Uuid) -> NewMeeting {
    let created_at = i64::try_from(common::clock::unix_millis()).expect("a time");
    NewMeeting {
        meeting_url: String::new(),
        id: MeetingId::from_bytes(common::random::bytes()),
        code: global_controller_core::MeetingCode::from_random(common::random::number()),
        tenant,
        host: Some(store::Account { subject: "the bench".into(), display_name: None }),
        display_name: crate::NAME.into(),
        settings: Settings { max_participants: 100, recording_enabled: false, enable_e2e_encryption: false, require_auth: false },
        region: "default".into(),
        created_at,
        assignment: Assignment {
            controller: "mc-1".parse().expect("a node id"),
            start_number: 1,
            controller_url: "https://controller-1.example.com/wt".into(),
            epoch: 1,
            reason: "the only one".into(),
            assigned_at: created_at,
        },
    }
}
