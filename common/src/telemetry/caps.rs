//! Libraries that print what they carry: how much of them is logged at most, whatever the filter says.
//!
//! Measured by running everything at `trace` and looking, not guessed; docs/configuration.md has the list for operators. A cap costs nothing: its
//! callsites are switched off for good.

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// A module, the most that is logged of it, and what it would print beyond.
pub const CAPS: [(&str, LevelFilter, &str); 6] = [
    ("h3", LevelFilter::DEBUG, "whole requests with every header field"),
    ("quinn_proto", LevelFilter::DEBUG, "tokens by which a connection is reset or an address believed"),
    ("rustls", LevelFilter::INFO, "session tickets, and transport parameters with the tokens by which a connection is reset"),
    ("sqlx_postgres::options", LevelFilter::ERROR, "values of a database URL's parameters"),
    ("tungstenite", LevelFilter::DEBUG, "every message and frame"),
    ("web_transport_quinn", LevelFilter::INFO, "CONNECT requests with every header field, cookies among them"),
];

/// The layer.
pub(super) struct Caps;

/// Whether so much may be logged of this module.
fn allows(metadata: &Metadata<'_>) -> bool {
    let cap = CAPS.iter().find(|(module, ..)| is_in(metadata.target(), module));
    cap.is_none_or(|(_, most, _)| metadata.level() <= most)
}

fn is_in(target: &str, module: &str) -> bool {
    target.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

impl<S: Subscriber> Layer<S> for Caps {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if allows(metadata) { Interest::always() } else { Interest::never() }
    }

    // Records of the crate `log` have no callsites and are asked for here.
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        allows(metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_told_of_every_cap() {
        let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md")).expect("the document");
        let rows = document.lines().filter(|line| line.starts_with("| `") && line.matches('|').count() == 4);
        let said = CAPS.map(|(module, most, beyond)| format!("| `{module}` | {most} | {beyond} |"));
        assert_eq!(rows.collect::<Vec<_>>(), said);
    }

    #[test]
    fn modules_are_told_by_whole_words() {
        let check = |target: &str, module: &str, expected: bool| assert_eq!(is_in(target, module), expected, "{target} in {module}");
        check("rustls", "rustls", true);
        check("rustls::client::hs", "rustls", true);
        check("rustls_platform_verifier", "rustls", false);
        check("h3", "rustls", false);
        check("sqlx_postgres::options::parse", "sqlx_postgres::options", true);
        check("sqlx_postgres::connection", "sqlx_postgres::options", false);
    }
}
