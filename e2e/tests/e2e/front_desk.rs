//! The example application, run as its README says: what happens in its meeting is what it prints.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::api::Api;
use e2e::cluster::Dev;
use e2e::peer::Peer;
use e2e::process::{Process, python};
use e2e::session::Stack;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::process::Command;

/// A Python start and a join, many times over.
const PATIENCE: Duration = Duration::from_secs(40);

/// What an application does with the API beside the example.
struct Client<'a> {
    api: &'a Api,
    token: String,
}

impl<'a> Client<'a> {
    async fn start(dev: &'a Dev) -> anyhow::Result<Self> {
        let (id, secret) = (&dev.file.client_id, &dev.file.client_secret);
        let credentials = json!({"grant_type": "client_credentials", "client_id": id, "client_secret": secret});
        let (status, answer) = dev.api.post("/api/v1/auth/token", &credentials).await?;
        ensure!(status == 200, "no token: {status}");
        Ok(Self { api: &dev.api, token: answer["access_token"].as_str().context("no access token")?.to_owned() })
    }

    async fn webhooks(&self) -> anyhow::Result<Vec<Value>> {
        let answer = self.api.request(Method::GET, "/api/v1/webhooks").bearer_auth(&self.token).send().await?;
        let body: Value = answer.error_for_status()?.json().await?;
        Ok(body["webhooks"].as_array().context("no list")?.clone())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_front_desk_says_who_comes_and_goes() -> anyhow::Result<()> {
    let dev = Dev::start().await?;
    let mut command = Command::new(python()?);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/front_desk.py")).arg(dev.data_dir().join("dev.json"));
    let mut desk = Process::start(command, &dev.data_dir().join("front_desk.log"))?;
    let link = desk.line("the link", PATIENCE, |line| line.strip_prefix("send this to everyone: ").map(str::to_owned)).await?;
    let code = link.strip_prefix(&format!("{}/m/", dev.file.http_url)).with_context(|| format!("{link} is no page of dev"))?;

    let ana = Peer::join(Stack::WebTransportQuinn, &dev.api.invite(code, "Ana").await?, "Ana").await?;
    let says = |expected: &'static str| move |line: &str| (line == expected).then_some(());
    desk.line("that Ana has come", PATIENCE, says("Ana has come in")).await?;
    ana.leave().await?;
    desk.line("that Ana has left", PATIENCE, says("Ana has left: VOLUNTARY")).await?;

    // What somebody else made up is not believed.
    let client = Client::start(&dev).await?;
    let webhooks = client.webhooks().await?;
    let url = webhooks.first().and_then(|webhook| webhook["url"].as_str()).context("the desk has a webhook")?;
    let now = common::clock::unix_seconds();
    let forged = json!({"id": "made up", "type": "participant.joined", "meeting_id": code, "data": {"display_name": "Eve"}});
    let forged = Api::new(url.trim_end_matches('/'))?.request(Method::POST, "/").json(&forged).header("webhook-id", "made up");
    let answer = forged.header("webhook-timestamp", now).header("webhook-signature", "v1,bm90IHlvdXJz").send().await?;
    ensure!(answer.status() == StatusCode::UNAUTHORIZED, "the forged call was answered {}", answer.status());

    let ended = dev.api.request(Method::DELETE, &format!("/api/v1/meetings/{code}")).bearer_auth(&client.token).send().await?;
    ensure!(ended.status() == StatusCode::OK, "the end was answered {}", ended.status());
    let (status, _) = desk.ended(PATIENCE).await?;
    ensure!(status.success(), "{status}; {}", desk.last_words());
    let lines = desk.lines();
    let expected = ["meeting.created", "meeting.started", "Ana has come in", "Ana has left: VOLUNTARY", "meeting.ended"];
    ensure!(lines.get(1..) == Some(&expected.map(str::to_owned)[..]), "{lines:?}");
    ensure!(client.webhooks().await?.is_empty(), "its webhook goes with it");
    Ok(())
}
