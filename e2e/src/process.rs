//! Child processes of tests: found, started, listened to line by line, ended by pid, and never left behind.
//!
//! Ours log at `trace`, and every line is looked through for secrets that the test knows, as are their command lines and environments.

use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{oneshot, watch};
use tokio_util::task::AbortOnDropHandle;

/// Lines of standard output that are kept; a child of a test says far less.
const LINES_MAX: usize = 100_000;
/// What a child logs, unless its test says otherwise.
const LOG_FILTER: (&str, &str) = ("DARK_TOWER__LOG__FILTER", "trace");
/// Read from a child's standard error at once: it is never to wait for us.
const READ_BYTES: usize = 1024 * 1024;
/// What a child has still to say when it has ended is there at once.
const LAST_WORDS_LIMIT: Duration = Duration::from_secs(1);
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
    heard_out: Option<oneshot::Receiver<()>>,
    id: Option<Pid>,
    _reading: AbortOnDropHandle<()>,
}

impl Process {
    /// Starts `command`; of its standard error what people would read goes to `error_log`, without `DEBUG` and `TRACE`.
    pub fn start(mut command: Command, error_log: &Path) -> anyhow::Result<Self> {
        let name = format!("{:?}", command.as_std());
        if !command.as_std().get_envs().any(|(name, _)| name == LOG_FILTER.0) {
            command.env(LOG_FILTER.0, LOG_FILTER.1);
        }
        let program = command.as_std().get_program();
        let source = format!("what {program:?} says");
        let is_ours = Path::new(program).file_name().is_some_and(|name| name == "dark-tower");
        let said = if is_ours { canary::Watcher::of_log(&source) } else { canary::Watcher::new(&source) };
        look_at_start(command.as_std());
        let (errors, write_errors) = std::io::pipe()?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(write_errors).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        // Our end of what it writes to, so that its end is the end.
        drop(command);
        let id = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        end_with_this_test(id);
        let (heard, heard_out) = oneshot::channel();
        let mut log = std::fs::File::create(error_log)?;
        std::thread::Builder::new().name("errors of a child".to_owned()).spawn(move || {
            listen(errors, &said, &mut log);
            // Nobody waits where the child was dropped.
            let _ = heard.send(());
        })?;
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
        Ok(Self {
            child,
            input,
            name,
            lines,
            error_log: error_log.into(),
            heard_out: Some(heard_out),
            id,
            _reading: AbortOnDropHandle::new(reading),
        })
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
            Ok(status) => {
                let elapsed = started.elapsed();
                if let Some(heard_out) = self.heard_out.take() {
                    // A child of its own may hold the pipe.
                    let _ = tokio::time::timeout(LAST_WORDS_LIMIT, heard_out).await;
                }
                Ok((status?, elapsed))
            }
            Err(_) => bail!("{} still runs after {within:?}; {}", self.name, self.last_words()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
        children.retain(|child| Some(*child) != self.id);
    }
}

/// Those that run.
static CHILDREN: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// A test that ends for a leak drops nothing, so its children are ended for it.
fn end_with_this_test(child: Option<Pid>) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        canary::before_the_end(|| {
            for child in CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                // It may have ended by itself.
                let _ = kill_process(*child, Signal::KILL);
            }
        });
    });
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).extend(child);
}

/// Anybody on the machine reads a command line, and whoever may debug a process its environment.
fn look_at_start(command: &std::process::Command) {
    let seen = canary::Watcher::new("a command line or environment");
    command.get_args().for_each(|argument| seen.line(argument.as_encoded_bytes()));
    command.get_envs().filter_map(|(_, value)| value).for_each(|value| seen.line(value.as_encoded_bytes()));
}

/// Reads what a child says to its end; on a thread, since a child that nobody listens to stands still.
fn listen(errors: impl Read, said: &canary::Watcher, log: &mut impl Write) {
    let mut reader = std::io::BufReader::with_capacity(READ_BYTES, errors);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        said.line(&line);
        if !is_detail(&line) {
            // A folder that is gone belongs to a test that is over.
            let _ = log.write_all(&line);
        }
        line.clear();
    }
}

/// A line at `debug` or `trace`, as our log in JSON begins.
fn is_detail(line: &[u8]) -> bool {
    let start = &line[..line.len().min(80)];
    line.starts_with(b"{\"timestamp\"")
        && [&b"\"level\":\"TRACE\""[..], b"\"level\":\"DEBUG\""].iter().any(|level| start.windows(level.len()).any(|it| it == *level))
}
