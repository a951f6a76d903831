//! What the kernel and the measured process itself say of its work.

use std::collections::BTreeMap;

use benches::measure::cpu_seconds;

/// Beginning of the names of the threads that run SQLite (the kernel keeps fifteen characters).
const SQL_THREADS: &str = "sqlx-sqlite";

/// Time on a core since the process started, seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// All its threads, user and system.
    pub total: f64,
    /// Of that, the threads that run SQLite.
    pub sql: f64,
}

impl Cpu {
    /// Of process `pid`.
    pub fn of(pid: u32) -> Self {
        Self { total: cpu_seconds(pid, ""), sql: cpu_seconds(pid, SQL_THREADS) }
    }

    /// What was spent since `before`.
    pub fn since(self, before: Cpu) -> Self {
        Self { total: self.total - before.total, sql: self.sql - before.sql }
    }
}

/// Calls of the store and the seconds they took, by operation, as the process's own metrics tell: each is one SQL transaction or statement.
pub fn store_calls(metrics: &str) -> BTreeMap<String, (u64, f64)> {
    let mut calls: BTreeMap<String, (u64, f64)> = BTreeMap::new();
    for line in metrics.lines() {
        let Some((series, value)) = line.strip_prefix("dark_tower_store_seconds_").and_then(|rest| rest.split_once("} ")) else { continue };
        let Some((kind, operation)) = series.split_once("{operation=\"") else { continue };
        let entry = calls.entry(operation.trim_end_matches('"').to_owned()).or_default();
        match kind {
            "count" => entry.0 = value.parse().expect("a count"),
            "sum" => entry.1 = value.parse().expect("a sum"),
            _ => {}
        }
    }
    calls
}
