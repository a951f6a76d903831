//! Configuration in layers: defaults, a TOML file, `DARK_TOWER__SECTION__KEY` in the environment, flags.
//!
//! In: a type with serde defaults and `deny_unknown_fields`. Out: a value of it, or an error that names file and line.

mod checks;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use thiserror::Error;
use toml::{Table, Value};

pub use checks::{Checks, Validate};

/// Before every variable that is configuration.
pub const ENVIRONMENT_PREFIX: &str = "DARK_TOWER__";

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file says something that is not known here, or of a wrong type.
    #[error("{path}: {message}")]
    File {
        /// Which file.
        path: PathBuf,
        /// With line and column.
        message: String,
    },
    /// The environment or a flag does.
    #[error("in the environment ({ENVIRONMENT_PREFIX}SECTION__KEY) or a flag: {0}")]
    Overlay(String),
    /// Values that make no sense, wherever they came from.
    #[error("{0}")]
    Values(String),
}

/// Reads `file` if given, lays `environment` over it (pairs of name and value; others than ours are passed over), then
/// `flags` (pairs of dotted path and value).
pub fn load<T: DeserializeOwned>(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: impl IntoIterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let mut table = Table::new();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        table = read_text::<T>(path, &text)?;
    }
    for (name, value) in environment {
        if let Some(path) = name.strip_prefix(ENVIRONMENT_PREFIX) {
            lay_over(&mut table, path.to_ascii_lowercase().split("__"), &value);
        }
    }
    for (path, value) in flags {
        lay_over(&mut table, path.split('.'), &value);
    }
    Value::Table(table).try_into().map_err(|error: toml::de::Error| ConfigError::Overlay(error.to_string()))
}

/// A file's text as a table that makes a `T`.
#[doc(hidden)]
pub fn read_text<T: DeserializeOwned>(path: &Path, text: &str) -> Result<Table, ConfigError> {
    let refuse = |error: toml::de::Error| ConfigError::File { path: path.into(), message: error.to_string() };
    // Read once for its own sake: only this pass knows lines.
    toml::from_str::<T>(text).map_err(refuse)?;
    toml::from_str(text).map_err(refuse)
}

/// [`load`] with this process's environment.
pub fn load_from_environment<T: DeserializeOwned>(
    file: Option<&Path>,
    flags: impl IntoIterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    load(file, std::env::vars(), flags)
}

fn lay_over<'a>(table: &mut Table, path: impl Iterator<Item = &'a str>, value: &str) {
    let mut keys: Vec<&str> = path.collect();
    let Some(last) = keys.pop() else { return };
    let mut here = table;
    for key in keys {
        let entry = here.entry(key).or_insert_with(|| Value::Table(Table::new()));
        if !entry.is_table() {
            *entry = Value::Table(Table::new());
        }
        let Some(inner) = entry.as_table_mut() else { return };
        here = inner;
    }
    here.insert(last.to_owned(), literal(value));
}

/// A TOML literal if it is one (`8443`, `true`, `["a"]`), else a string.
fn literal(text: &str) -> Value {
    toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

/// A node id in configuration. Use with `#[serde(deserialize_with = "common::config::node_id")]`.
pub fn node_id<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<common_core::NodeId, D::Error> {
    <String as serde::Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

/// A duration in configuration: a number of milliseconds, under a key that ends in `_ms`. Use with
/// `#[serde(rename = "…_ms", deserialize_with = "common::config::millis::deserialize")]`.
pub mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer};

    /// Reads a whole number of milliseconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        region: String,
        http: Http,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Http {
        port: u16,
        origins: Vec<String>,
    }

    impl Default for Http {
        fn default() -> Self {
            Self { port: 8443, origins: Vec::new() }
        }
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn layers_lie_over_each_other() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("a.toml");
        std::fs::write(&file, "region = \"eu\"\n[http]\nport = 1\n").expect("the file is written");
        let environment = [pair("DARK_TOWER__HTTP__PORT", "2"), pair("DARK_TOWER__HTTP__ORIGINS", "[\"a\"]"), pair("PATH", "/bin")];
        let loaded: Sample = load(Some(&file), environment, [pair("http.port", "3")]).expect("all layers fit");
        assert_eq!(loaded, Sample { region: "eu".into(), http: Http { port: 3, origins: vec!["a".into()] } });
        assert_eq!(load::<Sample>(None, [], []).expect("defaults"), Sample::default());
    }

    #[test]
    fn unknown_keys_are_refused_with_their_line() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("a.toml");
        std::fs::write(&file, "region = \"eu\"\nregoin = \"us\"\n").expect("the file is written");
        let message = load::<Sample>(Some(&file), [], []).expect_err("a typing error").to_string();
        assert!(message.contains("line 2") && message.contains("regoin"), "{message}");
        let message = load::<Sample>(None, [pair("DARK_TOWER__HTTP__PROT", "1")], []).expect_err("another").to_string();
        assert!(message.contains("prot"), "{message}");
    }
}
