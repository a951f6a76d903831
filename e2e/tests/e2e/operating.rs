//! docs/operating.md, done word for word: its blocks of shell make a cluster out of an empty folder, add a region and take a node out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use client::api::Admission;
use e2e::api::Api;
use e2e::people::{Person, see_each_other};
use e2e::process::{Process, dark_tower};
use e2e::{eventually, within};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::Command;

const PAGE: &str = include_str!("../../../docs/operating.md");
/// The first line of a block that is to be run.
const MARK: &str = "# try: ";
/// One block, start of unoptimised processes included.
const BLOCK_LIMIT: Duration = Duration::from_secs(40);
/// Two people see each other.
const SEE_LIMIT: Duration = Duration::from_secs(10);
/// From a node's readiness to the first meeting there.
const PLACED_LIMIT: Duration = Duration::from_secs(5);
/// Where the page's global controller is.
const FRONT: &str = "https://127.0.0.1:18443";

/// The blocks of the page that are to be run, in its order, by name.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let shell = PAGE.split("```sh\n").skip(1).filter_map(|rest| rest.split("\n```").next());
    shell.filter_map(|block| Some((block.lines().next()?.strip_prefix(MARK)?, block))).collect()
}

/// The empty folder; what was started there is ended with it.
struct Desk {
    folder: tempfile::TempDir,
    path: std::ffi::OsString,
}

impl Desk {
    fn tidy() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let program = dark_tower()?;
        let beside = program.parent().context("the program lies in a folder")?;
        let mut path = beside.as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").context("there is a PATH")?);
        Ok(Self { folder, path })
    }

    async fn run(&self, (name, block): (&str, &str)) -> anyhow::Result<()> {
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", block]).current_dir(self.folder.path()).env("PATH", &self.path);
        let mut running = Process::start(bash, &self.folder.path().join("errors"))?;
        let (status, took) = running.ended(BLOCK_LIMIT).await.with_context(|| format!("the block {name}"))?;
        ensure!(status.success(), "the block {name} ended with {status}; {}; {}", running.last_words(), self.logs());
        eprintln!("{name}: {took:.1?}");
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file that a block wrote.
    fn json(&self, name: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&std::fs::read_to_string(self.file(name))?)?)
    }

    fn below(&self, name: &str) -> Vec<PathBuf> {
        let folders = std::fs::read_dir(self.folder.path()).into_iter().flatten().flatten();
        folders.map(|folder| folder.path().join(name)).filter(|path| path.is_file()).collect()
    }

    /// The end of every node's log.
    fn logs(&self) -> String {
        let end = |path: &PathBuf| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let last: Vec<&str> = text.lines().rev().take(5).collect();
            format!("{}: {last:?}", path.display())
        };
        self.below("log").iter().map(end).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        for path in self.below("pid") {
            let pid = std::fs::read_to_string(&path).ok().and_then(|text| Pid::from_raw(text.trim().parse().ok()?));
            if let Some(pid) = pid.filter(|pid| is_ours(*pid, self.folder.path())) {
                // It may have ended by itself just now.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// Whether the process was started in `folder`: a number may be somebody else's by now.
fn is_ours(pid: Pid, folder: &Path) -> bool {
    std::fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero())).is_ok_and(|at| at == folder)
}

async fn join(api: &Api, meeting_id: &str, name: &str) -> anyhow::Result<Admission> {
    let (status, body) = api.post(&format!("/api/v1/meetings/{meeting_id}/join"), &json!({"display_name": name})).await?;
    ensure!(status == 200, "{status}: {body}");
    Ok(serde_json::from_value(body)?)
}

/// Two people meet; where.
async fn meet(api: &Api, meeting_id: &str) -> anyhow::Result<String> {
    let (ana, ben) = (join(api, meeting_id, "Ana").await?, join(api, meeting_id, "Ben").await?);
    let at = ana.meeting_controller_url.clone();
    let (ana, ben) = (Person::join(ana.into_options("Ana")).await?, Person::join(ben.into_options("Ben")).await?);
    see_each_other(&ana, &ben, SEE_LIMIT).await?;
    Ok(at)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_makes_a_cluster() -> anyhow::Result<()> {
    let names: Vec<&str> = blocks().iter().map(|(name, _)| *name).collect();
    let wanted = ["certificates", "configuration", "start", "first meeting", "add a region", "take a node out"];
    ensure!(names == wanted, "the page has the blocks {names:?}");
    let (desk, api) = (Desk::tidy()?, Api::new(FRONT)?);
    let mut blocks = blocks().into_iter();

    for block in blocks.by_ref().take(4) {
        desk.run(block).await?;
    }
    let first = desk.json("meeting.json")?;
    let first = first["meeting_id"].as_str().with_context(|| format!("{first}"))?.to_owned();
    let at = within(2 * SEE_LIMIT, "two people in the first meeting", meet(&api, &first)).await?;
    ensure!(at == "https://127.0.0.1:14433/wt", "the first meeting is at {at}");

    desk.run(blocks.next().context("a block")?).await?;
    let token = desk.json("token.json")?["access_token"].as_str().context("a token")?.to_owned();
    let created = eventually("a meeting in the new region", PLACED_LIMIT, || async {
        let wish = json!({"display_name": "Second meeting", "region": "us"});
        let answer = api.request(reqwest::Method::POST, "/api/v1/meetings").bearer_auth(&token).json(&wish).send().await?;
        let body: Value = answer.json().await?;
        ensure!(body["meeting_controller_url"] == "https://127.0.0.1:24433/wt", "{body}");
        Ok(body)
    });
    let second = created.await?["meeting_id"].as_str().context("an id")?.to_owned();
    within(2 * SEE_LIMIT, "two people in the new region", meet(&api, &second)).await?;

    desk.run(blocks.next().context("a block")?).await?;
    let at = within(2 * SEE_LIMIT, "two people after a node was taken out", meet(&api, &second)).await?;
    ensure!(at == "https://127.0.0.1:14433/wt", "the meeting of the node that was taken out is at {at}");
    Ok(())
}
