//! A bench starts itself again for what it measures and for the load: processes on cores of their own, told what to do and heard in lines of
//! JSON over their standard input and output.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};

/// Keeps the threads of this process, made from now on, on one core.
pub fn pin_self(core: &str) {
    let pid = std::process::id().to_string();
    let pinned = std::process::Command::new("taskset").args(["-cp", core, &pid]).stdout(Stdio::null()).status();
    assert!(pinned.is_ok_and(|status| status.success()), "the bench needs taskset (Debian: util-linux) and two cores");
}

/// A command that runs `program` on these cores (`0`, `0,1`).
pub fn pinned(cores: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", cores]).arg(program).kill_on_drop(true);
    command
}

/// See the module. Ends with this process at the latest.
pub struct Child {
    /// Of the process.
    pub pid: u32,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    process: tokio::process::Child,
}

impl Child {
    /// Starts this very program on `cores` with one argument. What it says on standard error goes to `log`, or where ours goes.
    pub fn start(cores: &str, argument: &str, log: Option<&Path>) -> Self {
        let error = log.map_or_else(Stdio::inherit, |path| std::fs::File::create(path).expect("a file").into());
        let program = std::env::current_exe().expect("this program");
        let mut command = pinned(cores, program);
        let mut process = command
            .arg(argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(error)
            .spawn()
            .expect("taskset is there (util-linux)");
        let input = process.stdin.take().expect("piped");
        let output = BufReader::new(process.stdout.take().expect("piped")).lines();
        let pid = process.id().expect("it runs");
        Self { pid, input, output, process }
    }

    /// What it says next.
    pub async fn hear(&mut self) -> Value {
        let line = self.output.next_line().await.expect("it speaks").expect("it has ended before its answer");
        serde_json::from_str(&line).expect("JSON")
    }

    /// Has it do something; its answer.
    pub async fn ask(&mut self, wish: &Value) -> Value {
        self.input.write_all(format!("{wish}\n").as_bytes()).await.expect("it reads");
        self.hear().await
    }

    /// Ends it in order.
    pub async fn stop(self) {
        let Self { input, mut process, .. } = self;
        drop(input);
        process.wait().await.expect("it ends");
    }
}
