//! What was measured, for people and for programs. In: rounds of both. Out: a table, a line for each workload, a file of JSON.

use benches::measure::Rounds;
use serde_json::{Map, Value, json};

use crate::compare::Pair;
use crate::load::Outcome;

/// Over this the load's own core, and not the server, may be what limits.
const LOAD_CORE_MAX: f64 = 0.8;
/// More than this at work besides, and latencies say how busy the machine was.
const OTHERS_CORES_MAX: f64 = 0.2;

/// What a minimal quinn forwarder took on another machine of this kind: CPU seconds per gigabyte, or microseconds per record where records are
/// small. A floor far above these is no floor.
const REFERENCES: [(&str, &str); 4] = [("W1", "5.6 s/GB"), ("W2", "8.3 s/GB"), ("W3", "14.6 µs"), ("W4", "2.5 s/GB")];

/// Memory per idle subscriber, kB.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    pub base: f64,
    pub handler: f64,
}

/// What one workload came to: names and values in the order in which they are printed.
pub struct Row {
    pub name: String,
    pub values: Vec<(&'static str, f64)>,
}

impl Row {
    pub fn of(name: &str, pairs: &[Pair], idle: Idle) -> Self {
        let ratio: Rounds = pairs.iter().map(Pair::ratio).collect();
        let base = |part: fn(&Outcome) -> f64| pairs.iter().map(|pair| part(&pair.base)).collect::<Rounds>();
        let handler = |part: fn(&Outcome) -> f64| pairs.iter().map(|pair| part(&pair.handler)).collect::<Rounds>();
        let load_core = base(|it| it.load_cpu / it.seconds).max().max(handler(|it| it.load_cpu / it.seconds).max());
        let p99 = [handler(|it| it.p99_ms).median(), base(|it| it.p99_ms).median()];
        let values = vec![
            ("ratio", ratio.median()),
            ("ratio_min", ratio.min()),
            ("ratio_max", ratio.max()),
            ("handler_us", handler(Outcome::microseconds).median()),
            ("floor_us", base(Outcome::microseconds).median()),
            ("p99_ratio", p99[0] / p99[1]),
            ("idle_kb", idle.handler),
            ("handler_p50_ms", handler(|it| it.p50_ms).median()),
            ("handler_p99_ms", p99[0]),
            ("handler_max_ms", handler(|it| it.max_ms).max()),
            ("floor_p50_ms", base(|it| it.p50_ms).median()),
            ("floor_p99_ms", p99[1]),
            ("floor_max_ms", base(|it| it.max_ms).max()),
            ("handler_s_per_gb", handler(Outcome::seconds_per_gigabyte).median()),
            ("floor_s_per_gb", base(Outcome::seconds_per_gigabyte).median()),
            ("handler_core", handler(|it| it.server_cpu / it.seconds).median()),
            ("floor_core", base(|it| it.server_cpu / it.seconds).median()),
            ("load_core", load_core),
            ("others_cores", base(|it| it.others_cpu / it.seconds).max().max(handler(|it| it.others_cpu / it.seconds).max())),
            ("records_per_s", handler(|it| it.records as f64 / it.seconds).median()),
            ("load_late_ms", handler(|it| it.late_ms).max().max(base(|it| it.late_ms).max())),
            ("floor_idle_kb", idle.base),
            ("rounds", pairs.len() as f64),
        ];
        Self { name: name.to_owned(), values }
    }

    pub fn value(&self, name: &str) -> f64 {
        self.values.iter().find(|(known, _)| *known == name).map_or(f64::NAN, |(_, value)| *value)
    }

    /// For programs.
    pub fn line(&self) -> String {
        let values: Vec<String> = self.values.iter().map(|(name, value)| format!("{name}={}", number(*value))).collect();
        format!("bench-media {} {}", self.name, values.join(" "))
    }

    pub fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("workload".into(), json!(self.name));
        // What is not a number is null.
        object.extend(self.values.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
        object.into()
    }

    /// For people.
    pub fn text(&self) -> String {
        let value = |name: &str| self.value(name);
        let reference = REFERENCES.iter().find(|(name, _)| *name == self.name).map_or("", |(_, reference)| reference);
        let mut marks = String::new();
        if value("load_core") > LOAD_CORE_MAX {
            marks += "  LOAD IS THE BOTTLENECK";
        }
        if value("others_cores") > OTHERS_CORES_MAX {
            marks += &format!("  OTHER PROGRAMS TOOK {:.1} CORES: LATENCIES ARE THEIRS", value("others_cores"));
        }
        format!(
            "{:<4} {:>7.2} {:>13} {:>8.1} {:>8.1} {:>8.2} {:>8.2} {:>10} {:>13} {:>15} {:>6.0} % {:>5.0} %{marks}",
            self.name,
            value("ratio"),
            format!("{:.2}-{:.2}", value("ratio_min"), value("ratio_max")),
            value("handler_us"),
            value("floor_us"),
            value("handler_s_per_gb"),
            value("floor_s_per_gb"),
            reference,
            format!("{:.2}/{:.2}", value("handler_p50_ms"), value("handler_p99_ms")),
            format!("{:.2}/{:.2}", value("floor_p50_ms"), value("floor_p99_ms")),
            value("handler_core") * 100.0,
            value("load_core") * 100.0,
        )
    }
}

/// Above the rows.
pub const HEAD: &str =
    "        ratio     least-most  handler    floor  handler    floor floor else-   handler p50/99   floor p50/99  server   load
     (median)                    µs       µs     s/GB     s/GB      where              ms             ms    core   core";

fn number(value: f64) -> String {
    if value.abs() >= 1000.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}
