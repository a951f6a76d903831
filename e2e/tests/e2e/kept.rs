//! Nothing that was acknowledged is ever lost: the process is killed right behind an answer, again and again, and every meeting is there.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::api::Api;
use e2e::cluster::{DevFile, READY_LINE, dev_command};
use e2e::postgres::Postgres;
use e2e::process::Process;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Kills in one run; `KILLS` in the environment asks for more.
const KILLS_DEFAULT: usize = 20;
/// What `dark-tower dev` may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(15);
/// Who creates at the same time, so that a kill meets others in the middle of theirs.
const CREATORS: usize = 4;

/// A meeting whose creation was answered with 201.
#[derive(Clone, Debug)]
struct Acknowledged {
    id: String,
    name: String,
}

/// A cluster in one process, on a store that outlives it.
struct Cluster<'a> {
    api: Api,
    process: Process,
    data_dir: &'a Path,
}

impl<'a> Cluster<'a> {
    async fn start(data_dir: &'a Path, store: Option<&str>) -> anyhow::Result<Self> {
        let mut command = dev_command(data_dir, &[])?;
        command.env("DARK_TOWER__RATES__REQUESTS", "1000000");
        if let Some(url) = store {
            command.env("DARK_TOWER__STORE__URL", url);
        }
        let mut process = Process::start(command, &data_dir.join("stderr.log"))?;
        process.line("the ready line", READY_LIMIT, |line| (line == READY_LINE).then_some(())).await?;
        let file: DevFile = serde_json::from_str(&std::fs::read_to_string(data_dir.join("dev.json"))?)?;
        Ok(Self { api: Api::new(file.http_url)?, process, data_dir })
    }

    /// Creates meetings until `count` are acknowledged, and kills the process with the last answer. Returns all that were acknowledged.
    async fn killed_behind(mut self, round: usize, count: usize) -> anyhow::Result<Vec<Acknowledged>> {
        let (answers, mut answered) = mpsc::channel(CREATORS);
        for creator in 0..CREATORS {
            let (api, answers) = (self.api.clone(), answers.clone());
            tokio::spawn(async move {
                for number in 0.. {
                    let name = format!("Round {round}, creator {creator}, number {number}");
                    // An error is what the kill does to the others.
                    let Ok((201, answer)) = api.post("/api/v1/meetings", &json!({"display_name": name})).await else { return };
                    let id = answer["meeting_id"].as_str().unwrap_or_default().to_owned();
                    if answers.send(Acknowledged { id, name }).await.is_err() {
                        return;
                    }
                }
            });
        }
        drop(answers);
        let mut acknowledged = Vec::new();
        while let Some(meeting) = answered.recv().await {
            acknowledged.push(meeting);
            if acknowledged.len() == count {
                self.process.kill()?;
            }
        }
        self.process.ended(READY_LIMIT).await?;
        ensure!(acknowledged.len() >= count, "{} of {count} were answered; {}", acknowledged.len(), self.last_words());
        Ok(acknowledged)
    }

    fn last_words(&self) -> String {
        std::fs::read_to_string(self.data_dir.join("stderr.log")).unwrap_or_default()
    }

    async fn finds(&self, meeting: &Acknowledged) -> anyhow::Result<()> {
        let path = format!("/api/v1/meetings/{}", meeting.id);
        let answer = self.api.request(Method::GET, &path).send().await?;
        let (status, body) = (answer.status(), answer.json::<Value>().await?);
        ensure!(status == 200 && body["display_name"] == meeting.name.as_str(), "{meeting:?} is lost: {status} {body}");
        Ok(())
    }
}

async fn nothing_is_lost(store: Option<&str>) -> anyhow::Result<()> {
    let kills = std::env::var("KILLS").ok().map_or(Ok(KILLS_DEFAULT), |text| text.parse()).context("KILLS is a number")?;
    let folder = tempfile::tempdir()?;
    let mut all: Vec<Acknowledged> = Vec::new();
    for round in 0..kills {
        let cluster = Cluster::start(folder.path(), store).await?;
        // What the last kill was behind is there as soon as the process is.
        for meeting in all.iter().rev().take(2 * CREATORS) {
            cluster.finds(meeting).await?;
        }
        // The first one, the second …: the kill comes at another moment of the process's life each time.
        all.extend(cluster.killed_behind(round, 1 + round % 7).await?);
    }
    let cluster = Cluster::start(folder.path(), store).await?;
    for meeting in &all {
        cluster.finds(meeting).await?;
    }
    Ok(())
}

#[tokio::test]
async fn sqlite_loses_nothing_to_a_kill() -> anyhow::Result<()> {
    nothing_is_lost(None).await
}

#[tokio::test]
async fn postgres_loses_nothing_to_a_kill() -> anyhow::Result<()> {
    let server = Postgres::start()?;
    nothing_is_lost(Some(&server.url())).await
}
