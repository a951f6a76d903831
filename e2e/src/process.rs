//! Child processes of tests: found, started, listened to line by line, ended by pid, and never left behind.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Lines of standard output that are kept; a child of a test says far less.
const LINES_MAX: usize = 100_000;
/// `target/debug/deps`, `target/debug` and `target` itself.
const FOLDERS_TO_TARGET: usize = 3;
/// How much of standard error an error shows.
const ERROR_BYTES_SHOWN: usize = 4000;

/// The `dark-tower` command: `DARK_TOWER_BIN`, else the one built beside the test.
pub fn dark_tower() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("DARK_TOWER_BIN") {
        return Ok(path.into());
    }
    above_this_test("dark-tower").context("no dark-tower was built; run `cargo build -p dark-tower`, or set DARK_TOWER_BIN")
}

/// The Python with aioquic, of the virtual environment that `make test` sets up.
pub fn python() -> anyhow::Result<PathBuf> {
    above_this_test("venv/bin/python").context("no Python environment in target/venv; run `make test`, which sets it up")
}

/// The Python with niquests, whose packages do not go with those of the other one.
pub fn python_with_niquests() -> anyhow::Result<PathBuf> {
    above_this_test("venv-niquests/bin/python").context("no Python environment in target/venv-niquests; run `make test`, which sets it up")
}

/// A file in the folder of this test's executable or in one of those above it, up to the target folder.
fn above_this_test(path: &str) -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    test.ancestors().skip(1).take(FOLDERS_TO_TARGET).map(|folder| folder.join(path)).find(|path| path.is_file())
}

/// A running child; it is killed when dropped.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    name: String,
    lines: watch::Receiver<Vec<String>>,
    error_log: PathBuf,
    _reading: AbortOnDropHandle<()>,
}

impl Process {
    /// Starts `command`; standard error goes to `error_log`.
    pub fn start(mut command: Command, error_log: &Path) -> anyhow::Result<Self> {
        let name = format!("{:?}", command.as_std());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(std::fs::File::create(error_log)?).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let stdout = child.stdout.take().context("standard output is piped")?;
        let input = child.stdin.take();
        let (sender, lines) = watch::channel(Vec::new());
        let reading = tokio::spawn(async move {
            let mut reader = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = reader.next_line().await {
                sender.send_modify(|lines| {
                    if lines.len() < LINES_MAX {
                        lines.push(line);
                    }
                });
            }
        });
        Ok(Self { child, input, name, lines, error_log: error_log.into(), _reading: AbortOnDropHandle::new(reading) })
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Writes a line to its standard input.
    pub async fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        let input = self.input.as_mut().context("standard input is piped")?;
        input.write_all(format!("{line}\n").as_bytes()).await.with_context(|| format!("{} does not listen", self.name))?;
        Ok(input.flush().await?)
    }

    /// What it has said so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// Waits for a line that `pick` takes, from the first on. Fails early if the process ends before.
    pub async fn line<T>(&mut self, what: &str, within: Duration, pick: impl Fn(&str) -> Option<T>) -> anyhow::Result<T> {
        let mut lines = self.lines.clone();
        let found = tokio::time::timeout(within, async {
            loop {
                let looked = lines.borrow_and_update().iter().find_map(|line| pick(line));
                if looked.is_some() {
                    return looked;
                }
                if lines.changed().await.is_err() {
                    return lines.borrow().iter().find_map(|line| pick(line));
                }
            }
        })
        .await;
        match found {
            Ok(Some(found)) => Ok(found),
            Ok(None) => bail!("{} ended without {what}; {}", self.name, self.last_words()),
            Err(_) => bail!("{} did not say within {within:?}: {what}; {}", self.name, self.last_words()),
        }
    }

    /// The end of what it has said, for an error.
    pub fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.error_log).unwrap_or_default();
        let start = log.ceil_char_boundary(log.len().saturating_sub(ERROR_BYTES_SHOWN));
        let lines = self.lines.borrow();
        format!("standard output: {:?}\nstandard error: {}", &lines[lines.len().saturating_sub(20)..], &log[start..])
    }

    /// Sends SIGTERM to this process alone.
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Sends SIGKILL to this process alone: it ends in the middle of whatever it does.
    pub fn kill(&self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)
    }

    /// Sends SIGSTOP: it does nothing any more, and its sockets stay open.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Sends SIGCONT: it goes on where it was frozen.
    pub fn wake(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).context("the process has ended already")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits for the end by itself; says how it ended and how long that took.
    pub async fn ended(&mut self, within: Duration) -> anyhow::Result<(ExitStatus, Duration)> {
        let started = Instant::now();
        match tokio::time::timeout(within, self.child.wait()).await {
            Ok(status) => Ok((status?, started.elapsed())),
            Err(_) => bail!("{} still runs after {within:?}; {}", self.name, self.last_words()),
        }
    }
}
