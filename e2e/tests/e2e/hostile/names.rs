//! Names and whatever else strangers write for people to read: what could fool a reader is refused, or escaped wherever people read it. That no
//! line of the process's log holds such a character is looked at in every test (`canary`); here somebody tries.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use common_core::Code;
use common_core::name::{NameError, is_deceptive, parse_name};
use e2e::ground::{Ground, refused_within};
use e2e::peer::{Peer, fresh_stream_id, join_request, publication};
use e2e::process::{Process, dark_tower};
use proto::v1::{self, StreamType, client_message, server_message};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use super::{STACK, refused_as_first};

const PATIENCE: Duration = Duration::from_secs(10);
/// Series of a process that everything was tried on: 45 metrics, most with a handful of label sets, histograms with a dozen lines each.
const SERIES_MAX: usize = 1500;
/// Requests with a path, a method and header fields of their own.
const STRANGE_REQUESTS: usize = 200;

/// None of these is a name.
const REFUSED: [&str; 12] = [
    "",
    " \t ",
    "a\r\nlevel=ERROR forged",
    "a\u{0}b",
    "\u{1b}[2J\u{1b}]0;title\u{7}",
    "\u{9b}31mred",
    "\u{202e}gnp.exe",
    "a\u{2066}b\u{2069}",
    "\u{200b}",
    "\u{feff}\u{2060}\u{200d}",
    "\u{3164}",
    "a\u{2028}b",
];
/// These are, and stand escaped in a line for people.
const ODD: [&str; 3] = ["Zo\u{eb}\u{200f}", "\u{1f468}\u{200d}\u{1f469}", "Robert'); \"DROP\" \\n"];

/// Whoever looks at a log, a terminal or an error sees what was written, and nothing that was meant to happen.
#[tokio::test(flavor = "multi_thread")]
async fn names_fool_nobody() -> anyhow::Result<()> {
    let ground = Ground::start("names").await?;
    let page = ground.api.request(Method::GET, &format!("/api/v1/meetings/{}", ground.meeting_id)).send().await?.json::<Value>().await?;
    let page = page["meeting_url"].as_str().context("a URL")?.to_owned();
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(dark_tower()?);
    command.args(["join", "--url", &page, "--name", "Reader"]);
    let mut reader = Process::start(command, &folder.path().join("join.log"))?;
    reader.line("that it has joined", PATIENCE, |line| line.contains("joined").then_some(())).await?;

    let join = format!("/api/v1/meetings/{}/join", ground.meeting_id);
    let long = "\u{1f600}".repeat(65);
    for name in REFUSED.into_iter().chain([long.as_str(), &"x".repeat(100_000)]) {
        for path in ["/api/v1/meetings", join.as_str()] {
            let asked = json!({"display_name": name});
            let (status, answer) = refused_within(e2e::ground::REFUSAL_LIMIT, path, ground.api.post(path, &asked)).await?;
            // A meeting may be nameless; nobody in it may.
            ensure!(status == 400 || (path != join && status == 201 && name.trim().is_empty()), "{name:?} at {path}: {status} {answer}");
            ensure!(!answer["error"]["message"].to_string().contains(is_deceptive), "{answer}");
        }
        // Over signaling, no name means the one in the token.
        if parse_name(name) != Err(NameError::Empty) && name.len() < 1000 {
            let invitation = ground.invite("Mallory").await?;
            let body = client_message::Body::Join(join_request(&invitation, name));
            refused_as_first(&format!("the name {name:?}"), Code::InvalidRequest, &invitation, body).await?;
        }
    }
    for name in ODD {
        let mut odd = Peer::join(STACK, &ground.invite(name).await?, name).await?;
        ensure!(!format!("{:?}", odd.welcome).contains("Mallory"), "who was refused is here");
        let mut publication = publication(fresh_stream_id(), StreamType::VideoCamera);
        publication.metadata.get_or_insert_default().codec = "VP8\r\n\u{1b}[31m\u{202e}".to_owned();
        let answer = odd.signaling.request(client_message::Body::Publish(publication)).await?;
        if let server_message::Body::Error(error) = answer {
            ensure!(!error.message.contains(is_deceptive), "{error:?}");
        }
        let chat = v1::SendChat { client_message_id: "1".to_owned(), content: format!("{name}\r\n\u{1b}[31m\u{202e}") };
        odd.signaling.request(client_message::Body::Chat(chat)).await?;
        odd.leave().await?;
    }
    reader.line("what the last one said", PATIENCE, |line| (line.contains("DROP") && line.contains("31m")).then_some(())).await?;
    let told = reader.lines();
    ensure!(told.iter().all(|line| !line.contains(is_deceptive)), "{told:?}");
    reader.terminate()?;
    reader.ended(PATIENCE).await?;

    strange_requests(&ground).await?;
    let metrics = ground.metrics_text().await?;
    judge_metrics(&metrics)?;
    ground.settled().await?;
    Ok(())
}

/// Paths, methods, ids, hosts and header fields that make a label, a line or an answer only by mistake.
async fn strange_requests(ground: &Ground) -> anyhow::Result<()> {
    for number in 0..STRANGE_REQUESTS {
        let method = Method::from_bytes(format!("METHOD{}", number % 50).as_bytes())?;
        let path =
            format!("/api/v1/{}/stranger{number}?x=%0d%0a%1b[31m", ["meetings", "webhooks", "nowhere", "meetings/%E2%80%AE"][number % 4]);
        let request = ground.api.request(if number % 2 == 0 { Method::GET } else { method }, &path);
        let request = request.header("x-request-id", format!("stranger{number}")).header("user-agent", format!("stranger{number}"));
        let request = if number % 3 == 0 { request.header("host", format!("stranger{number}.example")) } else { request };
        let answer = request.send().await?;
        ensure!(answer.status().is_client_error(), "{path}: {}", answer.status());
        let text = answer.text().await?;
        ensure!(!text.trim_end().contains(is_deceptive), "{path}: {text}");
    }
    Ok(())
}

/// The number of series has a bound, and every value of a label is a word of the program.
fn judge_metrics(metrics: &str) -> anyhow::Result<()> {
    let words = sources(Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the house")?)?;
    let mut series = 0;
    for line in metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        series += 1;
        ensure!(!line.contains("stranger") && !line.contains("METHOD"), "{line}");
        let Some((labels, _)) = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')) else { continue };
        for label in labels.split("\",").filter(|label| !label.is_empty()) {
            let (name, value) = label.split_once("=\"").with_context(|| format!("a label: {line}"))?;
            let value = value.trim_end_matches('"');
            let is_number = matches!(name, "quantile" | "le");
            ensure!(is_number || words.contains(&format!("\"{value}\"")), "{name} is {value:?}, which is no word of ours: {line}");
        }
    }
    ensure!((100..=SERIES_MAX).contains(&series), "{series} series");
    let described = metrics.lines().filter(|line| line.starts_with("# HELP ")).count();
    let typed = metrics.lines().filter(|line| line.starts_with("# TYPE ")).count();
    ensure!(described == typed && typed > 30, "{described} of {typed} metrics say what they are");
    eprintln!("metrics: {series} series of {typed} metrics, {SERIES_MAX} are allowed");
    Ok(())
}

/// Everything that the services are made of.
fn sources(house: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut folders: Vec<_> =
        ["common", "global-controller", "meeting-controller", "media-handler", "proto"].map(|it| house.join(it)).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                text.push_str(&std::fs::read_to_string(path)?);
            }
        }
    }
    Ok(text)
}
