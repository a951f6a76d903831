//! What becomes of a finished log line on its way out: text that would move a terminal or fool its reader is escaped, what is too long is cut,
//! and secrets leave it.
//!
//! In: a line, in one piece. Out: a line. Who writes it may be a stranger in part: names, header fields, reasons of closes.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use common_core::name::is_deceptive;
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::redact::redact;

/// Longest line: more is a library that prints what it carries, or a stranger who wants our disk.
pub const LINE_BYTES_MAX: usize = 8 * 1024;

/// How lines look, for what has to be escaped in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// One JSON object a line.
    Json,
    /// For people.
    Plain,
    /// For people, with colours.
    Coloured,
}

/// Makes a writer for each line; what comes out goes to `sink` in one piece.
pub struct Lines<F> {
    look: Look,
    sink: F,
}

impl<F> Lines<F> {
    /// Lines that look so, to `sink`.
    pub fn new(look: Look, sink: F) -> Self {
        Self { look, sink }
    }
}

impl<'a, F, W> MakeWriter<'a> for Lines<F>
where
    F: Fn() -> W + 'a,
    W: io::Write,
{
    type Writer = Line<W>;

    fn make_writer(&'a self) -> Line<W> {
        Line { look: self.look, sink: (self.sink)(), of: None }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<W> {
        Line { of: Some((metadata.level().as_str(), metadata.target().to_owned())), ..self.make_writer() }
    }
}

/// Takes one line.
pub struct Line<W> {
    look: Look,
    sink: W,
    /// Level and target.
    of: Option<(&'static str, String)>,
}

impl<W: io::Write> io::Write for Line<W> {
    /// Takes all of `line`, which is a whole one: so the formatter of tracing-subscriber writes.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let level_and_target = self.of.as_ref().map(|(level, target)| (*level, target.as_str()));
        self.sink.write_all(clean(&text, self.look, level_and_target).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// See the module.
fn clean<'a>(line: &'a str, look: Look, of: Option<(&str, &str)>) -> Cow<'a, str> {
    let mut line = cut(line, look, of);
    if let Some(escaped) = escape(&line, look) {
        line = Cow::Owned(escaped);
    }
    let redacted = redact(&line, |shape| metrics::counter!("dark_tower_redacted_total", "shape" => shape.name()).increment(1));
    redacted.map_or(line, Cow::Owned)
}

fn cut<'a>(line: &'a str, look: Look, of: Option<(&str, &str)>) -> Cow<'a, str> {
    if line.len() <= LINE_BYTES_MAX {
        return Cow::Borrowed(line);
    }
    let words = format!("a line of {} bytes was left out: it is over the limit", line.len());
    let (level, target) = of.unwrap_or(("WARN", module_path!()));
    Cow::Owned(match look {
        // Half an object is none.
        Look::Json => {
            let mut time = String::new();
            // It fails where the clock is before the epoch: the line goes out without a time then.
            let _ = SystemTime.format_time(&mut Writer::new(&mut time));
            format!("{}\n", serde_json::json!({"timestamp": time, "level": level, "message": words, "target": target}))
        }
        Look::Plain | Look::Coloured => format!("{} … {words}\n", &line[..line.floor_char_boundary(LINE_BYTES_MAX)]),
    })
}

/// The line with what would deceive its reader written out; `None`: there is nothing of the kind.
fn escape(line: &str, look: Look) -> Option<String> {
    let body = line.strip_suffix('\n').unwrap_or(line);
    // A byte under the space, or over the last that ASCII prints: nearly every line has none.
    if body.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
        return None;
    }
    let mut escaped = String::with_capacity(line.len() + 16);
    let mut rest = body;
    while let Some(c) = rest.chars().next() {
        let colour = if look == Look::Coloured { colour(rest) } else { 0 };
        let length = colour.max(c.len_utf8());
        match look {
            _ if colour > 0 || !is_deceptive(c) => escaped.push_str(&rest[..length]),
            // Only inside of strings, where JSON takes these (RFC 8259 section 7).
            Look::Json => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                // Writing to a string does not fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }),
            Look::Plain | Look::Coloured => escaped.extend(c.escape_default()),
        }
        rest = &rest[length..];
    }
    escaped.push_str(&line[body.len()..]);
    Some(escaped)
}

/// How long the colour is that `text` begins with, as the formatter writes them: `ESC [ NUMBERS m`, with numbers that hide nothing.
fn colour(text: &str) -> usize {
    let Some(rest) = text.strip_prefix("\u{1b}[") else { return 0 };
    let Some((numbers, _)) = rest.split_once('m') else { return 0 };
    // Reset, bold, dimmed, italic, and the colours of levels.
    let is_one = |number: &str| matches!(number, "0" | "1" | "2" | "3" | "31" | "32" | "33" | "34" | "35" | "36");
    if numbers.split(';').all(is_one) { "\u{1b}[".len() + numbers.len() + "m".len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, look: Look, expected: &str) {
        assert_eq!(clean(line, look, None), expected, "{line:?} as {look:?}");
    }

    #[test]
    fn what_moves_a_terminal_is_escaped_in_every_look() {
        check("INFO a: name=Ana\n", Look::Plain, "INFO a: name=Ana\n");
        check("name=a\r\nINFO b: forged\n", Look::Plain, "name=a\\r\\nINFO b: forged\n");
        check("name=\u{1b}[2J\u{202e}x\u{200b}\n", Look::Plain, "name=\\u{1b}[2J\\u{202e}x\\u{200b}\n");
        check("Grüße, 世界 🎉\n", Look::Plain, "Grüße, 世界 🎉\n");
        check("{\"a\":\"\u{202e}\u{7f}\u{9b}\u{e0041}é\"}\n", Look::Json, "{\"a\":\"\\u202e\\u007f\\u009b\\udb40\\udc41é\"}\n");
    }

    #[test]
    fn of_colours_only_those_of_the_formatter_pass() {
        check("\u{1b}[2mx\u{1b}[0m\n", Look::Coloured, "\u{1b}[2mx\u{1b}[0m\n");
        check("\u{1b}[2mx\u{1b}[0m\n", Look::Plain, "\\u{1b}[2mx\\u{1b}[0m\n");
        // Hidden text, another title, a cursor that moves up.
        check("\u{1b}[8mx\u{1b}]0;t\u{7}\u{1b}[1A\n", Look::Coloured, "\\u{1b}[8mx\\u{1b}]0;t\\u{7}\\u{1b}[1A\n");
    }

    #[test]
    fn what_is_too_long_is_cut_and_stays_what_it_was() {
        let long = "ä".repeat(LINE_BYTES_MAX);
        let plain = clean(&long, Look::Plain, None);
        assert!(plain.len() < LINE_BYTES_MAX + 100 && plain.ends_with("over the limit\n"), "{} bytes", plain.len());
        let json = clean(&long, Look::Json, Some(("TRACE", "h3::x")));
        let value: serde_json::Value = serde_json::from_str(&json).expect("still JSON");
        assert_eq!((&value["level"], &value["target"]), (&"TRACE".into(), &"h3::x".into()));
        assert!(value["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{json}");
    }

    #[test]
    fn secrets_leave_the_line_on_its_way_out() {
        check(&format!("x={}\n", crate::random::token()), Look::Json, "x=[redacted token]\n");
    }
}
