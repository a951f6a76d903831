//! `dark-tower join` in meetings of a running cluster, as people and scripts use it: secrets in files, signals, readers that go.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use client::e2ee::Secret;
use client::{Client, Event, Joined};
use e2e::cluster::Dev;
use e2e::process::{Process, dark_tower};
use e2e::within;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// Far above what each step takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// A goodbye that is hurried has a second; the others notice one who says none only after eight.
const SOON: Duration = Duration::from_secs(6);

fn join(meeting_url: &str, name: &str, more: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(dark_tower()?);
    command.args(["join", "--url", meeting_url, "--name", name]).args(more);
    Ok(command)
}

fn start(command: Command, folder: &Path, name: &str) -> anyhow::Result<Process> {
    Process::start(command, &folder.join(format!("{name}.log")))
}

fn event(line: &str, name: &str) -> Option<Value> {
    serde_json::from_str(line).ok().filter(|value: &Value| value["event"] == name)
}

/// Somebody in the meeting who sees who leaves, and how.
async fn onlooker(dev: &Dev, meeting_id: &str) -> anyhow::Result<Joined> {
    let options = dev.api.admit(meeting_id, "Olga").await?;
    within(PATIENCE, "a join", async { Ok(Box::pin(Client::new()?.join(options)).await?) }).await
}

/// How the first one who leaves from now on leaves.
async fn sees_leave(olga: &mut Joined, limit: Duration) -> anyhow::Result<String> {
    within(limit, "somebody leaves", async {
        loop {
            if let Event::ParticipantLeft { reason, .. } = olga.events.next().await.context("the meeting is over")? {
                return Ok(reason.name().to_owned());
            }
        }
    })
    .await
}

/// Two that hold the same file hear each other; one with another file is told so, and is not let in.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_a_file_opens_the_meeting() -> anyhow::Result<()> {
    let (dev, folder) = (Dev::start().await?, tempfile::tempdir()?);
    let settings = json!({"enable_e2e_encryption": true, "require_auth": false});
    let (status, made) = dev.api.post("/api/v1/meetings", &json!({"display_name": "Sealed", "settings": settings})).await?;
    ensure!(status == 201, "a meeting: {status}");
    let url = made["meeting_url"].as_str().context("a URL")?;
    let file = |name: &str, secret: &Secret, before: &str| -> anyhow::Result<String> {
        canary::keep("meeting secret", secret.to_text().as_bytes());
        let path = folder.path().join(name);
        std::fs::write(&path, format!("{before}{}\n", *secret.to_text()))?;
        Ok(path.to_str().context("UTF-8")?.to_owned())
    };
    let secret = Secret::generate();
    // Bare, and as it stands in a link.
    let (bare, linked) = (file("bare.key", &secret, "")?, file("linked.key", &secret, "#k=")?);
    let other = file("other.key", &Secret::generate(), "")?;

    let watching = ["--json", "--subscribe", "--stats", "0.2", "--e2ee-secret", &bare];
    let mut ana = start(join(url, "Ana", &watching)?, folder.path(), "ana")?;
    ana.line("that she has joined", PATIENCE, |line| event(line, "joined")).await?;
    let showing = ["--json", "--publish", "test:320x180@10", "--say", "sealed words", "--e2ee-secret", &linked];
    let mut ben = start(join(url, "Ben", &showing)?, folder.path(), "ben")?;
    let said = ana.line("what Ben says", PATIENCE, |line| event(line, "chat")).await?;
    ensure!(said["content"] == "sealed words" && said["sender_name"] == "Ben", "{said}");

    let mut mallory = start(join(url, "Mallory", &["--json", "--e2ee-secret", &other])?, folder.path(), "mallory")?;
    let (status, _) = mallory.ended(PATIENCE).await?;
    ensure!(status.code() == Some(3), "another secret ends with {status}; {}", mallory.last_words());
    let refused = mallory.lines().iter().find_map(|line| event(line, "refused"));
    ensure!(refused.as_ref().is_some_and(|it| it["code"] == "WRONG_SECRET"), "{refused:?}");

    let frames = |stats: &Value| stats["subscriptions"].as_array().is_some_and(|all| all.iter().any(|it| it["frames"].as_u64() > Some(0)));
    ana.line("pictures that are opened", PATIENCE, |line| event(line, "stats").filter(frames)).await?;
    ben.terminate()?;
    let (status, _) = ben.ended(PATIENCE).await?;
    ensure!(status.success(), "Ben ended with {status}; {}", ben.last_words());
    ana.line("that Ben has left", PATIENCE, |line| event(line, "participant_left").filter(|it| it["name"] == "Ben")).await?;
    ana.terminate()?;
    let (status, _) = ana.ended(PATIENCE).await?;
    ensure!(status.success(), "Ana ended with {status}; {}", ana.last_words());
    let received = ana.lines().iter().find_map(|line| event(line, "received")).context("nothing was received")?;
    ensure!(received["frames"].as_u64() > Some(0), "{received}");
    ensure!(!ana.lines().iter().any(|line| event(line, "undecryptable").is_some()), "{:?}", ana.lines());
    dev.stop().await?;
    Ok(())
}

/// A second Ctrl-C shortens the goodbye and does not lose it: the others see somebody leave, and not a lost connection.
#[tokio::test(flavor = "multi_thread")]
async fn two_interrupts_at_once_still_say_goodbye() -> anyhow::Result<()> {
    let (dev, folder) = (Dev::start().await?, tempfile::tempdir()?);
    let meeting = dev.api.create_meeting().await?;
    let mut olga = onlooker(&dev, &meeting.meeting_id).await?;
    for round in 0..3 {
        let showing = ["--publish", "test:320x180@10", "--publish", "test:tone"];
        let mut robot = start(join(&meeting.meeting_url, "Robot", &showing)?, folder.path(), &format!("robot-{round}"))?;
        robot.line("that it shows something", PATIENCE, |line| line.contains("publishing VP8").then_some(())).await?;
        let pid = robot.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).context("it runs")?;
        kill_process(pid, Signal::INT)?;
        // The same signal twice may be one; another kind is another.
        kill_process(pid, Signal::TERM)?;
        let (status, _) = robot.ended(PATIENCE).await?;
        ensure!(status.code() == Some(0), "it ended with {status}; {}", robot.last_words());
        let reason = sees_leave(&mut olga, SOON).await?;
        ensure!(reason == "VOLUNTARY", "Olga saw {reason}");
    }
    olga.meeting.leave().await;
    dev.stop().await?;
    Ok(())
}

/// `dark-tower join … | head -2`: whoever reads goes, and the program leaves the meeting in order, without a complaint.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_ends_it_calmly() -> anyhow::Result<()> {
    let dev = Dev::start().await?;
    let meeting = dev.api.create_meeting().await?;
    let mut olga = onlooker(&dev, &meeting.meeting_id).await?;
    let mut command = join(&meeting.meeting_url, "Robot", &["--publish", "test:tone", "--stats", "0.2"])?;
    let mut robot = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut lines = BufReader::new(robot.stdout.take().context("piped")?).lines();
    let joined = within(PATIENCE, "its first line", async { lines.next_line().await?.context("a line") }).await?;
    ensure!(joined.starts_with("joined as Robot ("), "{joined}");
    let other = within(PATIENCE, "its second line", async { lines.next_line().await?.context("a line") }).await?;
    ensure!(other.starts_with("Olga (") && other.ends_with(") is here"), "{other}");
    drop(lines);
    let reason = sees_leave(&mut olga, PATIENCE).await?;
    ensure!(reason == "VOLUNTARY", "Olga saw {reason}");
    let output = within(PATIENCE, "it ends", async { Ok(robot.wait_with_output().await?) }).await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(0) && said.is_empty(), "it ended with {}: {said}", output.status);
    olga.meeting.leave().await;
    dev.stop().await?;
    Ok(())
}
