//! Lines of standard input, to be said as chat.
//!
//! A thread of its own reads, since nothing else can wait for a terminal: it is left behind when the process ends.

use std::io::{BufRead, BufReader, Read};

use tokio::sync::mpsc;

/// Lines read and not yet said. A sender that is slower stops the reading.
const LINES_MAX: usize = 16;
/// Longest line: the contract's limit of a chat message.
const LINE_BYTES_MAX: usize = 4096;

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Words {
    /// To be said.
    Say(String),
    /// Longer than a chat message may be, or no text; left out.
    Unfit,
}

/// Lines of standard input as they come; the channel closes at its end.
pub(super) fn of_standard_input() -> mpsc::Receiver<Words> {
    let (lines, receiver) = mpsc::channel(LINES_MAX);
    std::thread::spawn(move || {
        let mut input = BufReader::new(std::io::stdin());
        while let Ok(Some(words)) = next(&mut input) {
            if lines.blocking_send(words).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The next line that is not empty; `None` at the end. Of a line that is too long no more than the limit is kept.
fn next(input: &mut impl BufRead) -> std::io::Result<Option<Words>> {
    loop {
        let mut line = Vec::new();
        let limit = u64::try_from(LINE_BYTES_MAX + 2).unwrap_or(u64::MAX);
        if input.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        let is_cut = !line.ends_with(b"\n") && line.len() > LINE_BYTES_MAX;
        if is_cut {
            skip_line(input)?;
        }
        let Ok(text) = String::from_utf8(line) else { return Ok(Some(Words::Unfit)) };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.len() > LINE_BYTES_MAX {
            return Ok(Some(Words::Unfit));
        }
        if !text.trim().is_empty() {
            return Ok(Some(Words::Say(text.to_owned())));
        }
    }
}

fn skip_line(input: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let read = input.fill_buf()?;
        let (used, is_over) = match read.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (read.len(), read.is_empty()),
        };
        input.consume(used);
        if is_over {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_empty_ones_left_out() {
        let longest = "x".repeat(LINE_BYTES_MAX);
        let text = format!("hello\r\n\n  \n{longest}\n{longest}y\nlast");
        let mut bytes = text.into_bytes();
        bytes.splice(0..0, *b"\xff\xfe\n");
        let mut input = BufReader::with_capacity(7, bytes.as_slice());
        let lines: Vec<_> = std::iter::from_fn(|| next(&mut input).expect("memory can be read")).collect();
        let say = |text: &str| Words::Say(text.to_owned());
        assert_eq!(lines, [Words::Unfit, say("hello"), say(&longest), Words::Unfit, say("last")]);
    }
}
