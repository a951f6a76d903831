//! Logs and metrics of a process, set up once by its main.
//!
//! In: what is logged at whatever level, by us and by libraries. Out: lines that hold no secret and fool nobody: `caps` keep libraries from
//! printing what they carry, `lines` escapes, cuts and takes out what got past.

mod caps;
mod catalogue;
mod lines;
mod redact;

use std::io::{IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::Deserialize;
use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use caps::CAPS;
pub use catalogue::{METRICS, Metric, MetricKind};
pub use lines::{LINE_BYTES_MAX, Look};
pub use redact::{MARK, Shape, redact};

/// Between two times that measurements are summed up: until then each takes its place in memory, whether or not somebody reads the metrics.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Libraries that warn of what a stranger did, as often as he does it: a line for each unknown capsule or packet. What counts of it we
/// count ourselves.
const QUIET: &str = "web_transport_quinn=error,quinn=error,quinn_proto=error,rustls=error";

/// Upper ends of the buckets of every histogram, in seconds: from a read out of memory to the longest patience of a caller. Buckets take the
/// same memory whatever is measured, and those of several processes can be added up; the library's default, a sketch for each series and
/// time, grows to some hundred kilobytes a series.
const BUCKETS_SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Human,
}

/// The `[log]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// See [`LogFormat`].
    pub format: LogFormat,
    /// A filter such as `info,media_handler=debug`.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Auto, filter: "info".into() }
    }
}

/// Longest message of a panic that is logged, and longest way to it where `RUST_BACKTRACE` asks for one, characters.
const PANIC_CHARS_MAX: usize = 1000;
const BACKTRACE_CHARS_MAX: usize = 6000;

/// Starts logging to standard error, panics included. A second call changes nothing.
pub fn init_logging(config: &LogConfig) {
    let is_terminal = std::io::stderr().is_terminal();
    let look = match config.format {
        LogFormat::Json => Look::Json,
        LogFormat::Auto if !is_terminal => Look::Json,
        _ if is_terminal => Look::Coloured,
        _ => Look::Plain,
    };
    // An error means that logging was started already.
    if subscriber(&config.filter, look, std::io::stderr).try_init().is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
}

/// What is wrong with a filter such as `info,quinn=warn`, in words.
pub fn check_filter(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter).map(drop).map_err(|error| format!("a filter such as info or warn,quinn=debug is needed: {error}"))
}

/// Everything between an event and its line, which goes to what `sink` gives in one piece.
pub fn subscriber<F, W>(filter: &str, look: Look, sink: F) -> Dispatch
where
    F: Fn() -> W + Send + Sync + 'static,
    W: Write + 'static,
{
    let filter = EnvFilter::try_new(with_quiet_libraries(filter)).unwrap_or_else(|error| {
        eprintln!("log.filter {filter:?} is not understood ({error}); using info");
        EnvFilter::new("info")
    });
    let format = tracing_subscriber::fmt::layer().with_ansi(look == Look::Coloured);
    let lines = lines::Lines::new(look, sink);
    match look {
        Look::Json => {
            let format = format.json().flatten_event(true).with_current_span(false).with_writer(lines);
            Dispatch::new(tracing_subscriber::registry().with(format).with(filter).with(caps::Caps))
        }
        Look::Plain | Look::Coloured => {
            Dispatch::new(tracing_subscriber::registry().with(format.with_writer(lines)).with(filter).with(caps::Caps))
        }
    }
}

/// A panic is a bug of ours, told where everything else is.
fn log_panic(panic: &PanicHookInfo<'_>) {
    metrics::counter!("dark_tower_panics_total").increment(1);
    let message = common_core::name::escape(panic.payload_as_str().unwrap_or("no message"), PANIC_CHARS_MAX);
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or_default().to_owned();
    let way = std::backtrace::Backtrace::capture();
    if way.status() == std::backtrace::BacktraceStatus::Captured {
        let way: String = way.to_string().chars().take(BACKTRACE_CHARS_MAX).collect();
        tracing::error!(panic = message, place, thread, way, "panicked");
    } else {
        tracing::error!(panic = message, place, thread, "panicked");
    }
}

/// The filter, with libraries held back that strangers can make talk. Whoever asks for more than `info` gets everything.
fn with_quiet_libraries(filter: &str) -> String {
    let asks_for_more = ["debug", "trace"].iter().any(|level| filter.to_ascii_lowercase().split(',').any(|part| part.trim() == *level));
    // What stands later counts more.
    if asks_for_more { filter.to_owned() } else { format!("{QUIET},{filter}") }
}

/// Starts collecting metrics in this process; the handle renders them. A second call hands out the same.
pub fn init_metrics() -> PrometheusHandle {
    static HANDLE: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();
    HANDLE
        .get_or_init(|| {
            // `set_buckets` fails for an empty list alone.
            let builder = PrometheusBuilder::new().set_buckets(&BUCKETS_SECONDS).unwrap_or_else(|_| PrometheusBuilder::new());
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            // An error means that a test installed another recorder first; the handle then renders nothing.
            let _ = metrics::set_global_recorder(recorder);
            catalogue::describe();
            let measured = handle.clone();
            let tidying = std::thread::Builder::new().name("metrics".to_owned()).spawn(move || {
                loop {
                    #[expect(clippy::disallowed_methods, reason = "a thread of its own that makes its round and waits for nobody")]
                    std::thread::sleep(UPKEEP_INTERVAL);
                    measured.run_upkeep();
                }
            });
            if let Err(error) = tidying {
                tracing::warn!(%error, "measurements are summed up only when somebody reads the metrics");
            }
            handle
        })
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_quiet_until_asked() {
        let check = |filter: &str, expected: &[&str]| {
            let with = with_quiet_libraries(filter);
            let shown = EnvFilter::try_new(&with).unwrap_or_else(|error| panic!("{with}: {error}")).to_string();
            for directive in expected {
                assert!(shown.split(',').any(|it| it == *directive), "{filter}: {shown} lacks {directive}");
            }
        };
        check("info", &["info", "web_transport_quinn=error"]);
        check("info,media_handler=debug", &["media_handler=debug", "quinn=error"]);
        check("info,quinn=debug", &["quinn=debug", "quinn_proto=error"]);
        check("trace", &["trace"]);
        assert_eq!(with_quiet_libraries("DEBUG"), "DEBUG");
    }
}
