//! The API is what its OpenAPI document says: a stranger's tools, which know nothing but the document, find no answer that it does not describe.

use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::cluster::Dev;
use e2e::process::{Process, python};
use serde_json::{Value, json};
use tokio::process::Command;

/// What schemathesis may spend; `DARK_TOWER_SCHEMATHESIS_SECONDS` and `_EXAMPLES` ask for a longer look.
const SECONDS: u64 = 50;
/// Random requests for each call, besides those at the edges of its schema.
const EXAMPLES: u64 = 40;
/// For Python to start and to end beside it.
const MARGIN: Duration = Duration::from_secs(45);

fn wish(name: &str, default: u64) -> anyhow::Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is no number: {text}")),
        Err(_) => Ok(default),
    }
}

/// An access token of dev's own client, which has every scope.
async fn token(dev: &Dev) -> anyhow::Result<String> {
    let asked = json!({"grant_type": "client_credentials", "client_id": dev.file.client_id, "client_secret": dev.file.client_secret});
    let url = format!("{}/api/v1/auth/token", dev.file.http_url);
    let answer: Value = reqwest::Client::new().post(url).json(&asked).send().await?.error_for_status()?.json().await?;
    Ok(answer["access_token"].as_str().context("no access token")?.to_owned())
}

/// Random, extreme and wrong requests: no answer of 500, none with a status, body or header that is not described, nothing wrong that is accepted and
/// nothing right that is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_the_document_true() -> anyhow::Result<()> {
    let (seconds, examples) = (wish("DARK_TOWER_SCHEMATHESIS_SECONDS", SECONDS)?, wish("DARK_TOWER_SCHEMATHESIS_EXAMPLES", EXAMPLES)?);
    let dev = Dev::start().await?;
    let mut command = Command::new(python()?);
    command
        .arg(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("python/description.py"))
        .args([&dev.file.http_url, &token(&dev).await?, &seconds.to_string(), &examples.to_string()])
        // Its examples of before would make this run depend on the last.
        .current_dir(dev.data_dir());
    let mut stranger = Process::start(command, &dev.data_dir().join("description.log"))?;
    let (status, _) = stranger.ended(Duration::from_secs(seconds) + MARGIN).await?;
    let lines = stranger.lines();
    ensure!(status.success(), "{status}\n{}\n{}", lines.join("\n"), stranger.last_words());
    let examples = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|line| line["examples"].as_u64());
    ensure!(examples.is_some_and(|count| count > 20), "the document has {examples:?} examples");
    Ok(())
}
