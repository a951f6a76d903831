//! What the kernel says of the measured process, and what becomes of several rounds.

use std::collections::BTreeMap;
use std::fs;

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
    /// Of process `pid`, by the scheduler's own count (nanoseconds).
    pub fn of(pid: u32) -> Self {
        let mut cpu = Cpu::default();
        for task in fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives").flatten() {
            let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
            // A thread that ends while we look is none that works.
            let nanoseconds: f64 = read("schedstat").split(' ').next().and_then(|text| text.parse().ok()).unwrap_or_default();
            cpu.total += nanoseconds / 1e9;
            if read("comm").starts_with(SQL_THREADS) {
                cpu.sql += nanoseconds / 1e9;
            }
        }
        cpu
    }

    /// What was spent since `before`.
    pub fn since(self, before: Cpu) -> Self {
        Self { total: self.total - before.total, sql: self.sql - before.sql }
    }
}

/// Memory that process `pid` holds, bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its size");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
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

/// Several rounds' worth of one number.
#[derive(Default)]
pub struct Rounds(Vec<f64>);

impl Rounds {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    pub fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}
