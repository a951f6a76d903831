//! Secrets that sing: what a test knows to be secret is looked for in everything that its processes print, at `trace`.
//!
//! In: secrets, as tests come to know them ([`keep`]); lines, from the test's own process ([`watch`]) and from its children ([`Watcher`]). Out:
//! nothing, or, at the first leak, the line without the secret, and the end of the test's process with [`EXIT_CODE`]: a task that panics
//! would be restarted or forgotten, a process that has ended has failed. For tests alone; nothing is stored beyond a bounded history, in which
//! secrets are looked for that a server has made before the test heard of them.

#![warn(missing_docs)]

mod forms;
mod history;

use std::io::{self, Write};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use serde_json::Value;

use common::telemetry::{Look, MARK, subscriber};
use common_core::name::is_deceptive;

use forms::Forms;
use history::History;

/// Of a test whose secret was printed; the same as of one that panicked.
pub const EXIT_CODE: i32 = 101;
/// Secrets of one kind that are remembered, the first ones: a kind leaks by a line of code, and with the first as with the thousandth. Tokens
/// are told by their shape besides, each of them.
const SECRETS_PER_KIND_MAX: usize = 32;
/// What is shown of a line around a leak, bytes to either side.
const SHOWN_BYTES: usize = 160;

/// A secret in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// What was said of it when it was registered, or what its shape says.
    pub kind: String,
    /// How it stood there: `text`, `hex`, `numbers`, `base64`, `redacted`.
    pub form: &'static str,
    /// Where it was found, with the secret taken out.
    pub around: String,
}

#[derive(Default)]
struct Known {
    forms: Forms,
    secrets: Vec<(&'static str, Vec<u8>)>,
}

impl Known {
    fn has_room_for(&self, kind: &str, secret: &[u8]) -> bool {
        let of_kind = self.secrets.iter().filter(|(other, _)| *other == kind).count();
        of_kind < SECRETS_PER_KIND_MAX && !self.secrets.iter().any(|(_, other)| other == secret)
    }
}

static KNOWN: LazyLock<RwLock<Known>> = LazyLock::new(RwLock::default);
static HISTORIES: Mutex<Vec<std::sync::Weak<Mutex<History>>>> = Mutex::new(Vec::new());
static LAST_RITES: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is kept here is whole between two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on nobody may print `secret`; what was printed lately is looked through as well.
pub fn keep(kind: &'static str, secret: impl AsRef<[u8]>) {
    let secret = secret.as_ref();
    if secret.len() < forms::BYTES_MIN || !KNOWN.read().unwrap_or_else(PoisonError::into_inner).has_room_for(kind, secret) {
        return;
    }
    {
        let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
        known.secrets.push((kind, secret.to_owned()));
        known.forms = Forms::of(&known.secrets);
    }
    let forms = Forms::of(&[(kind, secret.to_owned())]);
    let histories: Vec<_> = lock(&HISTORIES).iter().filter_map(std::sync::Weak::upgrade).collect();
    for history in histories {
        let leak = lock(&history).find(|bytes| forms.find(bytes));
        if let Some((source, leak)) = leak {
            report(&source, &leak);
        }
    }
}

/// Fields of answers that are secrets, by their names in the contract.
const SECRET_FIELDS: [&str; 6] = ["access_token", "client_secret", "connection_token", "join_token", "resume_token", "secret"];

/// [`keep`] for every secret in an answer of the API.
pub fn keep_answer(answer: &Value) {
    match answer {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (SECRET_FIELDS.iter().find(|field| *field == name), value.as_str()) {
                    (Some(kind), Some(secret)) => keep(kind, secret),
                    _ => keep_answer(value),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(keep_answer),
        _ => {}
    }
}

/// The first secret in `bytes`, if there is one.
pub fn find(bytes: &[u8]) -> Option<Leak> {
    KNOWN.read().unwrap_or_else(PoisonError::into_inner).forms.find(bytes)
}

/// Ends the test if `bytes`, which came from `source`, hold a secret: for what is no log, such as a page of metrics or somebody's error.
pub fn inspect(source: &str, bytes: impl AsRef<[u8]>) {
    if let Some(leak) = find(bytes.as_ref()) {
        report(source, &leak);
    }
}

/// What is done before the test's process ends for a leak: children of it are to end as well. The first to say so is heard.
pub fn before_the_end(last_rites: impl Fn() + Send + Sync + 'static) {
    let _ = LAST_RITES.set(Box::new(last_rites));
}

fn report(source: &str, leak: &Leak) -> ! {
    // Past the capture of the test harness, whose words would be lost with the process.
    let words = format!("LEAK: {} as {} in {source}: {}\n", leak.kind, leak.form, leak.around);
    let _ = io::stderr().write_all(words.as_bytes());
    if let Some(last_rites) = LAST_RITES.get() {
        last_rites();
    }
    std::process::exit(EXIT_CODE)
}

/// Looks through what one process says, line by line.
pub struct Watcher {
    history: Arc<Mutex<History>>,
    is_ours: bool,
}

impl Watcher {
    /// Of what `source` says.
    pub fn new(source: &str) -> Self {
        Self::with(source, false)
    }

    /// Of the log of a program of this house, which besides holds no character that would fool a reader or move a terminal, whoever wrote it.
    pub fn of_log(source: &str) -> Self {
        Self::with(source, true)
    }

    fn with(source: &str, is_ours: bool) -> Self {
        let history = Arc::new(Mutex::new(History::new(source)));
        let mut histories = lock(&HISTORIES);
        histories.retain(|history| history.strong_count() > 0);
        histories.push(Arc::downgrade(&history));
        Self { history, is_ours }
    }

    /// Takes a line; ends the test if there is a secret in it.
    pub fn line(&self, line: &[u8]) {
        // In the history first: a secret that is registered meanwhile is looked for by one of the two.
        let source = {
            let mut history = lock(&self.history);
            history.add(line);
            history.source()
        };
        inspect(&source, line);
        if let Some(leak) = deceives(line).filter(|_| self.is_ours) {
            report(&source, &leak);
        }
    }
}

/// A character in a line that no line for people may have.
fn deceives(line: &[u8]) -> Option<Leak> {
    let body = line.strip_suffix(b"\n").unwrap_or(line);
    if body.iter().all(|byte| (b' '..0x7f).contains(byte)) {
        return None;
    }
    let text = String::from_utf8_lossy(body);
    let (at, found) = text.char_indices().find(|(_, c)| is_deceptive(*c))?;
    let around = around(text.as_bytes(), at, at + found.len_utf8());
    Some(Leak { kind: format!("a character {}", found.escape_unicode()), form: "text", around })
}

/// Has this process log at `trace` into a watcher, for as long as it lives. Every test that starts a service or client calls it; the first call
/// counts.
pub fn watch() {
    static WATCHED: OnceLock<()> = OnceLock::new();
    WATCHED.get_or_init(|| {
        let watcher = Arc::new(Watcher::of_log("the test's own log"));
        let dispatch = subscriber("trace", Look::Json, move || Sink(watcher.clone()));
        // An error means that the test logs for itself already; what it does not pass on here it does not have watched.
        let _ = tracing_subscriber::util::SubscriberInitExt::try_init(dispatch);
    });
}

struct Sink(Arc<Watcher>);

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What stands around `from..to`, with stars in its place.
fn around(bytes: &[u8], from: usize, to: usize) -> String {
    let before = String::from_utf8_lossy(&bytes[from.saturating_sub(SHOWN_BYTES)..from]);
    let after = String::from_utf8_lossy(&bytes[to..bytes.len().min(to + SHOWN_BYTES)]);
    // The rest of the secret as well: a piece of it was found.
    let rest = |c: char| c.is_ascii_alphanumeric() || "-_.+/=, ".contains(c);
    let before = before.trim_end_matches(rest);
    let after = after.trim_start_matches(rest);
    common_escape(&format!("{before}***{after}"))
}

fn common_escape(text: &str) -> String {
    text.chars().flat_map(char::escape_debug).collect()
}

/// What the redacting writer left in a line is a leak that nobody else has caught.
fn redacted(bytes: &[u8], at: usize) -> Leak {
    let rest = &bytes[at + MARK.len()..];
    let shape = rest.split(|&byte| byte == b']').next().unwrap_or_default();
    let end = at + MARK.len() + shape.len();
    Leak { kind: String::from_utf8_lossy(shape).into_owned(), form: "redacted", around: around(bytes, at, end.min(bytes.len())) }
}
