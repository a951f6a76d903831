//! A PostgreSQL of a test's own: made in a temporary folder, reached by a socket there, frozen, stopped and started by its own pid, and never
//! left behind. The tests of the global controller take this file in as well.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

/// Where Debian puts the programs, one folder for each release.
const RELEASES: &str = "/usr/lib/postgresql";
/// The account that the package makes; PostgreSQL refuses to run as root.
const ACCOUNT: &str = "postgres";
/// From the start to the first answer; it takes less than a second.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running server with an empty database; stopped when dropped.
pub struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    account: Option<(u32, u32)>,
    server: Option<Child>,
}

impl Postgres {
    /// Makes one and starts it.
    pub fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let account = if is_root()? { Some(account()?) } else { None };
        if let Some((user, group)) = account {
            chown(folder.path(), Some(user), Some(group))?;
        }
        let mut postgres = Self { folder, programs: programs()?, account, server: None };
        let made = postgres
            .command("initdb")
            .args(["--auth=trust", "--username=dt", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(postgres.data())
            .output()?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        postgres.resume()?;
        Ok(postgres)
    }

    /// How a global controller reaches it.
    pub fn url(&self) -> String {
        format!("postgres://dt@localhost/postgres?host={}", self.folder.path().display())
    }

    /// Stops it: connections break, and new ones are refused.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(mut server) = self.server.take() {
            // "Fast": it ends every connection, and itself in order.
            signal("INT", &[server.id()])?;
            server.wait()?;
        }
        Ok(())
    }

    /// Starts it again after a stop, on what it kept.
    pub fn resume(&mut self) -> anyhow::Result<()> {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log"))?;
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path());
        for setting in ["listen_addresses=", "max_connections=60", "shared_buffers=32MB", "fsync=off"] {
            command.args(["-c", setting]);
        }
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        self.server = Some(server);
        let started = Instant::now();
        while !self.command("pg_isready").args(["-q", "-h"]).arg(self.folder.path()).status()?.success() {
            if started.elapsed() > START_LIMIT || self.server.as_mut().is_some_and(|server| !matches!(server.try_wait(), Ok(None))) {
                bail!("PostgreSQL did not start: {}", std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default());
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Freezes it with all its processes: connections stay, and nobody answers.
    pub fn freeze(&self) -> anyhow::Result<()> {
        // The server first, so that it makes no further process.
        let server = self.server.as_ref().context("it is not running")?.id();
        signal("STOP", &[server])?;
        signal("STOP", &children(server)?)
    }

    /// Lets it go on.
    pub fn thaw(&self) -> anyhow::Result<()> {
        let server = self.server.as_ref().context("it is not running")?.id();
        signal("CONT", &children(server)?)?;
        signal("CONT", &[server])
    }

    /// Kills it with all its processes: what they were doing is answered by nobody.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut server) = self.server.take() {
            let mut all = children(server.id())?;
            all.push(server.id());
            signal("KILL", &all)?;
            server.wait()?;
        }
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        // It keeps no folder busy, and needs none that it may not read.
        command.current_dir("/").env("LC_ALL", "C");
        if let Some((user, group)) = self.account {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // "Immediate", also out of a freeze. It was there for this test alone; if it has ended already, so much the better.
            let mut all = children(server.id()).unwrap_or_default();
            all.push(server.id());
            let _ = signal("QUIT", &[server.id()]);
            let _ = signal("CONT", &all);
            let _ = server.wait();
        }
    }
}

/// The newest release that is installed.
fn programs() -> anyhow::Result<PathBuf> {
    let release = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let folders = std::fs::read_dir(RELEASES).context("PostgreSQL is missing: apt-get install postgresql")?;
    let newest = folders
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("bin/initdb").exists())
        .max_by_key(|path| release(path));
    Ok(newest.context("PostgreSQL is missing: apt-get install postgresql")?.join("bin"))
}

fn is_root() -> anyhow::Result<bool> {
    Ok(number("id", &["-u"])? == 0)
}

fn account() -> anyhow::Result<(u32, u32)> {
    Ok((number("id", &["-u", ACCOUNT])?, number("id", &["-g", ACCOUNT])?))
}

fn number(program: &str, args: &[&str]) -> anyhow::Result<u32> {
    let output = Command::new(program).args(args).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

fn signal(name: &str, pids: &[u32]) -> anyhow::Result<()> {
    if pids.is_empty() {
        return Ok(());
    }
    // A child that ended by itself in between is no failure.
    Command::new("kill").arg(format!("-{name}")).args(pids.iter().map(u32::to_string)).stderr(Stdio::null()).status()?;
    Ok(())
}

/// The processes that `parent` started.
fn children(parent: u32) -> anyhow::Result<Vec<u32>> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // `pid (name) state parent …`, and a name may hold anything. One that has ended since has no file.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let above = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        if above == Some(parent) {
            children.push(pid);
        }
    }
    Ok(children)
}
