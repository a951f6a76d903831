//! A clip with picture and sound, from one `dark-tower join` to two others, of whom one comes late.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::clip::{self, FRAMERATE, GROUP_PICTURES, SECONDS, SIZE};
use e2e::cluster::Dev;
use e2e::eventually;
use e2e::process::{Process, dark_tower};
use serde_json::Value;
use tokio::process::Command;

/// The clip's length, and as much again for starts and ends on a busy machine.
const PATIENCE: Duration = Duration::from_secs(3 * SECONDS as u64);
/// Sound that ffprobe reads may end within a packet of where it should (RFC 7845: the end is trimmed).
const DURATION_TOLERANCE: f64 = 0.1;

struct Joined {
    process: Process,
    folder: PathBuf,
}

/// Starts `dark-tower join` and waits until it has joined.
async fn join(meeting_url: &str, name: &str, folder: &Path, what: &[&std::ffi::OsStr]) -> anyhow::Result<Joined> {
    let mut command = Command::new(dark_tower()?);
    command.args(["join", "--json", "--url", meeting_url, "--name", name]).args(what);
    let mut process = Process::start(command, &folder.with_extension(format!("{name}.log")))?;
    process.line("that it has joined", PATIENCE, |line| event(line, "joined")).await?;
    Ok(Joined { process, folder: folder.into() })
}

async fn record(meeting_url: &str, name: &str, data: &Path) -> anyhow::Result<Joined> {
    let folder = data.join(name);
    join(meeting_url, name, &folder, &["--record".as_ref(), folder.as_os_str()]).await
}

fn event(line: &str, name: &str) -> Option<Value> {
    serde_json::from_str(line).ok().filter(|value: &Value| value["event"] == name)
}

/// What a recorder has written at its end: its own account, and the file.
struct Recording {
    account: Value,
    path: PathBuf,
}

impl Joined {
    /// Waits until it has seen the publisher leave, ends it by SIGTERM, and reads its account of `codec`.
    async fn finish(mut self) -> anyhow::Result<[Recording; 2]> {
        self.process.line("that the publisher has left", PATIENCE, |line| event(line, "participant_left")).await?;
        self.process.terminate()?;
        let (status, _) = self.process.ended(PATIENCE).await?;
        ensure!(status.success(), "a recorder ended with {status}; {}", self.process.last_words());
        let accounts: Vec<Value> = self.process.lines().iter().filter_map(|line| event(line, "recorded")).collect();
        let of = |codec: &str| -> anyhow::Result<Recording> {
            let account = accounts.iter().find(|account| account["codec"] == codec).cloned();
            let account = account.with_context(|| format!("no account of {codec}: {}", self.process.last_words()))?;
            let path = PathBuf::from(account["path"].as_str().context("a path")?);
            ensure!(path.starts_with(&self.folder), "{} is elsewhere", path.display());
            Ok(Recording { account, path })
        };
        Ok([of("VP9")?, of("Opus")?])
    }
}

/// Both recorders have, from their first key frame on, exactly the publisher's bytes, and ffprobe plays what they wrote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_arrives_byte_for_byte() -> anyhow::Result<()> {
    let dev = Dev::start().await?;
    let data = tempfile::tempdir()?;
    let (picture, sound) = tokio::try_join!(clip::make_picture(data.path()), clip::make_sound(data.path()))?;
    let (frames, packets) = (clip::frames_of_ivf(&picture)?, clip::packets_of_ogg(&sound)?);
    let meeting_url = dev.api.create_meeting().await?.meeting_url;

    let early = record(&meeting_url, "early", data.path()).await?;
    let what = ["--publish".as_ref(), picture.as_os_str(), "--publish".as_ref(), sound.as_os_str()];
    let mut publisher = join(&meeting_url, "publisher", &data.path().join("publisher"), &what).await?;
    let second_group: usize = frames[..2 * GROUP_PICTURES].iter().map(Vec::len).sum();
    eventually("the early recorder has two seconds of pictures", PATIENCE, || async {
        let written = written_of(&early.folder, "ivf").map_err(|error| error.to_string())?;
        if written >= second_group { Ok(()) } else { Err(format!("{written} of {second_group} bytes")) }
    })
    .await?;
    let late = record(&meeting_url, "late", data.path()).await?;

    let (status, _) = publisher.process.ended(PATIENCE).await?;
    ensure!(status.success(), "the publisher ended with {status}; {}", publisher.process.last_words());
    for line in publisher.process.lines().iter().filter_map(|line| event(line, "published")) {
        ensure!(line["dropped"] == 0 && line["late_groups"] == 0, "the publisher fell behind: {line}");
    }
    let [early_picture, early_sound] = early.finish().await?;
    let [late_picture, late_sound] = late.finish().await?;

    let [first, _] = [&early_picture, &late_picture].map(|it| it.account["first_sequence"].as_u64());
    ensure!(first == Some(0), "the early recorder missed the beginning: {}", early_picture.account);
    for (name, recording) in [("early", &early_picture), ("late", &late_picture)] {
        let recorded = clip::frames_of_ivf(&recording.path)?;
        let from = clip::position_of(&recorded, &frames)
            .with_context(|| format!("the pictures of the {name} recorder are not the publisher's: {}", recording.account))?;
        ensure!(from % GROUP_PICTURES == 0, "{name}: the first picture, {from}, is no key frame");
        ensure!(from + recorded.len() == frames.len(), "{name}: the last {} pictures are missing", frames.len() - from - recorded.len());
        ensure!(recording.account["missing"] == 0, "{name}: {}", recording.account);
        let probe = clip::probe(&recording.path).await?;
        ensure!(probe.codec == "vp9" && probe.size == SIZE, "{name}: {probe:?}");
        ensure!(probe.frames == recorded.len() as u64, "{name}: of {} pictures ffprobe decodes {}", recorded.len(), probe.frames);
        let seconds = recorded.len() as f64 / f64::from(FRAMERATE);
        ensure!((probe.duration - seconds).abs() < DURATION_TOLERANCE, "{name}: {probe:?} and not {seconds} s");
        eprintln!("{name}: pictures {from} to {}, {:.2} s", from + recorded.len() - 1, probe.duration);
    }
    for (name, recording) in [("early", &early_sound), ("late", &late_sound)] {
        let recorded = clip::packets_of_ogg(&recording.path)?;
        let from = clip::position_of(&recorded, &packets)
            .with_context(|| format!("the sound of the {name} recorder is not the publisher's: {}", recording.account))?;
        ensure!(from + recorded.len() == packets.len(), "{name}: the last {} packets are missing", packets.len() - from - recorded.len());
        let probe = clip::probe(&recording.path).await?;
        ensure!(probe.codec == "opus", "{name}: {probe:?}");
        let seconds = recorded.len() as f64 / 50.0;
        ensure!((probe.duration - seconds).abs() < DURATION_TOLERANCE, "{name}: {probe:?} and not {seconds} s");
        eprintln!("{name}: packets {from} to {}, {:.2} s", from + recorded.len() - 1, probe.duration);
    }
    let started_late = late_picture.account["first_sequence"].as_u64().context("a first sequence")?;
    ensure!(started_late >= GROUP_PICTURES as u64, "the late recorder was not late: {}", late_picture.account);
    Ok(())
}

/// Bytes of the files with that extension.
fn written_of(folder: &Path, extension: &str) -> std::io::Result<usize> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|it| it == extension) {
            bytes += usize::try_from(entry.metadata()?.len()).unwrap_or(usize::MAX);
        }
    }
    Ok(bytes)
}
