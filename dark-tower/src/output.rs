//! What a command says to whoever started it, and with which code it ends when something is in the way.
//!
//! In: results for standard output, complaints for standard error, errors. Out: lines, exit codes. A reader that goes early, as `head` does, is no failure.

use std::io::Write;
use std::process::ExitCode;

use thiserror::Error;

/// The code of wrong usage, as clap has it.
pub const EXIT_USAGE: u8 = 2;

/// Why nothing more is said on standard output.
#[derive(Debug, Error)]
pub enum OutputError {
    /// Whoever read has gone. Ends a command in order, with success.
    #[error("nobody reads standard output any more")]
    ReaderGone,
    /// It cannot be written: a full disk, mostly.
    #[error("cannot write to standard output: {0}")]
    Unwritable(std::io::Error),
}

impl From<std::io::Error> for OutputError {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe { Self::ReaderGone } else { Self::Unwritable(error) }
    }
}

/// The command line asks for what makes no sense, in a way that only shows beyond single arguments.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Prints what a command found out.
pub fn print(text: &str) -> Result<(), OutputError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Says what is wrong, in one line that cannot move a terminal. Where standard error is closed nobody is told.
pub fn complain(command: &str, text: &str) {
    // Nobody is left to be told that nobody can be told.
    let _ = writeln!(std::io::stderr().lock(), "{command}: {}", common_core::name::harmless(text));
}

/// Tells why a command ended early, if there is anything to tell; with which code it ends.
pub fn end(command: &str, error: &anyhow::Error) -> ExitCode {
    if matches!(find(error), Some(OutputError::ReaderGone)) {
        return ExitCode::SUCCESS;
    }
    // One line that says what and why; a backtrace would bury it.
    complain(command, &format!("{error:#}"));
    if find::<Usage>(error).is_some() { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
}

fn find<E: std::error::Error + Send + Sync + 'static>(error: &anyhow::Error) -> Option<&E> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_reader_that_goes_is_no_failure_and_other_ends_have_their_codes() {
        // Of exit codes nothing but their words can be seen.
        let code = |error: anyhow::Error| format!("{:?}", end("test", &error));
        let word = |code: ExitCode| format!("{code:?}");
        let broken = OutputError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert_eq!(code(broken.into()), word(ExitCode::SUCCESS));
        let full = OutputError::from(std::io::Error::from(std::io::ErrorKind::StorageFull));
        assert_eq!(code(full.into()), word(ExitCode::FAILURE));
        let usage = Err::<(), _>(Usage("--url: is no URL".into())).context("joining").expect_err("an error");
        assert_eq!(code(usage), word(ExitCode::from(EXIT_USAGE)));
        // Another pipe, to a store for instance, is not the reader's.
        assert_eq!(code(std::io::Error::from(std::io::ErrorKind::BrokenPipe).into()), word(ExitCode::FAILURE));
    }
}
