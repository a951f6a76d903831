//! Logs and metrics of a process, set up once by its main.

use std::io::IsTerminal;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

/// Between two times that measurements are summed up: until then each takes its place in memory, whether or not somebody reads the metrics.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Libraries that warn of what a stranger did, as often as he does it: a line for each unknown capsule or packet. What counts of it we
/// count ourselves.
const QUIET: &str = "web_transport_quinn=error,quinn=error,quinn_proto=error,rustls=error";

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

/// Starts logging to standard error. A second call changes nothing.
pub fn init_logging(config: &LogConfig) {
    let filter = EnvFilter::try_new(with_quiet_libraries(&config.filter)).unwrap_or_else(|error| {
        eprintln!("log.filter {:?} is not understood ({error}); using info", config.filter);
        EnvFilter::new("info")
    });
    let human = match config.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error means that logging was started already.
    let _ = if human { builder.try_init() } else { builder.json().flatten_event(true).with_current_span(false).try_init() };
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
            let recorder = PrometheusBuilder::new().build_recorder();
            let handle = recorder.handle();
            // An error means that a test installed another recorder first; the handle then renders nothing.
            let _ = metrics::set_global_recorder(recorder);
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
