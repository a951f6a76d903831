//! The public API as its users meet it: the contract's examples, the rate limit and Alt-Svc, by clients that share no code with the project.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use e2e::cluster::Dev;
use e2e::process::{Process, python, python_with_niquests};
use serde_json::{Value, json};
use tokio::process::Command;

/// A Python start and a hundred requests, many times over; less than the window of the rate limit.
const PATIENCE: Duration = Duration::from_secs(50);

/// Starts `script` with `python` and hands it `wish`; waits until it is done. What it has said comes back.
async fn run(python: &Path, script: &str, dev: &Dev, wish: &Value) -> anyhow::Result<Vec<Value>> {
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(script));
    let mut client = Process::start(command, &dev.data_dir().join("client.log"))?;
    client.tell(&wish.to_string()).await?;
    let is_done = |line: &str| serde_json::from_str(line).ok().filter(|value: &Value| value["event"] == "done").map(|_| ());
    client.line("that all is as the contract says", PATIENCE, is_done).await?;
    let (status, _) = client.ended(PATIENCE).await?;
    ensure!(status.success(), "{status}; {}", client.last_words());
    client.lines().iter().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Plays a story of `python/front_door.py` against a cluster of its own, with the limits that come with it.
async fn play(story: &str) -> anyhow::Result<()> {
    let dev = Dev::start_with_usual_rates().await?;
    let file = &dev.file;
    let wish = json!({
        "url": file.https_url, "certificate_sha256": file.certificate_sha256,
        "client_id": file.client_id, "client_secret": file.client_secret, "story": story,
    });
    let said = run(&python()?, "front_door.py", &dev, &wish).await?;
    ensure!(said == [json!({"event": "done", "story": story})], "{said:?}");
    Ok(())
}

/// Token, create, get, list and the error body, over HTTP/3 with aioquic, over HTTP/2 and HTTP/1.1 with curl.
#[tokio::test]
async fn the_contracts_examples_hold_on_every_protocol() -> anyhow::Result<()> {
    play("examples").await
}

/// The 101st request in a window is refused alike on all three.
#[tokio::test]
async fn the_rate_limit_is_one_over_all_protocols() -> anyhow::Result<()> {
    play("limit").await
}

/// niquests is told of HTTP/3 over TCP, and goes there.
#[tokio::test]
async fn a_client_follows_alt_svc_to_http3() -> anyhow::Result<()> {
    let dev = Dev::start().await?;
    let said = run(&python_with_niquests()?, "alternative.py", &dev, &json!({"url": dev.file.https_url})).await?;
    let versions: Vec<&Value> = said.iter().filter(|line| line["event"] == "answer").map(|line| &line["version"]).collect();
    ensure!(versions.first().is_some_and(|&first| first == 20), "it came otherwise than over HTTP/2: {versions:?}");
    ensure!(versions.last().is_some_and(|&last| last == 30), "it did not go to HTTP/3: {versions:?}");
    Ok(())
}
