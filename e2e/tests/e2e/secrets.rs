//! Every kind of secret goes through a cluster of processes that log at `trace`, and nobody prints one: no log, no error, no metric, no command
//! line. (Every other test looks as well, for the secrets that it comes to know.)

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use client::e2ee::Secret;
use client::{Client, Event, Joined};
use common::tls::NodeKind;
use common_core::frame::FrameKind;
use e2e::api::Api;
use e2e::nodes::Nodes;
use e2e::peer::{Peer, fresh_stream_id, kind_in_groups_of};
use e2e::postgres::Postgres;
use e2e::process::{Process, dark_tower};
use e2e::session::Stack;
use e2e::wire::Record;
use e2e::within;
use proto::v1::{self, client_message};
use reqwest::{Method, header};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(20);
/// Published while everybody subscribes; enough for a group and the next.
const RECORDS: u64 = 30;
const RECORD_BYTES: usize = 900;

const CHAT: &str = "a chat message that is nobody's business";
const COOKIE: &str = "access_token=a-cookie-of-another-application";
const BASIC_PASSWORD: &str = "a-password-that-was-typed-into-the-wrong-form";
const DATABASE_PASSWORD: &str = "the-password-of-the-database";
const HOOK_KEY: &str = "the-key-in-a-webhooks-address";
const IDEMPOTENCY_KEY: &str = "an-idempotency-key-that-nobody-guesses";
const MEETING_KEY: &str = "TheKeyOfAnEncryptedMeeting0123456789abcdefg";

fn keep_all() {
    canary::keep("chat", CHAT);
    canary::keep("cookie", COOKIE);
    canary::keep("authorization", BASIC_PASSWORD);
    canary::keep("database password", DATABASE_PASSWORD);
    canary::keep("webhook url", HOOK_KEY);
    canary::keep("idempotency key", IDEMPOTENCY_KEY);
    canary::keep("meeting key", MEETING_KEY);
}

/// Three services of their own, the global controller on PostgreSQL.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_prints_a_secret() -> anyhow::Result<()> {
    keep_all();
    let postgres = Postgres::start()?;
    let url = postgres.url().replace("dt@", &format!("dt:{DATABASE_PASSWORD}@"));
    ensure!(url.contains(DATABASE_PASSWORD), "{url} has no password");
    let store = format!("url = \"{url}\"\n[webhooks]\nallow_private = true\n");
    let plans =
        [("gc-1", NodeKind::GlobalController, "eu"), ("mc-1", NodeKind::MeetingController, "eu"), ("mh-1", NodeKind::MediaHandler, "eu")];
    let mut nodes = Nodes::start(&plans, &[(NodeKind::GlobalController, &store)]).await?;
    let api = nodes.api.clone();

    let token = application(&nodes, &api).await?;
    let meeting = meet(&api, &token).await?;
    wrong_secrets_are_not_repeated(&api).await?;
    headers_of_browsers(&api, &meeting).await?;
    people_talk(&api, &meeting).await?;
    a_program_is_told_a_key(&api, &token).await?;

    for (id, ..) in plans {
        canary::inspect(&format!("/readyz of {id}"), nodes.readyz(id).await?.1);
        let log = nodes.log(id)?;
        ensure!(!log.is_empty(), "{id} logs nothing, so nothing was looked through");
    }
    for (id, ..) in plans.into_iter().rev() {
        let address = nodes.node(id)?.at.admin;
        let metrics = Api::new(format!("http://{address}"))?.request(Method::GET, "/metrics").send().await?.text().await?;
        canary::inspect(&format!("metrics of {id}"), &metrics);
        ensure!(!metrics.contains("dark_tower_redacted_total{"), "{id} had to redact something");
        nodes.stop(id).await?;
    }
    Ok(())
}

/// An application comes into being, gets tokens by every way there is, and registers a webhook, which is called.
async fn application(nodes: &Nodes, api: &Api) -> anyhow::Result<String> {
    let mut command = Command::new(dark_tower()?);
    command.args(["client", "create", "An application", "--json", "--config"]).arg(nodes.config("gc-1")?);
    let scopes = ["meetings:create", "meetings:read", "meetings:join", "webhooks:manage"];
    for scope in scopes {
        command.args(["--scope", scope]);
    }
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().await?;
    ensure!(output.status.success(), "client create: {}", String::from_utf8_lossy(&output.stderr));
    let made: Value = serde_json::from_slice(&output.stdout)?;
    canary::keep_answer(&made);
    canary::inspect("standard error of client create", &output.stderr);
    let (id, secret) = (made["client_id"].as_str().context("an id")?, made["client_secret"].as_str().context("a secret")?);
    canary::keep("basic", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("{id}:{secret}")));

    let path = "/api/v1/auth/token";
    let wish = json!({"grant_type": "client_credentials", "client_id": id, "client_secret": secret});
    let (status, answer) = api.post(path, &wish).await?;
    ensure!(status == 200, "{status}");
    let form = "grant_type=client_credentials";
    let basic =
        api.request(Method::POST, path).basic_auth(id, Some(secret)).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let by_basic: Value = basic.body(form).send().await?.json().await?;
    canary::keep_answer(&by_basic);
    ensure!(by_basic["access_token"].is_string(), "no token by Basic");

    let token = answer["access_token"].as_str().context("a token")?.to_owned();
    let hook = json!({"url": format!("http://127.0.0.1:9/{HOOK_KEY}?key={HOOK_KEY}")});
    let registered = api.request(Method::POST, "/api/v1/webhooks").bearer_auth(&token).json(&hook).send().await?;
    ensure!(registered.status() == 201, "a webhook: {}", registered.status());
    canary::keep_answer(&registered.json().await?);
    Ok(token)
}

/// A meeting, made twice under one key.
async fn meet(api: &Api, token: &str) -> anyhow::Result<Value> {
    let mut made = Value::Null;
    for _ in 0..2 {
        let request = api.request(Method::POST, "/api/v1/meetings").bearer_auth(token).header("idempotency-key", IDEMPOTENCY_KEY);
        let answer = request.json(&json!({"display_name": "Quiet", "settings": {"require_auth": false}})).send().await?;
        ensure!(answer.status() == 201, "a meeting: {}", answer.status());
        made = answer.json().await?;
        canary::keep_answer(&made);
    }
    Ok(made)
}

/// What somebody shows in the wrong place is in no answer, and in no log.
async fn wrong_secrets_are_not_repeated(api: &Api) -> anyhow::Result<()> {
    let long = format!("{BASIC_PASSWORD}{BASIC_PASSWORD}");
    for (name, value) in [
        ("authorization", format!("Bearer {BASIC_PASSWORD}")),
        ("authorization", format!("Basic {}", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("a:{long}")))),
        ("authorization", long.clone()),
        ("cookie", COOKIE.to_owned()),
    ] {
        for path in ["/api/v1/meetings?limit=1", "/api/v1/nowhere", "/api/v1/auth/token"] {
            let answer = api.request(Method::POST, path).header(name, &value).json(&json!({"client_secret": long})).send().await?;
            let status = answer.status();
            canary::inspect(&format!("the answer {status} of {path} to {name}"), answer.text().await?);
        }
    }
    let wrong = json!({"grant_type": "client_credentials", "client_id": "nobody", "client_secret": BASIC_PASSWORD});
    let (status, _) = api.post("/api/v1/auth/token", &wrong).await?;
    ensure!(status == 401, "{status}");
    Ok(())
}

/// Browsers send their cookies to everybody of the same name; nobody prints them.
async fn headers_of_browsers(api: &Api, meeting: &Value) -> anyhow::Result<()> {
    let invitation = api.invite(meeting["meeting_id"].as_str().context("an id")?, "Browser").await?;
    let request = web_transport_quinn::proto::ConnectRequest::new(invitation.meeting_controller_url.parse::<reqwest::Url>()?)
        .with_header(header::COOKIE, header::HeaderValue::from_static(COOKIE))
        .with_header(header::AUTHORIZATION, header::HeaderValue::from_static(BASIC_PASSWORD));
    let client = web_transport_quinn::ClientBuilder::new().with_server_certificate_hashes(invitation.hashes()?)?;
    within(PATIENCE, "a session", async { Ok(client.connect(request).await?) }).await?.close(0, b"bye");
    Ok(())
}

/// In an encrypted meeting, with its key behind the `#` of a URL.
async fn a_program_is_told_a_key(api: &Api, token: &str) -> anyhow::Result<()> {
    let request = api.request(Method::POST, "/api/v1/meetings").bearer_auth(token);
    let settings = json!({"enable_e2e_encryption": true, "require_auth": false});
    let made: Value = request.json(&json!({"display_name": "Sealed", "settings": settings})).send().await?.json().await?;
    canary::keep_answer(&made);
    let page = made["meeting_url"].as_str().context("a URL")?;
    let mut command = Command::new(dark_tower()?);
    command.args(["join", "--insecure", "--name", "Program", "--url", "-"]);
    let folder = tempfile::tempdir()?;
    let mut program = Process::start(command, &folder.path().join("join.log"))?;
    program.tell(&format!("{page}#k={MEETING_KEY}")).await?;
    program.line("that it is there", PATIENCE, |line| line.contains("joined as").then_some(())).await?;
    let mut options = api.admit(made["meeting_id"].as_str().context("an id")?, "Ben").await?;
    options.secret = Some(Secret::from_text(MEETING_KEY)?);
    let Joined { meeting: ben, .. } = within(PATIENCE, "a join with the key", async { Ok(Client::new()?.join(options).await?) }).await?;
    ben.chat(CHAT).await?;
    program.line("the words", PATIENCE, |line| line.contains("a chat message").then_some(())).await?;
    ben.leave().await;
    program.terminate()?;
    program.ended(PATIENCE).await?;
    Ok(())
}

/// By WebTransport and by WebSocket: chat, pictures, tokens to come back with.
async fn people_talk(api: &Api, meeting: &Value) -> anyhow::Result<()> {
    let id = meeting["meeting_id"].as_str().context("an id")?;
    let mut ana = Peer::join(Stack::WebTransportQuinn, &api.invite(id, "Ana").await?, "Ana").await?;
    let mut options = api.admit(id, "Ben").await?;
    options.meeting_controller_url = options.signaling_fallback_url.clone().context("a WebSocket")?;
    let joined = within(PATIENCE, "a join by WebSocket", async { Ok(Client::new()?.join(options).await?) }).await?;
    let Joined { meeting: ben, mut events, mut records } = joined;
    canary::keep("resume_token", ben.resume_token());

    let video = fresh_stream_id();
    ana.publish(video, v1::StreamType::VideoCamera).await?;
    let message = v1::SendChat { client_message_id: "1".to_owned(), content: CHAT.to_owned() };
    ana.signaling.request(client_message::Body::Chat(message)).await?;
    within(PATIENCE, "the chat", async {
        loop {
            match events.next().await.context("Ben is in the meeting")? {
                Event::Chat(chat) if chat.content == CHAT => return Ok(()),
                _ => {}
            }
        }
    })
    .await?;
    ben.chat(CHAT).await?;
    let mut stream = ana.media.open_uni().await?;
    for number in 0..RECORDS {
        let kind: FrameKind = kind_in_groups_of(RECORDS, number);
        stream.write_all(&Record::numbered(kind, video, number, RECORD_BYTES).bytes).await?;
    }
    stream.shutdown().await?;
    within(PATIENCE, "a picture", async { records.next().await.context("Ben subscribes to all") }).await?;
    ben.leave().await;
    ana.leave().await
}
